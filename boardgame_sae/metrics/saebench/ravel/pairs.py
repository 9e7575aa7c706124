"""Pairs of positions between which latents are swapped: entities are positions, attributes the states of squares.

Base and source are of different games, after equally many plies, with the same player to move, and differ in the state
of one square, the attribute. Squares are those whose states are most evenly spread; a state counts where it occurs
often enough in every split. Published, an entity may be on both sides of the split; here a split is one of games.
"""

from typing import NamedTuple

import numpy as np

from boardgame_sae.config import seed_for
from boardgame_sae.metrics.saebench.ravel.reading import Reading, Readings
from boardgame_sae.metrics.score import UnscorableError

MIN_COUNT = 20
"""How often a state occurs in every split, at least."""
DRAWS = 8
"""Sources that are drawn for a pair until one fits."""


class Pairs(NamedTuple):
    """N pairs of positions of a split, of all attributes."""

    attribute_N: np.ndarray
    """The attribute whose latents are swapped, by its number."""
    square_N: np.ndarray
    """Its square."""
    base_N: np.ndarray
    """The position that latents are put into."""
    source_N: np.ndarray
    """The position that they are of."""
    kept_NS: np.ndarray
    """bool: the other squares that differ, whose state in the base has to stay; read right in both positions."""

    def rows(self, row_N: np.ndarray) -> "Pairs":
        """Some of the pairs."""
        return Pairs(*(part[row_N] for part in self))


def chosen_squares(of: Readings, n: int) -> list[int]:
    """At most n squares with two states that occur often enough; those of the largest entropy on train games first.

    Raises UnscorableError when there is none.
    """
    common_SC, counts_SC = supported_states(of), _counts(of.of["train"].classes_NS, len(of.states[0]))
    share_SC = np.where(common_SC, counts_SC, 0) / np.maximum(counts_SC.sum(1, keepdims=True), 1)
    entropy_S = -(share_SC * np.log(np.where(share_SC > 0, share_SC, 1))).sum(1)
    order = [square for square in np.argsort(-entropy_S, kind="stable").tolist() if common_SC[square].sum() > 1]
    if not order:
        raise UnscorableError(f"no square has two states that occur {MIN_COUNT} times in every split; use more games")
    return order[:n]


def supported_states(of: Readings) -> np.ndarray:
    """bool (S, C): the states of each square that occur often enough in every split."""
    counts = [_counts(part.classes_NS, len(of.states[0])) for part in of.of.values()]
    return np.min(counts, axis=0) >= MIN_COUNT


def _counts(classes_NS: np.ndarray, n_classes: int) -> np.ndarray:
    return np.stack([(classes_NS == state).sum(0) for state in range(n_classes)], axis=1)


def draw_pairs(of: Readings, split: str, squares: list[int], n: int, seed: int) -> Pairs:
    """At most n pairs of each of some squares. Raises UnscorableError when a square has none in the split."""
    reading, common_SC = of.of[split], supported_states(of)
    parts = []
    for number, square in enumerate(squares):
        rng = np.random.default_rng(seed_for(seed, "pairs", split, of.states[square][-1]))
        fits_N = reading.right_NS[:, square] & common_SC[square][reading.classes_NS[:, square]]
        base_N, source_N = _matched(reading, square, np.flatnonzero(fits_N), n, rng)
        if not len(base_N):
            raise UnscorableError(f"no two {split} positions differ in {of.states[square]}, and are read right")
        differ_NS = reading.classes_NS[base_N] != reading.classes_NS[source_N]
        kept_NS = differ_NS & reading.right_NS[base_N] & reading.right_NS[source_N]
        kept_NS[:, square] = False
        parts.append(Pairs(np.full(len(base_N), number), np.full(len(base_N), square), base_N, source_N, kept_NS))
    return Pairs(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _matched(
    reading: Reading, square: int, row_N: np.ndarray, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """At most n bases, drawn from some positions, each with a source from the same ones."""
    row_N = row_N[np.argsort(reading.kind_N[row_N], kind="stable")]
    kind_N = reading.kind_N[row_N]
    place_N = rng.permutation(len(row_N))
    first_N, stop_N = (np.searchsorted(kind_N, kind_N[place_N], side) for side in ("left", "right"))
    source_ND = row_N[rng.integers(first_N[:, None], stop_N[:, None], (len(row_N), DRAWS))]
    base_N, state_N, game_N = row_N[place_N], reading.classes_NS[:, square], reading.above.where.game_N
    fits_ND = (state_N[source_ND] != state_N[base_N, None]) & (game_N[source_ND] != game_N[base_N, None])
    found_N = np.flatnonzero(fits_ND.any(1))[:n]
    return base_N[found_N], source_ND[found_N, fits_ND[found_N].argmax(1)]
