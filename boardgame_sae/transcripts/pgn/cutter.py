"""PGN text cut into games, compiled: it knows only lines, comments and headers, and goes over every byte once."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import njit

from boardgame_sae.transcripts.pgn.source import Blocks

BATCH_GAMES = 1000
BATCH_BYTES = 1 << 22
"""A batch is full at so many games, or so many bytes."""
MAX_BYTES = 1 << 24
"""A game with more text than this is not read."""
HEAD_BYTES = 1 << 16
"""What is kept of such a game: its headers."""
LONGEST_NAME = 250
"""Characters of its line that a header may take before its value."""
LOOKBACK = LONGEST_NAME + 6
"""Bytes before a block in which a game found in that block may have begun."""

LINE, TAGS, TEXT, COMMENT, REST, BRACKET = range(6)
"""Where the cutter is: at the start of a line; in a header; in movetext; in a comment in braces; in a line passed over;
past a bracket at the start of a line, which may be a header's."""
NOTHING, HEADERS, MOVES = range(3)
"""What has been seen of the open game."""
NO_TAG, OPENED, NAMED, VALUE_IS_NEXT, IS_TAG = range(5)
"""How much of a header has been seen: nothing; `[`; its name; a blank after it; the quote before its value."""
FULL, ASIDE, BLANK, FRESH = range(4)
"""What the line holds so far: text; only a comment (`;`), or what is escaped (`%`); only blanks; nothing."""
BOM, NAME_SIGNS = np.frombuffer(b"\xef\xbb\xbf", np.uint8), np.frombuffer(b"_+#=:-", np.uint8)
SPACE, ZERO, NINE, SMALL_A, SMALL_Z = (np.uint8(ord(c)) for c in " 09az")
NEWLINE, OPEN_BRACKET, PERCENT, SEMICOLON, BRACE, UNBRACE, QUOTE = (np.uint8(ord(c)) for c in '\n[%;{}"')


def new_state() -> np.ndarray:
    """The state of `cut` at the beginning of a text: mode, seen, line, gap, tag, where the line begins, body."""
    return np.array([LINE, NOTHING, FRESH, 0, NO_TAG, 0, -1], np.int64)


@njit(cache=True, inline="always")
def _is_blank(character: np.uint8) -> bool:
    return bool(character == SPACE or np.uint8(9) <= character <= np.uint8(13))


@njit(cache=True)
def _tag_after(tag: int, character: np.uint8) -> int:
    """How much of a header has been seen after one more character: NO_TAG where it is none.

    Names are those of python-chess's TAG_REGEX; blanks may stand before them.
    """
    blank = _is_blank(character) and character != NEWLINE
    if tag == VALUE_IS_NEXT:
        return IS_TAG if character == QUOTE else VALUE_IS_NEXT if blank else NO_TAG
    if ZERO <= character <= NINE or SMALL_A <= (character | SPACE) <= SMALL_Z:
        return NAMED
    if tag == OPENED:
        return OPENED if blank else NO_TAG
    named = False
    for sign in NAME_SIGNS:
        named = named or character == sign
    return NAMED if named else VALUE_IS_NEXT if blank else NO_TAG


@njit(cache=True)
def cut(  # noqa: C901 - one state machine
    block: np.ndarray, base: int, state: np.ndarray, starts: np.ndarray, bodies: np.ndarray
) -> int:
    """Find where games begin in the next block of a text; returns how many do.

    A game begins at a header after movetext; at a header after headers and an empty line; and at a header after an
    empty line in a comment, which is then one that nobody closed. Another line that opens a bracket is a bad header,
    which begins a game after movetext and an empty line; it is movetext where there is none, as is what `[%` begins.
    base: the block's offset in the text. state: from `new_state`, and kept between blocks. Written, as offsets in the
    text: starts, where the line of a game's first header begins; bodies, where the movetext of the game before it does.
    """
    mode, seen, line, gap, tag, line_at, body = state
    n = 0
    for i in range(len(block)):
        character, at, begins = block[i], base + i, False
        if tag != NO_TAG:
            escapes = tag == OPENED and character == PERCENT
            tag = _tag_after(tag, character) if at - line_at < LONGEST_NAME else NO_TAG
            if tag == IS_TAG:
                begins = seen == MOVES or (seen == HEADERS and gap == 1)
                mode, seen, tag = TAGS, HEADERS, NO_TAG
            elif tag == NO_TAG and mode == BRACKET:
                if (seen == MOVES and gap == 0) or escapes:
                    mode, seen, body = TEXT, MOVES, line_at if body < 0 else body
                else:
                    begins = seen == MOVES
                    mode, seen = REST, HEADERS
            if begins:
                starts[n], bodies[n] = line_at, body if body >= 0 else line_at
                n, body = n + 1, -1
        if character == NEWLINE:
            gap = 1 if line >= BLANK else gap if line == ASIDE else 0
            line, mode, line_at = FRESH, mode if mode == COMMENT else LINE, at + 1
            continue
        before = line
        if _is_blank(character):
            line = min(line, BLANK)
            continue
        line = min(line, ASIDE) if mode == REST else FULL
        if before >= BLANK and character == OPEN_BRACKET and (mode == LINE or (mode == COMMENT and gap == 1)):
            tag, mode = OPENED, BRACKET if mode == LINE else mode
        elif mode == COMMENT:
            mode = TEXT if character == UNBRACE else COMMENT
        elif mode == LINE and (character == BOM[0] or character == BOM[1] or character == BOM[2]):
            line = before
        elif mode == LINE and (character == SEMICOLON or (character == PERCENT and before == FRESH)):
            mode, line = REST, ASIDE
        elif mode == TEXT and character == SEMICOLON:
            mode = REST
        elif mode in (LINE, TEXT):
            mode = COMMENT if character == BRACE else TEXT
            seen, body = MOVES, at if body < 0 else body
    state[:] = mode, seen, line, gap, tag, line_at, body
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
    """The source ends here: with this batch's last game, if it has one."""
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
                if len(self.ends) >= BATCH_GAMES or start - self.at >= BATCH_BYTES:
                    yield from self._flush()
            begin = self.ends[-1] if self.ends else self.at
            if self.head is None and end - begin > MAX_BYTES:
                yield from self._flush()
                self._behead(int(state[6]))
            if self.head is not None:
                self._drop(len(self.buffer) - LOOKBACK)
        yield from self._game(end, int(state[6]) if state[6] >= 0 else end)
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
