"""The figure: three accuracies of every SAE and choice, between those of the biased and of the balanced probe."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from boardgame_sae.report.figures.style import legend_below
from boardgame_sae.studies.shift.choices import LINES, MARKS, NO_SAE
from boardgame_sae.studies.study import Row


def figure(rows: Sequence[Row]) -> Figure:
    """Accuracies of each SAE and choice, between those of the biased and of the balanced probe."""
    saes = list(dict.fromkeys(row["sae"] for row in rows if row["sae"] != NO_SAE))
    drawn = Figure(figsize=(11, 1.0 * len(saes) + 2.4), layout="constrained")
    panels = drawn.subplots(1, 3, sharey=True)
    titles = {
        "intended": "intended concept",
        "spurious": "spurious concept (0.5: unknown)",
        "worst": "intended, worst group",
    }
    for axes, (number, title) in zip(panels, titles.items(), strict=True):
        _panel(axes, rows, saes, number)
        axes.set(title=title, xlabel="test accuracy")
    panels[0].set_yticks(range(len(saes)), saes)
    panels[0].set_ylim(len(saes) - 0.5, -0.5)
    legend_below(drawn, panels)
    return drawn


def _panel(axes: Axes, rows: Sequence[Row], saes: Sequence[str], number: str) -> None:
    for row in rows:
        if row["sae"] == NO_SAE:
            colour, line = LINES[row["choice"]]
            axes.axvline(row[number], color=colour, linestyle=line, linewidth=1.2, label=f"no SAE: {row['choice']}")
    for place, (how, (colour, marker)) in enumerate(MARKS.items()):
        own = {row["sae"]: row for row in rows if row["choice"] == how}
        at = np.arange(len(saes)) + 0.11 * (place - (len(MARKS) - 1) / 2)
        low, value, high = (np.array([own[sae][f"{number}{end}"] for sae in saes]) for end in ("_low", "", "_high"))
        spread = np.maximum([value - low, high - value], 0)
        axes.errorbar(value, at, xerr=spread, fmt=marker, color=colour, markersize=5, label=how)
