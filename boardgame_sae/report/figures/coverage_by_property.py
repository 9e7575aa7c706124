"""The score that SAEs are ranked by, property by property: the best SAE beside the best of each kind of baseline."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from boardgame_sae.metrics.score import Score
from boardgame_sae.pipeline.study_folder import Study, StudyTestbed
from boardgame_sae.report.best import best_by_kind, ranking_score
from boardgame_sae.report.figures.registry import ReportFigure, register
from boardgame_sae.report.figures.style import BLUE, INK, OWN_COLOURS, legend_below
from boardgame_sae.report.rows import rows_at
from boardgame_sae.report.titles import Row, baseline_of, chance_level, is_sae


def coverage_by_property(score: Score, rows: Sequence[Row], properties: Sequence[str], high: Sequence[str]) -> Figure:
    """The score of each property: of the best SAE and one's own, beside the baselines and the level of chance.

    rows: those of one testbed. properties: in order, the headline first. high: those of high level.
    """
    figure = Figure(figsize=(7.5, 1.7 + 0.42 * len(properties)), layout="constrained")
    axes = figure.subplots()
    columns = [score.name, *(f"{score.name}.{name}" for name in properties[1:])]
    best = best_by_kind(rows)
    own = [row for row in rows if row["own"] and is_sae(row) and row.get(score.name) is not None]
    shown = sorted([*best.values(), *(row for row in own if row not in best.values())], key=_place)
    offsets = np.linspace(-0.28, 0.28, len(shown))  # markers of equal numbers must not hide each other
    for offset, row in zip(offsets, shown, strict=True):
        text, marker, colour, size = _sign(row)
        places = [(row[column], y + offset) for y, column in enumerate(columns) if row.get(column) is not None]
        axes.plot(*zip(*places, strict=True), marker, color=colour, markersize=size, label=text)
    for y, column in enumerate(columns):
        if level := chance_level(rows, column):
            title, value = level
            axes.plot([value, value], [y - 0.38, y + 0.38], color=INK, linewidth=1.5, label=title)
        axes.axhspan(y - 0.5, y + 0.5, color="#000000", alpha=0.035 * (y % 2), linewidth=0)
    texts = [name.replace("_", " ") + (" ·" if name in high else "") for name in properties]
    axes.set_yticks(range(len(properties)), texts)
    axes.grid(visible=False, axis="y")
    axes.set_ylim(len(properties) - 0.5, -0.5)
    title = f"{score.title} by property (·: high level)"
    axes.set(xlim=(-0.02, 1.02), xlabel=f"mean {score.display.unit}", title=title)
    legend_below(figure, [axes], columns=3)
    return figure


def _sign(row: Row) -> tuple[str, str, str, float]:
    """What stands for a subject: a label, a marker, its colour and its size."""
    baseline = baseline_of(row)
    if baseline is None and row["own"]:
        return str(row["name"]), "*", OWN_COLOURS[0], 11
    if baseline is None:
        return "best SAE", "o", BLUE, 7
    return baseline.label, baseline.look.marker, baseline.look.colour, baseline.look.size


def _place(row: Row) -> tuple[int, int]:
    """Ceilings above the SAE, floors below it."""
    baseline = baseline_of(row)
    if baseline is None:
        return 1, 0
    return (0, -baseline.order) if baseline.role == "ceiling" else (2, baseline.order)


def _of_testbed(study: Study, testbed: StudyTestbed) -> Figure | None:
    score = ranking_score()
    scored = next((scores for scores in testbed.scored if score.name in scores), None)
    details = scored[score.name].details if scored is not None else {}
    if scored is None or "by_property" not in details:
        return None
    properties = [name for name in scored.subject["testbed"]["properties"] if name in details["by_property"]]
    return coverage_by_property(score, rows_at(study, testbed), properties, details["high"])


register(
    ReportFigure(
        name="coverage_by_property",
        caption="Coverage of every property, each a mean over its classes. What is nearly always true has a high F1 by "
        "chance: what counts is how far a marker stands to the right of the bar.",
        section="properties",
        order=70,
        folded=False,
        of_testbed=_of_testbed,
    )
)
