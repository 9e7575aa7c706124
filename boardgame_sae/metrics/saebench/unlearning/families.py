"""Families of positions to forget, and what a model plays in them and elsewhere.

A family is where a label of a testbed is true at 5% to 50% of the positions of every split. Preferred are labels with
moves of their own, legal only where the label is true: `c4 legal_move` has the move c4. The model is right in such a
family where it plays one of these moves, so that to forget is to play it no more. Where no label has any, labels of
what follows from the rules come first, and the model is right where it is elsewhere: where its move is legal. Where a
token is not a whole move, that is where the most probable token is the one that was played.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.metrics.saebench.data.above import Above, above, chunks
from boardgame_sae.metrics.saebench.data.concepts import Concept, support, truth
from boardgame_sae.metrics.score import UnscorableError
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import SPLITS

SMALLEST, LARGEST = 0.05, 0.5
"""Shares of positions that a family may have."""
MIN_RIGHT = 10
"""Positions of a family, and others, that the model gets right in the games that are measured, at least."""
MEASURED = ("validation", "test")


class Play(NamedTuple):
    """Positions of some games of a split, and the tokens that are most probable there."""

    above: Above
    top_N: np.ndarray

    def right(self, top_N: np.ndarray) -> np.ndarray:
        """bool (N,): where a token is legal, or was played."""
        legal_NV = self.above.legal_NV
        return self.above.next_N == top_N if legal_NV is None else legal_NV[np.arange(len(top_N)), top_N]

    def top_with(self, changes_ND: Tensor) -> np.ndarray:
        """(N,): the most probable tokens once the activation of each position is changed by so much, at it alone."""
        top_N = self.top_N.copy()
        for row_N in chunks(np.flatnonzero((changes_ND != 0).any(1).cpu().numpy())):
            top_N[row_N] = _top(self.above, row_N, self.above.acts_ND[row_N] + changes_ND[row_N])
        return top_N


def play(testbed: Testbed, split: str, n_games: int) -> Play:
    """The clean model on at most n_games games of a split."""
    part: Above = testbed.once(above, split, n_games)
    tops = [_top(part, row_N, part.acts_ND[row_N]) for row_N in chunks(np.arange(len(part)))]
    return Play(part, np.concatenate(tops))


@torch.no_grad()
def _top(part: Above, row_N: np.ndarray, acts_ND: Tensor) -> np.ndarray:
    logits_NV = part.read(row_N, acts_ND, logits=True).logits_NV
    assert logits_NV is not None
    return logits_NV.argmax(-1).cpu().numpy()


class Family(NamedTuple):
    """A label to forget."""

    concept: Concept
    forget: Mapping[str, np.ndarray]
    """bool (N,) by split: the scored positions at which it is true."""
    retain: Mapping[str, np.ndarray]
    """Those at which it is false."""
    moves_V: np.ndarray | None
    """bool: the moves that are legal only where it is true; None where there is none."""

    def right(self, split: str, play: Play, top_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """bool (N,): the positions of the family, and the others, at which some tokens are right."""
        right_N, own_N = play.right(top_N), True if self.moves_V is None else self.moves_V[top_N]
        n = len(top_N)
        return self.forget[split][:n] & right_N & own_N, self.retain[split][:n] & right_N


class Task(NamedTuple):
    """What is to be forgotten, the same for every subject of a testbed."""

    families: list[Family]
    plays: Mapping[str, Play]


def task(testbed: Testbed, n_families: int, n_games: int) -> Task:
    """At most n_families, in turn from each property the most common label that the model plays right often enough.

    Raises UnscorableError when there is none.
    """
    plays = {split: play(testbed, split, n_games) for split in MEASURED}

    def is_known(family: Family) -> bool:
        parts = [part for split, one in plays.items() for part in family.right(split, one, one.top_N)]
        return min(int(part.sum()) for part in parts) >= MIN_RIGHT

    for with_moves in (True, False):
        known = filter(is_known, _candidates(testbed, with_moves=with_moves))
        if chosen := list(itertools.islice(known, n_families)):
            return Task(chosen, plays)
    raise UnscorableError(
        f"no label is true at {SMALLEST:.0%} to {LARGEST:.0%} of the positions of every split and at {MIN_RIGHT} "
        "positions that the model plays right; use more games"
    )


def _candidates(testbed: Testbed, *, with_moves: bool) -> Iterator[Family]:
    """Families with moves of their own, or of any label, those of what follows from the rules first."""
    counts = testbed.once(support)
    share_SP = counts.true_SP / np.maximum(counts.known_SP, 1)
    fits_P = (share_SP.min(0) >= SMALLEST) & (share_SP.max(0) <= LARGEST)
    queues: dict[bool, list[list[Concept]]] = {True: [], False: []}
    for columns in testbed.columns:
        order = np.argsort(-share_SP[0, columns.start : columns.stop], kind="stable").tolist()
        queues[columns.level == "high"].append(
            [Concept(columns.start + index, columns.class_names[index], columns.name) for index in order
             if fits_P[columns.start + index]]
        )  # fmt: skip
    legal_NV = testbed.once(_legal_in_train) if with_moves else None
    turns = itertools.chain(*(itertools.zip_longest(*queues[high]) for high in (True, False)))
    for concept in (concept for turn in turns for concept in turn if concept is not None):
        at = {split: truth(testbed, split, [concept.column]) for split in SPLITS}
        forget = {split: (true_N1 & known_N1)[:, 0] for split, (true_N1, known_N1) in at.items()}
        retain = {split: (~true_N1 & known_N1)[:, 0] for split, (true_N1, known_N1) in at.items()}
        if not with_moves:
            yield Family(concept, forget, retain, None)
        elif legal_NV is not None:
            moves_V = np.logical_and(legal_NV[forget["train"]].any(0), ~legal_NV[~forget["train"]].any(0))
            if moves_V.any():
                yield Family(concept, forget, retain, moves_V)


def _legal_in_train(testbed: Testbed) -> np.ndarray | None:
    """bool (N, V): legal tokens at the scored train positions; None where a token is not a whole move."""
    corpus, where = testbed.corpus, testbed.positions("train")
    if not corpus.tokenizer.is_whole_move:
        return None
    boards = corpus.boards(where.games_B)
    return corpus.tokenizer.legal_tokens(corpus.game, boards[boards.rows(where.game_N, where.ply_N)])
