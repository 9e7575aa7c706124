"""What is better, and is it more than luck? Differences of scores on the same games, with their intervals.

Two SAEs scored on the same games share the games' luck: where the games are easy, both do well. So the games are drawn
once for both, and the interval of the difference is narrower than two intervals side by side suggest. SAEs that differ
in nothing but their seed stand for one recipe: give them together, and the interval covers the luck of training too.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from boardgame_sae.files import write_json
from boardgame_sae.metrics.intervals.property_means import STATISTICS, Layout
from boardgame_sae.metrics.results import Scores, brackets
from boardgame_sae.resampling import difference
from boardgame_sae.runs import Run, is_done, run_hash


class Difference(NamedTuple):
    """One number of one score, of two recipes."""

    score: str
    number: str
    """The property or group."""
    a: float
    """Of the first, the mean over its seeds."""
    b: float
    """Of the second."""
    difference: float
    """a - b."""
    interval: tuple[float, float]
    """95% interval of it, over games and seeds."""


def compare(a: Sequence[Scores], b: Sequence[Scores]) -> list[Difference]:
    """Every number of coverage and board reconstruction, of the one less that of the other.

    a, b: scores as `Scores.load` reads them, or fresh from `evaluate`; of one recipe each, one a seed.
    Raises ValueError when a side is empty, or they were not scored on the same positions and classes.
    """
    if not a or not b:
        raise ValueError("give scores for both sides of a comparison")
    for name in ("corpus", "properties", "n_games", "positions"):
        known = {str(scores.subject["testbed"][name]) for scores in (*a, *b)}
        if len(known) > 1:
            raise ValueError(f"scored on different testbeds, {name}: {', '.join(sorted(known))}; score them on one")
    found = []
    for name, statistic in STATISTICS.items():
        layout = Layout.of(a[0][name].details)
        kept_a, kept_b = ([c for scores in side if (c := scores[name].counts) is not None] for side in (a, b))
        if len(kept_a) < len(a) or len(kept_b) < len(b):
            raise ValueError(f"{name}: no counts of games beside some of the scores; score these SAEs again")
        if any(Layout.of(scores[name].details) != layout for scores in (*a, *b)):
            raise ValueError(f"{name}: scored on different classes; score them on one testbed")
        estimated = difference(kept_a, kept_b, partial(statistic, layout))
        for place, (number, estimate) in enumerate(zip(layout.numbers(), estimated, strict=True)):
            mean_a, mean_b = (_mean(side, name, number, place == 0) for side in (a, b))
            found.append(Difference(name, number, mean_a, mean_b, estimate.value, estimate.interval))
    return found


def _mean(side: Sequence[Scores], name: str, number: str, headline: bool) -> float:
    values = [scores[name].value if headline else scores[name].parts[number] for scores in side]
    return float(sum(values) / len(values))


def compare_run(
    a: Sequence[str | Path], b: Sequence[str | Path], *, out: str | Path | None = None
) -> tuple[Path, list[Difference]]:
    """Compare score runs and write differences.json into a run folder. Raises as `compare`, and for unfinished runs."""
    found = compare([Scores.load(folder) for folder in a], [Scores.load(folder) for folder in b])
    inputs = {f"{side} {n}": _hash(folder) for side, some in (("a", a), ("b", b)) for n, folder in enumerate(some)}
    with Run("compare", f"{Path(a[0]).name}-{Path(b[0]).name}", {}, inputs, out) as run:
        if not run.done:
            write_json(run / "differences.json", [each._asdict() for each in found])
            run.finish()
        return run.folder, found


def _hash(folder: str | Path) -> str:
    """Of a score run; of a baseline, that of the run it is part of."""
    own = Path(folder)
    return run_hash(own) if is_done(own) else f"{run_hash(own.parent)}/{own.name}"


def table(found: Sequence[Difference]) -> str:
    """The differences as text, one a line; `*` where the interval does not hold zero."""
    lines = [f"{'':40}{'first':>9}{'second':>9}{'difference':>12}  95% interval"]
    for each in found:
        low, high = each.interval
        mark = " *" if low > 0 or high < 0 else ""
        what = f"{each.score}: {each.number}"
        lines.append(f"{what:40}{each.a:9.4f}{each.b:9.4f}{each.difference:12.4f}  [{low:.4f}, {high:.4f}]{mark}")
    return "\n".join(lines)


def side_by_side(found: Sequence[Scores]) -> str:
    """The headline numbers of several subjects as text, one a line: of the scores that the first has."""
    names = list(found[0])
    rows = [["", "L0", *names]]
    for scores in found:
        subject = scores.subject
        l0 = f"{subject['l0']:.1f}" if subject["kind"].endswith("sae") else ""
        if subject["kind"] == "sparse_probe":
            l0 = f"{subject['k']} a property"
        cells = [
            f"{scores[name].value:.4f}{brackets(scores[name].interval)}" if name in scores else "" for name in names
        ]
        rows.append([subject["name"], l0, *cells])
    chance = found[0]["coverage"].parts.get("always_on") if "coverage" in found[0] else None
    if chance is not None:
        rows.append(["always on (chance)", "", *(f"{chance:.4f}" if name == "coverage" else "" for name in names)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)
