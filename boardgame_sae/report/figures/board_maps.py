"""Heat maps on the board: how well probes, and the best SAE's latents, read each square."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from boardgame_sae.games import Game
from boardgame_sae.metrics.results import Scores
from boardgame_sae.pipeline.study_folder import Study, StudyTestbed
from boardgame_sae.report.best import best_sae, ranking_score
from boardgame_sae.report.figures.registry import ReportFigure, register
from boardgame_sae.report.figures.style import coordinates, depth, hook_title

Panel = tuple[str, np.ndarray]
"""A title, and a share of each square (S,), NaN where it is not measured."""


def board_heat_maps(
    groups: Sequence[Sequence[Panel]], game: Game, label: str = "F1 on test", low: float = 0.0
) -> Figure:
    """A share by square, one board per panel, each group of panels on rows of its own. Grey: not measured.

    label: what is shown. low: the lower end of the colour scale, which ends at 1.
    """
    longest = max(map(len, groups))
    columns = min((min(6, longest), min(7, longest)), key=lambda n: sum(-(-len(group) // n) for group in groups))
    if len(groups) == 1 and longest > columns:
        columns = -(-longest // (-(-longest // columns)))  # rows of nearly equal length
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
    title, share_S = panel
    board = np.reshape(share_S, game.shape)
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


def probe_squares(study: Study) -> Figure | None:
    """The accuracy of the first probe by square, one board per hook point; None where it is not about squares."""
    if not study.probes or study.game is None:
        return None
    points = study.probe_results[0][0]["hook_points"]
    names = sorted(points, key=depth)
    if len(points[names[0]]["accuracy_S"]) != len(study.game.squares):
        return None
    panels = [
        (f"{hook_title(name)}: {points[name]['accuracy']:.1%}", np.array(points[name]["accuracy_S"])) for name in names
    ]
    low = np.floor(10 * min(panel.min() for _, panel in panels)) / 10
    return board_heat_maps([panels], study.game, "squares read right on test", low)


def f1_by_square(study: Study, testbed: StudyTestbed) -> Figure | None:
    """F1 by square of the first probe at a testbed's hook point, and of the best SAE's latents for the headline."""
    if (game := study.game) is None:
        return None
    best = best_sae(testbed)
    groups = [_probe_panels(study, testbed, game), _headline_panels(best, game) if best is not None else []]
    groups = [group for group in groups if group]
    return board_heat_maps(groups, game) if groups else None


def _probe_panels(study: Study, testbed: StudyTestbed, game: Game) -> list[Panel]:
    if not study.probes:
        return []
    results = study.probe_results[0][0]
    point = results["hook_points"].get(testbed.hook_name)
    if point is None or len(point["f1_SC"]) != len(game.squares):
        return []
    none = ("none",) if results["none"] else ()
    classes = (*none, *game.property(results["property"]).classes) if results["group"] > 1 else ("false", "true")
    f1_SC = np.array(point["f1_SC"])
    f1_SC[f1_SC == 0] = np.nan  # a class that the square never has, or that its probe never says
    return [(f"probe: {name}", f1_SC[:, place]) for place, name in enumerate(classes)]


def _headline_panels(best: Scores, game: Game) -> list[Panel]:
    """The best SAE's F1 by square, one board per class of the headline property; none if that is not about squares."""
    ranked_by = best[ranking_score().name].details
    details = ranked_by["by_property"][ranked_by["headline"]]["details"] if "headline" in ranked_by else {}
    if min(details.get("square", [-1])) < 0:
        return []
    boards: dict[str, np.ndarray] = {}
    for column, square, f1 in zip(details["columns"], details["square"], details["f1"], strict=True):
        name = column.removeprefix(game.squares[square]).strip()
        boards.setdefault(name, np.full(len(game.squares), np.nan))[square] = f1
    order = game.property(ranked_by["headline"]).classes or tuple(boards)
    return [(f"best SAE: {name}", boards[name]) for name in order if name in boards]


register(
    ReportFigure(
        name="probe_squares",
        caption="Share of test positions at which the first probe reads a square right, in hundredths, at each hook "
        "point.",
        section="probes",
        order=40,
        on_card=True,
        of_study=probe_squares,
    )
)
register(
    ReportFigure(
        name="f1_by_square",
        caption="F1 by square, in hundredths. Above: the linear probe at the SAEs' hook point. Below: the best SAE's "
        "best single latent for each class of the headline property. Grey: the square never shows the class, or too "
        "rarely to be scored, or the probe never predicts it.",
        section="squares",
        order=60,
        folded=False,
        of_testbed=f1_by_square,
    )
)
