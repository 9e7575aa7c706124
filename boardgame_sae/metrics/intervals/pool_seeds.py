"""SAEs that differ in nothing but their seed, as one: means over seeds, with intervals that hold for other seeds too.

A pooled SAE has `Scores` like any other, so that tables and figures need not know: its subject lists the `seeds` and
the names of its `members`. Only what has counts by game has an interval; a mean of intervals would be none.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from boardgame_sae.files import RunError
from boardgame_sae.metrics.intervals.property_means import STATISTICS, Layout
from boardgame_sae.metrics.results import COUNTS_FILE, Scores, ScoreValue
from boardgame_sae.resampling import pooled


def siblings(found: Sequence[Scores]) -> list[list[int]]:
    """Places of SAEs of one kind and one config but for the seed; each list has at least two, by seed."""
    families: dict[str, list[int]] = {}
    for place, each in enumerate(found):
        if "sae" in each.subject:
            families.setdefault(repr((each.subject["kind"], sorted(_config(each).items()))), []).append(place)
    # no seed is counted twice: a copy would pass for training again
    distinct = [list({_seed(found[place]): place for place in family}.values()) for family in families.values()]
    return [sorted(family, key=lambda place: _seed(found[place])) for family in distinct if len(family) > 1]


def pool(folders: Sequence[Path]) -> Scores:
    """The scores of several seeds, in these folders, as those of one SAE. Raises RunError naming missing counts."""
    members = [Scores.load(folder) for folder in folders]
    for folder, each in zip(folders, members, strict=True):
        for name in STATISTICS:
            if name in each and each[name].counts is None:
                raise RunError(f"{folder / COUNTS_FILE.format(name)}: no such file; remove the folder and score again")
    return pool_scores(members)


def pool_scores(members: Sequence[Scores]) -> Scores:
    """The same, of scores in memory that hold their counts."""
    subjects, first = [each.subject for each in members], members[0]
    about = {
        **first.subject,
        "name": f"{first.subject['name']}, {len(members)} seeds",
        "sae": _config(first),
        "seeds": [_seed(each) for each in members],
        "members": [subject["name"] for subject in subjects],
        "l0": float(np.mean([subject["l0"] for subject in subjects])),
    }
    shared = [name for name in first if all(name in each for each in members)]
    return Scores(about, {name: _pooled(name, [each[name] for each in members]) for name in shared}, {})


def _config(found: Scores) -> dict[str, Any]:
    return {name: value for name, value in found.subject["sae"].items() if name not in ("seed", "sae_folder")}


def _seed(found: Scores) -> int:
    return found.subject["sae"].get("seed", 0)


def _pooled(name: str, values: Sequence[ScoreValue]) -> ScoreValue:
    """One score of several seeds: every number's mean, with intervals where games were counted."""
    mean = _mean([{"value": each.value, "parts": each.parts} for each in values])
    details = _mean([_kept(each.details) for each in values])
    for each in (*details.get("by_property", {}).values(), *details.get("groups", {}).values()):
        each["interval"] = None
    if name not in STATISTICS:
        return ScoreValue(mean["value"], None, mean["parts"], details)
    layout = Layout.of(details)
    counts = [each.counts for each in values if each.counts is not None]
    found = pooled(counts, partial(STATISTICS[name], layout))
    for number, estimate in zip(layout.numbers(), found, strict=True):
        place = details["by_property"] if number in layout.names else details["groups"]
        interval = estimate.interval if np.isfinite(estimate.interval).all() else None
        place[number] |= {"value": estimate.value, "interval": interval}
    headline = details["by_property"][details["headline"]]
    return ScoreValue(headline["value"], headline["interval"], mean["parts"], details)


def _kept(details: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a pooled score: numbers of properties and groups, not of classes and squares."""
    kept = {key: details[key] for key in ("headline", "high", "layout", "groups") if key in details}
    by_property = details.get("by_property", {})
    numbers = {prop: {"value": each["value"], "parts": each["parts"]} for prop, each in by_property.items()}
    return kept | ({"by_property": numbers} if numbers else {})


def _mean(trees: Sequence[Any]) -> Any:
    """Of equally shaped plain data the same with means for numbers; what is neither number nor dict as in the first.

    Of dicts, what only some have is left out.
    """
    first = trees[0]
    if isinstance(first, dict):
        return {key: _mean([tree[key] for tree in trees]) for key in first if all(key in tree for tree in trees)}
    numbers = all(isinstance(tree, int | float) and not isinstance(tree, bool) for tree in trees)
    return float(np.mean(trees)) if numbers else first
