"""Families of positions to forget, and what a model does right in them and elsewhere.

A family is where a label of a testbed is true, such as `c4 legal_move`: labels of what follows from the rules, where
the testbed has any, each true at 5% to 50% of the positions of every split.
"""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.metrics.saebench.data.above import Above, above, chunks
from boardgame_sae.metrics.saebench.data.concepts import Concept, support, truth
from boardgame_sae.metrics.score import UnscorableError
from boardgame_sae.testbeds.testbed import PropertyColumns, Testbed
from boardgame_sae.transcripts.corpus import SPLITS

SMALLEST, LARGEST = 0.05, 0.5
"""Shares of positions that a family may have."""
MIN_RIGHT = 20
"""Positions of a family, and others, that the model gets right in the games that are measured, at least."""
MEASURED = ("validation", "test")


class Family(NamedTuple):
    """A label to forget, and where it is true and false, at the scored positions of each split; neither if unknown."""

    concept: Concept
    forget: Mapping[str, np.ndarray]
    retain: Mapping[str, np.ndarray]

    @property
    def share(self) -> float:
        """Of the train positions."""
        return float(self.forget["train"].mean())


def families(testbed: Testbed, n: int) -> list[Family]:
    """At most n families, from each property in turn the most common one left."""
    counts = testbed.once(support)
    share_SP = counts.true_SP / np.maximum(counts.known_SP, 1)
    fits_P = (share_SP.min(0) >= SMALLEST) & (share_SP.max(0) <= LARGEST)
    high = [columns for columns in testbed.columns if columns.level == "high" and fits_P[_own(columns)].any()]
    queues = [
        [
            Concept(columns.start + index, columns.class_names[index], columns.name)
            for index in np.argsort(-share_SP[0, _own(columns)], kind="stable").tolist()
            if fits_P[columns.start + index]
        ]
        for columns in high or testbed.columns
    ]
    concepts = [concept for turn in itertools.zip_longest(*queues) for concept in turn if concept is not None][:n]
    at = {split: truth(testbed, split, [concept.column for concept in concepts]) for split in SPLITS}
    return [
        Family(
            concept,
            {split: true_NK[:, k] & known_NK[:, k] for split, (true_NK, known_NK) in at.items()},
            {split: ~true_NK[:, k] & known_NK[:, k] for split, (true_NK, known_NK) in at.items()},
        )
        for k, concept in enumerate(concepts)
    ]


def _own(columns: PropertyColumns) -> slice:
    return slice(columns.start, columns.stop)


class Play(NamedTuple):
    """The positions of some games of a split, and where the clean model is right.

    It is right where its most probable move is legal. Where a token is not a whole move, it is where the most probable
    token is the one that was played.
    """

    above: Above
    right_N: np.ndarray

    @torch.no_grad()
    def right_with(self, changes_ND: Tensor) -> np.ndarray:
        """bool (N,): where it is right once the activation of each position is changed by so much, at it alone."""
        right_N = self.right_N.copy()
        for row_N in chunks(np.flatnonzero((changes_ND != 0).any(1).cpu().numpy())):
            right_N[row_N] = _right(self.above, row_N, self.above.acts_ND[row_N] + changes_ND[row_N])
        return right_N


def play(testbed: Testbed, split: str, n_games: int) -> Play:
    """The clean model on at most n_games games of a split."""
    part: Above = testbed.once(above, split, n_games)
    right = [_right(part, row_N, part.acts_ND[row_N]) for row_N in chunks(np.arange(len(part)))]
    return Play(part, np.concatenate(right))


@torch.no_grad()
def _right(part: Above, row_N: np.ndarray, acts_ND: Tensor) -> np.ndarray:
    logits_NV = part.read(row_N, acts_ND, logits=True).logits_NV
    assert logits_NV is not None
    top_N = logits_NV.argmax(-1).cpu().numpy()
    return part.next_N[row_N] == top_N if part.legal_NV is None else part.legal_NV[row_N, top_N]


class Task(NamedTuple):
    """What is to be forgotten, the same for every subject of a testbed."""

    families: list[Family]
    plays: Mapping[str, Play]


def task(testbed: Testbed, n_families: int, n_games: int) -> Task:
    """The families that the model plays right often enough, and its play. Raises UnscorableError when there is none."""
    plays = {split: play(testbed, split, n_games) for split in MEASURED}

    def known(family: Family) -> bool:
        parts = [
            part[split][: len(one.right_N)] & one.right_N
            for split, one in plays.items()
            for part in (family.forget, family.retain)
        ]
        return min(int(part.sum()) for part in parts) >= MIN_RIGHT

    chosen = [family for family in families(testbed, n_families) if known(family)]
    if not chosen:
        raise UnscorableError(
            f"no label is true at {SMALLEST:.0%} to {LARGEST:.0%} of the positions of every split and at {MIN_RIGHT} "
            "positions that the model plays right; use more games"
        )
    return Task(chosen, plays)
