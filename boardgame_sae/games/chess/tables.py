"""What pieces attack on an empty board, and the lines between squares: tables for the compiled chess rules.

Squares are numbered as in python-chess: a1 = 0, b1 = 1, ..., h8 = 63; a set of squares is a uint64.
"""

import numpy as np

NORTH, EAST, NORTH_EAST, NORTH_WEST, SOUTH, WEST, SOUTH_WEST, SOUTH_EAST = range(8)
STEPS = ((1, 0), (0, 1), (1, 1), (1, -1), (-1, 0), (0, -1), (-1, -1), (-1, 1))
"""(rows, columns) of each direction; along the first four the square's number rises."""


def _set(square: int, steps: tuple[tuple[int, int], ...], reach: int = 1) -> int:
    """The squares within `reach` steps of a square, in each of some directions."""
    row, column, squares = square // 8, square % 8, 0
    for rows, columns in steps:
        for i in range(1, reach + 1):
            r, c = row + i * rows, column + i * columns
            if not (0 <= r < 8 and 0 <= c < 8):
                break
            squares |= 1 << (8 * r + c)
    return squares


def _table(*steps: tuple[int, int]) -> np.ndarray:
    return np.array([_set(square, steps) for square in range(64)], np.uint64)


KNIGHT = _table((2, 1), (1, 2), (-1, 2), (-2, 1), (-2, -1), (-1, -2), (1, -2), (2, -1))
KING = _table(*STEPS)
PAWN = np.stack([_table((-1, -1), (-1, 1)), _table((1, -1), (1, 1))])
"""Squares that a pawn attacks: [0] black, [1] white."""
RAYS = np.array([[_set(square, (step,), 7) for square in range(64)] for step in STEPS], np.uint64)
"""All squares in a direction: [direction, square]."""


def _lines() -> tuple[np.ndarray, np.ndarray]:
    between, line = np.zeros((64, 64), np.uint64), np.zeros((64, 64), np.uint64)
    for a in range(64):
        for direction in range(8):
            ray, back = int(RAYS[direction, a]), int(RAYS[(direction + 4) % 8, a])
            for b in range(64):
                if ray >> b & 1:
                    between[a, b] = ray & int(RAYS[(direction + 4) % 8, b])
                    line[a, b] = ray | back | 1 << a
    return between, line


BETWEEN, LINE = _lines()
"""BETWEEN[a, b]: the squares strictly between two squares on one line. LINE[a, b]: the whole line through both, edge to
edge. Empty where no rank, file or diagonal holds both."""

RANK_1, RANK_8 = np.uint64(0xFF), np.uint64(0xFF << 56)
FILE_A = np.uint64(0x0101010101010101)
DARK = np.uint64(0xAA55AA55AA55AA55)
VALUES = np.array([1, 3, 3, 5, 9, 0], np.int64)
"""Material by piece type: pawn, knight, bishop, rook, queen, king."""
