"""Checkers of lesson 6."""

from typing import Any

import numpy as np

from boardgame_sae.workshop.checking import Checker, Mistake
from boardgame_sae.workshop.solutions import lesson6 as solutions

B, R, K = 40, 500, 9


def _of_games() -> list[tuple[Any, ...]]:
    random = np.random.default_rng(0)
    return [(random.gamma(2.0, size=B), random.integers(0, B, (R, B)))]


def _of_two() -> list[tuple[Any, ...]]:
    random = np.random.default_rng(1)
    hard_B = random.gamma(2.0, size=B)
    return [(hard_B + 0.1 * random.normal(1.0, 2.0, B), hard_B, random.integers(0, B, (R, B)))]


def _of_saes() -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(2)
    l0_K = random.permutation(K) * 4.0 + 8
    value_K = np.sqrt(l0_K) / 10 + 0.15 * random.random(K)
    equal_in_l0 = (np.array([8.0, 8.0, 16.0, 16.0]), np.array([0.5, 0.4, 0.5, 0.6]))
    the_same_twice = (np.array([8.0, 8.0, 16.0, 24.0]), np.array([0.5, 0.5, 0.4, 0.6]))
    return [(l0_K, value_K), equal_in_l0, the_same_twice]


def _at() -> list[tuple[Any, ...]]:
    l0_K, value_K = np.array([64.0, 16.0, 32.0, 8.0]), np.array([0.7, 0.4, 0.6, 0.3])
    return [(l0_K, value_K, target) for target in (20.0, 60.0, 100.0, 4.0, 8.0)]


def _levels() -> list[tuple[float, ...]]:
    return [(0.6, 0.4, 0.9), (0.3, 0.42, 0.93), (0.96, 0.42, 0.93)]


def _equals_dominate(l0_K: np.ndarray, value_K: np.ndarray) -> np.ndarray:
    dominated_KK = (l0_K[None] <= l0_K[:, None]) & (value_K[None] >= value_K[:, None])
    np.fill_diagonal(dominated_KK, False)
    return np.logical_not(np.any(dominated_KK, axis=1))


interval = Checker(
    solutions.interval,
    _of_games,
    [
        Mistake(
            "those are percentiles of the games themselves, not of resampled means: average each resample first",
            lambda values_B, draws_RB: tuple(np.percentile(values_B, [2.5, 97.5]).tolist()),
        ),
        Mistake(
            "wrong axis: a row of draws is one resample of all games, so average over `mean(1)`",
            lambda values_B, draws_RB: tuple(np.percentile(values_B[draws_RB].mean(0), [2.5, 97.5]).tolist()),
        ),
        Mistake(
            "those are the 5% and 95% points, an interval of 90%: leave 2.5% out at each end",
            lambda values_B, draws_RB: tuple(np.percentile(values_B[draws_RB].mean(1), [5, 95]).tolist()),
        ),
        Mistake(
            "that is the whole range of the resamples: leave 2.5% out at each end",
            lambda values_B, draws_RB: (values_B[draws_RB].mean(1).min(), values_B[draws_RB].mean(1).max()),
        ),
        Mistake(
            "the ends are swapped: first the lower one",
            lambda values_B, draws_RB: solutions.interval(values_B, draws_RB)[::-1],
        ),
        Mistake(
            "those are medians of the resamples: take their means",
            lambda values_B, draws_RB: tuple(np.percentile(np.median(values_B[draws_RB], 1), [2.5, 97.5]).tolist()),
        ),
        Mistake(
            "that is the interval of a normal distribution; the draws are not used: average each resample",
            lambda values_B, draws_RB: tuple(
                values_B.mean() + side * 1.96 * values_B.std() / len(values_B) ** 0.5 for side in (-1, 1)
            ),
        ),
    ],
)  # fmt: skip

paired_interval = Checker(
    solutions.paired_interval,
    _of_two,
    [
        Mistake(
            "you draw games for a and for b apart: both were measured on the same games, so take the difference of "
            "each game first; what is hard for both then cancels",
            lambda a_B, b_B, draws_RB: solutions.interval(
                np.concatenate([a_B, -b_B]) * 2, np.concatenate([draws_RB, draws_RB[::-1] + len(a_B)], 1)
            ),
        ),
        Mistake(
            "the sign is wrong: that is b - a",
            lambda a_B, b_B, draws_RB: solutions.paired_interval(b_B, a_B, draws_RB),
        ),
        Mistake(
            "that is the difference of the ends of two intervals, which is no interval of the difference",
            lambda a_B, b_B, draws_RB: tuple(
                one - other
                for one, other in zip(solutions.interval(a_B, draws_RB), solutions.interval(b_B, draws_RB), strict=True)
            ),
        ),
        Mistake(
            "you join the far ends of two intervals, as if the games were not the same: much too wide",
            lambda a_B, b_B, draws_RB: tuple(
                one - other
                for one, other in zip(
                    solutions.interval(a_B, draws_RB), solutions.interval(b_B, draws_RB)[::-1], strict=True
                )
            ),
        ),
        Mistake(
            "the sign of each difference is lost: no absolute values",
            lambda a_B, b_B, draws_RB: solutions.interval(np.abs(a_B - b_B), draws_RB),
        ),
    ],
)

pareto = Checker(
    solutions.pareto,
    _of_saes,
    [
        Mistake(
            "the wrong way round: sparser is better, so lower L0 with an equal or higher score dominates",
            lambda l0_K, value_K: solutions.pareto(-l0_K, value_K),
        ),
        Mistake(
            "that is the best one alone: an SAE with a lower score is on the frontier if none as sparse is better",
            lambda l0_K, value_K: value_K == value_K.max(),
        ),
        Mistake(
            "equals are forgotten: of two SAEs of the same L0 only the better one is on the frontier",
            lambda l0_K, value_K: ~((l0_K[None] < l0_K[:, None]) & (value_K[None] > value_K[:, None])).any(1),
        ),
        Mistake("these are the dominated ones: the frontier is the others",
                lambda l0_K, value_K: ~solutions.pareto(l0_K, value_K)),
        Mistake(
            "the wrong way round: a lower score is worse, so a higher one at an equal or lower L0 dominates",
            lambda l0_K, value_K: solutions.pareto(l0_K, -value_K),
        ),
        Mistake(
            "two that are equal in both do not dominate each other: both are on the frontier",
            _equals_dominate,
        ),
    ],
)  # fmt: skip

at_l0 = Checker(
    solutions.at_l0,
    _at,
    [
        Mistake(
            "`np.interp` needs ascending L0s: sort both by L0 first",
            lambda l0_K, value_K, target: float(np.interp(target, l0_K, value_K, left=np.nan, right=np.nan)),
        ),
        Mistake(
            "beyond the SAEs there are, nobody knows: give nan (`left=np.nan, right=np.nan`)",
            lambda l0_K, value_K, target: float(np.interp(target, np.sort(l0_K), value_K[l0_K.argsort()])),
        ),
        Mistake(
            "that is the nearest SAE: with another L0 it is not comparable; interpolate",
            lambda l0_K, value_K, target: float(value_K[np.abs(l0_K - target).argmin()]),
        ),
        Mistake("that is the best SAE at any L0: compare at the same L0", lambda l0_K, value_K, target: value_K.max()),
        Mistake(
            "beyond the SAEs there are, at either end, nobody knows: give nan (`left=np.nan` too)",
            lambda l0_K, value_K, target: float(
                np.interp(target, np.sort(l0_K), value_K[l0_K.argsort()], right=np.nan)
            ),
        ),
        Mistake(
            "beyond the SAEs there are, at either end, nobody knows: give nan (`right=np.nan` too)",
            lambda l0_K, value_K, target: float(np.interp(target, np.sort(l0_K), value_K[l0_K.argsort()], left=np.nan)),
        ),
    ],
)

share_of_the_way = Checker(
    solutions.share_of_the_way,
    _levels,
    [
        Mistake("chance is not taken away below: divide by ceiling - chance",
                lambda value, chance, ceiling: (value - chance) / ceiling),
        Mistake("chance is not taken away: it is where a score begins",
                lambda value, chance, ceiling: value / ceiling),
        Mistake("chance is not taken away above", lambda value, chance, ceiling: value / (ceiling - chance)),
        Mistake("that is the distance from the ceiling: it is one minus this",
                lambda *given: 1 - solutions.share_of_the_way(*given)),
        Mistake("below chance is below 0: do not cut it off",
                lambda *given: max(0.0, solutions.share_of_the_way(*given))),
        Mistake("above the ceiling is above 1: do not cut it off",
                lambda *given: min(1.0, solutions.share_of_the_way(*given))),
        Mistake("that is a percentage: give a share, 1 at the ceiling",
                lambda *given: 100 * solutions.share_of_the_way(*given)),
    ],
)  # fmt: skip

rank_correlation = Checker(
    solutions.rank_correlation,
    lambda: [(l0_K, value_K**4) for l0_K, value_K in _of_saes()[:1]],
    [
        Mistake("that is Pearson's correlation of the scores: take ranks first, so that only the order counts",
                lambda a_K, b_K: float(np.corrcoef(a_K, b_K)[0, 1])),
        Mistake("`argsort` once gives the order, not the ranks: apply it twice",
                lambda a_K, b_K: float(np.corrcoef(a_K.argsort(), b_K.argsort())[0, 1])),
        Mistake("the whole matrix: take the entry off its diagonal, `[0, 1]`",
                lambda a_K, b_K: np.corrcoef(a_K.argsort().argsort(), b_K.argsort().argsort())),
    ],
)  # fmt: skip
