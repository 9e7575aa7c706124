"""Balanced examples of a concept: positions drawn once for a testbed, half of them true, the same for every subject.

SAEBench draws new negatives for each class, each k and each SAE, so that scores differ by the draw (its
`prepare_probe_data`); here a draw depends on the concept, the split and a seed alone.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array, vstack

from boardgame_sae.config import Count, Seed, config, seed_for
from boardgame_sae.metrics.saebench.data.concepts import Concept, truth
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import SPLITS


@config
class ExamplesConfig:
    """How many examples are drawn of everything that a score asks about, and which."""

    n_train: Count = 4000
    """Training examples of each, as many true as false."""
    n_test: Count = 1000
    """Validation and test examples of each, in each of the two splits."""
    seed: Seed = 0
    """Which positions are drawn."""

    def sizes(self) -> dict[str, int]:
        """Examples of each in every split."""
        return {"train": self.n_train, "validation": self.n_test, "test": self.n_test}


class Examples(NamedTuple):
    """Positions of a split at which a concept is asked about."""

    row_N: np.ndarray
    """Their numbers among the split's scored positions, ascending."""
    true_N: np.ndarray
    """bool (N,): whether the concept is true there; as often as it is false."""
    game_N: np.ndarray
    """The game each is of, as `Positions.game_N` counts."""


Question = tuple[Concept, Mapping[str, Examples]]
"""A concept, and its examples in each split."""


def questions(testbed: Testbed, concepts: Sequence[Concept], n: Mapping[str, int], seed: int = 0) -> list[Question]:
    """Draw at most n[split] examples of each concept in each split, half of them true."""
    asked: dict[str, list[Examples]] = {}
    for split in SPLITS:
        true_NK, known_NK = truth(testbed, split, [concept.column for concept in concepts])
        game_N = testbed.positions(split).game_N
        asked[split] = [
            balanced(true_NK[:, k], game_N, n[split] // 2, _seed(seed, concept, split), known_NK[:, k])
            for k, concept in enumerate(concepts)
        ]
    return [(concept, {split: asked[split][k] for split in SPLITS}) for k, concept in enumerate(concepts)]


def _seed(seed: int, concept: Concept, split: str) -> int:
    return seed_for(seed, "examples", concept.name, split)


def balanced(
    true_N: np.ndarray, game_N: np.ndarray, n_each: int, seed: int, known_N: np.ndarray | None = None
) -> Examples:
    """At most n_each true and n_each false positions, as many of both, drawn at random.

    true_N: bool, at every position of a split. game_N: the game of each. known_N: where the truth is known.
    """
    rng, known_N = np.random.default_rng(seed), np.ones(len(true_N), bool) if known_N is None else known_N
    positive_N, negative_N = np.flatnonzero(true_N & known_N), np.flatnonzero(~true_N & known_N)
    n = min(n_each, len(positive_N), len(negative_N))
    row_N = np.sort(np.concatenate([rng.choice(rows, n, replace=False) for rows in (positive_N, negative_N)]))
    return Examples(row_N, true_N[row_N], game_N[row_N])


def latent_rows(subject: Subject, split: str, row_N: np.ndarray) -> csr_array:
    """(N, n_latents): a subject's latents at some of a split's scored positions, in ascending order."""
    parts = []
    for span, latents in zip(subject.testbed.spans(split), subject.latents(split), strict=True):
        first, stop = np.searchsorted(row_N, [span.start, span.stop])
        wanted_N = np.zeros(latents.n_positions, bool)
        wanted_N[row_N[first:stop] - span.start] = True
        chosen = latents.select_rows(wanted_N)
        by_latent = csr_array((chosen.values_Z, chosen.rows_Z, chosen.indptr_F1), shape=chosen.shape[::-1])
        parts.append(by_latent.T.tocsr())
    return csr_array(vstack(parts, format="csr"))
