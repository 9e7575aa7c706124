"""An Othello board drawn as SVG: one string, no library, no reference to anything outside it."""

import html
import string
from collections.abc import Mapping, Sequence

import numpy as np

GREEN, LINE, INK, RED, WARM, COLD = "#3a8f5c", "#1f5a38", "#222", "#d33", "#ff8c1a", "#2f6bff"
DISC = {"b": ("#111", "#000"), "w": ("#fff", "#777")}


def draw_board(
    cells: str,
    *,
    legal: Sequence[int],
    marks: Mapping[int, str],
    heat: np.ndarray | None,
    last: int,
    size: int,
) -> str:
    """A board of n x n cells (`b`, `w` or `.`, row by row), `size` pixels wide.

    legal: squares that get a ring. marks: short texts on squares. heat: floats (n, n), orange above zero, blue below,
    opaque at the largest magnitude. last: the square that gets a dot; none where it is off the board.
    Raises ValueError when `heat` has not the board's shape.
    """
    n = round(len(cells) ** 0.5)
    if heat is not None and np.shape(heat) != (n, n):
        raise ValueError(f"heat has shape {np.shape(heat)}; the board's is {(n, n)}")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-0.5 -0.5 {n + 0.75} {n + 0.75}" width="{size}" '
        f'height="{size}" font-family="sans-serif" text-anchor="middle" dominant-baseline="central">',
        f'<rect width="{n}" height="{n}" fill="{GREEN}"/>',
        *(f'<path d="M0 {i}H{n}M{i} 0V{n}" stroke="{LINE}" stroke-width="0.03"/>' for i in range(n + 1)),
        *(_text(i + 0.5, -0.25, string.ascii_lowercase[i], INK, 0.35) for i in range(n)),
        *(_text(-0.25, i + 0.5, str(i + 1), INK, 0.35) for i in range(n)),
        *(_disc(s, n, cell) for s, cell in enumerate(cells) if cell in DISC),
        *(_circle(s, n, 0.12, f'fill="none" stroke="{INK}" stroke-width="0.03" stroke-opacity="0.6"') for s in legal),
        *(_heat(s, n, value) for s, value in enumerate(_scaled(heat)) if value),
        *([_circle(last, n, 0.1, f'fill="{RED}"')] if 0 <= last < n * n else []),
        *(_mark(s, n, text, cells[s]) for s, text in marks.items()),
        "</svg>",
    ]
    return "".join(parts)


def _scaled(heat: np.ndarray | None) -> list[float]:
    """Heat over its largest finite magnitude; nothing for what is not finite."""
    if heat is None:
        return []
    values = np.where(np.isfinite(heat), heat, 0.0).astype(float).reshape(-1)
    return (values / (np.abs(values).max() or 1.0)).tolist()


def _circle(square: int, n: int, radius: float, style: str) -> str:
    return f'<circle cx="{square % n + 0.5}" cy="{square // n + 0.5}" r="{radius}" {style}/>'


def _disc(square: int, n: int, cell: str) -> str:
    fill, stroke = DISC[cell]
    return _circle(square, n, 0.4, f'fill="{fill}" stroke="{stroke}" stroke-width="0.03"')


def _heat(square: int, n: int, value: float) -> str:
    colour, opacity = WARM if value > 0 else COLD, f"{0.85 * abs(value):.3f}"
    return f'<rect x="{square % n}" y="{square // n}" width="1" height="1" fill="{colour}" fill-opacity="{opacity}"/>'


def _mark(square: int, n: int, text: str, cell: str) -> str:
    return _text(square % n + 0.5, square // n + 0.5, text, "#fff" if cell == "b" else INK, 0.32)


def _text(x: float, y: float, text: str, colour: str, height: float) -> str:
    return f'<text x="{x}" y="{y}" font-size="{height}" fill="{colour}">{html.escape(text)}</text>'
