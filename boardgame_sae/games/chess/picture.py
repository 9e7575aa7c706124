"""A chess board drawn as SVG by python-chess, with heat and short texts laid over it."""

import html
from collections.abc import Mapping

import chess
import chess.svg
import numpy as np

WARM, COLD, LAST = "#ff8c1a", "#2f6bff", "#dd3333a0"
MARGIN, SIDE = 15, 45
"""python-chess's own sizes: the border with the coordinates, and a square."""


def draw_board(
    board: chess.Board,
    *,
    marks: Mapping[int, str],
    heat: np.ndarray | None,
    last_move: chess.Move | None,
    last: int | None,
    size: int,
) -> str:
    """A board, White below, `size` pixels wide.

    marks: short texts on squares. heat: floats (8, 8), row 0 rank 1, orange above zero, blue below, opaque at the
    largest magnitude. last_move: the move to highlight, unless `last` names a square instead (none where it is off the
    board).
    Raises ValueError when `heat` has not the board's shape.
    """
    if heat is not None and np.shape(heat) != (8, 8):
        raise ValueError(f"heat has shape {np.shape(heat)}; the board's is (8, 8)")
    fill = _colours(heat)
    if last is not None:
        last_move = None
        if 0 <= last < 64:
            fill.setdefault(last, LAST)
    checked = board.king(board.turn) if board.is_check() else None
    drawn = chess.svg.board(board, lastmove=last_move, check=checked, fill=fill, size=size)
    texts = "".join(_text(square, text) for square, text in marks.items())
    return drawn.replace("</svg>", texts + "</svg>")


def _colours(heat: np.ndarray | None) -> dict[int, str]:
    """Heat over its largest finite magnitude, as colours of squares; nothing for zero or what is not finite."""
    if heat is None:
        return {}
    values = np.where(np.isfinite(heat), heat, 0.0).astype(float).reshape(-1)
    scaled = values / (np.abs(values).max() or 1.0)
    return {
        int(square): f"{WARM if value > 0 else COLD}{round(217 * abs(value)):02x}"
        for square, value in enumerate(scaled)
        if value
    }


def _text(square: int, text: str) -> str:
    x, y = MARGIN + SIDE * (square % 8 + 0.5), MARGIN + SIDE * (7.5 - square // 8)
    style = 'font-size="15" font-family="sans-serif" text-anchor="middle" dominant-baseline="central" fill="#222"'
    return f'<text x="{x}" y="{y}" {style}>{html.escape(text)}</text>'
