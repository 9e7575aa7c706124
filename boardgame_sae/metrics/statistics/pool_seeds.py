"""SAEs that differ in nothing but their seed, as one: means over seeds, with intervals that hold for other seeds too.

A pooled SAE has `Scores` like any other, so that tables and figures need not know: its subject lists the `seeds` and
the names of its `members`. Only scores with sums over games have intervals: a mean of intervals is not one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from boardgame_sae.files import RunError
from boardgame_sae.metrics.results import SUMS_FILE, Scores, ScoreValue
from boardgame_sae.metrics.score import scores
from boardgame_sae.metrics.statistics.statistic import ABOUT_COLUMNS, placed


def siblings(scored: Sequence[Scores]) -> list[list[int]]:
    """Indices of SAEs that differ only in their seed, one list per family of at least two, by seed."""
    families: dict[str, list[int]] = {}
    for index, scores_of_sae in enumerate(scored):
        if "sae" in scores_of_sae.subject:
            recipe = repr((scores_of_sae.subject["kind"], sorted(_config(scores_of_sae).items())))
            families.setdefault(recipe, []).append(index)
    # no seed is counted twice: a copy would pass for another training
    distinct = [list({_seed(scored[index]): index for index in family}.values()) for family in families.values()]
    return [sorted(family, key=lambda index: _seed(scored[index])) for family in distinct if len(family) > 1]


def poolable(scored: Scores) -> bool:
    """Whether scores hold the sums that pooled ones are made of."""
    return all(scored[name].sums is not None for name, score in scores().items() if score.statistic and name in scored)


def pool(folders: Sequence[Path]) -> Scores:
    """The scores of several seeds, in these folders, as those of one SAE. Raises RunError naming missing sums."""
    members = [Scores.load(folder) for folder in folders]
    for folder, member in zip(folders, members, strict=True):
        for name, score in scores().items():
            if score.statistic is not None and name in member and member[name].sums is None:
                raise RunError(f"{folder / SUMS_FILE.format(name)}: no such file; remove the folder and score again")
    return pool_scores(members)


def pool_scores(members: Sequence[Scores]) -> Scores:
    """Like `pool`, for scores in memory that hold their sums. Raises ValueError when they are not of the same games."""
    subjects, first = [member.subject for member in members], members[0]
    about = {
        **first.subject,
        "name": f"{first.subject['name']}, {len(members)} seeds",
        "sae": _config(first),
        "seeds": [_seed(member) for member in members],
        "members": [subject["name"] for subject in subjects],
        "l0": float(np.mean([subject["l0"] for subject in subjects])),
    }
    shared = [name for name in first if all(name in member for member in members)]
    return Scores(about, {name: _pooled(name, [member[name] for member in members]) for name in shared})


def _config(scored: Scores) -> dict[str, Any]:
    return {name: value for name, value in scored.subject["sae"].items() if name not in ("seed", "sae_folder")}


def _seed(scored: Scores) -> int:
    return scored.subject["sae"].get("seed", 0)


def _pooled(name: str, values: Sequence[ScoreValue]) -> ScoreValue:
    """One score of several seeds: the mean of every number, with intervals where there are sums over games."""
    mean = _mean([{"value": value.value, "parts": value.parts} for value in values])
    details = _mean([_numbers_of_properties(value.details) for value in values])
    for numbers in (*details.get("by_property", {}).values(), *details.get("groups", {}).values()):
        numbers["interval"] = None
    first = values[0]
    pooled = ScoreValue(
        mean["value"], None, mean["parts"], details, config=first.config, version=first.version
    )  # fmt: skip
    registered = scores().get(name)
    sums = [value.sums for value in values if value.sums is not None]
    if registered is None or registered.statistic is None or len(sums) < len(values):
        return pooled
    return placed(pooled, registered.statistic.estimates(sums, details))


def _numbers_of_properties(details: dict[str, Any]) -> dict[str, Any]:
    """The details that a pooled score keeps: numbers of properties and groups, not of classes and squares."""
    kept = {key: details[key] for key in ("headline", "high", "layout", "groups", ABOUT_COLUMNS) if key in details}
    by_property = details.get("by_property", {})
    numbers = {name: {"value": result["value"], "parts": result["parts"]} for name, result in by_property.items()}
    return kept | ({"by_property": numbers} if numbers else {})


def _mean(trees: Sequence[Any]) -> Any:
    """Plain data of one shape with the mean in place of every number; anything else but dicts is taken from the first.

    Keys that only some dicts have are left out.
    """
    first = trees[0]
    if isinstance(first, dict):
        return {key: _mean([tree[key] for tree in trees]) for key in first if all(key in tree for tree in trees)}
    numbers = all(isinstance(tree, int | float) and not isinstance(tree, bool) for tree in trees)
    return float(np.mean(trees)) if numbers else first
