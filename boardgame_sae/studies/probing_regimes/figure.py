"""The figure: test areas by setting, and for each class of the board an arrow from the baselines to what SAEs add."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from boardgame_sae.report.figures.style import BLUE, GREY, INK, ORANGE, legend_below
from boardgame_sae.studies.probing_regimes.tables import totals
from boardgame_sae.studies.study import Row


def figure(rows: Sequence[Row]) -> Figure:
    """A column for each regime: mean test areas above, arrows below."""
    whole = totals(rows)
    drawn = Figure(figsize=(3.4 * len(whole), 7.4), layout="constrained")
    panels = drawn.subplots(2, len(whole), squeeze=False, height_ratios=(1, 1.5))
    lowest = min(min(row["baselines"] + min(0, row["control_gain"]), row["saes"]) for row in rows)
    for (above, below), total in zip(panels.T, whole, strict=True):
        _lines(above, [row for row in rows if row["regime"] == total["regime"]], lowest)
        _arrows(below, total)
    panels[0, 0].set_ylabel("test AUC, mean of the properties")
    legend_below(drawn, [*panels.ravel()])
    return drawn


def _lines(axes: Axes, rows: Sequence[Row], lowest: float) -> None:
    alone = np.array([row["baselines"] for row in rows])
    for label, values, colour, line in (
        ("best of baselines", alone, INK, "-"),
        ("best of baselines and SAE probes", alone + [row["gain"] for row in rows], BLUE, "-"),
        ("best of SAE probes alone", [row["saes"] for row in rows], ORANGE, ":"),
        ("best of baselines and untrained SAEs", alone + [row["control_gain"] for row in rows], GREY, "--"),
    ):
        axes.plot(range(len(rows)), values, label=label, color=colour, linestyle=line, marker="o", markersize=4)
    axes.set_xticks(range(len(rows)), [row["setting"] for row in rows], rotation=45, ha="right")
    axes.set(title=rows[0]["regime"], ylim=(lowest - 0.02, 1.005))


def _arrows(axes: Axes, total: Row) -> None:
    """From the test area of the best baseline to that of the best with SAE probes, the mean over settings."""
    ranked = sorted(total["by_property"].items(), key=lambda item: item[1][0])
    for place, (_, (alone, gain, _)) in enumerate(ranked):
        colour = BLUE if gain > 0 else ORANGE
        style = {"arrowstyle": "->", "color": colour, "shrinkA": 0, "shrinkB": 0, "linewidth": 1.4}
        axes.annotate("", (alone + gain, place), (alone, place), arrowprops=style)
        axes.plot(alone, place, ".", color=INK, markersize=3)
    axes.set_yticks(range(len(ranked)), [name for name, _ in ranked], fontsize=7)
    low, high = total["gain_low"], total["gain_high"]
    axes.set(title=f"mean gain {total['gain']:+.3f} [{low:+.3f}, {high:+.3f}]", xlabel="test AUC, mean of the settings")
    axes.title.set_fontsize(10)
    ends = [value for _, (alone, gain, _) in ranked for value in (alone, alone + gain)]
    axes.set_xlim(min(ends) - 0.02, min(1.0, max(ends) + 0.02))
