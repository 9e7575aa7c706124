"""The figure of the study of faithfulness: a panel for each question."""

import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from boardgame_sae.report.figures.style import BLUE, GREY, ORANGE, legend_below
from boardgame_sae.studies.study import Row

ERRORS, LAYERS, ORDERS, PLAY = "illegal moves", "layers", "orders of moves", "own evaluation"
"""The four questions."""
SERIES = (("value", BLUE, 0.12, "found"), ("control", GREY, -0.12, "beside it, for comparison"))
"""What is drawn of each row: column, colour, how far above its line, label."""


def figure(rows: Sequence[Row]) -> Figure:
    """What is found for each question, beside its controls."""
    asked = [question for question in PANELS if any(row["question"] == question for row in rows)]
    drawn = Figure(figsize=(7.2, 2.7 * len(asked) + 0.4), layout="constrained")
    all_axes = np.ravel(drawn.subplots(len(asked), 1))
    for axes, question in zip(all_axes, asked, strict=True):
        PANELS[question](axes, [row for row in rows if row["question"] == question])
    legend_below(drawn, list(all_axes))
    return drawn


def _errors(axes: Axes, rows: Sequence[Row]) -> None:
    """Illegal moves that are legal on the board read, by layer."""
    by_layer = next(row["by_layer"] for row in rows if "by_layer" in row)
    layer, own, others = zip(*by_layer, strict=True)
    for values, (_, colour, _, label) in zip((own, others), SERIES, strict=True):
        axes.plot(layer, [np.nan if value is None else value for value in values], color=colour, marker="o",
                  markersize=4, label=label)  # fmt: skip
    axes.set(title="Illegal moves", xlabel="board read at block", ylabel="share legal on the board read")
    axes.set_ylim(0, 1)


def _bars(title: str, label: str, reference: float | None) -> Callable[[Axes, Sequence[Row]], None]:
    """A panel of numbers with intervals, one below the other."""

    def draw(axes: Axes, rows: Sequence[Row]) -> None:
        shown = [row for row in rows if "value" in row][::-1]
        for name, colour, shift, of in SERIES:
            for place, row in enumerate(shown):
                if name in row:
                    low, high = (row.get(f"{name}_{end}", row[name]) for end in ("low", "high"))
                    error = [[max(row[name] - low, 0)], [max(high - row[name], 0)]]
                    axes.errorbar(
                        row[name],
                        place + shift * ("control" in row),
                        xerr=error,
                        fmt="o",
                        color=colour,
                        markersize=5,
                        label=of,
                    )
        if reference is not None:
            axes.axvline(reference, color=ORANGE, linewidth=1)
        axes.set_yticks(range(len(shown)), [_short(row["what"]) for row in shown])
        axes.tick_params(axis="y", labelsize=8)
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.set(title=title, xlabel=label)

    return draw


def _orders(axes: Axes, rows: Sequence[Row]) -> None:
    """Total variation alone: agreement is in the table."""
    _bars("One position, two orders of moves", "total variation of the next token", None)(
        axes, [row for row in rows if "control" not in row]
    )


def _short(what: str) -> str:
    """What a row is about, without the measure that its axis names, in lines of a label's width."""
    return textwrap.fill(what.split(":")[0], 28)


PANELS: Mapping[str, Callable[[Axes, Sequence[Row]], None]] = {
    ERRORS: _errors,
    LAYERS: _bars("What predicts illegal moves", "AUC within a ply (comparison: across plies)", 0.5),
    ORDERS: _orders,
    PLAY: _bars("Its moves by its own evaluation", "rank among legal moves, or share", 0.5),
}
"""How each question is drawn."""
