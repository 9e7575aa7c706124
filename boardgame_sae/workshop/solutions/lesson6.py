"""Lesson 6: what may be claimed."""

import numpy as np


def interval(values_B: np.ndarray, draws_RB: np.ndarray) -> tuple[float, float]:
    """The 95% bootstrap interval of a mean over games: where 2.5% and 97.5% of the resampled means lie.

    values_B: a number for each game. draws_RB: ints, R resamples of B games each, drawn with replacement.
    """
    means_R = values_B[draws_RB].mean(1)
    low, high = np.percentile(means_R, [2.5, 97.5])
    return float(low), float(high)


def paired_interval(a_B: np.ndarray, b_B: np.ndarray, draws_RB: np.ndarray) -> tuple[float, float]:
    """The 95% bootstrap interval of the mean of a - b, both measured on the same games."""
    return interval(a_B - b_B, draws_RB)


def pareto(l0_K: np.ndarray, value_K: np.ndarray) -> np.ndarray:
    """bool (K,): which of K SAEs are on the frontier: no other is at most as dense, at least as good, and not equal."""
    at_most_KK = l0_K[None] <= l0_K[:, None]
    as_good_KK = value_K[None] >= value_K[:, None]
    differs_KK = (l0_K[None] != l0_K[:, None]) | (value_K[None] != value_K[:, None])
    return ~(at_most_KK & as_good_KK & differs_KK).any(1)


def at_l0(l0_K: np.ndarray, value_K: np.ndarray, target: float) -> float:
    """The score of an architecture at a given L0, between its SAEs by linear interpolation; nan outside their range."""
    order_K = np.argsort(l0_K)
    return float(np.interp(target, l0_K[order_K], value_K[order_K], left=np.nan, right=np.nan))


def share_of_the_way(value: float, chance: float, ceiling: float) -> float:
    """Where a score lies between chance (0) and ceiling (1); below 0 where it is worse than chance."""
    return (value - chance) / (ceiling - chance)


def rank_correlation(a_K: np.ndarray, b_K: np.ndarray) -> float:
    """Spearman's correlation of two scores over K SAEs without ties: Pearson's, of their ranks."""
    return float(np.corrcoef(a_K.argsort().argsort(), b_K.argsort().argsort())[0, 1])
