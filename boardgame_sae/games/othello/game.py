"""Othello on bitboards: 4x4, 6x6 and 8x8 boards and the rule variants of MetaOthello.

`mine` is always the player to move, `yours` the other. Who is to move follows from the rules: a player who cannot move
passes, so the parity of the ply does not say it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_changes
from functools import cache, partial
from types import MappingProxyType
from typing import Any

import numpy as np

from boardgame_sae.games.bits import counts
from boardgame_sae.games.game import MAX_TRIES, Game
from boardgame_sae.games.othello import kernels
from boardgame_sae.games.othello.rules import RULES, Rules
from boardgame_sae.games.record import PLAYER_COLUMNS, Boards, Column, DiscBoards, IllegalMove, MoveRecord, Result
from boardgame_sae.games.registry import register

COLUMNS = {**PLAYER_COLUMNS, "margin": Column("int8", "black discs minus white ones at the end")}


@dataclass(frozen=True)
class Position:
    """A board and whose turn it is. Sets of squares are integers: bit `row * n + column` for each square."""

    black: int
    white: int
    mover: bool
    """Black is to move."""
    ply: int
    """Plies played."""
    steps: int
    """Plies and passes: what a step limit counts."""
    passes: int
    """Passes in a row, as plies, that led here."""
    last: int
    """Code of the last move, -1 at the start."""
    flipped: int
    """Discs that the last move turned, or removed."""
    legal: int
    """Squares where the player to move may play; none when the game is over or the only ply is a pass."""

    @property
    def mine(self) -> int:
        """Discs of the player to move."""
        return self.black if self.mover else self.white

    @property
    def yours(self) -> int:
        """Discs of the other player."""
        return self.white if self.mover else self.black


@dataclass(frozen=True, eq=False, repr=False)
class OthelloBoards(DiscBoards):
    """A batch of positions; a set of squares has bit `row * n + column` for each."""

    legal_N: np.ndarray
    """Squares where the player to move may play."""
    flipped_N: np.ndarray
    """Discs that the last ply turned, or removed."""


class OthelloGame(Game):
    """Othello by any `Rules`. A move's code is its square, `row * n + column`; a pass is n * n."""

    family = "othello"
    max_written = 2
    columns: Mapping[str, Column] = MappingProxyType(COLUMNS)
    board_property = "board"
    scored_properties = ("mine_yours", "legal_move", "flipped")
    hierarchies = (("occupied", "mine_yours"), ("legal_move", "legal_direction"))

    def __init__(self, name: str, rules: Rules) -> None:
        self.name, self.rules = name, rules
        self.options: Mapping[str, Any] = {} if rules == RULES[name] else {"passes": rules.passes}
        self.shape = (rules.size, rules.size)
        self.squares = rules.squares
        self.alphabet = rules.alphabet
        self.max_plies = rules.max_plies
        self.max_characters = 2 * rules.max_plies
        self.pass_code = rules.size**2
        self.text_alphabet = ("", *sorted(set("".join(self.alphabet))))
        self._setup = rules.setup()
        self._codes = {written: code for code, written in enumerate(rules.written)}
        ids = {token: i for i, token in enumerate(self.alphabet)}
        self._tokens_M = np.array([ids.get(written, 0) for written in rules.written], np.uint8)
        self._chars_M2 = np.array([list(written.encode()) for written in rules.written], np.uint8)

    def start(self) -> Position:
        return self._position(kernels.start(self._setup), ply=0, last=-1, flipped=0)

    def legal_moves(self, position: Position) -> list[int]:
        if position.legal:
            return [code for code in range(self.pass_code) if position.legal >> code & 1]
        return [self.pass_code] if kernels.must_pass(self._setup, self._state(position)) else []

    def play(self, position: Position, move: int) -> Position:
        state, flipped = self._state(position), 0
        if move == self.pass_code:
            state = kernels.pass_on(self._setup, state)
        else:
            state, flipped = kernels.put(self._setup, state, move)
        return self._position(state, ply=position.ply + 1, last=move, flipped=int(flipped))

    def mover(self, position: Position) -> bool:
        return position.mover

    def evaluate(self, position: Position) -> int:
        return position.mine.bit_count() - position.yours.bit_count()

    def keeps(self, position: Position) -> bool:
        return self.is_over(position) and (not self.rules.full_games_only or position.steps == self.rules.step_limit)

    def move_text(self, position: Position, move: int) -> str:  # noqa: ARG002
        return self.rules.written[move]

    def parse_move(self, position: Position, text: str) -> int:  # noqa: ARG002
        if text not in self._codes:
            raise ValueError(f"{self.name}: {text!r} is no move; moves are written like {self.alphabet[1]!r}")
        return self._codes[text]

    def cells(self, position: Position) -> str:
        """`b` for a black disc, `w` for a white one, `.` for none, row by row."""
        return "".join("b" if position.black >> s & 1 else "w" if position.white >> s & 1 else "." for s in self._range)

    def with_square(self, position: Position, square: int, content: str) -> Position:
        mine, yours = position.mine & ~(1 << square), position.yours & ~(1 << square)
        match self.checked_content(content):
            case "mine":
                mine |= 1 << square
            case "yours":
                yours |= 1 << square
        black, white = (mine, yours) if position.mover else (yours, mine)
        over = position.steps >= self._setup.limit
        legal = 0 if over else int(kernels.legal_squares(self._setup, np.uint64(mine), np.uint64(yours)))
        return with_changes(position, black=black, white=white, legal=legal)

    def rings(self, position: Position) -> list[int]:
        """The legal squares."""
        return [s for s in self._range if position.legal >> s & 1]

    def last_square(self, position: Position) -> int:
        return position.last if position.last < self.pass_code else -1

    def boards(self, record: MoveRecord, about: Mapping[str, np.ndarray] | None = None) -> OthelloBoards:  # noqa: ARG002
        boards, bad = self._replay(record)
        if bad is not None:
            raise self._illegal(record, bad)
        return boards

    def record(self, texts: Sequence[str]) -> MoveRecord:
        games = []
        for text in texts:
            games.append([self._codes.get(written, -1) for written in self.split(text)])
            if -1 in games[-1]:
                self._walk(text)
        record = MoveRecord.of(games)
        _, bad = self._replay(record)
        if bad is not None:
            self._walk(texts[self._game_of(record, bad)])
        return record

    def pieces(self, moves: Sequence[int]) -> list[str]:
        return [self.rules.written[move] for move in moves]

    def characters(self, record: MoveRecord) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        chars = self._chars_M2[record.moves_M].reshape(-1)
        before_M = np.arange(len(record.moves_M)) - np.repeat(record.offsets[:-1], record.lengths)
        plies = np.stack([before_M, before_M + 1], axis=1).astype(np.uint16).reshape(-1)
        return chars, plies, 2 * record.offsets

    def move_tokens(self, record: MoveRecord) -> np.ndarray:
        return self._tokens_M[record.moves_M]

    def perft(self, depth: int) -> int:
        """Leaves of the game tree at a depth, as the published tables count: a pass is a ply however it is written,
        and a game that is over sooner is one leaf.
        """
        return int(kernels.perft(self._setup._replace(explicit=True), depth))

    def play_games(self, seeds_B: np.ndarray, epsilons: tuple[float, float] = (1.0, 1.0)) -> MoveRecord:
        seeds_B = np.asarray(seeds_B, np.uint64)
        moves_M = np.empty(len(seeds_B) * self.max_plies, np.uint16)
        offsets = np.zeros(len(seeds_B) + 1, np.int64)
        both = (float(epsilons[0]), float(epsilons[1]))
        if not kernels.play_games(self._setup, seeds_B, both, moves_M, offsets, self.rules.full_games_only, MAX_TRIES):
            raise RuntimeError(f"{self.name}: none of {MAX_TRIES} games in a row was one that the rules keep")
        return MoveRecord(moves_M[: offsets[-1]].copy(), offsets)

    def legal_tokens(self, boards: Boards) -> np.ndarray:
        """Which moves continue each position legally; where passes are written, a pass where no square is legal."""
        assert isinstance(boards, OthelloBoards)
        legal_NV = np.zeros((len(boards), len(self.alphabet)), bool)
        squares_NS = self.unpack(boards.legal_N).reshape(len(boards), -1)
        playable_S = self._tokens_M[: self.pass_code] > 0
        legal_NV[:, self._tokens_M[: self.pass_code][playable_S]] = squares_NS[:, playable_S]
        if self.rules.passes == "explicit":
            legal_NV[:, self._tokens_M[self.pass_code]] |= boards.legal_N == 0
        return legal_NV

    def outcomes(self, record: MoveRecord) -> dict[str, np.ndarray]:
        """`margin`, as `COLUMNS` says."""
        ends = self.boards(record).ends
        lead_B = counts(ends.mine_N).astype(np.int8) - counts(ends.yours_N).astype(np.int8)
        return {"margin": np.where(ends.mover_N, lead_B, -lead_B)}

    def results(self, record: MoveRecord) -> np.ndarray:
        over_B = [self.is_over(self.position_after(moves.tolist())) for moves in record]
        return np.where(over_B, np.sign(self.outcomes(record)["margin"]), Result.UNFINISHED).astype(np.int8)

    def published_size(self, name: str) -> int:
        """The published code leaves empty squares out of `mine_yours` but still divides by all three classes."""
        return 3 * len(self.squares) if name == "mine_yours" else super().published_size(name)

    def unpack(self, *sets_N: np.ndarray) -> np.ndarray:
        """Sets of squares (uint64) as bool (N, rows, columns), or (N, rows, columns, C) for C > 1 of them."""
        labels_NSC = np.empty((len(sets_N[0]), self.pass_code, len(sets_N)), bool)
        kernels.unpack(sets_N, labels_NSC)
        return (
            labels_NSC.reshape(-1, *self.shape, len(sets_N)) if len(sets_N) > 1 else labels_NSC.reshape(-1, *self.shape)
        )

    def lines(self, boards: OthelloBoards, steps: Sequence[tuple[int, int]]) -> np.ndarray:
        """Flanked runs by direction and length: bool (N, rows, columns, len(steps), n - 2).

        Entry (i, row, column, d, k - 1): the square is empty, and along `steps[d]` = (rows, columns) lie exactly k
        discs of yours and then one of mine.
        """
        n = self.rules.size
        labels_NSDK = np.zeros((len(boards), n * n, len(steps), n - 2), bool)
        differences = np.array([rows * n + columns for rows, columns in steps], np.int64)
        kernels.lines(self._setup, differences, boards.mine_N, boards.yours_N, labels_NSDK)
        return labels_NSDK.reshape(-1, n, n, len(steps), n - 2)

    @property
    def _range(self) -> range:
        return range(self.pass_code)

    def _state(self, position: Position) -> tuple[Any, ...]:
        mine, yours, legal = np.uint64(position.mine), np.uint64(position.yours), np.uint64(position.legal)
        return mine, yours, position.mover, position.steps, position.passes, legal

    def _position(self, state: tuple[Any, ...], *, ply: int, last: int, flipped: int) -> Position:
        own, other, mover, steps, passes, legal = state
        black, white = (int(own), int(other)) if mover else (int(other), int(own))
        return Position(black, white, bool(mover), ply, int(steps), int(passes), last, flipped, int(legal))

    def _replay(self, record: MoveRecord) -> tuple[OthelloBoards, int | None]:
        """Every position, and the index among all moves of the first illegal one: rows from there on are not filled."""
        n_rows = len(record.moves_M) + len(record)
        mine_N, yours_N, legal_N, flipped_N = (np.empty(n_rows, np.uint64) for _ in range(4))
        mover_N, last_N, ply_N = np.empty(n_rows, bool), np.empty(n_rows, np.int32), np.empty(n_rows, np.uint16)
        columns = mine_N, yours_N, legal_N, flipped_N, mover_N, last_N, ply_N
        bad = kernels.replay(self._setup, record.moves_M, record.offsets, *columns)
        boards = OthelloBoards(mover_N, last_N, ply_N, record.offsets, mine_N, yours_N, legal_N, flipped_N)
        return boards, None if bad < 0 else int(bad)

    def _game_of(self, record: MoveRecord, move_index: int) -> int:
        return int(np.searchsorted(record.offsets, move_index, side="right")) - 1

    def _illegal(self, record: MoveRecord, bad: int) -> IllegalMove:
        """What to raise for the move at index `bad` of a record."""
        game = self._game_of(record, bad)
        moves = record.moves_M[record.offsets[game] : record.offsets[game + 1]].tolist()
        ply = bad - int(record.offsets[game])
        position = self.position_after(moves[:ply])
        names = [self.rules.written[move] if move <= self.pass_code else f"<{move}>" for move in moves]
        legal = [self.rules.written[move] for move in self.legal_moves(position)]
        return IllegalMove(self.name, "".join(names), ply + 1, names[ply], legal)


@cache
def _made(name: str, passes: str) -> OthelloGame:
    return OthelloGame(name, with_changes(RULES[name], passes=passes))


def _variant(name: str, passes: str | None = None) -> OthelloGame:
    return _made(name, RULES[name].passes if passes is None else passes)


def _othello(size: int = 8, passes: str | None = None) -> OthelloGame:
    sizes = {RULES[name].size: name for name in ("othello4", "othello6", "othello")}
    if size not in sizes:
        raise ValueError(f"an Othello board has {', '.join(map(str, sizes))} rows, not {size!r}")
    return _variant(sizes[size], passes)


def _register_all() -> None:
    register("othello", _othello)
    for name in RULES:
        if name != "othello":
            register(name, partial(_variant, name))


_register_all()
