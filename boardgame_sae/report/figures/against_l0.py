"""Scores against L0: an SAE's accuracy and its price. Which figure a score's panels stand in, the score declares.

A score that names none of the figures here has its panels in the last one, of all other scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, zip_longest
from typing import Any, NamedTuple, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from boardgame_sae.metrics.score import Score, scores
from boardgame_sae.pipeline.study_folder import Study, StudyTestbed
from boardgame_sae.report.figures.registry import ReportFigure, register
from boardgame_sae.report.figures.style import GREY, INK, LINES, OWN_COLOURS, legend_below, plain_log
from boardgame_sae.report.rows import rows_at
from boardgame_sae.report.titles import (
    Row,
    baseline_of,
    chance_level,
    has_column,
    is_sae,
    of_one_sparsity,
    part_title,
    score_of,
)
from boardgame_sae.saes.registry import look

T = TypeVar("T", bound=Figure)
CHANCE_LINE: Any = (0, (6, 2, 1, 2, 1, 2))
L0, BUDGET = "l0", "n_activations"
X_TITLES = {L0: "L0: latents on per token", BUDGET: "training activations"}
PALE = 0.55
"""How opaque the other SAEs are beside one's own."""
N_COLUMNS = 2
"""Panels side by side."""
NAMES = set[str]()
"""The figures of this module."""
OTHERS = "other_scores_vs_l0"
"""The one of scores that name none of them."""


@dataclass(frozen=True)
class Frame:
    """How a figure of scores against L0 is drawn."""

    height: float = 4.9
    """Of a row of panels, in inches."""
    baselines: bool = True
    """Whether baselines are shown beside the SAEs."""
    ideal: float | None = None
    """A value that would be perfect, drawn as a line."""
    share_y: bool = False
    """Whether all panels have one scale."""
    from_zero: bool = True
    """Whether the scale begins at zero at the latest."""


class Panel(NamedTuple):
    """A number, by the name of its column, and its title."""

    score: Score | None
    """The score that it is of; None of L0 and of settings."""
    column: str
    title: str
    rows: Sequence[Row] | None = None
    """Those it shows; by default all that the figure is of."""
    x: str = L0
    """The column that it is drawn against."""
    x_title: str = X_TITLES[L0]


def against_l0(rows: Sequence[Row], panels: Sequence[Panel], frame: Frame, *, figure_class: type[T] = Figure) -> T:
    """Numbers against L0, or another column, with 95% intervals, beside every baseline and the level of chance.

    rows: those of one testbed.
    """
    n_rows = -(-len(panels) // N_COLUMNS)
    n_columns = min(N_COLUMNS, len(panels))
    figure = figure_class(figsize=(5.25 * n_columns + (n_columns == 1), frame.height * n_rows), layout="constrained")
    grid = figure.subplots(n_rows, n_columns, squeeze=False, sharey=frame.share_y).flatten().tolist()
    for axes, panel in zip_longest(grid, panels):
        if panel is None:
            axes.set_axis_off()
            continue
        here = rows if panel.rows is None else panel.rows
        shown = [row for row in here if frame.baselines or is_sae(row)]
        _saes(axes, shown, panel)
        _baselines(axes, shown, panel.column, panel.x)
        _chance(axes, shown, panel)
        if frame.ideal is not None:
            axes.axhline(frame.ideal, color=INK, linestyle=":", linewidth=1)
        inner = frame.share_y and axes is not grid[0]
        unit = "" if inner or panel.score is None else panel.score.display.unit
        axes.set(ylabel=unit, title=panel.title, xlabel=panel.x_title)
    for axes in grid[: len(panels)] if frame.from_zero else ():  # once all are drawn: their scale may be shared
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    legend_below(figure, grid[: len(panels)], first=[row["name"] for row in rows if is_sae(row) and row["own"]])
    return figure


def panels_of(figure: str, rows: Sequence[Row]) -> list[Panel]:
    """The panels that scores have in a figure, of what the rows hold; in OTHERS those that no other figure has."""
    mine = [score for score in scores().values() if _figure_of(score) == figure]
    titles = [(score, score.display.panels or {"": score.title}) for score in mine]
    panels = [Panel(score, score.name + ending, title) for score, own in titles for ending, title in own.items()]
    return [panel for panel in panels if has_column(rows, panel.column)]


def _figure_of(score: Score) -> str:
    return score.display.figure if score.display.figure in NAMES else OTHERS


def _saes(axes: Axes, rows: Sequence[Row], panel: Panel) -> None:
    """A number of every SAE: series as `_series` has them, twins in their kind's colour, one's own on top."""
    column, x = panel.column, panel.x
    measured = [row for row in rows if (row["architecture"] is not None or is_sae(row)) and row["pooled_as"] is None]
    measured = [row for row in measured if row.get(x) is not None and row.get(column) is not None]
    measured = [row for row in measured if row[x] > 0 or not _on_log_axis(x)]
    own = [row for row in measured if is_sae(row) and row["own"]]
    others = [row for row in measured if is_sae(row) and not row["own"]]
    widths = sorted({row["n_latents"] or 0 for row in others})
    for line in _series(others, x):
        architecture, n_latents = line[0]["architecture"] or line[0]["name"], line[0]["n_latents"] or 0
        colour, marker = look(architecture)
        text = architecture if len(widths) == 1 else f"{architecture}, {n_latents} latents"
        style = LINES[widths.index(n_latents) % len(LINES)] if x in (L0, BUDGET) else ""
        drawn = {"color": colour, "marker": marker, "linestyle": style, "capsize": 2, "label": text}
        axes.errorbar(*_with_bars(line, column, x), **drawn, alpha=PALE if own else 1.0)
    for row in measured:
        if (baseline := baseline_of(row)) is not None:
            marker, colour = look(row["architecture"])[1], baseline.look.colour
            bars = _with_bars([row], column, x)
            axes.errorbar(*bars, color=colour, marker=marker, linestyle="", label=baseline.label)
    for row, colour in zip(own, cycle(OWN_COLOURS), strict=False):
        style = {"marker": "*", "markersize": 17, "markeredgecolor": INK, "linestyle": "", "capsize": 2, "zorder": 5}
        axes.errorbar(*_with_bars([row], column, x), color=colour, **style, label=row["name"])
    if _on_log_axis(x):
        axes.set_xscale("log")
        plain_log(axes.xaxis, [row[x] for row in measured], axes.set_xlim, millions=x == BUDGET)


def _series(rows: Sequence[Row], x: str) -> list[list[Row]]:
    """SAEs that belong together, in ascending order: of one architecture and width; by budget, of one setting too."""
    series: dict[tuple[str, int, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["architecture"] or "", row["n_latents"] or 0, row[x])):
        setting = str(row["setting"]) if x == BUDGET else ""
        series.setdefault((row["architecture"] or row["name"], row["n_latents"] or 0, setting), []).append(row)
    return list(series.values())


def _on_log_axis(column: str) -> bool:
    """Whether a column is drawn on a logarithmic axis: L0 and settings are, scores are not."""
    return score_of(column) is None


def _with_bars(rows: Sequence[Row], column: str, x: str) -> tuple[list[float], list[float], np.ndarray | None]:
    """x, value and the lengths of the error bars below and above; None where a score has no interval."""
    values = [row[column] for row in rows]
    bars = None
    if all(row.get(f"{column}_low") is not None for row in rows):
        below = [value - row[f"{column}_low"] for row, value in zip(rows, values, strict=True)]
        above = [row[f"{column}_high"] - value for row, value in zip(rows, values, strict=True)]
        bars = np.maximum(np.array([below, above]), 0)
    return [row[x] for row in rows], values, bars


def _baselines(axes: Axes, rows: Sequence[Row], column: str, x: str) -> None:
    """What is no SAE: a line over x where it has several, or else across the panel. What has an L0 needs that axis."""
    by_kind: dict[str, list[Row]] = {}
    for row in rows:
        fits = x == L0 or not of_one_sparsity(row)
        if fits and row["architecture"] is None and not is_sae(row) and row.get(column) is not None:
            by_kind.setdefault(row["kind"], []).append(row)
    for same in by_kind.values():
        baseline = baseline_of(same[0])
        colour, line = (INK, "-") if baseline is None else (baseline.look.colour, baseline.look.line)
        over_x = sorted((row[x], row[column]) for row in same if row.get(x) is not None)
        if over_x and baseline is not None:
            style = {"marker": baseline.look.marker, "markersize": 3, "linewidth": 1, "linestyle": line}
            axes.plot(*zip(*over_x, strict=True), color=colour, label=baseline.title, **style)
        for row in same:
            if row.get(x) is None:
                axes.axhline(row[column], color=colour, linestyle=line, linewidth=1.2, label=row["name"])


def _chance(axes: Axes, rows: Sequence[Row], panel: Panel) -> None:
    """The level of chance: a line across the panel where all subjects share it, or else each SAE's own."""
    x = panel.x
    chance = None if panel.score is None else panel.score.display.chance
    if chance is None or panel.score is None:
        return
    if level := chance_level(rows, panel.column):
        title, value = level
        axes.axhline(value, color=INK, linestyle=CHANCE_LINE, linewidth=1.2, label=title)
    own = [row for row in rows if row["architecture"] is not None and row["pooled_as"] is None]
    column = f"{panel.column}_{chance.part}"
    levels = sorted((row[x], row[column]) for row in own if row.get(column) is not None and row.get(x) is not None)
    if levels and not chance.shared:
        style = {"color": GREY, "linestyle": ":", "linewidth": 1.2, "marker": "_", "markersize": 8}
        axes.plot(*zip(*levels, strict=True), **style, label=part_title(panel.score, chance.part))


def _register(name: str, frame: Frame, *, caption: str, order: int, on_card: bool = False) -> None:
    def of_testbed(study: Study, testbed: StudyTestbed) -> Figure | None:
        rows = rows_at(study, testbed)
        panels = panels_of(name, rows)
        return against_l0(rows, panels, frame) if panels else None

    NAMES.add(name)
    register(ReportFigure(name=name, caption=caption, order=order, on_card=on_card, of_testbed=of_testbed))


_register(
    "coverage_vs_l0",
    Frame(),
    caption="Coverage and board reconstruction against L0. Bars are 95% intervals over games, and over seeds too where "
    "a point stands for SAEs of several seeds. The linear probe of the same sparsity keeps only as many outputs as an "
    "SAE of that L0 has latents on.",
    order=80,
    on_card=True,
)
_register(
    "direction_recovery",
    Frame(height=4.6, share_y=True),
    caption="How well decoder rows match what linear probes read (left), and the difference that a class makes to the "
    "mean activation (right): cosines, matched one to one. The grey line is what as many random directions reach by "
    "chance.",
    order=90,
)
_register(
    "loss_vs_l0",
    Frame(height=4.2, baselines=False, ideal=1.0, from_zero=False),
    caption="Loss recovered and explained variance against L0.",
    order=100,
)
_register(
    OTHERS,
    Frame(from_zero=False),
    caption="All other scores against L0, with 95% intervals where a score has them.",
    order=110,
)
