"""What all figures share: colours, axes, training curves, and what hook points and squares are called.

An architecture has one colour and one marker in all figures, which it declares (see `saes.registry.look`), and so has
each kind of baseline (see `metrics.baselines.registry.Look`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from boardgame_sae.activations.hook_points import layer_of
from boardgame_sae.files import RunError
from boardgame_sae.games import Game
from boardgame_sae.plain_data import parse_json

BLUE, ORANGE, SKY = "#0072B2", "#E69F00", "#56B4E9"
"""Of what is no architecture: Okabe and Ito's, which colour-blind readers tell apart."""
OWN_COLOURS = ("#E6001A", "#FFD500", "#00C2A8", "#7A3CFF")
"""Of one's own SAEs, which are stars."""
LINES = ("-", "--", ":", "-.")
"""Matplotlib's line styles, for series of one colour."""
GREY, INK = "#8a8a8a", "#222222"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "savefig.dpi": 120,
    "text.parse_math": False,  # a name with a dollar sign is no formula
}
CURVE_FILE = "metrics.jsonl"
Curve = Sequence[Mapping[str, float]]
"""The lines of a metrics.jsonl."""


def read_curve(run_folder: Path) -> list[dict[str, float]]:
    """What a run logged while it trained; nothing when it logged nothing. Raises RunError when the file is damaged."""
    path = run_folder / CURVE_FILE
    if not path.exists():
        return []
    try:
        lines = [parse_json(line) for line in path.read_bytes().splitlines()]
    except ValueError as error:
        raise RunError(f"{path}: damaged ({error}); restore it, or run the command that wrote it again") from error
    for number, line in enumerate(lines, 1):
        if not isinstance(line, dict) or not all(isinstance(value, int | float) for value in line.values()):
            raise RunError(f"{path}: line {number} is no mapping of names to numbers; run the stage again")
    return lines


def plain_log(axis: Any, values: Sequence[float], set_limits: Any, *, millions: bool = False) -> None:
    """Tick labels 5, 10, 20, 50 in place of powers of ten (more where one decade holds all), and room at the ends.

    millions: 5M, 10M, 20M, 50M.
    """
    positive = [value for value in values if value > 0]
    if positive:
        set_limits(min(positive) / 1.35, max(positive) * 1.35)
    narrow = bool(positive) and max(positive) < 10 * min(positive)
    axis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if narrow else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1e6:g}M" if millions else f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def legend_below(figure: Figure, axes: Sequence[Axes], columns: int = 4, first: Sequence[str] = ()) -> None:
    """One legend under the figure, each label once. first: labels that come before the others."""
    handles: dict[str, Any] = {}
    for panel in axes:
        for handle, text in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(text, handle)
    handles = {text: handles[text] for text in (*first, *handles) if text in handles}
    if handles:
        letters = 16 * figure.get_figwidth()
        fitting = int(letters / (8 + max(map(len, handles))))  # a line and its gap are as wide as 8 letters
        columns = max(1, min(columns, len(handles), fitting))
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns, fontsize=8)


def points(curve: Curve, name: str) -> tuple[list[float], list[float]]:
    """Steps and values of one logged number."""
    logged = [line for line in curve if name in line]
    return [line["step"] for line in logged], [line[name] for line in logged]


def depth(hook_name: str) -> tuple[int, int, str]:
    """Sort hook points as a forward pass meets them."""
    inside = hook_name.startswith("blocks.")
    layer = layer_of(hook_name) if inside else -1 if "embed" in hook_name else 10**6
    place = 0 if hook_name.endswith("resid_pre") else 2 if hook_name.endswith("resid_post") else 1
    return layer, place, hook_name


SITES: Mapping[str, str] = {
    "hook_resid_post": "residual stream",
    "hook_attn_out": "attention output",
    "hook_mlp_out": "MLP output",
}
"""What tables and figures call the sites of a block."""


def hook_title(hook_name: str) -> str:
    """What figures call a hook point: `block 2` for the residual stream after it, `block 2, MLP output`."""
    if hook_name == "blocks.0.hook_resid_pre":
        return "embedding"
    if hook_name.endswith(".hook_resid_post"):
        return f"block {layer_of(hook_name)}"
    site = hook_name.rpartition(".")[2]
    return f"block {layer_of(hook_name)}, {SITES[site]}" if site in SITES else hook_name.removeprefix("blocks.")


def coordinates(game: Game) -> tuple[list[str], list[str]]:
    """Names of the board's columns and rows, the first column and the first row first: a, b, .. and 1, 2, .."""
    n_rows, n_columns = game.shape
    rows = [game.squares[row * n_columns : (row + 1) * n_columns] for row in range(n_rows)]
    columns = [game.squares[column::n_columns] for column in range(n_columns)]
    return [_shared(names, front=True) for names in columns], [_shared(names, front=False) for names in rows]


def _shared(names: Sequence[str], *, front: bool) -> str:
    """What the names of a column's squares (front) or of a row's (back) share: `a`, `1`."""
    first, *others = names
    for size in range(len(first), 0, -1):
        part = first[:size] if front else first[-size:]
        if all(name.startswith(part) if front else name.endswith(part) for name in others):
            return part
    return ""
