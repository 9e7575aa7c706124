"""One latent: the property it stands for, the boards that switch it on, and what those boards have in common.

Every board is drawn by its own game, as SVG.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from boardgame_sae.files import RunError, read_parquet
from boardgame_sae.games import Game
from boardgame_sae.integrity import verified
from boardgame_sae.metrics.counting.latent_columns import Latents, as_latents
from boardgame_sae.metrics.results import LATENTS_FILE, SCORE_AGAIN, Scores
from boardgame_sae.metrics.subject import ROWS_AT_ONCE
from boardgame_sae.testbeds.testbed import Testbed

N_BOARDS = 8
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


def latent_cards(
    testbed: Testbed, sae: Any, table: Mapping[str, np.ndarray], n: int, *, n_boards: int = N_BOARDS
) -> list[Card]:
    """The n latents of an SAE that tell a class best, on test, by how far above chance the F1 is.

    sae: what was scored; `encode` is all that is used. table: its latents, as `read_latents` reads them. A card holds:
    property, label, latent, f1, precision, recall, threshold (a share of the largest activation on train), chance (F1
    of always predicting it), base (share of positions where it is true), n_precise (for how many classes the latent is
    a classifier of 95% precision), density (share where the latent is above zero), on (share where it is above its
    threshold), boards (where it is most active, see `board_at`) and mean (pictures of what its boards share).
    """
    chosen = best_latents(table, n)
    if not chosen:
        return []
    latents = encode_latents(testbed, sae, chosen)
    rows = [{name: values[latent] for name, values in table.items()} for latent in chosen]
    return [_card(testbed, row, latents.columns(i, i + 1), n_boards) for i, row in enumerate(rows)]


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


def best_latents(table: Mapping[str, np.ndarray], n: int) -> list[int]:
    """The n latents farthest above chance, of those that are ever on; of equal ones the first."""
    ranked_F = np.argsort(-table["above_chance"], kind="stable")
    return [int(latent) for latent in ranked_F if table["property"][latent]][:n]


@torch.no_grad()
def encode_latents(testbed: Testbed, sae: Any, chosen: Sequence[int]) -> Latents:
    """The chosen latents, in that order, at all test positions."""
    device, parts = getattr(sae, "device", torch.device("cpu")), []
    for start, stop, *_ in testbed.spans("test"):
        for acts_ND in testbed.read("test", start, stop).split(ROWS_AT_ONCE):
            parts.append(as_latents(sae.encode(acts_ND.to(device))[:, list(chosen)].cpu()))
    return Latents.concatenate(parts)


def _card(testbed: Testbed, row: Mapping[str, Any], latent: Latents, n_boards: int) -> Card:
    """row: the latent's own of the table of latents."""
    kind = latent.values_Z.dtype.type  # the scores compare in the activations' own precision
    on_Z = latent.rows_Z[latent.values_Z > kind(row["threshold"]) * kind(row["max_activation"])]
    chance = float(row["always_on"])
    return {
        **{name: str(row[name]) for name in ("property", "label")},
        **{name: int(row[name]) for name in ("latent", "n_precise")},
        **{name: _rounded(row[name]) for name in ("f1", "precision", "recall", "threshold", "density")},
        "chance": _rounded(chance),
        "base": _rounded(chance / (2 - chance)),  # chance is 2p / (1 + p)
        "on": _rounded(len(on_Z) / max(latent.n_positions, 1)),
        "boards": _top_boards(testbed, latent, n_boards),
        "mean": mean_pictures(testbed.corpus.game, mean_boards(testbed, on_Z)),
    }


def _top_boards(testbed: Testbed, latent: Latents, n_boards: int) -> list[Card]:
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
