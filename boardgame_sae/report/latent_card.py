"""What is shown of a latent: its numbers, the boards that switch it on, and what those boards have in common.

Every board is drawn by its own game, as SVG.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from boardgame_sae.files import RunError, read_parquet
from boardgame_sae.games import Game
from boardgame_sae.integrity import verified
from boardgame_sae.metrics.counting.latent_columns import Latents
from boardgame_sae.metrics.results import LATENTS_FILE, SCORE_AGAIN, Scores
from boardgame_sae.testbeds.testbed import Testbed

SMALLEST_SCALE = 0.02
"""Differences by square that are all smaller have pale colours."""
Card = dict[str, Any]
_COLUMNS: Mapping[str, type] = {
    **dict.fromkeys(("latent", "n_precise"), int),
    **dict.fromkeys(("property", "label"), str),
    **dict.fromkeys(("f1", "precision", "recall", "threshold", "density", "max_activation"), float),
    **dict.fromkeys(("always_on", "above_chance"), float),
}
"""What is read of the table of latents, and of which type."""


def read_latents(folder: str | Path) -> dict[str, np.ndarray]:
    """The table of latents of a score run, column by column, a row for each latent in order.

    Raises RunError naming the file when it is missing, damaged or changed, and the column that is not as it must be.
    """
    path = Path(folder) / LATENTS_FILE
    verified(path)
    return _in_order(read_parquet(path, _COLUMNS, SCORE_AGAIN), str(path))


def checked_latents(scores: Scores) -> dict[str, np.ndarray]:
    """The table of latents of scores in memory. Raises RunError where it is not as `read_latents` would give it."""
    source, table = f"{scores.subject['name']}: its table of latents", scores.latents or {}
    for name in _COLUMNS:
        if name not in table:
            raise RunError(f"{source}: has no column '{name}'; {SCORE_AGAIN}")
    return _in_order(table, source)


def _in_order(table: dict[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
    if not np.array_equal(table["latent"], np.arange(len(table["latent"]))):
        raise RunError(f"{source}: column 'latent' does not number the rows from 0 on; {SCORE_AGAIN}")
    return table


def top_boards(testbed: Testbed, latent: Latents, n_boards: int) -> list[Card]:
    """Where a latent is most active, strongest first: one position per game, and no board twice."""
    where, boards = testbed.positions("test"), dict[str, Card]()
    games = set[int]()
    for place in np.argsort(-latent.values_Z, kind="stable"):
        row = int(latent.rows_Z[place])
        if len(boards) == n_boards:
            break
        if where.game_N[row] in games:
            continue
        games.add(where.game_N[row])
        board = board_at(testbed, int(where.games_B[where.game_N[row]]), int(where.ply_N[row]))
        boards.setdefault(board["cells"], {**board, "activation": _rounded(latent.values_Z[place])})
    return list(boards.values())


def board_at(testbed: Testbed, game_place: int, ply: int) -> Card:
    """A position of a corpus game: its cells and picture, whether the first player is to move, and the game so far."""
    game = testbed.corpus.game
    moves = next(iter(testbed.corpus.record(np.array([game_place])))).tolist()[:ply]
    position = game.start()
    for move in moves:
        position = game.play(position, move)
    return {
        "cells": game.cells(position),
        "picture": game.picture(position),
        "first_to_move": bool(game.mover(position)),
        "ply": ply,
        "text": _text(game, moves),
    }


def mean_boards(testbed: Testbed, on_Z: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """How often squares show each class of the headline property where a latent is on, less how often on all of test.

    on_Z: the rows where it is on. The two classes that differ most, each with its difference by square (S,); they are
    stated for the player to move. None where the latent is never on or the property is not about squares.
    """
    columns, n_squares = testbed.columns[0], len(testbed.corpus.game.squares)
    if len(on_Z) == 0 or (columns.square_P < 0).any():
        return []
    labels_NP = testbed.labels("test")[:, columns.start : columns.stop]
    difference_SC = (labels_NP[on_Z].mean(0) - labels_NP.mean(0)).reshape(n_squares, -1)
    names = testbed.corpus.game.property(columns.name).classes or (columns.name,)
    widest = sorted(np.argsort(-np.abs(difference_SC).max(0), kind="stable")[:2].tolist())
    return [(names[c], difference_SC[:, c]) for c in widest]


def mean_pictures(game: Game, means: Sequence[tuple[str, np.ndarray]]) -> list[Card]:
    """Differences by square, of some classes, as heat on empty boards, with the percentage points that are not 0.

    All boards have one scale of colours.
    """
    scale = max([SMALLEST_SCALE, *(float(np.abs(difference_S).max()) for _, difference_S in means)])
    return [
        {
            "class": name,
            "picture": game.picture(
                None, marks=_points(difference_S), heat=difference_S.reshape(game.shape), scale=scale
            ),
        }
        for name, difference_S in means
    ]


def _points(difference_S: np.ndarray) -> dict[int, str]:
    """Percentage points by square, where there are any."""
    points = {square: round(100 * float(value)) for square, value in enumerate(difference_S)}
    return {square: f"{value:+d}".replace("-", "\N{MINUS SIGN}") for square, value in points.items() if value}


def _text(game: Game, moves: Sequence[int]) -> str:
    """Moves as written, with a space between moves that hold none of their own."""
    pieces = game.pieces(list(moves))
    return "".join(pieces) if any(" " in piece for piece in pieces) else " ".join(pieces)


def _rounded(value: Any) -> float:
    return round(float(value), 4)
