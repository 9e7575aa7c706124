"""Connect Four, 7 columns by 6 rows: a whole game in one file.

A move is a column, its code 1..7 (0 is no move), written `a`..`g`. Row 1 is the lowest. A set of squares is 64 bits,
bit `7 * column + row`: a column's seventh bit stays empty, so that no line runs from one column into the next. The
rules take arrays of such sets: many games are played together, each ply of all of them at once.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from boardgame_sae.games.bits import counts
from boardgame_sae.games.board_svg import DiscStyle
from boardgame_sae.games.game import Game
from boardgame_sae.games.property import board_property
from boardgame_sae.games.random_bits import GOLDEN, S11, S32, mix_words
from boardgame_sae.games.record import PLAYER_COLUMNS, RESULT_COLUMN, Column, DiscBoards, MoveRecord, Result
from boardgame_sae.games.registry import register

N_ROWS, N_COLUMNS, LETTERS = 6, 7, "abcdefg"
DISCS = {"b": ("#d62f2f", "#7a1414"), "w": ("#f3d03e", "#8a7410"), ".": ("#f6f6f4", "#1b3d75")}
STEPS = (1, 6, 7, 8)  # to the bit of the square above, and of those in the next column: one lower, level, one higher
NAMES = {7 * column + row: f"{LETTERS[column]}{row + 1}" for row in range(N_ROWS) for column in range(N_COLUMNS)}
"""The squares row by row: their names by bit."""
LINES = [line for step in STEPS for bit in NAMES if set(line := [bit + k * step for k in range(4)]) <= set(NAMES)]
SETS_L = np.array([sum(1 << bit for bit in line) for line in LINES], np.uint64)
FLOORS_C = np.array([0, *(1 << 7 * column for column in range(N_COLUMNS))], np.uint64)
"""The 69 lines of four, as lists of bits and as sets; and the lowest square of each move's column, as a set."""


def has_four(discs: Any) -> Any:
    """Whether discs, as a set or as an array of sets, stand four in a line."""
    four = False
    for step in STEPS:
        pairs = discs & (discs >> step)
        four = four | (pairs & (pairs >> 2 * step) != 0)
    return four


def landings(mine_N: np.ndarray, yours_N: np.ndarray) -> np.ndarray:
    """The square where each move's disc lands, as sets (N, 8); none where the rules forbid the move."""
    landings_NC = ((mine_N | yours_N)[:, None] + FLOORS_C) & (FLOORS_C * np.uint64(2**N_ROWS - 1))
    return np.where(has_four(yours_N)[:, None], np.uint64(0), landings_NC)


class Position(NamedTuple):
    """Discs of the player to move and of the other, plies played, and the last move, -1 at the start."""

    mine: int = 0
    yours: int = 0
    ply: int = 0
    last: int = -1

    @property
    def landings(self) -> list[int]:
        """As `landings` gives them."""
        return landings(*np.array([[self.mine], [self.yours]], np.uint64))[0].tolist()


class ConnectFour(Game):
    """Drop discs into columns until four of one's own stand in a line, or the board is full."""

    name = family = "connect_four"
    shape, first_row_on_top = (N_ROWS, N_COLUMNS), False
    squares = tuple(NAMES.values())
    alphabet = text_alphabet = ("", *LETTERS)
    max_plies = max_characters = N_ROWS * N_COLUMNS
    max_written = 1
    columns: Mapping[str, Column] = {**PLAYER_COLUMNS, "result": RESULT_COLUMN}
    disc_style = DiscStyle("#2b5fb4", "#2b5fb4", DISCS)
    board_property = "board"
    scored_properties = ("mine_yours", "legal_column", "wins_next", "must_block", "three")
    """As on Othello, the headline leaves out empty squares, which are most of the board."""
    hierarchies = (("legal_column", "wins_next"), ("legal_column", "must_block"))

    def start(self) -> Position:
        return Position()

    def legal_moves(self, position: Position) -> list[int]:
        return [move for move, square in enumerate(position.landings) if square]

    def play(self, position: Position, move: int) -> Position:
        return Position(position.yours, position.mine | position.landings[move], position.ply + 1, move)

    def evaluate(self, position: Position) -> int:
        """-1 where the other player has won, else 0: there is no material."""
        return -int(has_four(position.yours))

    def pieces(self, moves: Sequence[int]) -> list[str]:
        return [self.alphabet[move] for move in moves]

    def cells(self, position: Position) -> str:
        """`b` for a disc of the player who began, `w` for one of the other, `.` for none; the lowest row first."""
        first, second = position[:2] if self.mover(position) else position[1::-1]
        return "".join("b" if first >> bit & 1 else "w" if second >> bit & 1 else "." for bit in NAMES)

    def with_square(self, position: Position, square: int, content: str) -> Position:
        """Discs rest on discs: only the top one of a column can be taken away, only the next one put.

        Raises ValueError as `Game.with_square` does, also where the player to move would have won before.
        """
        bit, name = list(NAMES)[square], self.squares[square]
        mine, yours = position.mine & ~(1 << bit), position.yours & ~(1 << bit)
        above, below = (mine | yours) >> bit + 1 & 1, bit % 7 == 0 or (mine | yours) >> bit - 1 & 1
        if self.checked_content(content) == "empty" and bit % 7 + 1 < N_ROWS and above:
            raise ValueError(f"connect_four: {name} cannot be empty: a disc rests on it")
        if content != "empty" and not below:
            raise ValueError(f"connect_four: no disc can stand on {name}: the square below is empty")
        mine, yours = mine | (content == "mine") << bit, yours | (content == "yours") << bit
        if has_four(mine):
            raise ValueError(f"connect_four: with {name} {content} the player to move would have won before")
        return position._replace(mine=mine, yours=yours)

    def last_square(self, position: Position) -> int:
        column = (position.mine | position.yours) >> 7 * (position.last - 1) & 63 if position.last > 0 else 0
        return N_COLUMNS * (column.bit_count() - 1) + position.last - 1 if column else -1

    def boards(self, record: MoveRecord, about: Mapping[str, np.ndarray] | None = None) -> DiscBoards:  # noqa: ARG002
        ply_N = np.concatenate([np.empty(0, np.uint16), *(np.arange(n + 1, dtype=np.uint16) for n in record.lengths)])
        last_N, (mine_N, yours_N) = np.full(len(ply_N), -1, np.int32), np.zeros((2, len(ply_N)), np.uint64)
        last_N[ply_N > 0] = record.moves_M
        for ply in range(1, int(ply_N.max(initial=0)) + 1):
            here, before = np.flatnonzero(ply_N == ply), np.flatnonzero(ply_N == ply) - 1
            move_N = np.where(last_N[here] > N_COLUMNS, 0, last_N[here])
            dropped_N = landings(mine_N[before], yours_N[before])[np.arange(len(here)), move_N]
            for row in here[dropped_N == 0][:1]:
                self.replay("".join(LETTERS[m - 1 : m] or "?" for m in last_N[row - ply + 1 : row + 1]))  # raises
            mine_N[here], yours_N[here] = yours_N[before], mine_N[before] | dropped_N
        return DiscBoards(ply_N % 2 == 0, last_N, ply_N, record.offsets, mine_N, yours_N)

    def legal_tokens(self, boards: Any) -> np.ndarray:
        return landings(boards.mine_N, boards.yours_N) != 0

    def outcomes(self, record: MoveRecord) -> dict[str, np.ndarray]:
        ends = self.boards(record).ends
        undecided_B = np.where(self.legal_tokens(ends).any(axis=1), Result.UNFINISHED, Result.DRAWN)
        result_B = np.where(has_four(ends.yours_N), np.where(ends.mover_N, Result.LOST, Result.WON), undecided_B)
        return {"result": result_B.astype(np.int8)}

    def perft(self, depth: int) -> int:
        sets_N2, count_N = np.zeros((1, 2), np.uint64), np.ones(1)
        for _ in range(depth):  # positions that come about in several ways are looked at once
            landings_NC = landings(*sets_N2.T)
            n, move = landings_NC.nonzero()
            after_N2 = np.stack([sets_N2[n, 1], sets_N2[n, 0] | landings_NC[n, move]], axis=1)
            sets_N2, place = np.unique(after_N2, axis=0, return_inverse=True)
            count_N = np.bincount(place.reshape(-1), count_N[n])
        return int(count_N.sum())

    def play_games(self, seeds_B: np.ndarray, epsilons: tuple[float, float] = (1.0, 1.0)) -> MoveRecord:
        words_B, moves_BL = np.array(seeds_B, np.uint64), np.zeros((len(seeds_B), self.max_plies), np.uint16)
        mine_B, yours_B = np.zeros((2, len(words_B)), np.uint64)
        for ply in range(self.max_plies):
            landings_BC = landings(mine_B, yours_B)
            open_BC, epsilon = landings_BC != 0, epsilons[ply % 2]
            draws_B = np.count_nonzero(open_BC, axis=1) > 1
            if epsilon < 1:
                words_B[draws_B] += GOLDEN
                greedy_B = draws_B & ((mix_words(words_B) >> S11) * 2.0**-53 >= epsilon)
                wins_BC = open_BC & has_four(mine_B[:, None] | landings_BC) & greedy_B[:, None]
                open_BC = np.where(wins_BC.any(axis=1, keepdims=True), wins_BC, open_BC)
            words_B[draws_B] += GOLDEN
            chosen_B = (mix_words(words_B) >> S32) * np.count_nonzero(open_BC, axis=1).astype(np.uint64) >> S32
            moves_BL[:, ply] = (open_BC.cumsum(axis=1) > chosen_B[:, None]).argmax(axis=1)  # 0 once the game is over
            dropped_B = landings_BC[np.arange(len(words_B)), moves_BL[:, ply]]
            after_B, goes_on_B = mine_B | dropped_B, dropped_B != 0
            mine_B, yours_B = np.where(goes_on_B, yours_B, mine_B), np.where(goes_on_B, after_B, yours_B)
        return MoveRecord.of([moves_L[moves_L > 0] for moves_L in moves_BL])


SQUARE: dict[str, Any] = {"family": ConnectFour.family, "level": "low", "exclusive": True}
COLUMN: dict[str, Any] = {"family": ConnectFour.family, "level": "high", "exclusive": False, "classes": tuple(LETTERS)}
LINE = {**COLUMN, "classes": tuple(f"{NAMES[line[0]]}-{NAMES[line[3]]}" for line in LINES)}


@board_property(name="board", classes=("mine", "yours", "empty"), **SQUARE)
def board(_: ConnectFour, boards: DiscBoards) -> np.ndarray:
    """Whose disc stands on the square: of the player to move, of the other, or none."""
    sets_NC = np.stack([boards.mine_N, boards.yours_N, ~(boards.mine_N | boards.yours_N)], axis=1)
    bits_NSC = sets_NC[:, None] >> np.array(list(NAMES), np.uint64)[:, None] & np.uint64(1)
    return bits_NSC.astype(bool).reshape(-1, N_ROWS, N_COLUMNS, 3)


@board_property(name="mine_yours", classes=("mine", "yours"), **SQUARE)
def mine_yours(game: ConnectFour, boards: DiscBoards) -> np.ndarray:
    """Whose disc stands on the square; empty squares left out."""
    return board(game, boards)[..., :2]


@board_property(name="legal_column", prefix="legal", shape=lambda _: (N_COLUMNS,), **COLUMN)
def legal_column(_: ConnectFour, boards: DiscBoards) -> np.ndarray:
    """The player to move may drop a disc into the column."""
    return landings(boards.mine_N, boards.yours_N)[:, 1:] != 0


@board_property(name="wins_next", prefix="win", shape=lambda _: (N_COLUMNS,), **COLUMN)
def wins_next(_: ConnectFour, boards: DiscBoards) -> np.ndarray:
    """The player to move wins at once by dropping a disc into the column."""
    landings_NC = landings(boards.mine_N, boards.yours_N)[:, 1:]
    return (landings_NC != 0) & has_four(boards.mine_N[:, None] | landings_NC)


@board_property(name="must_block", prefix="block", shape=lambda _: (N_COLUMNS,), **COLUMN)
def must_block(_: ConnectFour, boards: DiscBoards) -> np.ndarray:
    """The other player would win at once by dropping a disc into the column, were it to move."""
    landings_NC = landings(boards.mine_N, boards.yours_N)[:, 1:]
    return (landings_NC != 0) & has_four(boards.yours_N[:, None] | landings_NC)


@board_property(name="three", shape=lambda _: (len(LINES),), **LINE)
def three(_: ConnectFour, boards: DiscBoards) -> np.ndarray:
    """Three discs of the player to move stand on the line of four, and its other square is empty."""
    n_mine_NL, yours_NL = counts(boards.mine_N[:, None] & SETS_L), boards.yours_N[:, None] & SETS_L
    return (n_mine_NL == 3) & (yours_NL == 0)


register(ConnectFour.name, ConnectFour)
