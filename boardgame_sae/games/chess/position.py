"""Chess positions, one by one and in batches, and the codes of moves beside python-chess's own.

Squares are numbered as in python-chess, a1 = 0, so that row 0 of a board of labels is rank 1. A move's code is that of
`kernels`.
"""

from dataclasses import dataclass
from functools import cached_property

import chess as python_chess
import numpy as np

from boardgame_sae.games.chess import facts, kernels
from boardgame_sae.games.record import Boards

KINDS = ("pawn", "knight", "bishop", "rook", "queen", "king")
ENDS = 0xFF000000000000FF
"""Squares of the first and the last rank, where no pawn stands."""


@dataclass(frozen=True, eq=False)
class Position:
    """A position with as much of its game as the draws need. Positions are equal that came about by the same plies."""

    words: np.ndarray
    """The state, as `kernels` has it: uint64 (WIDTH,), never written to."""
    ply: int
    """Plies played."""
    last: int
    """Code of the last move, -1 at the start."""
    keys: np.ndarray
    """Keys of all positions of the game so far, this one last: uint64 (ply + 1,)."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Position):
            return NotImplemented
        return self.last == other.last and np.array_equal(self.keys, other.keys)

    def __hash__(self) -> int:
        return hash((self.last, self.keys.tobytes()))

    @cached_property
    def state(self) -> tuple[int, ...]:
        """The words as Python's integers."""
        return tuple(self.words.tolist())

    @property
    def board(self) -> python_chess.Board:
        """The position in python-chess, without the moves that led to it."""
        board = python_chess.Board(None)
        words = dict(enumerate(self.state))
        (board.pawns, board.knights, board.bishops, board.rooks, board.queens, board.kings) = self.state[:6]
        board.occupied_co = [words[kernels.BLACK], words[kernels.WHITE]]
        board.occupied = words[kernels.BLACK] | words[kernels.WHITE]
        board.turn = bool(words[kernels.TURN])
        board.castling_rights = words[kernels.CASTLING]
        board.ep_square = words[kernels.EP].bit_length() - 1 if words[kernels.EP] else None
        board.halfmove_clock = words[kernels.CLOCK]
        board.fullmove_number = self.ply // 2 + 1
        return board


@dataclass(frozen=True, eq=False, repr=False)
class ChessBoards(Boards):
    """A batch of positions."""

    state_N: np.ndarray
    """uint64 (N, WIDTH): the words of `kernels`."""
    skill_N: np.ndarray
    """int8: bin of the mover's playing strength, 0 the weakest; -1 where nobody knows."""
    evaluation_N: np.ndarray
    """int16: centipawns for the player to move, by an engine; UNKNOWN_EVALUATION where none was asked."""

    @cached_property
    def truth(self) -> tuple[np.ndarray, np.ndarray]:
        """Sets of squares (uint64) and facts (bool) of every position, in the columns of `facts`."""
        sets_N3 = np.empty((len(self), 3), np.uint64)
        facts_NF = np.empty((len(self), len(facts.FACTS)), bool)
        facts.truth(self.state_N, sets_N3, facts_NF)
        return sets_N3, facts_NF


def move_code(move: python_chess.Move) -> int:
    """The code of a python-chess move."""
    return move.from_square << 9 | move.to_square << 3 | (move.promotion - 1 if move.promotion else 0)


def python_move(code: int) -> python_chess.Move:
    """The python-chess move of a code."""
    return python_chess.Move(code >> 9, code >> 3 & 63, (code & 7) + 1 if code & 7 else None)


def all_codes() -> list[int]:
    """Codes of every move that a piece can make on some board: a queen's, a knight's, and promotions."""
    codes = []
    for origin in range(64):
        for target in range(64):
            rows, columns = abs(target // 8 - origin // 8), abs(target % 8 - origin % 8)
            if sorted((rows, columns)) == [1, 2] or (
                (rows or columns) and (not rows or not columns or rows == columns)
            ):
                codes.append(origin << 9 | target << 3)
                if (origin // 8, target // 8) in ((6, 7), (1, 0)) and columns <= 1:
                    codes += [codes[-1] | piece for piece in range(1, 5)]
    return codes


def edited(words: np.ndarray, square: int, content: str, name: str) -> np.ndarray:
    """A state with a piece (`my rook`, `your pawn`) or nothing (`empty`) on a square, called `name`.

    words: uint64 (WIDTH,), as `kernels` has it; left as it is.
    Raises ValueError, in words, where a king would come or go, a pawn stand on a first or last rank, or the player who
    has just moved be in check.
    """
    state, bit = words.copy(), np.uint64(1) << np.uint64(square)
    whose, _, kind = content.partition(" ")
    if kind == "king" or state[kernels.KINGS] & bit:
        raise ValueError(f"chess: {name} cannot be {content}: each side has one king, which stays where it is")
    if kind == "pawn" and ENDS >> square & 1:
        raise ValueError(f"chess: {name} cannot be {content}: no pawn stands on a first or last rank")
    state[: kernels.TURN] &= ~bit
    if kind:
        mover = kernels.BLACK + int(state[kernels.TURN])
        state[KINDS.index(kind)] |= bit
        state[mover if whose == "my" else 13 - mover] |= bit
    state[kernels.REPEATS] = state[kernels.CLAIM] = 0
    _settle_rights(state)
    if _could_take_the_king(state):
        raise ValueError(f"chess: with {name} {content} the player who has just moved would be in check")
    return state


def _settle_rights(state: np.ndarray) -> None:
    """Take back the castling rights of rooks that are gone, and a capture in passing of a pawn that is."""
    first, last = np.uint64(0xFF), np.uint64(0xFF << 56)
    homes = (first & state[kernels.WHITE]) | (last & state[kernels.BLACK])
    state[kernels.CASTLING] &= state[kernels.ROOKS] & homes
    passed, white = state[kernels.EP], bool(state[kernels.TURN])
    rank = np.uint64(8)  # NumPy 1.26 shifts an unsigned number by no other
    taken, came_from = (passed >> rank, passed << rank) if white else (passed << rank, passed >> rank)
    other = kernels.BLACK if white else kernels.WHITE
    occupied = state[kernels.WHITE] | state[kernels.BLACK]
    if not state[kernels.PAWNS] & state[other] & taken or (passed | came_from) & occupied:
        state[kernels.EP] = 0


def _could_take_the_king(state: np.ndarray) -> bool:
    """Whether the player to move attacks the other's king."""
    other = state.copy()
    other[kernels.TURN] ^= np.uint64(1)
    return bool(kernels.in_check(other))
