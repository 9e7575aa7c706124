"""What games are stored and computed as: the moves of many games, their columns, and all their positions, as arrays."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Self

import numpy as np

UNKNOWN_EVALUATION = -(1 << 15)
"""Centipawns of a position that nobody evaluated."""
N_SKILLS = 6
"""Bins of playing strength, as published."""


LONGEST_TEXT = 255
"""Bytes of a text that a column may hold."""


@dataclass(frozen=True)
class Column:
    """What a corpus may keep of each game beside its moves."""

    dtype: str
    """How it is stored, in numpy's words; texts (`S16`) wider where one is longer, up to LONGEST_TEXT bytes."""
    meaning: str
    per_position: bool = False
    """It has an entry for each position, not for each game, and is kept beside the corpus: evaluations."""

    def holds(self, dtype: np.dtype) -> bool:
        """Whether values of a type are stored as they are."""
        own = np.dtype(self.dtype)
        return dtype == own or (own.kind == dtype.kind == "S" and own.itemsize < dtype.itemsize <= LONGEST_TEXT)


PLAYER_COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        f"{name}_{side}": Column(dtype, f"{meaning} of the {side} player")
        for name, dtype, meaning in (
            ("temperature", "float32", "temperature in pawns, NaN where there is none,"),
            ("rating", "float32", "strength on the players' own scale, NaN where it is unknown,"),
            ("skill", "int8", f"bin of the rating, 0 the weakest of {N_SKILLS}, -1 where it is unknown,"),
        )
        for side in ("first", "second")
    }
)
"""What is known of the players of any game. `first` is the player who begins."""
RESULT_COLUMN = Column("int8", "a `Result`: 1 the player who begins won, 0 drawn, -1 the other won, 2 unfinished")


class Result(IntEnum):
    """How a game ended for the player who begins."""

    WON = 1
    DRAWN = 0
    LOST = -1
    UNFINISHED = 2
    """Nobody has won yet, or nobody knows who did."""


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


@dataclass(frozen=True, eq=False, repr=False)
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
    def of(cls, games: Sequence[Sequence[int] | np.ndarray]) -> Self:
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

    def __repr__(self) -> str:
        return f"MoveRecord({len(self):,} games, {len(self.moves_M):,} moves)"

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


@dataclass(frozen=True, eq=False, repr=False)
class Boards:
    """The positions of many games as arrays: n_plies + 1 rows per game, the start first. Games add their own arrays.

    Arrays named `..._N` have one entry per row. `boards[rows]` picks rows (numbers, a slice or a mask).
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

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self):,} positions)"

    def __getitem__(self, rows: slice | np.ndarray | Sequence[int]) -> Self:
        chosen = np.arange(len(self))[rows]
        arrays = [field.name for field in fields(self) if field.name.endswith("_N")]
        return replace(self, offsets=None, **{name: getattr(self, name)[chosen] for name in arrays})

    @property
    def ends(self) -> Self:
        """The last position of each game. Raises ValueError when rows have been picked."""
        if self.offsets is None:
            raise ValueError("rows have been picked from these boards; find ends in the whole batch")
        return self[self.offsets[1:] + np.arange(len(self.offsets) - 1)]

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


@dataclass(frozen=True, eq=False, repr=False)
class DiscBoards(Boards):
    """A batch of positions of which all that counts is whose disc stands where: sets of squares, uint64."""

    mine_N: np.ndarray
    """Discs of the player to move."""
    yours_N: np.ndarray
    """Discs of the other player."""
