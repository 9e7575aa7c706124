"""Confidence intervals by resampling games: positions of one game hang together, games do not.

A score that is a function of counts summed over games is resampled without touching positions again: each resample is
a vector of how often every game is drawn, times the counts per game.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from boardgame_sae.metrics.latents import LabelsLike, as_labels, to_numpy

_CHUNK_BYTES = 2**26


def bootstrap_interval(
    statistic: Callable[[Any], Any],
    counts_BX: LabelsLike,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """The percentile interval of a statistic of summed counts, under resampling of the B games with replacement.

    statistic: maps sums (R resamples, ...) float64, a tensor where counts_BX is one and else an array, to (R,).
    counts_BX: (B games, ...) numbers: each game's share of the sums.
    level: the share of resamples inside; (1 - level) / 2 of them lie beyond either end, by linear interpolation.
    Resample r draws `numpy.random.default_rng(seed).integers(B, size=(R, B))[r]`, however it is computed. An undefined
    statistic (nan) in any resample makes both ends nan.
    Raises ValueError when there is no game, no resample, level is not between 0 and 1, or the statistic returns
    another shape.
    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.
    """
    counts = to_numpy(counts_BX).astype(np.float64)
    if not counts.ndim or not len(counts):
        raise ValueError("there is no game to resample")
    if n_resamples < 1 or not 0 < level < 1:
        raise ValueError(f"n_resamples={n_resamples} must be positive and level={level} between 0 and 1")
    n_games = len(counts)
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_BYTES // (8 * (3 * n_games + counts[0].size + 1)))
    values: list[np.ndarray] = []
    for first in range(0, n_resamples, chunk):
        size = min(chunk, n_resamples - first)
        drawn_RB = rng.integers(n_games, size=(size, n_games)) + n_games * np.arange(size)[:, None]
        weights_RB = np.bincount(drawn_RB.ravel(), minlength=size * n_games).reshape(size, n_games)
        sums = (weights_RB.astype(np.float64) @ counts.reshape(n_games, -1)).reshape(size, *counts.shape[1:])
        value_R = to_numpy(statistic(torch.from_numpy(sums) if isinstance(counts_BX, torch.Tensor) else sums))
        if value_R.shape != (size,):
            raise ValueError(f"the statistic must give one number per resample, ({size},), not {value_R.shape}")
        values.append(value_R)
    low, high = np.quantile(np.concatenate(values), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def counts_by_game(
    predicted_NP: LabelsLike, true_NP: LabelsLike, game_N: LabelsLike
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Per game and property: true positives, predicted and positives, each (B, P) int64.

    predicted_NP, true_NP: (N positions, P properties), bool or 0 and 1.
    game_N: (N,) int: the game of each position, in any order; game b is the b-th smallest number that occurs.
    Raises ValueError when shapes disagree or game_N is not int.
    """
    predicted, true, game = as_labels(predicted_NP), as_labels(true_NP), to_numpy(game_N)
    if predicted.shape != true.shape:
        raise ValueError(f"predictions have shape {predicted.shape}, truths {true.shape}")
    if game.shape != (len(true),) or game.dtype.kind not in "iu":
        raise ValueError(f"there are {len(true)} positions; their games are {game.dtype} of shape {game.shape}")
    order_N = np.argsort(game, kind="stable")
    _, starts_B = np.unique(game[order_N], return_index=True)

    def by_game(held_NP: np.ndarray) -> torch.Tensor:
        if not len(starts_B):
            return torch.zeros(0, held_NP.shape[1], dtype=torch.int64)
        return torch.from_numpy(np.add.reduceat(held_NP[order_N], starts_B, axis=0, dtype=np.int64))

    return by_game(predicted & true), by_game(predicted), by_game(true)
