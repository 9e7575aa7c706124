"""A new game, in one file: tic-tac-toe."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from boardgame_sae.games.game import Game
from boardgame_sae.games.property import board_property
from boardgame_sae.games.record import PLAYER_COLUMNS, RESULT_COLUMN, Column, DiscBoards, MoveRecord, Result
from boardgame_sae.games.registry import register

SQUARES = tuple(f"{column}{row}" for row in "123" for column in "abc")
LINES = [
    sum(1 << square for square in line)
    for line in ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))
]


class Position(NamedTuple):
    """Squares of the player to move and of the other as bits, plies played, and the last move, -1 at the start."""

    mine: int = 0
    yours: int = 0
    ply: int = 0
    last: int = -1


class TicTacToe(Game):
    """Three in a row. A move's code is its square + 1."""

    name = family = "tic_tac_toe"
    shape = (3, 3)
    squares = SQUARES
    alphabet = ("", *SQUARES)
    text_alphabet = ("", *"abc123")
    max_plies = 9
    max_characters = 18
    max_written = 2
    columns: Mapping[str, Column] = {**PLAYER_COLUMNS, "result": RESULT_COLUMN}
    board_property = "board"
    scored_properties = ("board", "legal_move")

    def start(self) -> Position:
        return Position()

    def legal_moves(self, position: Position) -> list[int]:
        if any(position.yours & line == line for line in LINES):
            return []
        return [move for move in range(1, 10) if not (position.mine | position.yours) >> move - 1 & 1]

    def play(self, position: Position, move: int) -> Position:
        return Position(position.yours, position.mine | 1 << move - 1, position.ply + 1, move)

    def evaluate(self, position: Position) -> int:
        """-1 where the other player has won, else 0."""
        return -int(any(position.yours & line == line for line in LINES))

    def cells(self, position: Position) -> str:
        first, second = position[:2] if self.mover(position) else position[1::-1]
        return "".join("b" if first >> s & 1 else "w" if second >> s & 1 else "." for s in range(9))

    def boards(self, record: MoveRecord, about: Mapping[str, np.ndarray] | None = None) -> DiscBoards:
        positions = [position for moves in record for position in self.positions(moves.tolist())]
        columns = [np.array([position[field] for position in positions], np.int64) for field in range(4)]
        mine_N, yours_N = (column.astype(np.uint64) for column in columns[:2])
        ply_N, last_N = columns[2].astype(np.uint16), columns[3].astype(np.int32)
        return DiscBoards(ply_N % 2 == 0, last_N, ply_N, record.offsets, mine_N, yours_N)

    def legal_tokens(self, boards: Any) -> np.ndarray:
        rows = zip(boards.mine_N.tolist(), boards.yours_N.tolist(), strict=True)
        legal = [self.legal_moves(Position(mine, yours)) for mine, yours in rows]
        return np.array([[token in moves for token in range(10)] for moves in legal], bool).reshape(-1, 10)

    def outcomes(self, record: MoveRecord) -> dict[str, np.ndarray]:
        results = []
        for moves in record:
            position = self.position_after(moves.tolist())
            if self.evaluate(position):
                results.append(Result.LOST if self.mover(position) else Result.WON)
            else:
                results.append(Result.UNFINISHED if self.legal_moves(position) else Result.DRAWN)
        return {"result": np.array(results, np.int8)}


@board_property(family="tic_tac_toe", name="board", classes=("mine", "yours", "empty"), level="low", exclusive=True)
def board(game: TicTacToe, boards: DiscBoards) -> np.ndarray:
    """Whose sign stands on the square: of the player to move, of the other, or none."""
    sets_NC = np.stack([boards.mine_N, boards.yours_N, ~(boards.mine_N | boards.yours_N)], axis=1)
    bits_NSC = sets_NC[:, None] >> np.arange(9, dtype=np.uint64)[:, None] & np.uint64(1)
    return bits_NSC.astype(bool).reshape(-1, 3, 3, 3)


@board_property(family="tic_tac_toe", name="legal_move", level="high", exclusive=False)
def legal_move(game: TicTacToe, boards: DiscBoards) -> np.ndarray:
    """The player to move may play on the square."""
    return game.legal_tokens(boards)[:, 1:].reshape(-1, 3, 3)


register(TicTacToe.name, TicTacToe)
