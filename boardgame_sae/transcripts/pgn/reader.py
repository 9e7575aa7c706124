"""PGN text cut into games, and games read: what their headers say, their moves, and what is wrong with them.

Cutting is compiled and knows only lines, comments and brackets; it goes over every byte once, whatever the text. Moves
are read by `games.chess.movetext`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import chess as python_chess
import numpy as np
from numba import njit

from boardgame_sae.games.chess import movetext, san
from boardgame_sae.transcripts.pgn.source import Blocks

BATCH_GAMES = 1000
BATCH_BYTES = 1 << 22
"""A batch is full at so many games, or so many bytes."""
MAX_BYTES = 1 << 24
"""A game with more text than this is not read."""
HEAD_BYTES = 1 << 16
"""What is kept of such a game: its headers."""
LOOKBACK = 16
"""Bytes before a block in which a game found in that block may have begun."""

LINE, TAGS, TEXT, COMMENT, REST, BRACKET = range(6)
"""Where the cutter is: at the start of a line; in a header; in movetext; in a comment in braces; in a line passed over;
just past a bracket at the start of a line."""
NOTHING, HEADERS, MOVES = range(3)
"""What has been seen of the open game."""
EVENT = np.frombuffer(b'[Event "', np.uint8)
BLANKS, BOM = np.frombuffer(b" \t\r", np.uint8), np.frombuffer(b"\xef\xbb\xbf", np.uint8)
NEWLINE, OPEN_BRACKET, PERCENT, SEMICOLON, BRACE, UNBRACE = (np.uint8(ord(c)) for c in "\n[%;{}")


def new_state() -> np.ndarray:
    """The state of `cut` at the beginning of a text: mode, seen, empty, matched, body."""
    return np.array([LINE, NOTHING, 1, -1, -1], np.int64)


@njit(cache=True)
def cut(  # noqa: C901 - one state machine
    block: np.ndarray, base: int, state: np.ndarray, starts: np.ndarray, bodies: np.ndarray
) -> int:
    """Find where games begin in the next block of a text; returns how many do.

    A game begins at a line that opens a bracket (not `[%`) outside a comment, after movetext; and at `[Event "` after
    an empty line, even in a comment, which is then one that nobody closed.
    base: the block's offset in the text. state: from `new_state`, and kept between blocks. Written, as offsets in the
    text: starts, where each game begins; bodies, where the movetext of the game before it does.
    """
    mode, seen, empty, matched, body = state
    n = 0
    for i in range(len(block)):
        character, at = block[i], base + i
        if character == NEWLINE:
            matched = 0 if empty == 1 and seen != NOTHING else -1
            empty = 1
            if mode != COMMENT:
                mode = LINE
            continue
        blank = character == BLANKS[0] or character == BLANKS[1] or character == BLANKS[2]
        if not blank:
            empty = 0
        if matched >= 0:
            matched = matched + 1 if character == EVENT[matched] else -1
        new = at - len(EVENT) + 1 if matched == len(EVENT) else -1
        if mode == BRACKET and character == PERCENT:
            mode, seen, body = TEXT, MOVES, at - 1 if body < 0 else body
        elif mode == BRACKET:
            if seen == MOVES:
                new = at - 1
            mode, seen = TAGS, HEADERS
        elif mode == LINE and character == OPEN_BRACKET:
            mode = BRACKET
        elif mode == LINE and character == PERCENT:
            mode = REST
        elif mode == COMMENT:
            if character == UNBRACE:
                mode = TEXT
        elif mode == LINE and (character == BOM[0] or character == BOM[1] or character == BOM[2]):
            empty = 1
        elif mode in (TEXT, LINE):
            mode = TEXT
            if character == SEMICOLON:
                mode = REST
            elif not blank:
                seen, body = MOVES, at if body < 0 else body
                if character == BRACE:
                    mode = COMMENT
        if new >= 0:
            starts[n], bodies[n] = new, body if body >= 0 else new
            n += 1
            mode, seen, matched, body = TAGS, HEADERS, -1, -1
    state[0], state[1], state[2], state[3], state[4] = mode, seen, empty, matched, body
    return n


@dataclass(frozen=True, eq=False)
class Batch:
    """Some whole games of one source, one after the other."""

    source: str
    text: bytes
    ends: list[int]
    """Where each game ends in the text."""
    bodies: list[int]
    """Where the movetext of each begins."""
    offset: int
    """Of the text in the source (unpacked)."""
    line: int
    """Number of the text's first line in the source."""
    consumed: int
    """Stored bytes of the source read so far."""
    is_large: bool = False
    """It is one game of more than MAX_BYTES, and the text is only its head."""
    is_last: bool = False
    """The source ends here."""
    fault: str = ""
    """What cut the source short."""


@dataclass(eq=False)
class Cutter:
    """Cuts the blocks of a source into batches, which depend on the text alone and not on how it came in blocks."""

    blocks: Blocks
    buffer: bytearray = field(default_factory=bytearray)
    at: int = 0
    """Offset of the buffer in the text."""
    line: int = 1
    """Number of the line in which the buffer begins."""
    ends: list[int] = field(default_factory=list)
    bodies: list[int] = field(default_factory=list)
    head: Batch | None = None
    """What is known of the open game, if it is larger than MAX_BYTES: the buffer then holds only its last bytes."""

    def __iter__(self) -> Iterator[Batch]:
        state, end = new_state(), 0
        for block in self.blocks:
            room = len(block) // 2 + 2  # a game takes at least four bytes
            starts, bodies = np.empty(room, np.int64), np.empty(room, np.int64)
            n = cut(np.frombuffer(block, np.uint8), end, state, starts, bodies)
            self.buffer += block
            end += len(block)
            for start, body in zip(starts[:n].tolist(), bodies[:n].tolist(), strict=True):
                yield from self._game(start, body)
            begin = self.ends[-1] if self.ends else self.at
            if self.head is None and end - begin > MAX_BYTES:
                yield from self._flush()
                self._behead(int(state[4]))
            if self.head is not None:
                self._drop(len(self.buffer) - LOOKBACK)
        yield from self._game(end, int(state[4]) if state[4] >= 0 else end)
        yield self._batch(is_last=True, fault=self.blocks.fault)

    def _game(self, end: int, body: int) -> Iterator[Batch]:
        """Take in that the open game ends at an offset."""
        begin = self.ends[-1] if self.ends else self.at
        if self.head is None and end - begin > MAX_BYTES:
            yield from self._flush()
            self._behead(body)
        if self.head is not None:
            yield self.head
            self.head = None
            self._drop(end - self.at)
            return
        self.ends.append(end)
        self.bodies.append(body)
        if len(self.ends) >= BATCH_GAMES or end - self.at >= BATCH_BYTES:
            yield from self._flush()

    def _flush(self) -> Iterator[Batch]:
        if self.ends:
            yield self._batch()

    def _batch(self, **more: Any) -> Batch:
        """The whole games in the buffer, which leave it."""
        size = self.ends[-1] - self.at if self.ends else 0
        ends, bodies = [end - self.at for end in self.ends], [body - self.at for body in self.bodies]
        place = (self.at, self.line, self.blocks.consumed)
        batch = Batch(self.blocks.source.name, bytes(self.buffer[:size]), ends, bodies, *place, **more)
        self.ends, self.bodies = [], []
        self._drop(size)
        return batch

    def _behead(self, body: int) -> None:
        """Keep of the open game, with which the buffer begins, the first bytes."""
        head = bytes(self.buffer[:HEAD_BYTES])
        body = min(body - self.at, len(head)) if body >= 0 else len(head)
        place = (self.at, self.line, self.blocks.consumed)
        self.head = Batch(self.blocks.source.name, head, [len(head)], [body], *place, is_large=True)

    def _drop(self, n: int) -> None:
        if n > 0:
            self.line += self.buffer.count(b"\n", 0, n)
            del self.buffer[:n]
            self.at += n


_TAGS = "White Black Site Result WhiteElo BlackElo ECO Opening TimeControl Variant SetUp FEN"
_HEADER = re.compile(
    rb'^(?:\xef\xbb\xbf)?\[[ \t]*(%s)[ \t]+"([^\r\n]*)"[ \t]*\]' % b"|".join(_TAGS.encode().split()), re.MULTILINE
)
_NO_HEADERS: Mapping[bytes, bytes] = {}
_ESCAPES = re.compile(rb"\{[^}]*\}?|;[^\n]*|^%[^\n]*", re.MULTILINE)
_RESULT_LIKE = re.compile(rb"(?!0-0)[-/.:+=]*[0-9\xc2\xbd][-0-9/.:+=\xc2\xbd]*")
_END = re.compile(rb"(?:\s|\xef\xbb\xbf)*\Z")
_WORD = re.compile(rb"[^\s{(]{1,40}")
_SPACE = re.compile(rb"(?:\xef\xbb\xbf|\s)*")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NAMES = ("White", "Black", "Site")

WRONG = {
    san.UNREADABLE: "unreadable move",
    san.ILLEGAL: "illegal move",
    san.AMBIGUOUS: "ambiguous move",
    movetext.UNCLOSED: "unclosed comment",
    movetext.TOO_LONG: "too long",
    movetext.ODD_BYTE: "odd byte",
}
"""Why a game is skipped, by the status of `read_game`."""
STANDARD = {b"", b"?", b"standard", b"chess", b"normal", b"from position"}


class PGNGame(NamedTuple):
    """One game as it was read."""

    headers: Mapping[bytes, bytes]
    moves: np.ndarray
    """uint16 codes, up to the fault if there is one."""
    result: str
    """The word that ended its text."""
    fault: str
    """Why it cannot be kept, or empty."""
    place: dict[str, Any]
    """Of a game with a fault: where it and the fault are, and whose game it is."""


def read_batch(batch: Batch, max_plies: int, refuse: Callable[[Mapping[bytes, bytes]], str]) -> Iterator[PGNGame]:
    """Every game of a batch. Text after a result, without headers of its own, is a game too.

    refuse: says of headers why a game with them need not be read, or nothing; that is then its fault, without place.
    """
    room, lines = np.empty(max_plies, np.uint16), _Lines(batch)
    begin = 0
    for end, body in zip(batch.ends, batch.bodies, strict=True):
        headers = dict(_HEADER.findall(batch.text, begin, body))
        piece = batch.text[begin:end] if not headers and body == end else b"?"
        if not piece.replace(_BYTE_ORDER_MARK, b"").strip():
            pass  # the end of the text, or its empty beginning
        elif fault := _not_chess(headers) or ("over 16 MiB" if batch.is_large else ""):
            yield PGNGame(headers, room[:0], "", fault, lines.place(begin, begin, headers))
        elif refused := refuse(headers):
            yield PGNGame(headers, room[:0], "", refused, {})
        else:
            yield from _read_piece(lines, begin, body, end, headers, room)
        begin = end
    if batch.fault:
        yield PGNGame(_NO_HEADERS, room[:0], "", batch.fault, lines.place(begin, begin, _NO_HEADERS))


def _read_piece(
    lines: "_Lines", begin: int, body: int, end: int, headers: Mapping[bytes, bytes], room: np.ndarray
) -> Iterator[PGNGame]:
    """The games of a part of a batch's text: one, and those without headers that follow it."""
    text = lines.text[body:end]
    if b"\n%" in text:
        text = _ESCAPES.sub(_without_escape, text)
    characters, at = np.frombuffer(text, np.uint8), 0
    while True:
        n, status, place, number = movetext.read_game(characters[at:], room)
        word = movetext.RESULTS[number]
        if at > 0 and n == 0 and status == 0 and not word:
            return  # comments after the result
        fault, details = _fault(headers, text, at + place, n, status, word)
        where = lines.place(begin if at == 0 else body + at, body + at + place, headers) if fault else {}
        yield PGNGame(headers, room[:n].copy(), word, fault, {**where, **details})
        at += place + len(word)
        if not word or _END.match(text, at):
            return
        headers = _NO_HEADERS


def _not_chess(headers: Mapping[bytes, bytes]) -> str:
    """Why headers are not those of a game of chess from its usual start."""
    if headers.get(b"Variant", b"").lower() not in STANDARD:
        return "variant"
    fen = headers.get(b"FEN", b"")
    usual = fen.split()[:4] == python_chess.STARTING_FEN.encode().split()[:4]
    if (fen and not usual) or (not fen and headers.get(b"SetUp") == b"1"):
        return "non-standard start"
    return ""


def _fault(
    headers: Mapping[bytes, bytes], text: bytes, place: int, n: int, status: int, word: str
) -> tuple[str, dict[str, Any]]:
    """What is wrong with a game, if anything, and the move at which it is."""
    if status < 0:
        fault = WRONG[status]
        word_there = _WORD.match(text, place)
        bad = word_there.group() if word_there else b""
        if status != movetext.UNCLOSED and bad and _RESULT_LIKE.fullmatch(bad):
            fault = "unknown result"
        return fault, {"ply": n + 1, "move": _shown(bad)}
    if n == 0:
        return "no moves", {}
    if not word:
        return "unfinished text", {"ply": n + 1}
    result = headers.get(b"Result", b"?")
    if result not in (b"", b"?") and result.decode("latin1") not in movetext.RESULTS:
        return "unknown result", {"result": _shown(result)}
    return "", {}


def _without_escape(escape: re.Match[bytes]) -> bytes:
    """Spaces for a line that is escaped; a comment as it is."""
    text = escape.group()
    return text if text[:1] in (b"{", b";") else b" " * len(text)


def _shown(value: bytes) -> str:
    return value[:100].decode("utf-8", "replace")


class _Lines:
    """Where things are in a batch, in its source's terms. Asked in ascending order, it counts each line once."""

    def __init__(self, batch: Batch) -> None:
        self.text, self.offset = batch.text, batch.offset
        self.at, self.line = 0, batch.line

    def number(self, at: int) -> int:
        """The number of the line at a place in the text."""
        if at < self.at:
            return self.line - self.text.count(b"\n", at, self.at)
        self.line += self.text.count(b"\n", self.at, at)
        self.at = at
        return self.line

    def place(self, begin: int, at: int, headers: Mapping[bytes, bytes]) -> dict[str, Any]:
        """Line and offset of a game, the line of what is wrong with it, and its names."""
        space = _SPACE.match(self.text, begin)
        begin = space.end() if space else begin
        names = {name.lower(): _shown(headers[name.encode()]) for name in _NAMES if name.encode() in headers}
        line = self.number(begin)
        return {"line": line, "offset": self.offset + begin, "fault_line": self.number(max(begin, at)), **names}
