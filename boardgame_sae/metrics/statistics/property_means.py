"""Which numbers are computed from the sums of every class: by property, and by group of properties.

A group is the plain mean over its properties, with equal weights: `low` (what is on the squares), `high`
(strategy). Everything is a function of sums over games, so that all of it is resampled at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from boardgame_sae.metrics.counting.f1 import above_chance, always_on_f1, f1

LEVELS = ("low", "high")
Sums = Mapping[str, np.ndarray]
"""true_positives, predicted_positives and positives over games, each (R, P)."""


@dataclass(frozen=True)
class PropertyMeans:
    """Which columns hold the classes of each of several properties, and the means over them."""

    names: tuple[str, ...]
    """The properties."""
    levels: tuple[str, ...]
    """`low` or `high` for each."""
    sizes: tuple[int, ...]
    """How many classes of each are scored."""

    @classmethod
    def of(cls, details: Mapping[str, Any]) -> "PropertyMeans":
        """Read them from the `layout` that a score of several properties keeps in its details."""
        names, levels, sizes = zip(*details["layout"], strict=True)
        return cls(tuple(names), tuple(levels), tuple(sizes))

    @property
    def stops(self) -> np.ndarray:
        """Where each property's columns end."""
        return np.cumsum(self.sizes)

    def groups(self) -> dict[str, list[int]]:
        """The properties of each level that has any."""
        members = {level: [q for q, own_level in enumerate(self.levels) if own_level == level] for level in LEVELS}
        return {level: properties for level, properties in members.items() if properties}

    def numbers(self) -> list[str]:
        """Names of the numbers that the means give, in order: the properties, then the groups."""
        return [*self.names, *self.groups()]

    def by_property(self, values_RP: np.ndarray) -> list[np.ndarray]:
        """Columns cut into properties."""
        return np.split(values_RP[:, : self.stops[-1]], self.stops[:-1], axis=1)

    def with_groups(self, values_RQ: np.ndarray) -> np.ndarray:
        """Numbers of the properties, (R, Q), followed by the plain mean over each group."""
        means = [values_RQ[:, members].mean(axis=1) for members in self.groups().values()]
        return np.concatenate([values_RQ, np.stack(means, axis=1)], axis=1)

    def mean_f1(self, sums: Sums) -> np.ndarray:
        """(R, K): mean F1 over each property's classes, and over each group's properties.

        sums: a last column per property counts its positions (and is not used here).
        """
        f1_RP = f1(*_counts(sums))
        return self.with_groups(np.stack([part.mean(axis=1) for part in self.by_property(f1_RP)], axis=1))

    def mean_above_chance(self, sums: Sums) -> np.ndarray:
        """(R, K): the same for (F1 - F1_always) / (1 - F1_always), over classes that are false somewhere.

        sums: as for `mean_f1`.
        """
        positions_RQ = sums["positives"][:, self.stops[-1] :]
        by_property = zip(self.by_property(f1(*_counts(sums))), self.by_property(sums["positives"]), strict=True)
        means = []
        for q, (f1_RP, positives_RP) in enumerate(by_property):
            always_RP = always_on_f1(positives_RP / np.maximum(positions_RQ[:, q : q + 1], 1))
            means.append(_mean_of_known(above_chance(f1_RP, always_RP)))
        return self.with_groups(np.stack(means, axis=1))

    def pooled_f1(self, sums: Sums) -> np.ndarray:
        """(R, K): micro F1 over each property's classes; the mean of these over each group's properties."""
        by_part = [
            np.stack([part.sum(axis=1) for part in self.by_property(count_RP)], axis=1) for count_RP in _counts(sums)
        ]
        return self.with_groups(f1(*by_part))


def _counts(sums: Sums) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return sums["true_positives"], sums["predicted_positives"], sums["positives"]


def _mean_of_known(values_RP: np.ndarray) -> np.ndarray:
    """Mean over the columns that are not nan; nan where all are."""
    known_R = (~np.isnan(values_RP)).sum(axis=1)
    return np.where(known_R > 0, np.nansum(values_RP, axis=1) / np.maximum(known_R, 1), np.nan)
