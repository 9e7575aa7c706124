"""Chess: the published transcripts, rules compiled and checked against python-chess, which also draws the boards.

Squares are numbered as in python-chess, a1 = 0, so that row 0 of a board of labels is rank 1. A move's code is that of
`chess_kernels`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_changes
from functools import cached_property
from types import MappingProxyType
from typing import Any

import chess as python_chess
import numpy as np

from boardgame_sae.games.chess import facts as chess_truth
from boardgame_sae.games.chess import kernels
from boardgame_sae.games.chess import movetext as chess_movetext
from boardgame_sae.games.chess import play as chess_play
from boardgame_sae.games.chess import san as chess_text
from boardgame_sae.games.chess import search as chess_search
from boardgame_sae.games.chess.picture import draw_board
from boardgame_sae.games.game import Game
from boardgame_sae.games.record import UNKNOWN_EVALUATION, Boards, IllegalMove, MoveRecord
from boardgame_sae.games.registry import register

ALPHABET = " #+-.0123456789;=BKNOQRabcdefghx"
"""The published characters in the published order: a token id is a place in it."""
ENDINGS = ("ongoing", "checkmate", "stalemate", "insufficient material", "fivefold repetition", "75 moves")
"""How a game stands, by the number in a corpus's column `ending`."""
UNKNOWN = 2
"""A result that nobody knows, beside 1 (White won), 0 (draw) and -1 (Black won)."""
N_SKILLS = 6
"""Bins of playing strength, as published."""


@dataclass(frozen=True, eq=False)
class Position:
    """A position with as much of its game as the draws need. Positions are equal that came about by the same plies."""

    words: np.ndarray
    """The state, as `chess_kernels` has it: uint64 (WIDTH,), never written to."""
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


@dataclass(frozen=True, eq=False)
class ChessBoards(Boards):
    """A batch of positions."""

    state_N: np.ndarray
    """uint64 (N, WIDTH): the words of `chess_kernels`."""
    skill_N: np.ndarray
    """int8: bin of the mover's playing strength, 0 the weakest; -1 where nobody knows."""
    evaluation_N: np.ndarray
    """int16: centipawns for the player to move, as an engine thinks; UNKNOWN_EVALUATION where none was asked."""

    @cached_property
    def truth(self) -> tuple[np.ndarray, np.ndarray]:
        """Sets of squares (uint64) and facts (bool) of every position, in the columns of `chess_truth`."""
        sets_N3 = np.empty((len(self), 3), np.uint64)
        facts_NF = np.empty((len(self), len(chess_truth.FACTS)), bool)
        chess_truth.truth(self.state_N, sets_N3, facts_NF)
        return sets_N3, facts_NF


def move_code(move: python_chess.Move) -> int:
    """The code of a python-chess move."""
    return move.from_square << 9 | move.to_square << 3 | (move.promotion - 1 if move.promotion else 0)


def python_move(code: int) -> python_chess.Move:
    """The python-chess move of a code."""
    return python_chess.Move(code >> 9, code >> 3 & 63, (code & 7) + 1 if code & 7 else None)


def _all_codes() -> list[int]:
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


class ChessGame(Game):
    """Chess, as in the published corpora: `;1.e4 e5 2.Nf3 Nc6`, read at the dots, where White is to move.

    A game ends by checkmate, stalemate, insufficient material, fivefold repetition, 75 moves without a capture or pawn
    move, or after `max_plies`; draws that must be claimed are not.
    """

    name, family = "chess", "chess"
    shape = (8, 8)
    squares = tuple(python_chess.SQUARE_NAMES)
    text_alphabet = tuple(ALPHABET)
    default_tokenization = "char"
    max_plies = 600
    max_characters = 1024
    text_start = ";"
    places: Mapping[str, str] = MappingProxyType({"dot": "."})
    default_place = "dot"
    max_written = 8
    move_end = " ;"
    about = ("skill_first", "skill_second", "evaluation")
    first_row_on_top = False
    glyphs: Mapping[str, str] = MappingProxyType(dict(zip("KQRBNPkqrbnp", 2 * "♚♛♜♝♞♟", strict=True)))
    board_property = "piece"
    scored_properties = (
        "piece_moved",
        "threat",
        "legal_move",
        "check",
        "can_check_next",
        "has_queen",
        "can_capture_queen",
        "has_bishop_pair",
        "castling_rights",
        "castling_kingside",
        "castling_queenside",
        "fork",
        "pin",
        "en_passant",
        "ambiguous_move",
    )

    def __init__(self) -> None:
        self.options: Mapping[str, Any] = {}
        codes = _all_codes()
        self.alphabet = ("", *(python_move(code).uci() for code in codes))
        self._code_of_uci = dict(zip(self.alphabet[1:], codes, strict=True))
        self._uci_of_code = dict(zip(codes, self.alphabet[1:], strict=True))
        self._token_of_code = np.zeros(1 << 15, np.uint16)
        self._token_of_code[codes] = np.arange(1, len(codes) + 1)

    def __repr__(self) -> str:
        return "load_game('chess')"

    def start(self) -> Position:
        return Position(chess_play.START, 0, -1, np.array([chess_play.key_of(chess_play.START)]))

    def legal_moves(self, position: Position) -> list[int]:
        return chess_play.legal_moves(position.words).tolist()

    def is_over(self, position: Position) -> bool:
        return position.ply >= self.max_plies or chess_play.endings(position.words[None])[0] != kernels.ONGOING

    def play(self, position: Position, move: int) -> Position:
        ply = position.ply + 1
        words, keys = position.words.copy(), np.empty(ply + 1, np.uint64)
        keys[:ply] = position.keys
        chess_play.advance(words, keys, ply, move)
        return Position(words, ply, move, keys)

    def mover(self, position: Position) -> bool:
        return bool(position.words[kernels.TURN])

    def evaluate(self, position: Position) -> int:
        return int(chess_play.balance(position.words))

    def move_text(self, position: Position, move: int) -> str:
        return chess_text.move_san(position.words, move).tobytes().decode()

    def parse_move(self, position: Position, text: str) -> int:
        code = self._read(position, text)
        if code < 0:
            raise ValueError(f"chess: {text!r} is no legal move there: {_WRONG[code]}")
        return code

    def judge(self, position: Position, written: str) -> str:
        code = self._read(position, written)
        return "legal" if code >= 0 else _JUDGEMENTS[code]

    def prompt_length(self, piece: str) -> int:
        found = _NUMBER.match(piece)
        return found.end() if found else 0

    def phase(self, position: Position) -> str:
        """`opening`: the first 20 plies; `end`: six pieces or fewer besides kings and pawns; else `middle`."""
        if sum(position.state[kind].bit_count() for kind in (1, 2, 3, 4)) <= 6:
            return "end"
        return "opening" if position.ply < 20 else "middle"

    def split(self, text: str) -> list[str]:
        return [word for part in text.removeprefix(";").split() if (word := _NUMBER.sub("", part))]

    def pieces(self, moves: Sequence[int]) -> list[str]:
        text = self.texts(MoveRecord.of([moves]))[0]
        parts = text.split(" ")
        return [part + " " for part in parts[:-1]] + parts[-1:]

    def cells(self, position: Position) -> str:
        """White's pieces as `PNBRQK`, Black's as `pnbrqk`, `.` for none; a1 first, rank by rank."""
        cells = ["."] * 64
        for kind, letter in enumerate("PNBRQK"):
            for square in range(64):
                if position.state[kind] >> square & 1:
                    cells[square] = letter if position.state[kernels.WHITE] >> square & 1 else letter.lower()
        return "".join(cells)

    def picture(
        self,
        position: Position,
        *,
        marks: Mapping[int, str] | None = None,
        heat: np.ndarray | None = None,
        last: int | None = None,
        size: int = 240,
    ) -> str:
        """The board as SVG, White below; otherwise as `Game.picture` says."""
        move = python_move(position.last) if position.last >= 0 else None
        return draw_board(position.board, marks=marks or {}, heat=heat, last_move=move, last=last, size=size)

    def boards(self, record: MoveRecord, about: Mapping[str, np.ndarray] | None = None) -> ChessBoards:
        boards, bad = self._replay(record)
        if bad is not None:
            raise self._illegal(record, bad)
        about, game_N = about or {}, np.repeat(np.arange(len(record)), record.lengths + 1)
        unknown_B = np.full(len(record), -1, np.int8)
        first_N, second_N = (about.get(name, unknown_B)[game_N] for name in ("skill_first", "skill_second"))
        skill_N = np.where(boards.mover_N, first_N, second_N).astype(np.int8)
        return with_changes(boards, skill_N=skill_N, evaluation_N=about.get("evaluation", boards.evaluation_N))

    def record(self, texts: Sequence[str]) -> MoveRecord:
        games, room = [], np.empty(self.max_plies, np.uint16)
        for text in texts:
            characters = np.frombuffer(text.removeprefix(";").encode("ascii", "replace"), np.uint8)
            n_plies, status, _, _ = chess_movetext.read_game(characters, room)
            if status == chess_movetext.TOO_LONG:
                raise ValueError(f"chess: {text[:40]!r}... has more than {self.max_plies} plies")
            games.append(self._walk(text)[0] if status < 0 else room[:n_plies].copy())
        return MoveRecord.of(games)

    def characters(self, record: MoveRecord) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        room = chess_text.LONGEST_PLY * len(record.moves_M) + len(record)
        text, plies = np.empty(room, np.uint8), np.empty(room, np.uint16)
        ends = np.zeros(len(record) + 1, np.int64)
        chess_text.write_games(record.moves_M, record.offsets, text, plies, ends)
        return text[: ends[-1]].copy(), plies[: ends[-1]].copy(), ends

    def move_tokens(self, record: MoveRecord) -> np.ndarray:
        return self._token_of_code[record.moves_M]

    def perft(self, depth: int) -> int:
        return int(chess_play.perft(chess_play.START, depth))

    def play_games(self, seeds_B: np.ndarray, epsilons: tuple[float, float] = (1.0, 1.0)) -> MoveRecord:
        seeds_B = np.asarray(seeds_B, np.uint64)
        moves_M, offsets = np.empty(len(seeds_B) * self.max_plies, np.uint16), np.zeros(len(seeds_B) + 1, np.int64)
        both = (float(epsilons[0]), float(epsilons[1]))
        chess_play.play_games(seeds_B, both, moves_M, offsets, self.max_plies)
        return MoveRecord(moves_M[: offsets[-1]].copy(), offsets)

    def search_games(
        self,
        words_B: np.ndarray,
        depths: tuple[int, int],
        temperatures_B2: np.ndarray,
        openings: MoveRecord,
        max_plies: int,
    ) -> MoveRecord:
        """Games of the built-in player (`chess_search`), White's depth and temperature first; depth 0 is random play.

        words_B: the state of each game's generator. openings: moves that begin each game. max_plies: longer games are
        broken off.
        """
        moves_M, offsets = np.empty(len(words_B) * max_plies, np.uint16), np.zeros(len(words_B) + 1, np.int64)
        opening = openings.moves_M, openings.offsets
        chess_search.search_games(words_B, depths, temperatures_B2, *opening, max_plies, moves_M, offsets)
        return MoveRecord(moves_M[: offsets[-1]].copy(), offsets)

    def score_moves(self, position: Position, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Codes of the legal moves, rising, and the centipawns of each after a search by the built-in player."""
        codes, scores = np.empty(chess_play.MOST_MOVES, np.uint16), np.empty(chess_play.MOST_MOVES, np.int64)
        n = chess_search.score_moves(position.words, depth, codes, scores, chess_search.make_room())
        return codes[:n], scores[:n]

    def search_boards(self, boards: ChessBoards, depth: int) -> np.ndarray:
        """Centipawns of every board for the player to move, after a search by the built-in player: int64 (N,)."""
        return chess_search.search_states(boards.state_N, depth)

    def final_value(self, position: Position) -> int | None:
        """-1 where the player to move is mated, 0 where the game is drawn, None while it goes on."""
        ending = chess_play.endings(position.words[None])[0]
        return None if ending == kernels.ONGOING else -1 if ending == kernels.CHECKMATE else 0

    def uci(self, move: int) -> str:
        """A move's code in UCI's notation: `e2e4`, `e7e8q`."""
        return self._uci_of_code[move]

    def from_uci(self, text: str) -> int:
        """The code of a move in UCI's notation. Raises ValueError when it is none."""
        if text not in self._code_of_uci:
            raise ValueError(f"chess: {text!r} is no move in UCI's notation; those are like e2e4 and e7e8q")
        return self._code_of_uci[text]

    def legal_tokens(self, boards: Boards) -> np.ndarray:
        assert isinstance(boards, ChessBoards)
        legal_NV = np.zeros((len(boards), len(self.alphabet)), bool)
        chess_truth.mark_moves(boards.state_N, self._token_of_code, legal_NV)
        return legal_NV

    def outcomes(self, record: MoveRecord) -> dict[str, np.ndarray]:
        """`result`: 1 White won, 0 drawn, -1 Black won, 2 unfinished; `ending`: place in ENDINGS. Both int8."""
        parts = [self._last_boards(record[start : start + 4096]) for start in range(0, len(record), 4096)]
        state_N = np.concatenate([np.empty((0, kernels.WIDTH), np.uint64), *(part.state_N for part in parts)])
        ending_B = chess_play.endings(state_N)
        mated_B = np.where(state_N[:, kernels.TURN] == 1, -1, 1)
        result_B = np.where(ending_B == kernels.CHECKMATE, mated_B, np.where(ending_B == kernels.ONGOING, UNKNOWN, 0))
        return {"result": result_B.astype(np.int8), "ending": ending_B}

    def _last_boards(self, record: MoveRecord) -> ChessBoards:
        """How each game stands at its end."""
        boards = self.boards(record)
        return boards[boards.rows(np.arange(len(record)), record.lengths)]

    def _read(self, position: Position, text: str) -> int:
        if not text.isascii():
            return chess_text.UNREADABLE
        return int(chess_text.san_of(position.words, np.frombuffer(text.encode(), np.uint8)))

    def _replay(self, record: MoveRecord) -> tuple[ChessBoards, int | None]:
        """Every position, and the index among all moves of the first illegal one: rows from there on are not filled."""
        n_rows = len(record.moves_M) + len(record)
        state_N, mover_N = np.empty((n_rows, kernels.WIDTH), np.uint64), np.empty(n_rows, bool)
        last_N, ply_N = np.empty(n_rows, np.int32), np.empty(n_rows, np.uint16)
        unknown = np.full(n_rows, -1, np.int8), np.full(n_rows, UNKNOWN_EVALUATION, np.int16)
        bad = chess_play.replay(record.moves_M, record.offsets, state_N, mover_N, last_N, ply_N)
        boards = ChessBoards(mover_N, last_N, ply_N, record.offsets, state_N, *unknown)
        return boards, None if bad < 0 else int(bad)

    def _illegal(self, record: MoveRecord, bad: int) -> IllegalMove:
        """What to raise for the move at index `bad` of a record."""
        game = int(np.searchsorted(record.offsets, bad, side="right")) - 1
        moves = record.moves_M[record.offsets[game] : bad].tolist()
        position = self.start()
        for move in moves:
            position = self.play(position, move)
        legal = [self.move_text(position, move) for move in self.legal_moves(position)]
        code = int(record.moves_M[bad])
        written = python_move(code).uci() if code < 1 << 15 and code & 7 < 5 else f"<{code}>"
        return IllegalMove(
            self.name, f"{self.texts(MoveRecord.of([moves]))[0]} {written}", len(moves) + 1, written, legal
        )


_NUMBER = re.compile(r";?(\d+\.+)?")
_WRONG = {
    chess_text.UNREADABLE: "it cannot be read",
    chess_text.ILLEGAL: "the rules forbid it",
    chess_text.AMBIGUOUS: "more than one piece could make it",
}
_JUDGEMENTS = {
    chess_text.UNREADABLE: "unparsable",
    chess_text.ILLEGAL: "illegal",
    chess_text.AMBIGUOUS: "ambiguous",
}

register("chess", ChessGame)
