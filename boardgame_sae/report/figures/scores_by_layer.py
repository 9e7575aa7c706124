"""What a study of several hook points shows: the main scores along the forward pass."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from boardgame_sae.metrics.baselines.registry import kind_order
from boardgame_sae.metrics.score import main_scores
from boardgame_sae.pipeline.study_folder import Study
from boardgame_sae.report.figures.registry import ReportFigure, register
from boardgame_sae.report.figures.style import INK, depth, hook_title, legend_below
from boardgame_sae.report.rows import rows_of
from boardgame_sae.report.titles import Row, baseline_of, has_column, is_sae, of_one_sparsity, recipe
from boardgame_sae.saes.registry import look


def scores_by_layer(rows: Sequence[Row]) -> Figure:
    """The main scores of each SAE recipe by hook point, beside the baselines.

    rows: those of one study. SAEs of several seeds are shown by the row that pools them; baselines that are made for
    one L0 are left out.
    """
    shown = [row for row in rows if row["pooled_as"] is None and not of_one_sparsity(row)]
    scores = [score for score in main_scores() if has_column(shown, score.name)]
    figure = Figure(figsize=(5.25 * len(scores), 4.6), layout="constrained")
    panels = figure.subplots(1, len(scores), squeeze=False)[0].tolist()
    for axes, score in zip(panels, scores, strict=True):
        _by_layer(axes, [row for row in shown if row.get(score.name) is not None], score.name)
        axes.set(ylabel=score.display.unit, title=score.title, xlabel="hook point", ylim=(0, 1.02))
    legend_below(figure, panels, columns=3)
    return figure


def _by_layer(axes: Axes, rows: Sequence[Row], column: str) -> None:
    names = sorted({row["hook_name"] for row in rows}, key=depth)
    places = {name: place for place, name in enumerate(names)}
    lines: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["architecture"] is not None, kind_order(row["kind"]), recipe(row))):
        lines.setdefault(_label(row), []).append(row)
    for text, line in lines.items():
        line.sort(key=lambda row: places[row["hook_name"]])
        at = [places[row["hook_name"]] for row in line]
        style = {"markersize": 5, "linewidth": 1.3, **_style(line[0])}
        axes.plot(at, [row[column] for row in line], label=text, **style)
    axes.set_xticks(range(len(names)), [hook_title(name) for name in names], rotation=30, ha="right", fontsize=8)


def _label(row: Row) -> str:
    baseline = baseline_of(row)
    if baseline is None:
        return recipe(row)
    return baseline.title if row["architecture"] is None else f"{baseline.label}: {recipe(row)}"


def _style(row: Row) -> dict[str, Any]:
    """An SAE has its architecture's look; a baseline its own, or the marker of its architecture where it has one."""
    baseline, architecture = baseline_of(row), row["architecture"]
    colour, marker = look(architecture) if architecture else (INK, "o")
    if is_sae(row) or baseline is None:
        return {"color": colour, "marker": marker, "linestyle": "-"}
    if architecture:
        return {"color": baseline.look.colour, "marker": marker, "linestyle": ":"}
    return {"color": baseline.look.colour, "marker": baseline.look.marker, "linestyle": baseline.look.line}


def _of_study(study: Study) -> Figure | None:
    rows = rows_of([study])
    shown = len(study.testbeds) > 1 and any(has_column(rows, score.name) for score in main_scores())
    return scores_by_layer(rows) if shown else None


register(
    ReportFigure(
        name="scores_by_layer",
        caption="The main scores along the forward pass: each SAE recipe, and what it is compared with, at every hook "
        "point of the study.",
        order=50,
        of_study=_of_study,
    )
)
