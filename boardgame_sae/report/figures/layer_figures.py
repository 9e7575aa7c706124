"""What a study of several hook points shows: scores along the forward pass."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from boardgame_sae.report.figures.style import GREY, INK, depth, hook_title, legend_below, look
from boardgame_sae.report.rows import Row, kind_title, recipe

BASELINES = {"probe": ("*-", INK), "neurons": ("s--", "#666666"), "residual": ("^:", "#666666")}
SHOWN = (("coverage", "Coverage"), ("board_reconstruction", "Board reconstruction"))


def scores_by_layer(rows: Sequence[Row]) -> Figure:
    """Coverage and board reconstruction of each SAE recipe by hook point, beside probes, neurons and channels.

    rows: those of one study; SAEs of several seeds by the row that pools them.
    """
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    axes = figure.subplots(1, 2)
    known = [row for row in rows if row["pooled_as"] is None and row["kind"] != "sparse_probe"]
    for each, (column, title) in zip(axes, SHOWN, strict=True):
        _by_layer(each, [row for row in known if row.get(column) is not None], column)
        each.set(ylabel="F1 on test", title=title, xlabel="hook point", ylim=(0, 1.02))
    legend_below(figure, axes, columns=3)
    return figure


def _by_layer(axes: Axes, rows: Sequence[Row], column: str) -> None:
    names = sorted({row["hook_name"] for row in rows}, key=depth)
    places = {name: place for place, name in enumerate(names)}
    lines: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["kind"] not in BASELINES, row["kind"], recipe(row))):
        random = "random-GPT " if row["kind"] == "random_gpt_sae" else ""
        text = kind_title(row["kind"]) if row["kind"] in BASELINES else random + recipe(row)
        lines.setdefault(text, []).append(row)
    for text, line in lines.items():
        line.sort(key=lambda row: places[row["hook_name"]])
        kind = line[0]["kind"]
        if kind in BASELINES:
            style, colour = BASELINES[kind]
        else:
            own, marker = look(line[0]["architecture"])
            style, colour = (f"{marker}-", own) if kind == "sae" else (f"{marker}:", GREY)
        at = [places[row["hook_name"]] for row in line]
        axes.plot(at, [row[column] for row in line], style, color=colour, markersize=5, linewidth=1.3, label=text)
    axes.set_xticks(range(len(names)), [hook_title(name) for name in names], rotation=30, ha="right", fontsize=8)
