"""Figures of a study, as the papers draw them, with matplotlib: no display needed, the same bytes every time."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from boardgame_sae.files import RunError, read_json, writing
from boardgame_sae.games import Game
from boardgame_sae.metrics.results import Scores
from boardgame_sae.model.legality import LEGALITY_FILE
from boardgame_sae.pipeline.study_folder import Bed, Study
from boardgame_sae.probes.fit import RESULTS_FILE
from boardgame_sae.report.figures.gpt_figures import learning_curve, legality_figure, probe_accuracy
from boardgame_sae.report.figures.layer_figures import scores_by_layer
from boardgame_sae.report.figures.style import (
    COLOURS,
    GREY,
    INK,
    STYLE,
    Curve,
    coordinates,
    depth,
    hook_title,
    legend_below,
    look,
    plain_log,
    points,
)
from boardgame_sae.report.rows import Row, kind_title, recipe, rows_of, setting
from boardgame_sae.saes.sae import CONFIG_FILE
from boardgame_sae.transcripts.corpus import Corpus

BASELINE_LINES = {"probe": ("#111111", "-"), "neurons": ("#666666", "--"), "residual": ("#666666", ":")}
CHANCE_LINE: Any = (0, (6, 2, 1, 2, 1, 2))
SIGNS = {
    "probe": ("linear probe", "*", "#111111", 8),
    "sparse_probe": ("linear probe as sparse as the best SAE", "D", "#111111", 4),
    "sae": ("best SAE", "o", COLOURS[0], 7),
    "random_gpt_sae": ("random-GPT SAE", "o", "#b5b5b5", 6),
    "neurons": ("MLP neurons", "s", "#888888", 5),
    "residual": ("residual channels", "^", "#888888", 5),
}
"""What stands for each kind of subject where one number of each is shown: label, marker, colour, size."""
Panel = tuple[str, np.ndarray]
"""A title, and the F1 of each square (S,), NaN where it is not measured."""


def board_heat_maps(
    groups: Sequence[Sequence[Panel]], game: Game, label: str = "F1 on test", low: float = 0.0
) -> Figure:
    """A share by square, one board a panel, each group of panels on rows of its own. Grey: not measured.

    label: what is shown. low: where the scale of colours, which ends at 1, begins.
    """
    most = max(map(len, groups))
    columns = min((min(6, most), min(7, most)), key=lambda n: sum(-(-len(group) // n) for group in groups))
    if len(groups) == 1 and most > columns:
        columns = -(-most // (-(-most // columns)))  # rows of nearly equal length
    places = [[*group, *[None] * (-len(group) % columns)] for group in groups]
    panels = [panel for group in places for panel in group]
    n_rows = len(panels) // columns
    figure = Figure(figsize=(2.7 * columns + 0.9, 2.95 * n_rows), layout="constrained")
    grid = figure.subplots(n_rows, columns, squeeze=False).flatten()
    for axes, panel in zip(grid, panels, strict=True):
        if panel is None:
            axes.set_axis_off()
        else:
            _heat_map(axes, panel, game, low)
    figure.colorbar(
        ScalarMappable(Normalize(low, 1), "viridis"),
        ax=grid.tolist(),
        label=label,
        shrink=0.85 if n_rows == 1 else 0.6,
    )
    return figure


def _heat_map(axes: Axes, panel: Panel, game: Game, low: float) -> None:
    title, f1_S = panel
    board = np.reshape(f1_S, game.shape)
    shades = matplotlib.colormaps["viridis"].with_extremes(bad="#d9d9d9")
    axes.imshow(np.ma.masked_invalid(board), cmap=shades, vmin=low, vmax=1)
    for (row, column), value in np.ndenumerate(board):
        if np.isfinite(value):
            ink = "white" if value < low + 0.6 * (1 - low) else "black"
            axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=6.5, color=ink)
    columns, rows = coordinates(game)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    if not game.first_row_on_top:
        axes.invert_yaxis()
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
        _sparse_ceiling(each, rows, column)
        for row in rows:
            if row["kind"] in BASELINE_LINES and row.get(column) is not None:
                colour, line = BASELINE_LINES[row["kind"]]
                each.axhline(row[column], color=colour, linestyle=line, linewidth=1.2, label=row["name"])
        chance = next((row[f"{column}_always_on"] for row in rows if row.get(f"{column}_always_on") is not None), None)
        if chance is not None:
            each.axhline(chance, color=INK, linestyle=CHANCE_LINE, linewidth=1.2, label="always on (chance)")
        each.set(ylabel="F1 on test", title=text)
        each.set_ylim(bottom=min(0.0, each.get_ylim()[0]))
    legend_below(figure, axes)
    return figure


def _sparse_ceiling(axes: Axes, rows: Sequence[Row], column: str) -> None:
    """The linear probe of each SAE's own sparsity."""
    known = [row for row in rows if row["kind"] == "sparse_probe" and row.get(column) is not None]
    if known:
        known.sort(key=lambda row: row["l0"])
        places = [row["l0"] for row in known], [row[column] for row in known]
        axes.plot(*places, "D-", color="#111111", markersize=3, linewidth=1, label=kind_title("sparse_probe"))


def direction_recovery(rows: Sequence[Row]) -> Figure:
    """Cosines of decoder rows with probe directions and with mean differences, against L0, beside random directions."""
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    known = _points([row for row in rows if row.get("direction_recovery") is not None])
    shown = (("", "random", "Directions that probes read"), ("_means", "means_random", "Differences of means"))
    for each, (ending, random, text) in zip(axes, shown, strict=True):
        _against_l0(each, rows, f"direction_recovery{ending}")
        level = sorted((row["l0"], row[f"direction_recovery_{random}"]) for row in known)
        look_of = {"color": GREY, "linestyle": ":", "linewidth": 1.2, "marker": "_", "markersize": 8}
        each.plot(*zip(*level, strict=True), **look_of, label="random directions (chance)")
        each.set(ylabel="mean matched cosine" if not ending else "", title=text)
    axes[0].set_ylim(bottom=min(0.0, axes[0].get_ylim()[0]))  # shared, so only once both are drawn
    legend_below(figure, axes)
    return figure


def coverage_by_property(bed: Bed) -> Figure:
    """Coverage of each property: of the best SAE, beside the baselines, the best random-GPT SAE and always on."""
    best = _best_of_kinds(bed)
    first = next(iter(best.values()))
    measured = first["coverage"].details["by_property"]
    names = [name for name in first.subject["testbed"]["properties"] if name in measured]
    figure = Figure(figsize=(7.5, 1.7 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots()
    offsets = np.linspace(-0.28, 0.28, len(best))  # signs of equal numbers must not hide each other
    for offset, (kind, found) in zip(offsets, best.items(), strict=True):
        text, sign, colour, size = SIGNS[kind]
        by_property = found["coverage"].details["by_property"]
        places = [(by_property[name]["value"], y + offset) for y, name in enumerate(names) if name in by_property]
        axes.plot(*zip(*places, strict=True), sign, color=colour, markersize=size, label=text)
    for y, name in enumerate(names):
        chance, about = measured[name]["parts"]["always_on"], {"color": INK, "linewidth": 1.5}
        axes.plot([chance, chance], [y - 0.38, y + 0.38], **about, label="always on (chance)")
        axes.axhspan(y - 0.5, y + 0.5, color="#000000", alpha=0.035 * (y % 2), linewidth=0)
    high = first["coverage"].details["high"]
    axes.set_yticks(range(len(names)), [name.replace("_", " ") + (" ·" if name in high else "") for name in names])
    axes.grid(visible=False, axis="y")
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set(xlim=(-0.02, 1.02), xlabel="mean F1 on test", title="Coverage by property (·: high level)")
    legend_below(figure, [axes], columns=3)
    return figure


def _best_of_kinds(bed: Bed) -> dict[str, Scores]:
    """Of each kind of subject that of highest coverage; of sparse probes that of the best SAE's L0."""
    known = [found for found in bed.scored if "coverage" in found]
    kinds = {kind: [found for found in known if found.subject["kind"] == kind] for kind in SIGNS}
    best = {kind: max(found, key=_coverage) for kind, found in kinds.items() if found}
    if "sae" in best and "sparse_probe" in best:
        wanted = max(1, round(best["sae"].subject["l0"]))
        best["sparse_probe"] = min(kinds["sparse_probe"], key=lambda found: abs(found.subject["k"] - wanted))
    return best


def _coverage(found: Scores) -> float:
    return found["coverage"].value


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
    legend_below(figure, axes)
    return figure


def training_curves(curves: Sequence[tuple[str, str, Curve]]) -> Figure:
    """Explained variance and L0 of SAEs by training step.

    curves: (architecture, label, metrics) of each SAE; those of one label, seeds, have one line style.
    """
    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    variance, l0 = figure.subplots(1, 2)
    lines, seen = ("-", "--", ":", "-."), {name: list[str]() for name, _, _ in curves}
    for architecture, label, curve in curves:
        colour, marker = look(architecture)
        seen[architecture] += [label] if label not in seen[architecture] else []
        line = lines[seen[architecture].index(label) % len(lines)]
        for axes, name in ((variance, "explained_variance"), (l0, "l0")):
            steps, values = points(curve, name)
            few = marker if len(steps) < 25 else ""
            axes.plot(steps, values, color=colour, linestyle=line, marker=few, markersize=4, label=label)
    variance.set(xlabel="training step", ylabel="explained variance of a batch", title="Reconstruction")
    l0.set(xlabel="training step", ylabel="L0 of a batch", title="Sparsity", yscale="log")
    plain_log(l0.yaxis, [value for _, _, curve in curves for value in points(curve, "l0")[1]], l0.set_ylim)
    legend_below(figure, (variance, l0))
    return figure


def write_figures(study: Study, folder: str | Path, only: Sequence[str] = ()) -> list[Path]:
    """Draw every figure that a study has data for into a folder, and return their paths in reading order.

    only: names of those to draw (none: all).
    """
    made: list[tuple[str, Figure]] = []
    with matplotlib.rc_context(STYLE):
        if (study.model / LEGALITY_FILE).exists():
            curve, legality = read_curve(study.model / "metrics.jsonl"), read_json(study.model / LEGALITY_FILE)
            made += [("learning_curve", learning_curve(curve, legality))]
            made += [("legality", legality_figure(legality, first_predicted_ply(study)))]
        if study.probes:
            made += [("probe_accuracy", probe_accuracy(probe_pairs(study), [bed.hook_name for bed in study.beds]))]
            made += [("probe_squares", figure) for figure in _probe_squares(study)]
        if len(study.beds) > 1:
            made += [("scores_by_layer", scores_by_layer(rows_of([study])))]
        for bed in study.beds:
            ending = f".{bed.hook_name}" if len(study.beds) > 1 else ""
            made += [(f"{name}{ending}", figure) for name, figure in _bed_figures(study, bed)]
        paths = []
        for name, figure in made:
            if only and name not in only:
                continue
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
    if any("coverage" in found for found in bed.scored):
        made += [("coverage_by_property", coverage_by_property(bed))]
    if any(row.get("coverage") is not None for row in rows):
        made += [("coverage_vs_l0", coverage_against_l0(rows))]
    if any(row.get("direction_recovery") is not None for row in rows):
        made += [("direction_recovery", direction_recovery(rows))]
    if any(row.get("core") is not None for row in rows):
        made += [("loss_vs_l0", loss_against_l0(rows))]
    curves = [(card["architecture"], text, curve) for card, text, curve in map(_sae_curve, bed.saes) if curve]
    return [*made, ("sae_training", training_curves(curves))] if curves else made


def probe_pairs(study: Study) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """What each of a study's probes found, on the trained and on the random-weights GPT."""
    both = zip(study.probes, study.random_probes, strict=True)
    return [(read_json(trained / RESULTS_FILE), read_json(random / RESULTS_FILE)) for trained, random in both]


def first_predicted_ply(study: Study) -> int:
    """The first ply that the GPT predicts: the first of all only where text comes before it."""
    corpus = Corpus.open(study.corpus)
    return corpus.tokenizer.first_predicted_ply(corpus.game)


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
    card = card["metadata"].get("trained_as", card)
    row = {"name": folder.name, "setting": setting(card), **card}
    return card, recipe(row), read_curve(folder / "metrics.jsonl")


def _probe_squares(study: Study) -> list[Figure]:
    """The accuracy of the first probe by square, a board a hook point; none where it is not about squares."""
    found, game = read_json(study.probes[0] / RESULTS_FILE)["hook_points"], Corpus.open(study.corpus).game
    names = sorted(found, key=depth)
    if len(found[names[0]]["accuracy_S"]) != len(game.squares):
        return []
    panels = [
        (f"{hook_title(name)}: {found[name]['accuracy']:.1%}", np.array(found[name]["accuracy_S"])) for name in names
    ]
    low = np.floor(10 * min(panel.min() for _, panel in panels)) / 10
    return [board_heat_maps([panels], game, "squares read right on test", low)]


def _probe_panels(study: Study, bed: Bed, game: Game) -> list[Panel]:
    if not study.probes:
        return []
    results = read_json(study.probes[0] / RESULTS_FILE)
    found = results["hook_points"].get(bed.hook_name)
    if found is None:
        return []
    none = ("none",) if results["none"] else ()
    classes = (*none, *game.property(results["property"]).classes) if results["group"] > 1 else ("false", "true")
    f1_SC = np.array(found["f1_SC"])
    f1_SC[f1_SC == 0] = np.nan  # a class that the square never has, or that its probe never says
    return [
        (f"probe: {name}", f1_SC[:, place]) for place, name in enumerate(classes) if len(f1_SC) == len(game.squares)
    ]


def _headline_panels(best: Scores, game: Game) -> list[Panel]:
    """The best SAE's F1 by square, one board a class of the headline property; none if that is not about squares."""
    details = best["coverage"].details["by_property"][best["coverage"].details["headline"]]["details"]
    if min(details["square"]) < 0:
        return []
    boards: dict[str, np.ndarray] = {}
    for column, square, f1 in zip(details["columns"], details["square"], details["f1"], strict=True):
        name = column.removeprefix(game.squares[square]).strip()
        boards.setdefault(name, np.full(len(game.squares), np.nan))[square] = f1
    order = game.property(best["coverage"].details["headline"]).classes or tuple(boards)
    return [(f"best SAE: {name}", boards[name]) for name in order if name in boards]


def _against_l0(axes: Axes, rows: Sequence[Row], column: str) -> None:
    """A number of every SAE against its L0 on a log axis: a series an architecture, random-GPT SAEs in grey."""
    known = [row for row in _points(rows) if row["l0"] and row.get(column) is not None]
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
    plain_log(axes.xaxis, [row["l0"] for row in known], axes.set_xlim)


def _points(rows: Sequence[Row]) -> list[Row]:
    """SAEs, and one row for all seeds of one."""
    return [row for row in rows if row["architecture"] is not None and row["pooled_as"] is None]


def _with_bars(rows: Sequence[Row], column: str) -> tuple[list[float], list[float], np.ndarray | None]:
    """L0, value and the lengths of the error bars below and above; None where a score has no interval."""
    values = [row[column] for row in rows]
    bars = None
    if all(row.get(f"{column}_low") is not None for row in rows):
        below = [value - row[f"{column}_low"] for row, value in zip(rows, values, strict=True)]
        above = [row[f"{column}_high"] - value for row, value in zip(rows, values, strict=True)]
        bars = np.maximum(np.array([below, above]), 0)
    return [row["l0"] for row in rows], values, bars
