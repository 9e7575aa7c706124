"""The boards that switch a latent on, and what they have in common. Every board is drawn by its own game, as SVG."""

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from boardgame_sae.games import Game
from boardgame_sae.metrics.counting.latent_columns import Latents
from boardgame_sae.testbeds.testbed import Testbed

SMALLEST_SCALE = 0.02
"""Differences by square that are all smaller have pale colours."""
SHADES = 25
"""Shades of either colour: with few of them, pictures have most of their tags in common."""
KEPT = 8192
"""Drawn boards that are kept for further latents."""
Card = dict[str, Any]


class DrawnBoards:
    """The boards at a testbed's test positions: ask for `testbed.once(DrawnBoards)`, which replays each game once."""

    def __init__(self, testbed: Testbed) -> None:
        self._corpus, self._where = testbed.corpus, testbed.positions("test")
        self._replay = cache(self._replayed)
        self._at = lru_cache(KEPT)(self._drawn)

    def cells(self, row: int) -> str:
        """The cells of the board at a test position."""
        return self._replay(int(self._where.game_N[row])).cells[self._where.ply_N[row]]

    def card(self, row: int) -> Card:
        """Its cells and picture, whether the first player is to move, its ply, and the game so far."""
        return self._at(int(self._where.game_N[row]), int(self._where.ply_N[row]))

    def _replayed(self, game_number: int) -> "_Replay":
        game, game_B = self._corpus.game, self._where.games_B[[game_number]]
        moves = next(iter(self._corpus.record(game_B))).tolist()
        positions = list(game.positions(moves))
        return _Replay([game.cells(position) for position in positions], positions, game.pieces(moves))

    def _drawn(self, game_number: int, ply: int) -> Card:
        game, replay = self._corpus.game, self._replay(game_number)
        return {
            "cells": replay.cells[ply],
            "picture": game.picture(replay.positions[ply]),
            "first_to_move": bool(game.mover(replay.positions[ply])),
            "ply": ply,
            "text": _text(replay.pieces[:ply]),
        }


class _Replay(NamedTuple):
    """A game: its boards, the start first, and the text of each ply."""

    cells: list[str]
    positions: list[Any]
    pieces: list[str]


class Peaks(NamedTuple):
    """The test positions where a latent is most active, one per game, strongest first."""

    rows_N: np.ndarray
    values_N: np.ndarray
    """Its activation there."""


def peaks(testbed: Testbed, latents: Latents) -> list[Peaks]:
    """Where each latent is most active at test; of equal activations the earlier position comes first."""
    rows_Z, values_Z, n_games = latents.rows_Z, latents.values_Z, len(testbed.positions("test").games_B)
    if not len(rows_Z):
        return [Peaks(rows_Z, values_Z)] * latents.n_latents
    latent_Z = np.repeat(np.arange(latents.n_latents), np.diff(latents.indptr_F1))
    run_Z = latent_Z * n_games + testbed.positions("test").game_N[rows_Z]  # ascending: a run is a latent in a game
    starts_S = np.flatnonzero(np.diff(run_Z, prepend=-1))
    top_Z = np.repeat(np.maximum.reduceat(values_Z, starts_S), np.diff(starts_S, append=len(run_Z)))
    places_Z = np.where(values_Z == top_Z, np.arange(len(run_Z)), len(run_Z))
    peak_S = np.minimum.reduceat(places_Z, starts_S)
    peak_S = peak_S[np.lexsort((-values_Z[peak_S], latent_Z[peak_S]))]
    ends_F = np.cumsum(np.bincount(latent_Z[peak_S], minlength=latents.n_latents))
    return [Peaks(rows_Z[at_N], values_Z[at_N]) for at_N in np.split(peak_S, ends_F[:-1])]


def top_boards(testbed: Testbed, peaks: Peaks, n_boards: int) -> list[Card]:
    """The cards of a latent's peaks with its activation there, strongest first; no board twice."""
    boards, shown = testbed.once(DrawnBoards), dict[str, Card]()
    for row, value in zip(peaks.rows_N.tolist(), peaks.values_N.tolist(), strict=True):
        if len(shown) == n_boards:
            break
        if (cells := boards.cells(row)) not in shown:
            shown[cells] = {**boards.card(row), "activation": round(value, 4)}
    return list(shown.values())


def mean_boards(testbed: Testbed, on_JN: csr_array) -> list[list[Card]]:
    """For each of some latents, how often squares show a class of the headline where it is on, less how often on all
    of test: for the two classes that differ most, as the player to move sees them, `class` and `picture`.

    on_JN: (latents, test positions), 1 where a latent is on. A latent that is never on has none; no latent has where
    the headline is not about squares. The picture is an empty board with differences as heat, all of one latent's on
    one scale, and those that are not 0 as percentage points.
    """
    columns, game = testbed.columns[0], testbed.corpus.game
    n_latents, n_squares = len(on_JN.indptr) - 1, len(game.squares)
    if (columns.square_P < 0).any():
        return [[] for _ in range(n_latents)]
    labels_NP = testbed.labels("test")[:, columns.start : columns.stop].astype(np.float32)
    n_on_J = np.asarray(on_JN.sum(1)).ravel()
    difference_JP = on_JN.astype(np.float32) @ labels_NP / np.maximum(n_on_J, 1)[:, None] - labels_NP.mean(0)
    names = game.property(columns.name).classes or (columns.name,)
    drawn = []
    for n_on, difference_P in zip(n_on_J, difference_JP.astype(float), strict=True):
        difference_SC = difference_P.reshape(n_squares, -1)
        widest = sorted(np.argsort(-np.abs(difference_SC).max(0), kind="stable")[:2].tolist())
        drawn.append(_pictures(game, [(names[c], difference_SC[:, c]) for c in widest]) if n_on else [])
    return drawn


def _pictures(game: Game, means: Sequence[tuple[str, np.ndarray]]) -> list[Card]:
    """Differences by square, of some classes, as heat of one scale."""
    scale = max([SMALLEST_SCALE, *(float(np.abs(difference_S).max()) for _, difference_S in means)])

    def drawn(difference_S: np.ndarray) -> str:
        shades = np.round(SHADES * difference_S.reshape(game.shape) / scale)
        return game.picture(None, marks=_points(difference_S), heat=shades, scale=SHADES)

    return [{"class": name, "picture": drawn(difference_S)} for name, difference_S in means]


def _points(difference_S: np.ndarray) -> dict[int, str]:
    """Percentage points by square, where there are any."""
    points = {square: round(100 * float(value)) for square, value in enumerate(difference_S)}
    return {square: f"{value:+d}".replace("-", "\N{MINUS SIGN}") for square, value in points.items() if value}


def _text(pieces: Sequence[str]) -> str:
    """Moves as written, with a space between moves that hold none of their own."""
    return "".join(pieces) if any(" " in piece for piece in pieces) else " ".join(pieces)
