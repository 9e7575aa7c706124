"""Numbers of a study, kept as sums over games until all seeds are there: then each has an interval over both.

A study asks a question of one seed after another. What a seed answers is a row in which a number is `Counted`: a mean,
a ratio, how well something tells two kinds apart. `row_of` makes one row of the rows of all seeds: the mean over seeds,
its interval over games (or whatever units are resampled: pairs, properties) and seeds, as `intervals.pooled` has it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.stats import rankdata

from boardgame_sae.intervals import Estimate, Statistic, pooled
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.studies.study import Row

LEVELS = 50
"""Most levels that the numbers of a stratum are ranked into before they tell kinds apart."""


class Counted(NamedTuple):
    """A number before games, and seeds, are taken together."""

    sums: GameSums
    """Of each game."""
    statistic: Statistic
    games_B: np.ndarray
    """What the games are called, ascending: games of one name are drawn together in all seeds."""

    @property
    def value(self) -> float:
        """The number on all games."""
        totals = {name: total_P[None].astype(np.float64) for name, total_P in self.sums.totals().items()}
        return float(self.statistic(totals)[0])


class Spread(NamedTuple):
    """Numbers shown as their mean, between the lowest and the highest."""

    values: Sequence[float]


def counted(parts: Mapping[str, np.ndarray], game_N: np.ndarray | Sequence[Any], statistic: Statistic) -> Counted:
    """A statistic of sums over games.

    parts: what each position adds to every sum, (N,) or (N, P), by name. game_N: its game, by number or name.
    """
    games_B, index_N = np.unique(np.asarray(game_N), return_inverse=True)
    sums = {}
    for name, part in parts.items():
        sums[name] = np.zeros((len(games_B), *np.shape(part)[1:]))
        np.add.at(sums[name], index_N, part)
    return Counted(GameSums.dense(sums), statistic, games_B)


def ratio(above_N: np.ndarray, below_N: np.ndarray, game_N: np.ndarray | Sequence[Any]) -> Counted | None:
    """The sum of some numbers over the sum of others; None where the second is 0.

    above_N, below_N: (N,) of each position. Resamples whose second sum is 0 count as 0.
    """
    if not np.sum(below_N):
        return None
    return counted({"above": above_N, "below": below_N}, game_N, _ratio)


def _ratio(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    return _divided(sums["above"][:, 0], sums["below"][:, 0])


def mean(value_N: np.ndarray | Sequence[float], game_N: np.ndarray | Sequence[Any]) -> Counted | None:
    """The mean of a number over positions; None where there is no position."""
    value_N = np.asarray(value_N, np.float64)
    return ratio(value_N, np.ones(len(value_N)), game_N)


def alone(value: float) -> Counted:
    """A number that no games stand behind: its interval is over seeds."""
    return counted({"value": np.array([value])}, [0], lambda sums: sums["value"][:, 0])


def difference(value_N: np.ndarray, first_N: np.ndarray, game_N: np.ndarray) -> Counted:
    """The mean of a number over positions of a first kind less that over the others."""
    parts = {"first": value_N * first_N, "n_first": first_N, "other": value_N * ~first_N, "n_other": ~first_N}

    def less(sums: Mapping[str, np.ndarray]) -> np.ndarray:
        return (sums["first"] / sums["n_first"].clip(min=1) - sums["other"] / sums["n_other"].clip(min=1))[:, 0]

    return counted(parts, game_N, less)


def auc_within(
    score_N: np.ndarray, true_N: np.ndarray, game_N: np.ndarray, stratum_N: np.ndarray | None = None
) -> Counted | None:
    """How often a true position has the larger number than a false one of the same stratum, ties counted half.

    It is the area under the ROC curve with pairs of one stratum (one ply) alone, so that a number which only tells
    the stratum has .5. Numbers of a stratum are ranked into at most LEVELS levels. None where no stratum has both.
    """
    strata = np.zeros(len(score_N), int) if stratum_N is None else np.unique(stratum_N, return_inverse=True)[1]
    if not any(len(np.unique(true_N[strata == stratum])) == 2 for stratum in np.unique(strata)):
        return None
    level_N = np.zeros(len(score_N), int)
    for stratum in np.unique(strata):
        rank_N = rankdata(score_N[strata == stratum], "dense") - 1
        if rank_N.max() >= LEVELS:
            rank_N = (rankdata(score_N[strata == stratum], "average") - 1) * LEVELS // len(rank_N)
        level_N[strata == stratum] = rank_N
    games_B, index_N = np.unique(game_N, return_inverse=True)
    sums_BS2L = np.zeros((len(games_B), strata.max() + 1, 2, LEVELS), np.int32)
    np.add.at(sums_BS2L, (index_N, strata, true_N.astype(int), level_N), 1)
    kinds = {name: sums_BS2L[:, :, kind].reshape(len(games_B), -1) for kind, name in enumerate(("false", "true"))}
    return Counted(GameSums.dense(kinds), _auc, games_B)


def _auc(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """From how many false and true positions of each stratum are at each level: (R,); nan where there is no pair."""
    false_RSL, true_RSL = (sums[name].reshape(len(sums[name]), -1, LEVELS) for name in ("false", "true"))
    won_R = (true_RSL * (false_RSL.cumsum(-1) - false_RSL / 2)).sum((1, 2))
    pairs_R = (true_RSL.sum(-1) * false_RSL.sum(-1)).sum(1)
    return np.divide(won_R, pairs_R, out=np.full(len(won_R), np.nan), where=pairs_R > 0)


def _divided(above_R: np.ndarray, below_R: np.ndarray) -> np.ndarray:
    return np.divide(above_R, below_R, out=np.zeros(len(above_R)), where=below_R != 0)


def over_seeds(numbers: Sequence[Counted]) -> Estimate:
    """The mean over seeds, with its interval over games and seeds.

    Games of one name are drawn together, so that what they have in common does not pass for a difference of seeds; a
    game that only some seeds have adds nothing to the others' sums.
    """
    games_B = np.unique(np.concatenate([number.games_B for number in numbers]))
    (estimate,) = pooled([_of_games(number, games_B) for number in numbers], numbers[0].statistic)
    return estimate


def _of_games(number: Counted, games_B: np.ndarray) -> GameSums:
    """A number's sums with a row for each of some games, its own among them."""
    if len(games_B) == len(number.games_B):
        return number.sums
    n, place_B = len(number.games_B), np.searchsorted(games_B, number.games_B)
    placing = csr_array((np.ones(n, np.int32), (place_B, np.arange(n))), shape=(len(games_B), n))
    return GameSums({name: csr_array(placing @ part) for name, part in number.sums.parts.items()}, number.sums.same)


def row_of(rows: Sequence[Mapping[str, Any]]) -> Row:
    """One row of those that several seeds give for one question.

    Counted numbers become their mean, with an interval; other numbers (and lists of them) the mean, rounded where all
    are whole; texts are listed, seed by seed, unless all are the same. A number that some seeds do not have is that of
    the others.
    """
    row: Row = {}
    for name in dict.fromkeys(name for one in rows for name in one):
        values = [one[name] for one in rows if one.get(name) is not None]
        if all(isinstance(value, Counted) for value in values):
            row |= columns(name, over_seeds(values)) if values else {}
        elif all(isinstance(value, Spread) for value in values):
            row |= _between(name, [number for value in values for number in value.values])
        else:
            row[name] = _together(values)
    return {**row, "seeds": len(rows)}


def row_over_seeds(seeds: Sequence[Any], ask: Callable[..., Mapping[str, Any]], *about: Any) -> Row:
    """One row of what all seeds answer. ask: called with a seed's part of the study and what the row is about."""
    return row_of([ask(seed, *about) for seed in seeds])


def columns(name: str, estimate: Estimate) -> Row:
    """A number and its interval as columns of a row."""
    low, high = estimate.interval
    row: Row = {name: estimate.value}
    return row | ({f"{name}_low": low, f"{name}_high": high} if np.isfinite([low, high]).all() else {})


def _between(name: str, values: Sequence[float]) -> Row:
    numbers = {"": np.mean, "_low": np.min, "_high": np.max}
    return {name + end: float(of(values)) for end, of in numbers.items()} if len(values) else {}


def _together(values: Sequence[Any]) -> Any:
    first = values[0]
    if all(value == first for value in values):
        return first
    if isinstance(first, str):
        return ", ".join(values)
    if isinstance(first, list):
        return [_together(parts) for parts in zip(*values, strict=True)]
    known = [value for value in values if value is not None]
    average = float(np.mean(known))
    return round(average) if all(isinstance(value, int) for value in known) else average
