"""What games are stored and computed as: the moves of many games, and all their positions, as arrays."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np

UNKNOWN_EVALUATION = -(1 << 15)
"""Centipawns of a position that nobody evaluated."""


class IllegalMove(ValueError):  # noqa: N818 - it is what happened, as in python-chess
    """A move that the rules forbid, or a text that is no move, with the game it stood in.

    game: name of the game. text: the moves as written. ply: number of the bad move, the first being 1.
    move: the bad move as written. legal: what could have been played there, as written.
    """

    def __init__(self, game: str, text: str, ply: int, move: str, legal: Sequence[str]) -> None:
        self.game, self.text, self.ply, self.move, self.legal = game, text, ply, move, tuple(legal)
        there = f"legal there: {', '.join(legal)}" if legal else "the game is over there"
        super().__init__(f"{game}: illegal move {move!r} at ply {ply} of {text!r}; {there}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.game, self.text, self.ply, self.move, self.legal)


@dataclass(frozen=True, eq=False)
class MoveRecord:
    """The moves of many games, one game after the other.

    moves_M: uint16 move codes. offsets: int64 (n_games + 1); game b is `moves_M[offsets[b]:offsets[b + 1]]`.
    Raises ValueError when the offsets do not cut the moves into games.
    """

    moves_M: np.ndarray
    offsets: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "moves_M", np.asarray(self.moves_M, np.uint16))
        object.__setattr__(self, "offsets", np.asarray(self.offsets, np.int64))
        ends = self.offsets[[0, -1]].tolist() if self.offsets.size else None
        if ends != [0, len(self.moves_M)] or (np.diff(self.offsets) < 0).any():
            raise ValueError(f"the offsets of {len(self.moves_M)} moves must rise from 0 to {len(self.moves_M)}")

    @classmethod
    def of(cls, games: Sequence[Sequence[int]]) -> Self:
        """A record of games given as lists of move codes."""
        offsets = np.cumsum([0, *map(len, games)], dtype=np.int64)
        moves = [np.asarray(moves, np.uint16) for moves in games]
        return cls(np.concatenate([np.empty(0, np.uint16), *moves]), offsets)

    @classmethod
    def concatenate(cls, records: Sequence["MoveRecord"]) -> Self:
        """The games of several records, in order."""
        lengths = np.concatenate([np.empty(0, np.int64), *(record.lengths for record in records)])
        moves = np.concatenate([np.empty(0, np.uint16), *(record.moves_M for record in records)])
        return cls(moves, np.concatenate([[0], np.cumsum(lengths)]))

    @property
    def lengths(self) -> np.ndarray:
        """Plies of each game: int64 (n_games,)."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[np.ndarray]:
        """The move codes of each game in turn."""
        return (self.moves_M[a:b] for a, b in itertools.pairwise(self.offsets))

    def cut(self, max_plies: int) -> Self:
        """The games, broken off after so many plies."""
        lengths = np.minimum(self.lengths, max_plies)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        shift = np.repeat(self.offsets[:-1] - offsets[:-1], lengths)
        return type(self)(self.moves_M[np.arange(offsets[-1]) + shift], offsets)

    def __getitem__(self, games: slice | int | np.ndarray | Sequence[int]) -> Self:
        """The chosen games (a slice, numbers or a mask), in the order asked for, as a record."""
        chosen = np.atleast_1d(np.arange(len(self))[games])
        lengths = self.lengths[chosen]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        shift = np.repeat(self.offsets[chosen] - offsets[:-1], lengths)
        return type(self)(self.moves_M[np.arange(offsets[-1]) + shift], offsets)


@dataclass(frozen=True, eq=False)
class Boards:
    """The positions of many games as arrays: n_plies + 1 rows a game, the start first. Games add their own arrays.

    Arrays named `..._N` have one entry a row. `boards[rows]` picks rows (numbers, a slice or a mask).
    """

    mover_N: np.ndarray
    """bool: the player who began the game is to move."""
    last_N: np.ndarray
    """int32: code of the move just played, -1 at the start."""
    ply_N: np.ndarray
    """uint16: plies played."""
    offsets: np.ndarray | None
    """int64 (n_games + 1): the record's. None once rows have been picked."""

    def __len__(self) -> int:
        return len(self.ply_N)

    def __getitem__(self, rows: slice | np.ndarray | Sequence[int]) -> Self:
        chosen = np.arange(len(self))[rows]
        picked = {each.name: getattr(self, each.name)[chosen] for each in fields(self) if each.name.endswith("_N")}
        return replace(self, offsets=None, **picked)

    def rows(self, game: int | np.ndarray, ply: int | np.ndarray) -> Any:
        """The row of a game after a number of plies (both may be arrays).

        Raises ValueError when rows have been picked, so that games no longer lie one after the other, and
        IndexError when a game has no such ply.
        """
        if self.offsets is None:
            raise ValueError("rows have been picked from these boards; find rows in the whole batch, then pick")
        game, ply = np.asarray(game), np.asarray(ply)
        if ((ply < 0) | (ply > np.diff(self.offsets)[game])).any():
            raise IndexError("a game has no such ply")
        return (self.offsets[game] + game + ply)[()]
