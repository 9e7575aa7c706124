"""Games of PGN text, read: what their headers say, their moves, and what is wrong with them."""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from boardgame_sae.games.chess import movetext, san
from boardgame_sae.games.chess.notation import RESULTS
from boardgame_sae.games.record import LONGEST_TEXT
from boardgame_sae.transcripts.pgn.characters import plain
from boardgame_sae.transcripts.pgn.cutter import Batch
from boardgame_sae.transcripts.pgn.headers import Headers, read_headers, stated_result, why_not_chess

_ESCAPES = re.compile(rb"\{[^}]*\}?|;[^\n]*|^%[^\n]*", re.MULTILINE)
_RESULT_LIKE = re.compile(rb"[-/.:+=]*[0-9\xc2\xbd][-0-9/.:+=\xc2\xbd]*")
_NOTHING = re.compile(rb"(?>\s+|;[^\n]*)*+\Z")
_WORD = re.compile(rb"[^\s{(]{1,40}")
_SPACE = re.compile(rb"(?:\xef\xbb\xbf|\s)*")
_NAMES = ("White", "Black", "Site")

WRONG = {
    san.UNREADABLE: "unreadable move",
    san.ILLEGAL: "illegal move",
    san.AMBIGUOUS: "ambiguous move",
    movetext.UNCLOSED: "unclosed comment",
    movetext.TOO_LONG: "too long",
    movetext.REPEATED: "move number 1 again",
    movetext.MISPLACED: "variation before the first move",
}
"""Why a game is skipped, by the status of `read_game`."""


class PGNGame(NamedTuple):
    """One game as it was read."""

    headers: Headers
    moves: np.ndarray
    """uint16 codes, up to the fault if there is one."""
    result: str
    """The word that ended its text, or where nothing did the headers' result."""
    fault: str
    """Why it cannot be kept, or empty."""
    place: dict[str, Any]
    """Where it and its fault are, and whose game it is: of a game with a fault, or with a header of great length."""


def read_batch(batch: Batch, max_plies: int, refuse: Callable[[Headers], str]) -> Iterator[PGNGame]:
    """Every game of a batch. Text after a game, without headers of its own, is a game too.

    refuse: says of headers why a game with them need not be read, or nothing; that is then its fault, without place.
    """
    room, lines = np.empty(max_plies, np.uint16), _Lines(batch)
    begin = 0
    for end, body in zip(batch.ends, batch.bodies, strict=True):
        headers = read_headers(batch.text, begin, body)
        if body == end and _NOTHING.match(_movetext(batch.text[begin:end])):
            pass  # the end of the text, or its empty beginning
        elif fault := why_not_chess(headers) or ("over 16 MiB" if batch.is_large else ""):
            yield PGNGame(headers, room[:0], "", fault, lines.place(begin, begin, headers))
        elif refused := refuse(headers):
            yield PGNGame(headers, room[:0], "", refused, {})
        else:
            is_last = batch.is_last and end == batch.ends[-1]
            yield from _read_piece(lines, begin, body, end, headers, room, is_last)
        begin = end
    if batch.fault:
        yield PGNGame({}, room[:0], "", batch.fault, lines.place(begin, begin, {}))


def _read_piece(
    lines: "_Lines", begin: int, body: int, end: int, headers: Headers, room: np.ndarray, is_last: bool
) -> Iterator[PGNGame]:
    """The games of a part of a batch's text: one, and those without headers that follow it."""
    text = _movetext(lines.text[body:end])
    characters, at = np.frombuffer(text, np.uint8), 0
    has_headers = lines.text.find(b"[", begin, body) >= 0
    while True:
        read = movetext.read_game(characters[at:], room)
        after = at + read.end
        is_whole = after < len(text) or not is_last or _ends_with_blank_line(text)
        word = RESULTS[read.result] or (stated_result(headers) if is_whole else "")
        fault, details = _fault(headers, text[at:after], read, word, has_headers)
        is_long = any(len(value) > LONGEST_TEXT for value in headers.values())
        bad = body + at + (read.place if read.status < 0 else read.end)
        where = lines.place(begin if at == 0 else body + at, bad, headers) if fault or is_long else {}
        yield PGNGame(headers, room[: read.plies].copy(), word, fault, {**where, **details})
        if _NOTHING.match(text, after):
            return
        at, headers, has_headers = after, {}, False


def _ends_with_blank_line(text: bytes) -> bool:
    return text.count(b"\n", len(text.rstrip())) > 1


def _movetext(text: bytes) -> bytes:
    """A text of moves as long as before, in plain characters and with spaces for lines that are escaped."""
    text = plain(text)
    return _ESCAPES.sub(_without_escape, text) if b"\n%" in text or text[:1] == b"%" else text


def _fault(
    headers: Headers, text: bytes, read: movetext.GameText, word: str, has_headers: bool
) -> tuple[str, dict[str, Any]]:
    """What is wrong with a game, if anything, and the move at which it is. word: the result that ends its text."""
    ply = {"ply": read.plies + 1}
    if read.status < 0:
        bad = _WORD.match(text, read.place)
        return WRONG[read.status], {**ply, "move": _shown(bad.group() if bad else b"")}
    if read.plies == 0:
        return "no moves", {}
    if read.first_number > 1 and not has_headers:
        return "no beginning", {"number": read.first_number}
    stated = stated_result(headers)
    if stated and stated not in RESULTS:
        return "unknown result", {"result": stated[:100]}
    if word:
        return "", {}
    last = text.rsplit(None, 1)[-1]
    return (
        ("unknown result", {**ply, "move": _shown(last)}) if _RESULT_LIKE.fullmatch(last) else ("unfinished text", ply)
    )


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

    def place(self, begin: int, at: int, headers: Headers) -> dict[str, Any]:
        """Line and offset of a game, the line of what is wrong with it, and its names."""
        space = _SPACE.match(self.text, begin)
        begin = space.end() if space else begin
        names = {name.lower(): _shown(headers[name.encode()]) for name in _NAMES if name.encode() in headers}
        line = self.number(begin)
        return {"line": line, "offset": self.offset + begin, "fault_line": self.number(max(begin, at)), **names}
