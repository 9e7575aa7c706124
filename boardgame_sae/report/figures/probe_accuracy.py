"""What linear probes read of the board in a GPT, hook point by hook point."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from boardgame_sae.pipeline.study_folder import Study
from boardgame_sae.report.figures.registry import ReportFigure, register
from boardgame_sae.report.figures.style import BLUE, GREY, INK, ORANGE, depth, hook_title, legend_below
from boardgame_sae.report.titles import probe_title

Results = Mapping[str, Any]
"""A probes.json."""
EXTREMES = "extremes"
"""What the panel of a probe of ordered classes is about: its lowest class told from its highest."""


def probe_accuracy(probes: Sequence[tuple[Results, Results]], marked: Sequence[str] = ()) -> Figure:
    """Accuracy of linear probes by hook point, on the trained and the random-weights GPT, beside always the majority.

    probes: probes.json of both, for each of the study's probes. One whose classes are ordered has a second panel: its
    lowest class told from its highest. marked: hook points where SAEs are trained.
    """
    panels = [(trained, random, _answer(trained)) for trained, random in probes]
    panels += [(trained, random, EXTREMES) for trained, random in probes if extremes(trained)]
    n_columns = min(3, len(panels))
    n_rows = -(-len(panels) // n_columns)
    figure = Figure(figsize=(max(7.0, 4.6 * n_columns), 3.5 * n_rows + 0.2), layout="constrained")
    grid = figure.subplots(n_rows, n_columns, squeeze=False).flatten().tolist()
    for axes, (trained, random, what) in zip(grid, panels, strict=False):
        _probe_panel(axes, trained, random, what, marked)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    legend_below(figure, grid[: len(panels)])
    return figure


def extremes(results: Results) -> Mapping[str, Any]:
    """The lowest and the highest class that a probe was asked to tell apart; nothing where it was not."""
    measured = (point[EXTREMES] for point in results["hook_points"].values() if point.get(EXTREMES))
    return next(measured, {})


def _probe_panel(axes: Axes, trained: Results, random: Results, what: str, marked: Sequence[str]) -> None:
    names = sorted(trained["hook_points"], key=depth)
    lines = (
        (trained, "accuracy", "trained GPT", "o-", BLUE),
        (random, "accuracy", "random-weights GPT", "s--", GREY),
        (trained, "majority_accuracy", "always the majority class", ":", INK),
    )
    shown: list[float] = []
    for results, key, text, line, colour in lines:
        measured = [(place, _measured(results, name, what)) for place, name in enumerate(names)]
        line_points = [(place, numbers[key]) for place, numbers in measured if numbers]
        shown += [value for _, value in line_points]
        axes.plot([x for x, _ in line_points], [value for _, value in line_points], line, color=colour, label=text)
    for place, name in enumerate(names):
        if name in marked:
            axes.axvline(place, color=ORANGE, alpha=0.35, linewidth=8, zorder=0)
            axes.annotate("SAEs here", (place, 0.02), xycoords=("data", "axes fraction"), ha="center", fontsize=8)
    axes.set_xticks(range(len(names)), [hook_title(name) for name in names], rotation=30, ha="right", fontsize=8)
    axes.set_ylim(min(shown) - 0.08, 1.01)
    ends = extremes(trained)
    title = f"{probe_title(trained)}: {ends['low']} or {ends['high']}" if what == EXTREMES else probe_title(trained)
    axes.set_title(title, fontsize=10)
    axes.set(xlabel="hook point", ylabel="accuracy" if what == EXTREMES else f"accuracy per {what}")


def _answer(results: Results) -> str:
    """What one answer of a probe is about."""
    first = next(iter(results["hook_points"].values()))
    return "square" if len(first.get("accuracy_S", ())) != 1 else "position"


def _measured(results: Results, hook_name: str, what: str) -> Mapping[str, Any]:
    """The numbers of a panel at a hook point; nothing where it was not probed."""
    numbers = results["hook_points"].get(hook_name, {})
    return (numbers.get(EXTREMES) or {}) if what == EXTREMES else numbers


def _study_probe_accuracy(study: Study) -> Figure | None:
    marked = [testbed.hook_name for testbed in study.testbeds]
    return probe_accuracy(study.probe_results, marked) if study.probes else None


register(
    ReportFigure(
        name="probe_accuracy",
        caption="Accuracy of linear probes at each hook point. Training has put there what the line of the trained GPT "
        "has above that of the random-weights GPT.",
        section="probes",
        order=30,
        folded=False,
        on_card=True,
        of_study=_study_probe_accuracy,
    )
)
