"""Numbers of a study with intervals over games: means, ratios, and how well a number tells two kinds apart."""

import numpy as np
from scipy.stats import rankdata

from boardgame_sae.intervals import Estimate, bootstrap_interval
from boardgame_sae.studies.study import Row

LEVELS = 50
"""Most levels that the numbers of a stratum are ranked into before they tell kinds apart."""


def ratio(above_N: np.ndarray, below_N: np.ndarray, game_N: np.ndarray) -> Estimate | None:
    """The sum of some numbers over the sum of others, resampled over games; None where the second is 0.

    above_N, below_N: (N,) of each position. game_N: its game, any numbers. Resamples whose second sum is 0 count as 0.
    """
    if not np.sum(below_N):
        return None
    game_N = np.unique(game_N, return_inverse=True)[1]
    sums_B2 = np.stack([np.bincount(game_N, part_N) for part_N in (above_N, below_N)], 1)

    def share(sums_R2: np.ndarray) -> np.ndarray:
        return np.divide(sums_R2[:, 0], sums_R2[:, 1], out=np.zeros(len(sums_R2)), where=sums_R2[:, 1] != 0)

    return Estimate(float(share(sums_B2.sum(0)[None])[0]), bootstrap_interval(share, sums_B2))


def mean(value_N: np.ndarray, game_N: np.ndarray) -> Estimate | None:
    """The mean of a number over positions, resampled over games; None where there is no position."""
    return ratio(value_N, np.ones(len(value_N)), game_N)


def difference(value_N: np.ndarray, first_N: np.ndarray, game_N: np.ndarray) -> Estimate:
    """The mean of a number over positions of a first kind less that over the others, resampled over games."""
    game_N = np.unique(game_N, return_inverse=True)[1]
    parts = (value_N * first_N, first_N, value_N * ~first_N, ~first_N)
    sums_B4 = np.stack([np.bincount(game_N, part_N) for part_N in parts], 1)

    def less(sums_R4: np.ndarray) -> np.ndarray:
        return sums_R4[:, 0] / sums_R4[:, 1].clip(min=1) - sums_R4[:, 2] / sums_R4[:, 3].clip(min=1)

    return Estimate(float(less(sums_B4.sum(0)[None])[0]), bootstrap_interval(less, sums_B4))


def auc_within(
    score_N: np.ndarray, true_N: np.ndarray, game_N: np.ndarray, stratum_N: np.ndarray | None = None
) -> Estimate | None:
    """How often a true position has the larger number than a false one of the same stratum, ties counted half.

    It is the area under the ROC curve with pairs of one stratum (one ply) alone, so that a number which only tells
    the stratum has .5. Numbers of a stratum are ranked into at most LEVELS levels. None where no stratum has both.
    """
    strata = np.zeros(len(score_N), int) if stratum_N is None else np.unique(stratum_N, return_inverse=True)[1]
    level_N = np.zeros(len(score_N), int)
    for stratum in np.unique(strata):
        rank_N = rankdata(score_N[strata == stratum], "dense") - 1
        if rank_N.max() >= LEVELS:
            rank_N = (rankdata(score_N[strata == stratum], "average") - 1) * LEVELS // len(rank_N)
        level_N[strata == stratum] = rank_N
    game_N = np.unique(game_N, return_inverse=True)[1]
    shape = (game_N.max(initial=-1) + 1, strata.max(initial=-1) + 1, 2, LEVELS)
    sums_BS2L = np.zeros(shape, np.float32)
    np.add.at(sums_BS2L, (game_N, strata, true_N.astype(int), level_N), 1)
    value = _auc(sums_BS2L.sum(0, dtype=np.float64)[None])[0] if len(score_N) else np.nan
    return None if np.isnan(value) else Estimate(float(value), bootstrap_interval(_auc, sums_BS2L))


def _auc(sums_RS2L: np.ndarray) -> np.ndarray:
    """From how many false and true positions of each stratum are at each level: (R,); nan where there is no pair."""
    false_RSL, true_RSL = sums_RS2L[:, :, 0], sums_RS2L[:, :, 1]
    won_R = (true_RSL * (false_RSL.cumsum(-1) - false_RSL / 2)).sum((1, 2))
    pairs_R = (true_RSL.sum(-1) * false_RSL.sum(-1)).sum(1)
    return np.divide(won_R, pairs_R, out=np.full(len(won_R), np.nan), where=pairs_R > 0)


def columns(name: str, estimate: Estimate | None) -> Row:
    """A number and its interval as columns of a row; nothing where there is none."""
    if estimate is None:
        return {}
    low, high = estimate.interval
    row: Row = {name: estimate.value}
    return row | ({f"{name}_low": low, f"{name}_high": high} if np.isfinite([low, high]).all() else {})
