"""How the numbers of a score are computed from sums over games: all that intervals, differences and pooling need.

ACCURACY = Statistic(("right", "asked"), same=("asked",),
                     compute=lambda sums, details: {"value": sums["right"].sum(1) / sums["asked"].sum(1)})

sums = GameSums.dense({"right": right_B, "asked": asked_B}, same=ACCURACY.same)
return ACCURACY.score(sums)           # a ScoreValue with its interval
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from boardgame_sae.intervals import Estimate, difference, pooled
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.results import ScoreValue

ABOUT_COLUMNS = "about_columns"
"""The key of a score's details for what its statistic has to know of the sums' columns, whatever is scored."""


class Statistic(NamedTuple):
    """What is summed over games, and the numbers computed from the sums."""

    sums: tuple[str, ...]
    """Names of the sums that are kept for each game."""
    compute: Callable[[Mapping[str, np.ndarray], Mapping[str, Any]], Mapping[str, np.ndarray]]
    """From sums (R resamples, P columns) by name and the score's details to numbers (R,) by name. The first is the
    score's value, the others are parts of it."""
    same: tuple[str, ...] = ()
    """Those of the sums that depend only on the games, not on what is scored."""

    def estimates(self, sums_of_seeds: Sequence[GameSums], details: Mapping[str, Any]) -> dict[str, Estimate]:
        """Every number with its 95% interval; for several seeds the mean, with an interval over games and seeds.

        Raises ValueError when they were not scored on the same games, or hold other sums than these.
        """
        return self._named(lambda statistic: pooled(self._checked(sums_of_seeds), statistic), details)

    def differences(
        self, a: Sequence[GameSums], b: Sequence[GameSums], details: Mapping[str, Any]
    ) -> dict[str, Estimate]:
        """How much larger every number is for a than for b, each one or more seeds, on the same games.

        Raises ValueError as `estimates` does.
        """
        return self._named(lambda statistic: difference(self._checked(a), self._checked(b), statistic), details)

    def score(
        self, sums: GameSums, parts: Mapping[str, Any] | None = None, details: Mapping[str, Any] | None = None
    ) -> ScoreValue:
        """The result of a score: every number of the statistic with its interval, and further parts and details.

        Raises ValueError as `estimates` does.
        """
        empty = ScoreValue(0.0, None, dict(parts or {}), dict(details or {}), sums=sums)
        return placed(empty, self.estimates([sums], empty.details))

    def _named(
        self,
        estimate: Callable[[Callable[[Mapping[str, np.ndarray]], np.ndarray]], list[Estimate]],
        details: Mapping[str, Any],
    ) -> dict[str, Estimate]:
        names: list[str] = []

        def statistic(sums: Mapping[str, np.ndarray]) -> np.ndarray:
            numbers = self.compute(sums, details)
            names[:] = numbers
            return np.stack(list(numbers.values()), axis=1)

        estimates = estimate(statistic)
        return dict(zip(names, estimates, strict=True))

    def _checked(self, several: Sequence[GameSums]) -> Sequence[GameSums]:
        for sums in several:
            if tuple(sums.parts) != self.sums:
                raise ValueError(
                    f"sums of {', '.join(sums.parts)}, where {', '.join(self.sums)} are needed; score again"
                )
        return several


def placed(value: ScoreValue, estimates: Mapping[str, Estimate]) -> ScoreValue:
    """A score with its numbers and intervals filled in: the first is its value, the others are parts of it.

    Numbers of properties and groups are in its details too (see `results`).
    """
    (_, headline), *rest = estimates.items()
    parts = {**value.parts, **{name: estimate.value for name, estimate in rest}}
    intervals = {name: interval for name, estimate in rest if (interval := finite(estimate))}
    tables = [value.details.get(key, {}) for key in ("by_property", "groups")]
    for name, estimate in estimates.items():
        for numbers in tables:
            if name in numbers:
                numbers[name] |= {"value": estimate.value, "interval": finite(estimate)}
    return value._replace(value=headline.value, interval=finite(headline), parts=parts, intervals=intervals)


def finite(estimate: Estimate) -> tuple[float, float] | None:
    """The interval, or None where it is not defined."""
    return estimate.interval if np.isfinite(estimate.interval).all() else None
