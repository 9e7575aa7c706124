"""How a supervised score combines its properties: one is the headline, the others and groups are given beside it.

The headline is the testbed's first property (what is on each square); the others are given beside it, with the plain
means over the low-level and over the high-level ones (`low`, `high`), and the number that the published code would give
(`reference`). Classes that are too rare in a split are listed, not averaged, and so are properties that have only such.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from boardgame_sae.config import config
from boardgame_sae.metrics.counting.game_sums import CLASSIFIER
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.statistics.property_means import PropertyMeans, Sums
from boardgame_sae.metrics.statistics.statistic import Statistic
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.metrics.supervised.property_results import PropertyResult
from boardgame_sae.testbeds.columns import PropertyColumns

PAPER = "Karvonen et al. 2024 (arXiv 2408.00113)"


@config
class SupervisedConfig:
    """What the supervised scores compute beside their own numbers."""

    reference: bool = True
    """Whether the published code's numbers are computed too, which takes another pass over train."""


QUICK = {"reference": False}


def means_statistic(means: Callable[[PropertyMeans, Sums], np.ndarray]) -> Statistic:
    """A statistic of classifier counts: one number per property, the headline first, then one per group."""

    def compute(sums: Sums, details: Mapping[str, Any]) -> dict[str, np.ndarray]:
        layout = PropertyMeans.of(details)
        return dict(zip(layout.numbers(), means(layout, sums).T, strict=True))

    return Statistic(CLASSIFIER, compute, same=("positives",))


def layout_of(results: Sequence[PropertyResult]) -> PropertyMeans:
    """Which columns hold the scored classes of each of some properties."""
    return PropertyMeans(
        tuple(result.columns.name for result in results),
        tuple(result.columns.level for result in results),
        tuple(len(result.chosen_C) for result in results),
    )


def together(subject: Subject, by_property: Mapping[str, ScoreValue]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parts and details of a score of several properties; the first is the headline, whose parts are the score's."""
    headline = next(iter(by_property))
    levels = {columns.name: columns.level for columns in subject.testbed.columns}
    details = {
        "headline": headline,
        "high": [name for name in by_property if levels[name] == "high"],
        "groups": {},
        "layout": [[name, levels[name], len(value.details["columns"])] for name, value in by_property.items()],
        "unsupported": [columns.name for columns in subject.testbed.columns if columns.name not in by_property],
        "by_property": {
            name: {
                "value": value.value, "interval": value.interval, "parts": value.parts, "details": value.details
            }
            for name, value in by_property.items()
        },
    }  # fmt: skip
    return dict(by_property[headline].parts), details


def groups_of(layout: PropertyMeans, beside: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Any]]:
    """Each group's members, and the plain means of the numbers beside their values; its value is filled in later."""
    return {
        name: {
            "members": [layout.names[q] for q in members],
            "value": 0.0,
            "interval": None,
            **{key: float(np.mean([values[q] for q in members])) for key, values in beside.items()},
        }
        for name, members in layout.groups().items()
    }


def classes_of(result: PropertyResult) -> dict[str, Any]:
    """Which classes are scored, and which are left out because they have too few examples."""
    columns = result.columns
    left_out = sorted(set(range(columns.stop - columns.start)) - set(result.chosen_C.tolist()))
    return {**chosen_classes(columns, result.chosen_C), "unsupported": [columns.class_names[c] for c in left_out]}


def chosen_classes(columns: PropertyColumns, chosen_C: np.ndarray) -> dict[str, Any]:
    """Names and squares of the scored classes of a property, and its level."""
    return {
        "level": columns.level,
        "columns": [columns.class_names[c] for c in chosen_C],
        "square": columns.square_P[chosen_C].tolist(),
    }


def by_square(result: PropertyResult, values_C: np.ndarray, combine: Callable[[np.ndarray], Any]) -> dict[str, float]:
    """One number for each square that has scored classes, combined from theirs; none for classes of whole positions."""
    square_C = result.columns.square_P[result.chosen_C]
    numbers = {}
    for square in sorted(set(square_C[square_C >= 0].tolist())):
        name = result.columns.class_names[result.chosen_C[square_C == square][0]].split()[0]
        numbers[name] = round(float(combine(values_C[square_C == square])), 6)
    return numbers


def rounded(values: Any) -> list[float]:
    """Numbers of classes as plain data."""
    return [round(float(value), 6) for value in values]
