"""Chess: the published transcripts, rules compiled and checked against python-chess, which also draws the boards.

`position` says how squares and moves are numbered.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace as with_changes
from pathlib import Path
from types import MappingProxyType

import chess as python_chess
import numpy as np
from chess.polyglot import MemoryMappedReader

from boardgame_sae.games.chess import facts, kernels, movetext, play, san, search
from boardgame_sae.games.chess.picture import draw_board
from boardgame_sae.games.chess.position import ChessBoards, Position, all_codes, edited, move_code, python_move
from boardgame_sae.games.game import Game
from boardgame_sae.games.record import (
    PLAYER_COLUMNS,
    RESULT_COLUMN,
    UNKNOWN_EVALUATION,
    Boards,
    Column,
    IllegalMove,
    MoveRecord,
    Result,
)
from boardgame_sae.games.registry import register
from boardgame_sae.notebook import Picture

ALPHABET = " #+-.0123456789;=BKNOQRabcdefghx"
"""The published characters in the published order: a token id is a place in it."""
ENDINGS = ("ongoing", "checkmate", "stalemate", "insufficient material", "fivefold repetition", "75 moves")
"""How a game stands, by the number in a corpus's column `ending`."""
COLUMNS = {
    **PLAYER_COLUMNS,
    "result": RESULT_COLUMN,
    "ending": Column("int8", "how the game stood at its end: a place in ENDINGS"),
    "evaluation": Column("int16", "centipawns for the player to move, by an engine", per_position=True),
    "white_elo": Column("int16", "White's Elo, 0 where it is unknown"),
    "black_elo": Column("int16", "Black's Elo, 0 where it is unknown"),
    "opening": Column("S64", "name of the opening, empty where it is unknown"),
    "eco": Column("S3", "code of the opening, empty where it is unknown"),
    "time_control": Column("S16", "such as 300+2, empty where it is unknown"),
}
"""The result is the board's or, of real games, the one that was agreed on: people resign, and no board shows it."""


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
    columns: Mapping[str, Column] = MappingProxyType(COLUMNS)
    about = ("skill_first", "skill_second", "evaluation")
    book_paths = ("/usr/share/games/gnuchess/book.bin", "/usr/local/share/gnuchess/book.bin")
    book_advice = "apt-get install gnuchess-book"
    first_row_on_top = False
    board_property = "piece"
    hierarchies = (("color", "piece"),)
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
        codes = all_codes()
        self.alphabet = ("", *(python_move(code).uci() for code in codes))
        self._code_of_uci = dict(zip(self.alphabet[1:], codes, strict=True))
        self._uci_of_code = dict(zip(codes, self.alphabet[1:], strict=True))
        self._token_of_code = np.zeros(1 << 15, np.uint16)
        self._token_of_code[codes] = np.arange(1, len(codes) + 1)

    def start(self) -> Position:
        return Position(play.START, 0, -1, np.array([play.key_of(play.START)]))

    def legal_moves(self, position: Position) -> list[int]:
        return play.legal_moves(position.words).tolist()

    def is_over(self, position: Position) -> bool:
        return position.ply >= self.max_plies or play.endings(position.words[None])[0] != kernels.ONGOING

    def play(self, position: Position, move: int) -> Position:
        ply = position.ply + 1
        words, keys = position.words.copy(), np.empty(ply + 1, np.uint64)
        keys[:ply] = position.keys
        play.advance(words, keys, ply, move)
        return Position(words, ply, move, keys)

    def mover(self, position: Position) -> bool:
        return bool(position.words[kernels.TURN])

    def evaluate(self, position: Position) -> int:
        return int(play.balance(position.words))

    def move_text(self, position: Position, move: int) -> str:
        return san.move_san(position.words, move).tobytes().decode()

    def parse_move(self, position: Position, text: str) -> int:
        code = self._read(position, text)
        if code < 0:
            raise ValueError(f"chess: {text!r} is no legal move there: {_WRONG[code]}")
        return code

    def judge(self, position: Position, written: str) -> str:
        code = self._read(position, written)
        return "legal" if code >= 0 else _JUDGEMENTS[code]

    def prompt_length(self, piece: str) -> int:
        number = _NUMBER.match(piece)
        return number.end() if number else 0

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

    def with_square(self, position: Position, square: int, content: str) -> Position:
        """Castling rights go with their rook, a capture in passing with the pawn that could be taken.

        Raises ValueError as `Game.with_square` does: kings stay, pawns stand on no first or last rank, and the player
        who has just moved is not in check.
        """
        words = edited(position.words, square, self.checked_content(content), self.squares[square])
        keys = np.append(position.keys[:-1], play.key_of(words))
        return with_changes(position, words=words, keys=keys)

    def picture(
        self,
        position: Position | None,
        *,
        marks: Mapping[int, str] | None = None,
        heat: np.ndarray | None = None,
        scale: float | None = None,
        last: int | None = None,
        size: int = 240,
    ) -> Picture:
        """The board as SVG, White below; otherwise as `Game.picture` says."""
        move = python_move(position.last) if position is not None and position.last >= 0 else None
        board, style = python_chess.Board(None) if position is None else position.board, {"heat": heat, "scale": scale}
        return draw_board(board, marks=marks or {}, last_move=move, last=last, size=size, **style)

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
            read = movetext.read_game(characters, room)
            if read.status == movetext.TOO_LONG:
                raise ValueError(f"chess: {text[:40]!r}... has more than {self.max_plies} plies")
            is_doubtful = read.status < 0 or read.passed
            games.append(self._walk(text)[0] if is_doubtful else room[: read.plies].copy())
        return MoveRecord.of(games)

    def characters(self, record: MoveRecord) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        room = san.LONGEST_PLY * len(record.moves_M) + len(record)
        text, plies = np.empty(room, np.uint8), np.empty(room, np.uint16)
        ends = np.zeros(len(record) + 1, np.int64)
        san.write_games(record.moves_M, record.offsets, text, plies, ends)
        return text[: ends[-1]].copy(), plies[: ends[-1]].copy(), ends

    def move_tokens(self, record: MoveRecord) -> np.ndarray:
        return self._token_of_code[record.moves_M]

    def perft(self, depth: int) -> int:
        return int(play.perft(play.START, depth))

    def play_games(self, seeds_B: np.ndarray, epsilons: tuple[float, float] = (1.0, 1.0)) -> MoveRecord:
        seeds_B = np.asarray(seeds_B, np.uint64)
        moves_M, offsets = np.empty(len(seeds_B) * self.max_plies, np.uint16), np.zeros(len(seeds_B) + 1, np.int64)
        both = (float(epsilons[0]), float(epsilons[1]))
        play.play_games(seeds_B, both, moves_M, offsets, self.max_plies)
        return MoveRecord(moves_M[: offsets[-1]].copy(), offsets)

    def search_games(
        self,
        words_B: np.ndarray,
        depths: tuple[int, int],
        temperatures_B2: np.ndarray,
        openings: MoveRecord,
        max_plies: int,
    ) -> MoveRecord:
        """Games of the built-in player (`search`), White's depth and temperature first; depth 0 is random play.

        words_B: the state of each game's generator. openings: moves that begin each game. max_plies: longer games are
        broken off.
        """
        moves_M, offsets = np.empty(len(words_B) * max_plies, np.uint16), np.zeros(len(words_B) + 1, np.int64)
        opening = openings.moves_M, openings.offsets
        search.search_games(words_B, depths, temperatures_B2, *opening, max_plies, moves_M, offsets)
        return MoveRecord(moves_M[: offsets[-1]].copy(), offsets)

    @contextmanager
    def open_book(self, path: Path) -> Iterator[Callable[[Position], list[tuple[int, int]]]]:
        """A polyglot book: a function from a position to its moves there, each with its weight, in order of codes."""
        with MemoryMappedReader(path) as book:
            yield lambda position: sorted(
                (move_code(entry.move), entry.weight) for entry in book.find_all(position.board) if entry.weight
            )

    def score_moves(self, position: Position, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Codes of the legal moves, ascending, and the centipawns of each after a search by the built-in player."""
        codes, scores = np.empty(play.MOST_MOVES, np.uint16), np.empty(play.MOST_MOVES, np.int64)
        n = search.score_moves(position.words, depth, codes, scores, search.make_room())
        return codes[:n], scores[:n]

    def search_boards(self, boards: ChessBoards, depth: int) -> np.ndarray:
        """Centipawns of every board for the player to move, after a search by the built-in player: int64 (N,)."""
        return search.search_states(boards.state_N, depth)

    def final_value(self, position: Position) -> int | None:
        """-1 where the player to move is mated, 0 where the game is drawn, None while it goes on."""
        ending = play.endings(position.words[None])[0]
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
        facts.mark_moves(boards.state_N, self._token_of_code, legal_NV)
        return legal_NV

    def outcomes(self, record: MoveRecord) -> dict[str, np.ndarray]:
        """`result` and `ending`, as `COLUMNS` says."""
        parts = [self.boards(record[start : start + 4096]).ends for start in range(0, len(record), 4096)]
        state_N = np.concatenate([np.empty((0, kernels.WIDTH), np.uint64), *(part.state_N for part in parts)])
        ending_B = play.endings(state_N)
        mated_B = np.where(state_N[:, kernels.TURN] == 1, Result.LOST, Result.WON)
        others_B = np.where(ending_B == kernels.ONGOING, Result.UNFINISHED, Result.DRAWN)
        result_B = np.where(ending_B == kernels.CHECKMATE, mated_B, others_B)
        return {"result": result_B.astype(np.int8), "ending": ending_B}

    def _read(self, position: Position, text: str) -> int:
        if not text.isascii():
            return san.UNREADABLE
        return int(san.san_of(position.words, np.frombuffer(text.encode(), np.uint8)))

    def _replay(self, record: MoveRecord) -> tuple[ChessBoards, int | None]:
        """Every position, and the index among all moves of the first illegal one: rows from there on are not filled."""
        n_rows = len(record.moves_M) + len(record)
        state_N, mover_N = np.empty((n_rows, kernels.WIDTH), np.uint64), np.empty(n_rows, bool)
        last_N, ply_N = np.empty(n_rows, np.int32), np.empty(n_rows, np.uint16)
        unknown = np.full(n_rows, -1, np.int8), np.full(n_rows, UNKNOWN_EVALUATION, np.int16)
        bad = play.replay(record.moves_M, record.offsets, state_N, mover_N, last_N, ply_N)
        boards = ChessBoards(mover_N, last_N, ply_N, record.offsets, state_N, *unknown)
        return boards, None if bad < 0 else int(bad)

    def _illegal(self, record: MoveRecord, bad: int) -> IllegalMove:
        """What to raise for the move at index `bad` of a record."""
        game = int(np.searchsorted(record.offsets, bad, side="right")) - 1
        moves = record.moves_M[record.offsets[game] : bad].tolist()
        position = self.position_after(moves)
        legal = [self.move_text(position, move) for move in self.legal_moves(position)]
        code = int(record.moves_M[bad])
        written = python_move(code).uci() if code < 1 << 15 and code & 7 < 5 else f"<{code}>"
        return IllegalMove(
            self.name, f"{self.texts(MoveRecord.of([moves]))[0]} {written}", len(moves) + 1, written, legal
        )


_NUMBER = re.compile(r";?(\d+\.+)?")
_WRONG = {
    san.UNREADABLE: "it cannot be read",
    san.ILLEGAL: "the rules forbid it",
    san.AMBIGUOUS: "more than one piece could make it",
}
_JUDGEMENTS = {
    san.UNREADABLE: "unparsable",
    san.ILLEGAL: "illegal",
    san.AMBIGUOUS: "ambiguous",
}

register("chess", ChessGame)
