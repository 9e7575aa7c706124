"""Which numbers are read off the counts of every class: by property, by group, by square.

A group is the plain mean over its properties, each with weight one: `low` (what stands on the squares), `high`
(strategy). Everything is a function of summed counts, so that all of it is resampled at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from boardgame_sae.metrics.coverage import always_on_f1

LEVELS = ("low", "high")


@dataclass(frozen=True)
class Layout:
    """How the classes of several properties stand side by side as columns of counts."""

    names: tuple[str, ...]
    """The properties."""
    levels: tuple[str, ...]
    """Of each, `low` or `high`."""
    sizes: tuple[int, ...]
    """Of each, how many classes are scored."""

    @classmethod
    def of(cls, details: Mapping[str, Any]) -> "Layout":
        """The layout that a score keeps among its details."""
        names, levels, sizes = zip(*details["layout"], strict=True)
        return cls(tuple(names), tuple(levels), tuple(sizes))

    @property
    def stops(self) -> np.ndarray:
        """Where each property's columns end."""
        return np.cumsum(self.sizes)

    def groups(self) -> dict[str, list[int]]:
        """The properties of each level that has any."""
        found = {level: [i for i, each in enumerate(self.levels) if each == level] for level in LEVELS}
        return {level: members for level, members in found.items() if members}

    def numbers(self) -> list[str]:
        """What the statistics give, in order: a number for each property, then for each group."""
        return [*self.names, *self.groups()]

    def by_property(self, values_RP: np.ndarray) -> list[np.ndarray]:
        """Columns cut into properties."""
        return np.split(values_RP[:, : self.stops[-1]], self.stops[:-1], axis=1)

    def with_groups(self, values_RQ: np.ndarray) -> np.ndarray:
        """A number of each property (R, Q), then the plain mean over each group's."""
        means = [values_RQ[:, members].mean(axis=1) for members in self.groups().values()]
        return np.concatenate([values_RQ, np.stack(means, axis=1)], axis=1)

    def coverage(self, sums_RPX: np.ndarray) -> np.ndarray:
        """(R, K): mean F1 over each property's classes, and over each group's properties.

        sums_RPX: hit, said, true; one more column a property at the end counts its positions (and is not used here).
        """
        f1_RP = f1(sums_RPX)
        return self.with_groups(np.stack([part.mean(axis=1) for part in self.by_property(f1_RP)], axis=1))

    def above_chance(self, sums_RPX: np.ndarray) -> np.ndarray:
        """(R, K): the same of (F1 - F1_always) / (1 - F1_always), over classes that are false somewhere.

        sums_RPX: as for `coverage`.
        """
        positions_RQ = sums_RPX[:, self.stops[-1] :, 2]
        shares = zip(self.by_property(f1(sums_RPX)), self.by_property(sums_RPX[:, :, 2]), strict=True)
        found = []
        for q, (f1_RP, true_RP) in enumerate(shares):
            always_RP = always_on_f1(true_RP / np.maximum(positions_RQ[:, q : q + 1], 1))
            room_RP = 1 - always_RP
            above_RP = np.where(room_RP > 0, (f1_RP - always_RP) / np.where(room_RP > 0, room_RP, 1), np.nan)
            found.append(_mean_of_known(above_RP))
        return self.with_groups(np.stack(found, axis=1))

    def reconstruction(self, sums_RPX: np.ndarray) -> np.ndarray:
        """(R, K): micro F1 over each property's classes; the mean of these over each group's properties.

        sums_RPX: hit, said, true.
        """
        sums = [self.by_property(sums_RPX[:, :, x]) for x in range(3)]
        pooled_RQX = np.stack([np.stack([part.sum(axis=1) for part in parts], axis=1) for parts in sums], axis=-1)
        return self.with_groups(f1(pooled_RQX))


STATISTICS: dict[str, Callable[[Layout, np.ndarray], np.ndarray]] = {
    "coverage": Layout.coverage,
    "board_reconstruction": Layout.reconstruction,
}
"""The scores that keep the counts of every game, and what makes their numbers of sums of these."""


def f1(sums: np.ndarray) -> np.ndarray:
    """2 hit / (said + true) of (..., 3) hit, said, true; 0 where nothing is said and nothing true."""
    return 2 * sums[..., 0] / np.maximum(sums[..., 1] + sums[..., 2], 1)


def _mean_of_known(values_RP: np.ndarray) -> np.ndarray:
    """Mean over what is not nan; nan where all are."""
    known_R = (~np.isnan(values_RP)).sum(axis=1)
    return np.where(known_R > 0, np.nansum(values_RP, axis=1) / np.maximum(known_R, 1), np.nan)
