"""Playing strength as a few bins, from ratings of people or settings of engines."""

import numpy as np

from boardgame_sae.games import N_SKILLS


def skill_bins(first: np.ndarray, second: np.ndarray, n_bins: int = N_SKILLS) -> tuple[np.ndarray, np.ndarray]:
    """Bins (int8) of the strength of each game's first and second player, 0 the weakest, -1 where it is NaN.

    Bins hold equal shares of all known values of both sides; equal values share the bin of their middle one, and bins
    that this leaves empty are not counted. If there are n_bins distinct values or fewer, each is its own bin.
    """
    both = np.stack([first, second]).astype(np.float64)
    known = np.isfinite(both)
    bins = np.full(both.shape, -1, np.int8)
    values, value_of, counts = np.unique(both[known], return_inverse=True, return_counts=True)
    bin_of_value = np.arange(len(values))
    if len(values) > n_bins:
        twice_the_middle = 2 * np.cumsum(counts) - counts
        _, bin_of_value = np.unique(twice_the_middle * n_bins // (2 * counts.sum()), return_inverse=True)
    bins[known] = bin_of_value[value_of]
    return bins[0], bins[1]
