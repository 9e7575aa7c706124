"""The figure of the study of variants: which game by ply, and what probes of each game say and do in every other."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from boardgame_sae.report.figures.style import BLUE, GREY, INK, LINES, hook_title, legend_below
from boardgame_sae.studies.study import Row

MATRICES = (
    ("board probe", "value", "Board read: share of squares"),
    ("board probe", "cosine", "Directions: mean cosine"),
    ("board edit", "value", "Edits: share of errors removed"),
)
"""What is drawn as a matrix of games: rows of the table, their column, and a title."""


def figure(rows: Sequence[Row], games: Sequence[str]) -> Figure:
    """A panel by ply and three matrices; those that have no rows are left empty."""
    drawn = Figure(figsize=(10.5, 8.0), layout="constrained")
    panels = drawn.subplots(2, 2).ravel().tolist()
    _by_ply(panels[0], [row for row in rows if row["what"] == "which game"])
    for axes, (what, column, title) in zip(panels[1:], MATRICES, strict=True):
        _matrix(axes, [row for row in rows if row["what"] == what], column, games)
        axes.set_title(title)
    legend_below(drawn, panels[:1], columns=3)
    return drawn


def _by_ply(axes: Axes, rows: Sequence[Row]) -> None:
    """The share of positions at which the game is named, by ply and layer."""
    of_all = [row for row in rows if row["of"] == "the GPT of all"]
    for row, line in zip(of_all, np.resize(LINES, len(of_all)), strict=True):
        axes.plot(row["plies"], row["value_by_ply"], color=BLUE, linestyle=line, label=hook_title(row["on"]))
    for row in rows:
        if row["of"] != "the GPT of all":
            axes.plot(row["plies"], row["value_by_ply"], color=GREY, label="GPT of one game")
    if of_all:
        last = of_all[-1]
        axes.plot(last["plies"], last["control_by_ply"], color=GREY, linestyle=":", label="random weights")
        axes.plot(last["plies"], last["observer_by_ply"], color=INK, linewidth=1, label="one who knows all the rules")
    axes.set(title="Which game: named right", xlabel="plies played", ylabel="share of test positions", ylim=(0.3, 1.02))


def _matrix(axes: Axes, rows: Sequence[Row], column: str, games: Sequence[str]) -> None:
    """Numbers by the game that the probe is of (down) and that it is asked about (across)."""
    values = np.full((len(games), len(games)), np.nan)
    for row in rows:
        values[games.index(row["of"].removeprefix("probe of ")), games.index(row["on"])] = row[column]
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1)
    for (of, on), value in np.ndenumerate(values):
        if not np.isnan(value):
            axes.text(on, of, f"{value:.2f}", ha="center", va="center", color="white" if value > 0.6 else INK)
    names = [game.replace("_", "\n") for game in games]
    axes.set_xticks(range(len(games)), names)
    axes.set_yticks(range(len(games)), names)
    axes.set(xlabel="asked about", ylabel="probe of")
    axes.grid(visible=False)
