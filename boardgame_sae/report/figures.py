"""Figures of a study, as the papers draw them, with matplotlib: no display needed, the same bytes every time.

An architecture has one colour and one marker in all of them (Okabe and Ito's colours, which colour-blind readers tell
apart); random-GPT SAEs are grey, baselines are horizontal lines.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from boardgame_sae.activations.hook_points import layer_of
from boardgame_sae.activations.probes import RESULTS_FILE
from boardgame_sae.games import Game
from boardgame_sae.metrics.score import Scores
from boardgame_sae.report.table import Bed, Row, Study, recipe, rows_of, setting
from boardgame_sae.runs import RunError, read_json, writing
from boardgame_sae.saes.sae import CONFIG_FILE, architectures
from boardgame_sae.transcripts.corpus import Corpus

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A4FBF", "#8C6D1F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY, INK = "#8a8a8a", "#222222"
BASELINE_LINES = {"probe": ("#111111", "-"), "neurons": ("#666666", "--"), "residual": ("#666666", ":")}
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "savefig.dpi": 120,
}
Panel = tuple[str, np.ndarray]
"""A title, and the F1 of each square (S,), NaN where it is not measured."""
Curve = Sequence[Mapping[str, float]]
"""The lines of a metrics.jsonl."""


def look(architecture: str) -> tuple[str, str]:
    """The colour and the marker of an architecture, the same in every figure and on the page."""
    known = architectures()
    place = known.index(architecture) if architecture in known else len(known)
    return COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]


def learning_curve(curve: Curve, legality: Mapping[str, Any]) -> Figure:
    """Legal rate, and loss against the floor of perfect play of the rules, by training step.

    curve: metrics of a GPT run. legality: its legality.json, whose random_weights is the floor of legality.
    """
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    legal, loss = figure.subplots(1, 2)
    for name, text, line, colour in (
        ("legal_rate", "most probable move is legal", "o-", COLOURS[0]),
        ("legal_mass", "probability on legal moves", "^--", COLOURS[5]),
    ):
        legal.plot(*_points(curve, name), line, color=colour, markersize=4, label=text)
    floor = legality["random_weights"]["legal_rate"]
    legal.axhline(floor, color=GREY, linestyle=":", label="random weights: most probable move is legal")
    legal.set(ylim=(0, 1.02), xlabel="training step", ylabel="share of validation positions", title="Legality")
    legal.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), fontsize=8)
    loss.plot(*_points(curve, "train_loss"), color=COLOURS[5], label="train")
    loss.plot(*_points(curve, "validation_loss"), "o-", color=COLOURS[0], markersize=4, label="validation")
    if any("loss_floor" in line for line in curve):
        loss.plot(*_points(curve, "loss_floor"), "--", color=INK, label="floor: the rules known, nothing else")
    loss.set(xlabel="training step", ylabel="cross-entropy a token (nats)", title="Loss")
    loss.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), fontsize=8)
    return figure


def probe_accuracy(trained: Mapping[str, Any], random: Mapping[str, Any], marked: Sequence[str] = ()) -> Figure:
    """Accuracy of linear probes by hook point, on the trained and the random-weights GPT, beside always the majority.

    trained, random: probes.json of both. marked: hook points where SAEs are trained.
    """
    names = sorted(trained["hook_points"], key=_depth)
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for found, text, line, colour in (
        (trained, "trained GPT", "o-", COLOURS[0]),
        (random, "random-weights GPT", "s--", GREY),
    ):
        known = [
            (place, found["hook_points"][name]) for place, name in enumerate(names) if name in found["hook_points"]
        ]
        axes.plot(
            [place for place, _ in known], [each["accuracy"] for _, each in known], line, color=colour, label=text
        )
    majority = [trained["hook_points"][name]["majority_accuracy"] for name in names]
    axes.plot(range(len(names)), majority, ":", color=INK, label="always the majority class")
    for place, name in enumerate(names):
        if name in marked:
            axes.axvline(place, color=COLOURS[4], alpha=0.35, linewidth=8, zorder=0)
            axes.annotate("SAEs here", (place, 0.02), xycoords=("data", "axes fraction"), ha="center", fontsize=8)
    axes.set_xticks(range(len(names)), [hook_title(name) for name in names])
    axes.set_ylim(min(majority) - 0.08, 1.01)
    axes.set(xlabel="hook point", ylabel="accuracy a square", title=f"Linear probes of `{trained['property']}`")
    _legend_below(figure, [axes])
    return figure


def board_heat_maps(groups: Sequence[Sequence[Panel]], game: Game) -> Figure:
    """F1 by square, one board a panel, each group of panels on rows of its own. Grey: not measured."""
    columns = min(6, max(map(len, groups)))
    places = [[*group, *[None] * (-len(group) % columns)] for group in groups]
    panels = [panel for group in places for panel in group]
    n_rows = len(panels) // columns
    figure = Figure(figsize=(2.7 * columns + 0.9, 2.95 * n_rows), layout="constrained")
    grid = figure.subplots(n_rows, columns, squeeze=False).flatten()
    for axes, panel in zip(grid, panels, strict=True):
        if panel is None:
            axes.set_axis_off()
        else:
            _heat_map(axes, panel, game)
    figure.colorbar(
        ScalarMappable(Normalize(0, 1), "viridis"),
        ax=grid.tolist(),
        label="F1 on test",
        shrink=0.85 if n_rows == 1 else 0.6,
    )
    return figure


def _heat_map(axes: Axes, panel: Panel, game: Game) -> None:
    title, f1_S = panel
    board = np.reshape(f1_S, game.shape)
    shades = matplotlib.colormaps["viridis"].with_extremes(bad="#d9d9d9")
    axes.imshow(np.ma.masked_invalid(board), cmap=shades, vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(board):
        if np.isfinite(value):
            ink = "white" if value < 0.6 else "black"
            axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=6.5, color=ink)
    names = np.reshape(np.array(game.squares, dtype=object), game.shape)
    axes.set_xticks(range(game.shape[1]), [_shared(column, front=True) for column in names.T.tolist()])
    axes.set_yticks(range(game.shape[0]), [_shared(row, front=False) for row in names.tolist()])
    axes.tick_params(length=0, labelsize=7)
    axes.grid(visible=False)
    axes.set_title(title, fontsize=9)


def coverage_against_l0(rows: Sequence[Row]) -> Figure:
    """Coverage and board reconstruction against L0, with 95% intervals, beside every baseline."""
    figure = Figure(figsize=(10.5, 4.9), layout="constrained")
    axes = figure.subplots(1, 2)
    shown = (("coverage", "Coverage"), ("board_reconstruction", "Board reconstruction"))
    for each, (column, text) in zip(axes, shown, strict=True):
        _against_l0(each, rows, column)
        for row in rows:
            if row["kind"] in BASELINE_LINES and row.get(column) is not None:
                colour, line = BASELINE_LINES[row["kind"]]
                each.axhline(row[column], color=colour, linestyle=line, linewidth=1.2, label=row["name"])
        chance = next((row[f"{column}_always_on"] for row in rows if row.get(f"{column}_always_on") is not None), None)
        if chance is not None:
            each.axhline(
                chance, color=INK, linestyle=(0, (6, 2, 1, 2, 1, 2)), linewidth=1.2, label="always on (chance)"
            )
        each.set(ylabel="F1 on test", title=text)
        each.set_ylim(bottom=min(0.0, each.get_ylim()[0]))
    _legend_below(figure, axes)
    return figure


def loss_against_l0(rows: Sequence[Row]) -> Figure:
    """Loss recovered and explained variance against L0, of SAEs on the trained GPT."""
    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    axes = figure.subplots(1, 2)
    trained = [row for row in rows if row["kind"] == "sae"]
    shown = (("core", "Loss recovered"), ("core_explained_variance", "Explained variance"))
    for each, (column, text) in zip(axes, shown, strict=True):
        _against_l0(each, trained, column)
        each.axhline(1, color=INK, linestyle=":", linewidth=1)
        each.set(ylabel="share", title=text)
    _legend_below(figure, axes)
    return figure


def training_curves(curves: Sequence[tuple[str, str, Curve]]) -> Figure:
    """Explained variance and L0 of SAEs by training step.

    curves: (architecture, label, metrics) of each SAE.
    """
    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    variance, l0 = figure.subplots(1, 2)
    lines, seen = ("-", "--", ":", "-."), dict.fromkeys((name for name, _, _ in curves), 0)
    for architecture, label, curve in curves:
        colour, marker = look(architecture)
        line = lines[seen[architecture] % len(lines)]
        seen[architecture] += 1
        for axes, name in ((variance, "explained_variance"), (l0, "l0")):
            steps, values = _points(curve, name)
            few = marker if len(steps) < 25 else ""
            axes.plot(steps, values, color=colour, linestyle=line, marker=few, markersize=4, label=label)
    variance.set(xlabel="training step", ylabel="explained variance of a batch", title="Reconstruction")
    l0.set(xlabel="training step", ylabel="L0 of a batch", title="Sparsity", yscale="log")
    _plain_log(l0.yaxis, [value for _, _, curve in curves for value in _points(curve, "l0")[1]], l0.set_ylim)
    _legend_below(figure, (variance, l0))
    return figure


def write_figures(study: Study, folder: str | Path) -> list[Path]:
    """Draw every figure that a study has data for into a folder, and return their paths in reading order."""
    made: list[tuple[str, Figure]] = []
    with matplotlib.rc_context(STYLE):
        curve = read_curve(study.model / "metrics.jsonl")
        made.append(("learning_curve", learning_curve(curve, read_json(study.model / "legality.json"))))
        if study.probes and study.random_probes:
            both = (read_json(path / RESULTS_FILE) for path in (study.probes, study.random_probes))
            made.append(("probe_accuracy", probe_accuracy(*both, marked=[bed.hook_name for bed in study.beds])))
        for bed in study.beds:
            ending = f".{bed.hook_name}" if len(study.beds) > 1 else ""
            made += [(f"{name}{ending}", figure) for name, figure in _bed_figures(study, bed)]
        paths = []
        for name, figure in made:
            paths.append(Path(folder) / f"{name}.png")
            with writing(paths[-1]) as temporary:
                figure.savefig(temporary, format="png", metadata={"Software": None})
    return paths


def _bed_figures(study: Study, bed: Bed) -> list[tuple[str, Figure]]:
    rows = [row for row in rows_of([study]) if row["hook_name"] == bed.hook_name]
    game = Corpus.open(study.corpus).game
    best = best_sae(bed)
    groups = [_probe_panels(study, bed, game), _headline_panels(best, game) if best else []]
    groups = [group for group in groups if group]
    made = [("f1_by_square", board_heat_maps(groups, game))] if groups else []
    if any(row.get("coverage") is not None for row in rows):
        made += [("coverage_vs_l0", coverage_against_l0(rows))]
    if any(row["l0"] is not None for row in rows):
        made += [("loss_vs_l0", loss_against_l0(rows))]
    curves = [(card["architecture"], text, curve) for card, text, curve in map(_sae_curve, bed.saes) if curve]
    return [*made, ("sae_training", training_curves(curves))] if curves else made


def best_sae(bed: Bed) -> Scores | None:
    """The SAE of highest coverage on the trained GPT, if any was scored."""
    known = [found for found in bed.scored if found.subject["kind"] == "sae" and "coverage" in found]
    return max(known, key=lambda found: found["coverage"].value, default=None)


def read_curve(path: Path) -> list[dict[str, float]]:
    """The lines of a metrics.jsonl; none when the run logged nothing. Raises RunError when the file is damaged."""
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise RunError(f"{path}: damaged ({error}); remove its folder and run the stage again") from error


def _sae_curve(folder: Path) -> tuple[dict[str, Any], str, list[dict[str, float]]]:
    card = read_json(folder / CONFIG_FILE)
    row = {"name": folder.name, "setting": setting(card), **card}
    return card, recipe(row), read_curve(folder / "metrics.jsonl")


def _probe_panels(study: Study, bed: Bed, game: Game) -> list[Panel]:
    if study.probes is None:
        return []
    results = read_json(study.probes / RESULTS_FILE)
    found = results["hook_points"].get(bed.hook_name)
    if found is None:
        return []
    classes = game.property(results["property"]).classes or ("false", "true")
    f1_SC = np.array(found["f1_SC"])
    f1_SC[f1_SC == 0] = np.nan  # a class that the square never has, or that its probe never says
    return [
        (f"probe: {name}", f1_SC[:, place]) for place, name in enumerate(classes) if len(f1_SC) == len(game.squares)
    ]


def _headline_panels(best: Scores, game: Game) -> list[Panel]:
    """The best SAE's F1 by square, one board a class of the headline property."""
    details = best["coverage"].details["by_property"][best.subject["testbed"]["properties"][0]]["details"]
    boards: dict[str, np.ndarray] = {}
    for column, square, f1 in zip(details["columns"], details["square"], details["f1"], strict=True):
        name = column.removeprefix(game.squares[square]).strip()
        boards.setdefault(name, np.full(len(game.squares), np.nan))[square] = f1
    return [(f"best SAE: {name}", f1_S) for name, f1_S in boards.items()]


def _against_l0(axes: Axes, rows: Sequence[Row], column: str) -> None:
    """A number of every SAE against its L0 on a log axis: a series an architecture, random-GPT SAEs in grey."""
    known = [row for row in rows if row["l0"] and row.get(column) is not None]
    series: dict[tuple[str, int], list[Row]] = {}
    for row in sorted(known, key=lambda row: (row["architecture"], row["n_latents"], row["l0"])):
        if row["kind"] == "sae":
            series.setdefault((row["architecture"], row["n_latents"]), []).append(row)
    widths = {n_latents for _, n_latents in series}
    for (architecture, n_latents), line in series.items():
        colour, marker = look(architecture)
        text = architecture if len(widths) == 1 else f"{architecture}, {n_latents} latents"
        style = ("-", "--", ":", "-.")[sorted(widths).index(n_latents) % 4]
        axes.errorbar(*_with_bars(line, column), color=colour, marker=marker, linestyle=style, capsize=2, label=text)
    for row in known:
        if row["kind"] == "random_gpt_sae":
            bars = _with_bars([row], column)
            axes.errorbar(*bars, color=GREY, marker=look(row["architecture"])[1], linestyle="", label="random-GPT SAE")
    axes.set(xscale="log", xlabel="L0: latents on at a token")
    _plain_log(axes.xaxis, [row["l0"] for row in known], axes.set_xlim)


def _with_bars(rows: Sequence[Row], column: str) -> tuple[list[float], list[float], np.ndarray | None]:
    """L0, value and the lengths of the error bars below and above; None where a score has no interval."""
    values = [row[column] for row in rows]
    bars = None
    if all(row.get(f"{column}_low") is not None for row in rows):
        below = [value - row[f"{column}_low"] for row, value in zip(rows, values, strict=True)]
        above = [row[f"{column}_high"] - value for row, value in zip(rows, values, strict=True)]
        bars = np.maximum(np.array([below, above]), 0)
    return [row["l0"] for row in rows], values, bars


def _plain_log(axis: Any, values: Sequence[float], set_limits: Any) -> None:
    """Tick labels 5, 10, 20, 50 in place of powers of ten, and limits that leave room."""
    positive = [value for value in values if value > 0]
    if positive:
        set_limits(min(positive) / 1.35, max(positive) * 1.35)
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _legend_below(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend under the figure, each label once."""
    known: dict[str, Any] = {}
    for each in axes:
        for handle, text in zip(*each.get_legend_handles_labels(), strict=True):
            known.setdefault(text, handle)
    if known:
        figure.legend(known.values(), known.keys(), loc="outside lower center", ncols=min(4, len(known)), fontsize=8)


def _points(curve: Curve, name: str) -> tuple[list[float], list[float]]:
    """Steps and values of one logged number."""
    known = [line for line in curve if name in line]
    return [line["step"] for line in known], [line[name] for line in known]


def _depth(hook_name: str) -> tuple[int, int, str]:
    """Sort hook points as a forward pass meets them."""
    inside = hook_name.startswith("blocks.")
    layer = layer_of(hook_name) if inside else -1 if "embed" in hook_name else 10**6
    place = 0 if hook_name.endswith("resid_pre") else 2 if hook_name.endswith("resid_post") else 1
    return layer, place, hook_name


def hook_title(hook_name: str) -> str:
    """What figures call a hook point: `block 2` for the residual stream after it."""
    if hook_name == "blocks.0.hook_resid_pre":
        return "embedding"
    if hook_name.endswith(".hook_resid_post"):
        return f"block {layer_of(hook_name)}"
    return hook_name.removeprefix("blocks.")


def _shared(names: Sequence[str], *, front: bool) -> str:
    """What the names of a column's squares (front) or of a row's (back) share: `a`, `1`."""
    first, *others = names
    for size in range(len(first), 0, -1):
        part = first[:size] if front else first[-size:]
        if all(name.startswith(part) if front else name.endswith(part) for name in others):
            return part
    return ""
