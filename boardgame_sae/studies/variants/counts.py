"""Numbers that are made of sums over games, so that several seeds' are one number with an interval."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from boardgame_sae.intervals import Estimate, Statistic, pooled
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.studies.study import Row


class Counted(NamedTuple):
    """A number before games, and seeds, are taken together."""

    sums: GameSums
    statistic: Statistic


class Answer(NamedTuple):
    """What one seed's GPT answers: a row of the table."""

    counted: Mapping[str, Counted]
    """The numbers that get an interval, by column."""
    plain: Row
    """All other columns."""


def counted(parts: Mapping[str, np.ndarray], game_N: np.ndarray, statistic: Statistic) -> Counted:
    """A statistic of sums over games. parts: (N,) what each position adds to every sum, by name; game_N: its game."""
    index_N = np.unique(game_N, return_inverse=True)[1]
    sums = {name: np.bincount(index_N, weights=part_N) for name, part_N in parts.items()}
    return Counted(GameSums.dense(sums), statistic)


def share(right_N: np.ndarray, game_N: np.ndarray) -> Counted:
    """A mean over positions."""
    parts = {"right": np.asarray(right_N, float), "all": np.ones(len(right_N))}
    return counted(parts, game_N, lambda sums: sums["right"][:, 0] / sums["all"][:, 0])


def over_seeds(numbers: Sequence[Counted]) -> Estimate:
    """The mean over seeds, with its interval over games and seeds. Raises ValueError when their games differ."""
    (estimate,) = pooled([number.sums for number in numbers], numbers[0].statistic)
    return estimate


def row_of(answers: Sequence[Answer]) -> Row:
    """One row for the same question to several seeds: means, and every word where they answer in different ones."""
    row: Row = {name: _together([answer.plain[name] for answer in answers]) for name in answers[0].plain}
    for name in answers[0].counted:
        value, (low, high) = over_seeds([answer.counted[name] for answer in answers])
        row |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return {**row, "seeds": len(answers)}


def _together(values: Sequence[Any]) -> Any:
    first = values[0]
    if all(value == first for value in values):
        return first
    if isinstance(first, str):
        return ", ".join(values)
    return np.mean(values, axis=0).tolist()
