"""A chess board drawn as SVG by python-chess, with heat and short texts laid over it."""

import html
from collections.abc import Mapping

import chess
import chess.svg
import numpy as np

from boardgame_sae.games.board_svg import COLD, WARM, scaled
from boardgame_sae.notebook import Picture

LAST = "#dd3333a0"
MARGIN, SIDE = 15, 45
"""python-chess's own sizes: the border with the coordinates, and a square."""


def draw_board(
    board: chess.Board,
    *,
    marks: Mapping[int, str],
    heat: np.ndarray | None,
    scale: float | None,
    last_move: chess.Move | None,
    last: int | None,
    size: int,
) -> Picture:
    """A board, White below, `size` pixels wide.

    marks: short texts on squares. heat: floats (8, 8), row 0 rank 1, orange above zero, blue below, opaque at `scale`,
    by default the largest magnitude. last_move: the move to highlight, unless `last` names a square instead (none where
    it is off the board).
    Raises ValueError when `heat` does not have the board's shape.
    """
    shades = {
        square: f"{WARM if value > 0 else COLD}{round(217 * abs(value)):02x}"
        for square, value in enumerate(scaled(heat, (8, 8), scale))
        if value
    }
    if last is not None:
        last_move = None
        if 0 <= last < 64:
            shades.setdefault(last, LAST)
    checked = board.king(board.turn) if board.is_check() else None
    drawn = chess.svg.board(board, lastmove=last_move, check=checked, fill=shades, size=size)
    texts = "".join(_text(square, text) for square, text in marks.items())
    return Picture(drawn.replace("</svg>", texts + "</svg>"))


def _text(square: int, text: str) -> str:
    x, y = MARGIN + SIDE * (square % 8 + 0.5), MARGIN + SIDE * (7.5 - square // 8)
    style = 'font-size="15" font-family="sans-serif" text-anchor="middle" dominant-baseline="central" fill="#222"'
    return f'<text x="{x}" y="{y}" {style}>{html.escape(text)}</text>'
