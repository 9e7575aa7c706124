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

from boardgame_sae.config import seed_for
from boardgame_sae.games.property import LEVELS
from boardgame_sae.metrics.saebench.data.above import Above, above, chunks
from boardgame_sae.metrics.saebench.data.concepts import Concept, support, truth
from boardgame_sae.metrics.score import UnscorableError
from boardgame_sae.testbeds.testbed import Testbed

SMALLEST, LARGEST = 0.05, 0.5
"""Shares of positions that a family may have."""
MIN_RIGHT = 10
"""Positions of a family, and others, that the model gets right in the games that are measured, at least."""
MEASURED = ("validation", "test")


class Play(NamedTuple):
    """Positions of some games of a split, and the tokens that are most probable there."""

    above: Above
    top_N: np.ndarray

    def right(self, row_N: np.ndarray, top_N: np.ndarray) -> np.ndarray:
        """bool (N,): whether tokens are legal, or were played, at some positions."""
        legal_NV = self.above.legal_NV
        return self.above.next_N[row_N] == top_N if legal_NV is None else legal_NV[row_N, top_N]

    def top_with(self, row_N: np.ndarray, changes_ND: Tensor) -> np.ndarray:
        """(N,): the most probable tokens at some positions once the activation of each, alone, is changed so."""
        top_N = self.top_N[row_N]
        for part in chunks(np.flatnonzero((changes_ND != 0).any(1).cpu().numpy())):
            top_N[part] = _top(self.above, row_N[part], self.above.acts_ND[row_N[part]] + changes_ND[part])
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


class Asked(NamedTuple):
    """The positions of a split, by number, that are asked about: the clean model is right there."""

    forget_N: np.ndarray
    """In the family."""
    retain_N: np.ndarray
    """Elsewhere."""


class Family(NamedTuple):
    """A label to forget."""

    concept: Concept
    true_N: np.ndarray
    """bool (N,): the train positions at which it is true."""
    false_N: np.ndarray
    moves_V: np.ndarray | None
    """bool: the moves that are legal only where it is true; None where there is none."""
    asked: dict[str, Asked]

    def right(self, play: Play, asked: Asked, top_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """bool: whether the tokens at the positions asked about, the family's first, are right."""
        right_N, n = play.right(np.concatenate(asked), top_N), len(asked.forget_N)
        own_N = True if self.moves_V is None else self.moves_V[top_N[:n]]
        return right_N[:n] & own_N, right_N[n:]


class Task(NamedTuple):
    """What is to be forgotten, the same for every subject of a testbed."""

    families: list[Family]
    plays: Mapping[str, Play]


def task(testbed: Testbed, n_families: int, n_games: int, n_retain: int, seed: int) -> Task:
    """At most n_families, in turn from each property the most common label that the model plays right often enough.

    n_retain: maximum number of positions elsewhere that are asked about, per split and family.
    Raises UnscorableError when there is no family.
    """
    plays = {split: play(testbed, split, n_games) for split in MEASURED}
    for with_moves in (True, False):
        candidates = _candidates(testbed, plays, with_moves=with_moves)
        known = (family for family in candidates if min(map(len, itertools.chain(*family.asked.values()))) >= MIN_RIGHT)
        if chosen := list(itertools.islice(known, n_families)):
            return Task([_thinned(family, n_retain, seed) for family in chosen], plays)
    raise UnscorableError(
        f"no label is true at {SMALLEST:.0%} to {LARGEST:.0%} of the positions of every split and at {MIN_RIGHT} "
        "positions that the model plays right; use more games"
    )


def _thinned(family: Family, n_retain: int, seed: int) -> Family:
    asked = {}
    for split, (forget_N, retain_N) in family.asked.items():
        rng = np.random.default_rng(seed_for(seed, "retain", family.concept.name, split))
        drawn_N = rng.choice(retain_N, min(n_retain, len(retain_N)), replace=False)
        asked[split] = Asked(forget_N, np.sort(drawn_N))
    return family._replace(asked=asked)


def _candidates(testbed: Testbed, plays: Mapping[str, Play], *, with_moves: bool) -> Iterator[Family]:
    """Families with moves of their own, or of any label."""
    legal_NV = testbed.once(_legal_in_train) if with_moves else None
    if with_moves and legal_NV is None:
        return
    for concept in _concepts(testbed):
        (true_N,), (known_N,) = (part_N1.T for part_N1 in truth(testbed, "train", [concept.column]))
        moves_V = None
        if legal_NV is not None:
            moves_V = np.logical_and(legal_NV[true_N].any(0), ~legal_NV[~true_N].any(0))
            if not moves_V.any():
                continue
        yield Family(
            concept,
            true_N & known_N,
            ~true_N & known_N,
            moves_V,
            {split: _asked(testbed, split, one, concept, moves_V) for split, one in plays.items()},
        )


def _asked(testbed: Testbed, split: str, play: Play, concept: Concept, moves_V: np.ndarray | None) -> Asked:
    """All positions at which the clean model is right."""
    n = len(play.top_N)
    true_N, known_N = (part_N1[:n, 0] for part_N1 in truth(testbed, split, [concept.column]))
    right_N = play.right(np.arange(n), play.top_N) & known_N
    own_N = True if moves_V is None else moves_V[play.top_N]
    return Asked(np.flatnonzero(true_N & right_N & own_N), np.flatnonzero(~true_N & right_N))


def _concepts(testbed: Testbed) -> Iterator[Concept]:
    """Labels that are true neither too rarely nor too often, the most common of each property in turn; those of what
    follows from the rules come first."""
    counts = testbed.once(support)
    share_SP = counts.true_SP / np.maximum(counts.known_SP, 1)
    fits_P = (share_SP.min(0) >= SMALLEST) & (share_SP.max(0) <= LARGEST)
    queues: dict[str, list[list[Concept]]] = {level: [] for level in reversed(LEVELS)}
    for columns in testbed.columns:
        order = np.argsort(-share_SP[0, columns.start : columns.stop], kind="stable").tolist()
        fitting = [index for index in order if fits_P[columns.start + index]]
        names = columns.class_names
        own = [Concept(columns.start + index, names[index], columns.name) for index in fitting]
        queues[columns.level].append(own)
    for of_level in queues.values():
        turns = itertools.zip_longest(*of_level)
        yield from (concept for turn in turns for concept in turn if concept is not None)


def _legal_in_train(testbed: Testbed) -> np.ndarray | None:
    """bool (N, V): legal tokens at the scored train positions; None where a token is not a whole move."""
    corpus, where = testbed.corpus, testbed.positions("train")
    if not corpus.tokenizer.is_whole_move:
        return None
    boards = corpus.boards(where.games_B)
    return corpus.tokenizer.legal_tokens(corpus.game, boards[boards.rows(where.game_N, where.ply_N)])
