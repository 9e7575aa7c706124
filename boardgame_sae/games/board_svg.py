"""A board of discs, or of letters, drawn as SVG: one string, no library, no reference to anything outside it."""

import html
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from boardgame_sae.notebook import Picture

EMPTY = "."
"""How `Game.cells` writes an empty square."""
INK, RED, WARM, COLD = "#222", "#d33", "#ff8c1a", "#2f6bff"
BLACK_AND_WHITE: Mapping[str, tuple[str, str]] = MappingProxyType({"b": ("#111", "#000"), "w": ("#fff", "#777")})


class DiscStyle(NamedTuple):
    """How a board of discs looks."""

    ground: str = "#3a8f5c"
    """Colour of the board."""
    line: str = "#1f5a38"
    """Colour of the lines between squares."""
    discs: Mapping[str, tuple[str, str]] = BLACK_AND_WHITE
    """Fill and rim by the character of `Game.cells`; another character is written as it is."""
    dark: str = "b"
    """The characters whose discs are so dark that texts on them are white."""


def draw_discs(
    cells: str,
    columns: int,
    style: DiscStyle,
    *,
    first_row_on_top: bool = True,
    rings: Sequence[int] = (),
    marks: Mapping[int, str] | None = None,
    heat: np.ndarray | None = None,
    scale: float | None = None,
    last: int = -1,
    size: int = 240,
) -> Picture:
    """A board of cells (characters, row by row), `size` pixels wide.

    rings: squares that get a ring. marks: short texts on squares. heat: floats (rows, columns), orange above zero, blue
    below, opaque at `scale`, by default the largest magnitude. last: the square that gets a dot; none where it is off
    the board.
    Raises ValueError when `heat` does not have the board's shape.
    """
    board = _Board(len(cells) // columns, columns, first_row_on_top)
    height, width = board.n_rows + 0.75, board.n_columns + 0.75
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-0.5 -0.5 {width} {height}" width="{size}" '
        f'height="{round(size * height / width)}" font-family="sans-serif" text-anchor="middle" '
        'dominant-baseline="central">',
        f'<rect width="{board.n_columns}" height="{board.n_rows}" fill="{style.ground}"/>',
        *board.lines(style.line),
        *(_text(x + 0.5, -0.25, string.ascii_lowercase[x], INK, 0.35) for x in range(board.n_columns)),
        *(_text(-0.25, board.y(row) + 0.5, str(row + 1), INK, 0.35) for row in range(board.n_rows)),
        *(board.disc(s, *style.discs[cell]) for s, cell in enumerate(cells) if cell in style.discs),
        *(board.mark(s, cell, INK) for s, cell in enumerate(cells) if cell not in (EMPTY, *style.discs)),
        *(board.circle(s, 0.12, f'fill="none" stroke="{INK}" stroke-width="0.03" stroke-opacity="0.6"') for s in rings),
        *(board.heat(s, value) for s, value in enumerate(scaled(heat, board.shape, scale)) if value),
        *(
            [board.circle(last, 0.1, f'fill="{RED}" stroke="#fff" stroke-width="0.03"')]
            if 0 <= last < len(cells)
            else []
        ),
        *(board.mark(s, text, "#fff" if cells[s] in style.dark else INK) for s, text in (marks or {}).items()),
        "</svg>",
    ]
    return Picture("".join(parts))


def scaled(heat: np.ndarray | None, shape: tuple[int, int], scale: float | None) -> list[float]:
    """Heat by square over the scale, by default its largest finite magnitude, in -1..1; 0 for what is not finite.

    Nothing where there is no heat. Raises ValueError when it does not have the board's shape.
    """
    if heat is None:
        return []
    if np.shape(heat) != shape:
        raise ValueError(f"heat has shape {np.shape(heat)}; the board's is {shape}")
    values = np.where(np.isfinite(heat), heat, 0.0).astype(float).reshape(-1)
    return (values / (scale or np.abs(values).max() or 1.0)).clip(-1, 1).tolist()


@dataclass(frozen=True)
class _Board:
    """Where squares are, and what stands on them, as SVG."""

    n_rows: int
    n_columns: int
    first_row_on_top: bool

    @property
    def shape(self) -> tuple[int, int]:
        return self.n_rows, self.n_columns

    def y(self, row: int) -> int:
        return row if self.first_row_on_top else self.n_rows - 1 - row

    def corner(self, square: int) -> tuple[int, int]:
        return square % self.n_columns, self.y(square // self.n_columns)

    def lines(self, colour: str) -> list[str]:
        across = [f"M0 {i}H{self.n_columns}" for i in range(self.n_rows + 1)]
        down = [f"M{i} 0V{self.n_rows}" for i in range(self.n_columns + 1)]
        return [f'<path d="{"".join(across + down)}" stroke="{colour}" stroke-width="0.03"/>']

    def circle(self, square: int, radius: float, style: str) -> str:
        x, y = self.corner(square)
        return f'<circle cx="{x + 0.5}" cy="{y + 0.5}" r="{radius}" {style}/>'

    def disc(self, square: int, fill: str, rim: str) -> str:
        return self.circle(square, 0.4, f'fill="{fill}" stroke="{rim}" stroke-width="0.03"')

    def heat(self, square: int, value: float) -> str:
        (x, y), colour = self.corner(square), WARM if value > 0 else COLD
        opacity = f"{0.85 * abs(value):.3f}"
        return f'<rect x="{x}" y="{y}" width="1" height="1" fill="{colour}" fill-opacity="{opacity}"/>'

    def mark(self, square: int, text: str, colour: str) -> str:
        x, y = self.corner(square)
        return _text(x + 0.5, y + 0.5, text, colour, 0.32)


@lru_cache(2**14)
def _text(x: float, y: float, text: str, colour: str, height: float) -> str:
    return f'<text x="{x}" y="{y}" font-size="{height}" fill="{colour}">{html.escape(text)}</text>'
