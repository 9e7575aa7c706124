"""Confidence intervals by resampling games: positions of one game depend on each other, games do not.

A number that is a function of sums over games is resampled without touching positions again: each resample is a vector
of how often every game is drawn, times the sums of each game. SAEs trained with several seeds vary too, but are too few
to be resampled: their share of the variance is added by Student's t.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from scipy.special import stdtrit

Statistic: TypeAlias = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""From sums over games by name, each (R resamples, P columns) float64, to (R,) numbers, or to (R, K) for K numbers."""

N_RESAMPLES, SEED, LEVEL = 1000, 0, 0.95
"""Defaults: number of resamples, seed of their draw, share of them inside an interval."""
_CHUNK_BYTES = 2**26


class PerGame(Protocol):
    """Sums of several numbers for each of B games, as a score keeps them."""

    @property
    def n_games(self) -> int:
        """B."""
        ...

    @property
    def n_columns(self) -> int:
        """P: how many numbers per name a game has."""
        ...

    def totals(self) -> Mapping[str, np.ndarray]:
        """(P,) by name: the sums over all games."""
        ...

    def drawn(self, weights_RB: np.ndarray) -> Mapping[str, np.ndarray]:
        """(R, P) by name: in each of R draws, the sums over games weighted by how often each is drawn."""
        ...

    def check_same_games(self, other: Any) -> None:
        """Raise ValueError unless both are sums of the same kind over the same games."""
        ...


class Estimate(NamedTuple):
    """A number measured on games, and its interval."""

    value: float
    """The number on all games; the mean over seeds where there are several."""
    interval: tuple[float, float]
    """Where the number is expected on other games of the same kind (and other seeds), at the given level."""


def bootstrap_interval(
    statistic: Callable[[np.ndarray], np.ndarray],
    sums_BX: np.ndarray,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> tuple[float, float]:
    """The percentile interval of a statistic of sums over games, under resampling of the B games with replacement.

    statistic: maps sums (R resamples, ...) float64 to (R,).
    sums_BX: (B games, ...) numbers: each game's share of the sums.
    level: the share of resamples inside; (1 - level) / 2 of them lie beyond either end, by linear interpolation.
    Resample r draws games `numpy.random.default_rng(seed).integers(B, size=(R, B))[r]`. An undefined
    statistic (nan) in any resample makes both ends nan.
    Raises ValueError when there is no game, no resample, level is not between 0 and 1, or the statistic returns
    another shape.
    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.
    """
    sums = np.asarray(sums_BX, np.float64)
    n_games = len(sums) if sums.ndim else 0
    _check(n_games, n_resamples, level)
    chunk = max(1, _CHUNK_BYTES // (8 * (3 * n_games + sums[0].size + 1)))
    values: list[np.ndarray] = []
    for weights_RB in _draws(n_games, n_resamples, seed, chunk):
        size = len(weights_RB)
        value_R = statistic((weights_RB @ sums.reshape(n_games, -1)).reshape(size, *sums.shape[1:]))
        if np.shape(value_R) != (size,):
            raise ValueError(f"the statistic must give one number per resample, ({size},), not {np.shape(value_R)}")
        values.append(value_R)
    return _percentiles(np.concatenate(values)[:, None], level)[0]


def resampled(sums: PerGame, statistic: Statistic, *, n_resamples: int = N_RESAMPLES, seed: int = SEED) -> np.ndarray:
    """A statistic on resamples of the B games with replacement: (R, K) float64, K = 1 where it gives one number.

    Resample r draws the games that resample r of `bootstrap_interval` draws. Beside the sums it takes about three times
    64 MiB of memory, or one resample where that is more.
    Raises ValueError when there is no game or no resample, or the statistic returns another shape.
    """
    return _resampled([sums], statistic, n_resamples, seed)[0]


def estimates(
    sums: PerGame, statistic: Statistic, *, n_resamples: int = N_RESAMPLES, seed: int = SEED, level: float = LEVEL
) -> list[Estimate]:
    """Each of the statistic's K numbers on all games, with its percentile interval as in `bootstrap_interval`.

    An undefined statistic (nan) in any resample makes both ends of its interval nan.
    Raises ValueError when there is no game, no resample, level is not between 0 and 1, or the statistic returns
    another shape.
    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.
    """
    return pooled([sums], statistic, n_resamples=n_resamples, seed=seed, level=level)


def pooled(
    sums_of_seeds: Sequence[PerGame],
    statistic: Statistic,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> list[Estimate]:
    """The mean of a statistic over S training seeds scored on the same games; games and seeds both vary.

    Games are resampled, the same draw for every seed. Resampling the seeds too would give too narrow an interval:
    resamples of S seeds spread by a factor sqrt((S - 1) / S) too little, and a spread estimated from only 3 calls for
    Student's t, 4.3 standard errors either way, where the bootstrap takes at most 2. So the seeds' share comes from t:

        value_r = mean over seeds on resample r + t_r sd / sqrt(S)

    with t_r the R equally likely quantiles of Student's t with S - 1 degrees of freedom in random order, and sd^2 the
    variance over seeds on all games, minus the part that resampled games cause in one seed and not in another, at
    least 0: that part is in the resamples already, and counted twice it made 95% intervals cover up to 98%. With one
    seed only games vary: the interval does not cover training again.
    Raises ValueError as `estimates` does, and when there is no seed or they were not scored on the same games.
    Source: Efron and Tibshirani 1993, section 13.3, for the games; Welch 1947, Biometrika 34, for the seeds.
    """
    return _estimates([sums_of_seeds], [1], statistic, n_resamples, seed, level)


def difference(
    a: Sequence[PerGame],
    b: Sequence[PerGame],
    statistic: Statistic,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> list[Estimate]:
    """How much larger a statistic is for a than for b, each given by one or more seeds, all scored on the same games.

    Games are resampled as in `pooled`, the same draw for both sides, so that what makes a game hard for both cancels.
    The seeds of the two sides vary independently: one t with standard error sqrt(sd_a^2 / S_a + sd_b^2 / S_b) and the
    degrees of freedom of Welch and Satterthwaite (two separate t's, added, made 95% intervals cover 99%). For a side
    with one seed only games vary.
    Raises ValueError as `estimates` does, and when a side is empty or the two were not scored on the same games.
    Source: Efron and Tibshirani 1993, section 13.3, for the games; Welch 1947, Biometrika 34, for the seeds.
    """
    return _estimates([a, b], [1, -1], statistic, n_resamples, seed, level)


def _estimates(
    sides: Sequence[Sequence[PerGame]],
    signs: Sequence[int],
    statistic: Statistic,
    n_resamples: int,
    seed: int,
    level: float,
) -> list[Estimate]:
    """The sum over sides of sign times mean over seeds, with its interval."""
    all_sums = [sums for side in sides for sums in side]
    if not all(sides):
        raise ValueError("there is no seed to score")
    _check(all_sums[0].n_games, n_resamples, level)
    for sums in all_sums[1:]:
        all_sums[0].check_same_games(sums)
    on_all_SK = np.concatenate([_values(statistic, _once(sums), 1) for sums in all_sums])
    resampled_SRK = _resampled(all_sums, statistic, n_resamples, seed)
    ends = np.cumsum([0, *map(len, sides)])
    parts = [_side(on_all_SK[i:j], resampled_SRK[i:j]) for i, j in itertools.pairwise(ends)]
    value_K = np.sum([sign * part.value_K for sign, part in zip(signs, parts, strict=True)], axis=0)
    games_RK = np.sum([sign * part.games_RK for sign, part in zip(signs, parts, strict=True)], axis=0)
    variance_K = np.sum([part.variance_K for part in parts], axis=0)
    squares_K = np.sum([part.variance_K**2 / max(1, part.freedom) for part in parts], axis=0)
    freedom_K = np.divide(variance_K**2, squares_K, out=np.ones_like(value_K), where=squares_K != 0)
    # quantiles in random order, not random numbers: t of few degrees of freedom has tails too rare to be drawn well
    share_R = (np.random.default_rng([seed, 1]).permutation(n_resamples) + 0.5) / n_resamples
    seeds_RK = stdtrit(freedom_K, share_R[:, None]) * np.sqrt(variance_K)
    intervals = _percentiles(games_RK + seeds_RK, level)
    return [Estimate(float(value), interval) for value, interval in zip(value_K, intervals, strict=True)]


class _Side(NamedTuple):
    """K statistics of S seeds."""

    value_K: np.ndarray
    """Mean over seeds on all games."""
    games_RK: np.ndarray
    """Mean over seeds on resampled games."""
    variance_K: np.ndarray
    """Variance of the mean over seeds, without what resampled games cause; 0 with one seed."""
    freedom: int
    """S - 1."""


def _side(on_all_SK: np.ndarray, resampled_SRK: np.ndarray) -> _Side:
    n_seeds, games_RK = len(on_all_SK), resampled_SRK.mean(0)
    value_K = on_all_SK.mean(0)
    if n_seeds == 1:
        return _Side(value_K, games_RK, np.zeros_like(value_K), 0)
    own_K = (resampled_SRK - games_RK).var(1).sum(0) / (n_seeds - 1)  # what games cause in one seed and not in another
    variance_K = np.maximum(0, on_all_SK.var(0, ddof=1) - own_K) / n_seeds
    return _Side(value_K, games_RK, variance_K, n_seeds - 1)


def _check(n_games: int, n_resamples: int, level: float = 0.5) -> None:
    if not n_games:
        raise ValueError("there is no game to resample")
    if n_resamples < 1 or not 0 < level < 1:
        raise ValueError(f"n_resamples={n_resamples} must be positive and level={level} between 0 and 1")


def _resampled(all_sums: Sequence[PerGame], statistic: Statistic, n_resamples: int, seed: int) -> np.ndarray:
    """A statistic of S sums over the same number of games on the same resamples: (S, R, K)."""
    n_games, n_columns = all_sums[0].n_games, max(sums.n_columns for sums in all_sums)
    _check(n_games, n_resamples)
    chunk = max(1, _CHUNK_BYTES // (8 * 3 * (n_games + n_columns)))
    parts: list[list[np.ndarray]] = []
    for weights_RB in _draws(n_games, n_resamples, seed, chunk):
        parts.append([_values(statistic, sums.drawn(weights_RB), len(weights_RB)) for sums in all_sums])
    return np.stack([np.concatenate(values) for values in zip(*parts, strict=True)])


def _once(sums: PerGame) -> dict[str, np.ndarray]:
    """The sums over all games, as a single resample."""
    return {name: total_P[None].astype(np.float64) for name, total_P in sums.totals().items()}


def _values(statistic: Statistic, sums: Mapping[str, np.ndarray], size: int) -> np.ndarray:
    """The statistic as (R, K) float64. Raises ValueError on another shape."""
    value_RK = np.asarray(statistic(sums), dtype=np.float64)
    if value_RK.ndim not in (1, 2) or len(value_RK) != size:
        shape = value_RK.shape
        raise ValueError(f"the statistic must give ({size},) or ({size}, K) numbers, one row per resample, not {shape}")
    return value_RK.reshape(size, -1) if value_RK.ndim == 1 else value_RK


def _draws(n_games: int, n_resamples: int, seed: int, chunk: int) -> Iterator[np.ndarray]:
    """How often each resample draws each game, (at most `chunk`, B) float64 at a time; the same in any chunks."""
    rng = np.random.default_rng(seed)
    for first in range(0, n_resamples, chunk):
        size = min(chunk, n_resamples - first)
        drawn_RB = rng.integers(n_games, size=(size, n_games)) + n_games * np.arange(size)[:, None]
        yield np.bincount(drawn_RB.ravel(), minlength=size * n_games).reshape(size, n_games).astype(np.float64)


def _percentiles(values_RK: np.ndarray, level: float) -> list[tuple[float, float]]:
    """The interval that holds the central share `level` of each column, by linear interpolation."""
    low_K, high_K = np.quantile(values_RK, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return list(zip(low_K.tolist(), high_K.tolist(), strict=True))
