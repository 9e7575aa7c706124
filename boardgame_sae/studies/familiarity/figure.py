"""The figure of the study of familiarity."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from boardgame_sae.report.figures.style import BLUE, GREY, INK, ORANGE, SKY, legend_below
from boardgame_sae.studies.familiarity.openings import CONTRASTS
from boardgame_sae.studies.study import Row

COLOURS = (BLUE, ORANGE, SKY, "#009E73", "#CC79A7", GREY, "#D55E00", "#999933")


def figure(rows: Sequence[Row]) -> Figure:
    """How well each tells the kinds apart, and how far clamping moves the entropy."""
    drawn = Figure(figsize=(11.5, 5.2), layout="constrained")
    told, moved = drawn.subplots(1, 2, width_ratios=(1.2, 1))
    _told(told, [row for row in rows if "auc" in row])
    _moved(moved, [row for row in rows if "scale" in row])
    legend_below(drawn, [told, moved])
    return drawn


def _told(axes: Axes, rows: Sequence[Row]) -> None:
    who = list(dict.fromkeys(row["who"] for row in rows))
    for place, name in enumerate(who):
        own = [max((row for row in rows if (row["who"], row["contrast"]) == (name, contrast)),
                   key=lambda row: row["auc"], default=None) for contrast in CONTRASTS]  # fmt: skip
        at = [(x + (place - len(who) / 2 + 0.5) * 0.09, row) for x, row in enumerate(own) if row]
        errors = np.array([[row["auc"] - row.get("auc_low", row["auc"]), row.get("auc_high", row["auc"]) - row["auc"]]
                           for _, row in at]).T.clip(min=0)  # fmt: skip
        axes.errorbar([x for x, _ in at], [row["auc"] for _, row in at], yerr=errors, fmt="o", markersize=5,
                      color=COLOURS[place % len(COLOURS)], label=name)  # fmt: skip
    axes.axhline(0.5, color=GREY, linewidth=0.8)
    axes.set_xticks(
        range(len(CONTRASTS)), [f"{name}:\n{' or '.join(kinds)}" for name, kinds in CONTRASTS.items()], fontsize=9
    )
    axes.set(title="Kinds told apart", ylabel="AUC on test openings, within a ply")


def _moved(axes: Axes, rows: Sequence[Row]) -> None:
    shown = rows[::-1]
    for place, row in enumerate(shown):
        low, high = row.get("entropy_alike_low", 0.0), row.get("entropy_alike_high", 0.0)
        axes.plot([low, high], [place, place], color=GREY, linewidth=6, alpha=0.5, solid_capstyle="butt",
                  label="latents alike, lowest to highest")  # fmt: skip
        error = [[max(row["entropy"] - row["entropy_low"], 0)], [max(row["entropy_high"] - row["entropy"], 0)]]
        axes.errorbar([row["entropy"]], [place], xerr=error, fmt="o", color=INK, markersize=5, label="the latent")
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_yticks(range(len(shown)), [f"{row['contrast']}, for {row['kind']}, {row['who']}" for row in shown])
    axes.tick_params(axis="y", labelsize=7)
    axes.set(title="Clamped on", xlabel="change of the entropy of the next move, nats")
