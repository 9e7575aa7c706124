"""Which is better, and is it more than luck? Differences of scores on the same games, with their intervals.

Two SAEs scored on the same games share the games' luck: where the games are easy, both do well. So the games are
resampled once for both, and the interval of the difference is narrower than two intervals side by side suggest. SAEs
that differ only in their seed stand for one recipe: give them together, and the interval covers the luck of training
too.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from boardgame_sae.metrics.baselines.registry import has_l0
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.results import Scores, brackets
from boardgame_sae.metrics.score import scores
from boardgame_sae.metrics.statistics.statistic import ABOUT_COLUMNS


class Difference(NamedTuple):
    """One number of one score, of two recipes."""

    score: str
    number: str
    """Its name: for scores of several properties, the property or group."""
    a: float
    """Value of the first recipe, the mean over its seeds."""
    b: float
    """Value of the second recipe."""
    difference: float
    """a - b."""
    interval: tuple[float, float]
    """95% interval of the difference, over games and seeds."""


def differences(a: Sequence[Scores], b: Sequence[Scores]) -> list[Difference]:
    """The differences a - b of every number that has an interval, for every score that all of them have.

    a, b: scores as `Scores.load` reads them, or fresh from `evaluate`; each side is one recipe, one `Scores` per seed.
    Raises ValueError when a side is empty, they have no score in common, or they were not scored on the same positions
    and classes.
    """
    if not a or not b:
        raise ValueError("give scores for both sides of a comparison")
    everyone = [*a, *b]
    _check_same_testbed(everyone)
    found = []
    for name, score in scores().items():
        if score.statistic is None or not all(name in scored for scored in everyone):
            continue
        details = a[0][name].details
        known = [[scored[name].details.get(key) for key in ("layout", ABOUT_COLUMNS)] for scored in everyone]
        if any(one != known[0] for one in known):
            raise ValueError(f"{name}: scored on different classes; score them on one testbed")
        sums_a, sums_b = ([_sums(scored, name) for scored in side] for side in (a, b))
        estimates = score.statistic.differences(sums_a, sums_b, details)
        for index, (number, estimate) in enumerate(estimates.items()):
            mean_a, mean_b = (_mean(side, name, number, index == 0) for side in (a, b))
            found.append(Difference(name, number, mean_a, mean_b, estimate.value, estimate.interval))
    if not found:
        held = "; ".join(f"{scored.subject['name']}: {', '.join(scored) or 'none'}" for scored in everyone)
        raise ValueError(f"no score with an interval is among those of all of them ({held}); score them with one suite")
    return found


def _check_same_testbed(everyone: Sequence[Scores]) -> None:
    """Raise ValueError unless all say on which testbed they were scored, and it is the same one."""
    for scored in everyone:
        if scored.subject.get("testbed") is None:
            raise ValueError(f"{scored.subject['name']}: its scores do not say on which testbed; score it again")
    for name in ("corpus", "properties", "n_games", "positions"):
        known = {str(scores.subject["testbed"][name]) for scores in everyone}
        if len(known) > 1:
            raise ValueError(f"scored on different testbeds, {name}: {', '.join(sorted(known))}; score them on one")
    if len({scores.subject["testbed"].get("content", {}).get("corpus") for scores in everyone}) > 1:
        raise ValueError("scored on a corpus that has changed in between; score them all on the corpus as it is")


def _sums(scored: Scores, name: str) -> GameSums:
    sums = scored[name].sums
    if sums is None:
        raise ValueError(f"{name}: no sums over games beside some of the scores; score these SAEs again")
    return sums


def _mean(side: Sequence[Scores], name: str, number: str, headline: bool) -> float:
    values = [scored[name].value if headline else scored[name].parts[number] for scored in side]
    return float(sum(values) / len(values))


def table(found: Sequence[Difference]) -> str:
    """The differences as text, one per line; `*` where the interval does not contain zero."""
    lines = [f"{'':40}{'first':>9}{'second':>9}{'difference':>12}  95% interval"]
    for name, number, a, b, difference, (low, high) in found:
        mark = " *" if low > 0 or high < 0 else ""
        lines.append(f"{f'{name}: {number}':40}{a:9.4f}{b:9.4f}{difference:12.4f}  [{low:.4f}, {high:.4f}]{mark}")
    return "\n".join(lines)


def side_by_side(scored: Sequence[Scores]) -> str:
    """The headline numbers of several subjects as text, one subject per line, for the scores that the first one has."""
    names = list(scored[0])
    rows = [["", "L0", *names]]
    for scores_of_one in scored:
        values = [scores_of_one.get(name) for name in names]
        cells = ["" if value is None else f"{value.value:.4f}{brackets(value.interval)}" for value in values]
        rows.append([scores_of_one.subject["name"], _l0(scores_of_one.subject), *cells])
    for label, levels in _chance_levels(scored[0]).items():
        rows.append([label, "", *(f"{levels[name]:.4f}" if name in levels else "" for name in names)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def _chance_levels(scored: Scores) -> dict[str, dict[str, float]]:
    """What scores declare to be by luck alone, the same for every subject: levels by score, by what they are called."""
    levels: dict[str, dict[str, float]] = {}
    for name, score in scores().items():
        chance = score.display.chance
        if name in scored and chance is not None and chance.shared and chance.part in scored[name].parts:
            label = score.display.parts.get(chance.part, f"{chance.part} (chance)")
            levels.setdefault(label, {})[name] = scored[name].parts[chance.part]
    return levels


def _l0(subject: Mapping[str, Any]) -> str:
    """L0 as text; empty for what is not meant to be sparse."""
    if "k" in subject:
        return f"{subject['k']} per property"
    return f"{subject['l0']:.1f}" if has_l0(subject["kind"]) else ""
