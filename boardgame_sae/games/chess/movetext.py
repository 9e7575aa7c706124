"""The moves of one game as PGN writes them, compiled; numbers, comments, variations and annotations are passed over.

python-chess passes over whatever it does not know. Here that is done only for words that cannot be a move (`!`, `+=`,
`N`, `e.p.`, `resigns`); one that may be a move in other words (`Sf3`, `exd`, `o-o`) is a fault of the game.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from boardgame_sae.games.chess.kernels import Survey, play, survey
from boardgame_sae.games.chess.notation import (
    BLANK_LINE,
    DOLLAR,
    EXCLAMATION,
    HASH,
    LARGE_O,
    MINUS,
    MOVE,
    NEXT_LINE,
    NULL_MOVE,
    NUMBER,
    OPEN,
    PLUS,
    QUESTION,
    RESULT,
    SAME_LINE,
    SMALL_O,
    WORD,
    ZERO,
    P,
    X,
    at_or_space,
    is_digit,
    is_file,
    is_letter,
    is_piece,
    is_row,
    is_space,
    next_token,
    past_variation,
    token,
)
from boardgame_sae.games.chess.play import START
from boardgame_sae.games.chess.san import AMBIGUOUS, UNREADABLE, read_san

UNCLOSED, TOO_LONG, REPEATED, MISPLACED = -4, -5, -6, -7
"""Beside those of `read_san`: a comment or variation that never ends; more plies than there is room for; a second move
number 1 within a game; moves in brackets before the first move."""
LONGEST_PART, LONGEST_CAPTURE, LONGEST_PARTS = 2, 5, 12
"""Characters of a word that may be a part of a move (`N` of `N f3`); of a capture in short (`exd`, `PxPch`); and of a
move in parts, with the space between them."""


class Layout(NamedTuple):
    """What `lay_out` found."""

    n_spans: int
    """Rows of `spans` that are written."""
    status: int
    """0, or what is wrong after them."""
    place: int
    """Where in the text that is."""
    result: int
    """The index in RESULTS of the first result in the text."""
    end: int
    """Where the text of the next game begins: the text's length where there is none."""
    first_number: int
    """The number before the first move, 0 where there is none."""
    passed: bool
    """Whether a word was passed over."""


class GameText(NamedTuple):
    """What `read_game` found."""

    plies: int
    """Moves that have been read, up to the fault if there is one."""
    status: int
    """0, or what is wrong: UNREADABLE, ILLEGAL, AMBIGUOUS, UNCLOSED, TOO_LONG, REPEATED or MISPLACED."""
    place: int
    """Where in the text that is."""
    result: int
    """As the rest, as in Layout."""
    end: int
    first_number: int
    passed: bool


@njit(cache=True)
def _is_bad(text: np.ndarray, begin: int, end: int, after_move: bool) -> bool:
    """Whether a word may be a move, or a part of one, in a notation that is not read.

    after_move: a move stands directly before it (`e45`).
    """
    castles, o = True, False
    for i in range(begin, end):
        character = text[i]
        if is_digit(text[i]) and (is_letter(text[i - 1]) if i > begin else after_move):
            return True
        o = o or character in (SMALL_O, LARGE_O)
        castles = castles and character in (SMALL_O, LARGE_O, ZERO, MINUS)
    if castles and o:
        return True
    if (
        end - begin == 2
        and is_file(text[begin])
        and is_file(text[begin + 1])
        and abs(np.int64(text[begin]) - np.int64(text[begin + 1])) == 1
    ):
        return True  # `ed`
    if end - begin > LONGEST_CAPTURE:
        return False
    cut_off = end - begin > 1 and is_piece(text[begin])  # `Nb`
    for i in range(begin + 1, end):
        cut_off = cut_off and (is_file(text[i]) or text[i] == X)
    if cut_off:
        return True
    takes = False
    for i in range(begin + 1, end - 1):
        takes = takes or (text[i] == X and _is_man(text, i - 1) and _is_man(text, i + 1))
    return takes


@njit(cache=True)
def _is_man(text: np.ndarray, at: int) -> bool:
    """Whether a letter stands for a piece, a pawn or a file."""
    return is_piece(text[at]) or is_file(text[at]) or text[at] == P


@njit(cache=True)
def _spoils(text: np.ndarray, begin: int, end: int) -> bool:
    """Whether a word that ends where a move begins makes it another one: `S` of `Sf3`, but not `P` or `12,`."""
    end -= end > begin and text[end - 1] == P
    spoils = False
    for i in range(begin, end):
        spoils = spoils or is_letter(text[i])
    return spoils


@njit(cache=True)
def _may_be_part(text: np.ndarray, begin: int, end: int, is_first: bool) -> bool:
    """Whether a word that stands alone may be a part of a move: `N`, `e`, `Nb`, and after such a one `x` and `4`."""
    if end - begin > LONGEST_PART or (begin > 0 and not is_space(text[begin - 1])):
        return False
    part = True
    for i in range(begin, end):
        part = part and (_is_man(text, i) or (not is_first and (text[i] == X or is_row(text[i]))))
    return part


@njit(cache=True, forceinline=True)
def _is_new_game(kind: int, number: int, dots: int, n: int, result: int, gap: int, numbered: bool) -> bool:
    """Whether a token begins another game: after a result and a blank line; with move number 1 after either; and, in
    texts without numbers, after a blank line, or on another line after a result.

    n: moves before it. gap: what lies between it and them, or the result.
    """
    if result > 0 and gap == BLANK_LINE:
        return True
    if kind == NUMBER and number == 1 and not (dots > 1 and n == 1):
        return result > 0 or (n > 0 and gap == BLANK_LINE)
    return kind == MOVE and n > 0 and not numbered and (gap == BLANK_LINE or (result > 0 and gap == NEXT_LINE))


@njit(cache=True)
def _has_move(text: np.ndarray, begin: int, end: int) -> bool:
    """Whether there may be a move somewhere in brackets."""
    moves = False
    for i in range(begin + 1, end):
        moves = moves or token(text, i)[0] == MOVE
    return moves


@njit(cache=True)
def _word_fault(text: np.ndarray, at: int, end: int, kind: int, value: int, dots: int, n: int, joined: bool) -> int:
    """What is wrong with a token that is neither move nor result, or 0. joined: a move stands directly before it."""
    if kind == NUMBER:
        if value == 1 and dots > 0 and n > 1:
            return REPEATED
        return UNREADABLE if joined and dots == 0 else 0
    return UNREADABLE if kind == NULL_MOVE or _is_bad(text, at, end, joined) else 0


@njit(cache=True, forceinline=True)
def _past_signs(text: np.ndarray, at: int) -> int:
    """Just past the `+`, `#`, `!` and `?` after a move."""
    while at_or_space(text, at) in (PLUS, HASH, EXCLAMATION, QUESTION):
        at += 1
    return at


@njit(cache=True)
def lay_out(text: np.ndarray, spans: np.ndarray, most: int) -> Layout:  # noqa: C901 - one case for each kind of word
    """Find the moves of the first game of a text, whether they are legal or not. After a fault only its end is sought.

    Written: spans, int64 (room, 3): where a move begins, or words before it that may be parts of it (`N` of `N f3`);
    where the move itself begins; and where it ends. Parts that no move follows have an empty one.
    most: moves there is room for.
    """
    n = n_spans = status = place = result = first = last = last_end = 0
    kind, parts, gap, numbered, passed = RESULT, -1, SAME_LINE, False, False
    at, between = next_token(text, 0, False, False)
    while 0 <= at < len(text):
        begin, fault, gap, joined = at, 0, max(gap, between), kind if last_end == at else RESULT
        kind, end, value, dots = token(text, at)
        if _is_new_game(kind, value, dots, n, result, gap, numbered):
            break
        if kind == MOVE:
            if joined == WORD and _spoils(text, last, at):
                fault, begin = UNREADABLE, last
            elif n >= most or n_spans == len(spans):
                fault = TOO_LONG
            elif status == 0:
                spans[n_spans] = parts if parts >= 0 else at, at, end
                n_spans += 1
            n, parts, gap, end = n + 1, -1, SAME_LINE, _past_signs(text, end)
        elif kind == RESULT:
            result, parts, gap = result if result > 0 else value, -1, SAME_LINE
        elif text[at] == OPEN:  # before the first move
            end = past_variation(text, at)
            fault = MISPLACED if _has_move(text, at, end) else 0
        else:
            fault = _word_fault(text, at, end, kind, value, dots, n, joined == MOVE)
            passed = passed or (kind == WORD and text[at] != DOLLAR)
            numbered, first = numbered or kind == NUMBER, value if n == 0 and first == 0 else first
            parts = (parts if parts >= 0 else at) if _may_be_part(text, at, end, parts < 0) else -1
            if 0 <= parts < at and end - parts <= LONGEST_PARTS and status == 0 and n_spans < len(spans):
                spans[n_spans] = parts, end, end
                n_spans += 1
        last, last_end = at, end
        at, between = next_token(text, end, n > 0, result > 0) if end >= 0 else (-1 - at, SAME_LINE)
        if fault < 0 and status == 0:
            status, place = fault, begin
    if at < 0:
        status, place, at = (UNCLOSED, -1 - at, len(text)) if status == 0 else (status, place, len(text))
    return Layout(n_spans, status, place, result, at, first, passed)


@njit(cache=True)
def _means_another(state: np.ndarray, seen: Survey, text: np.ndarray, parts: int, end: int, room: np.ndarray) -> bool:
    """Whether words that may be parts of a move make a legal one, the move after them included."""
    size = 0
    for i in range(parts, end):
        if size == len(room):
            return False
        room[size] = text[i]
        size += not is_space(text[i])
    return bool(read_san(state, seen, room, 0, size) >= 0)


@njit(cache=True)
def read_game(text: np.ndarray, moves: np.ndarray) -> GameText:
    """Read the moves of the first game in a text, from the standard start, into `moves`."""
    spans, room = np.empty((2 * len(moves), 3), np.int64), np.empty(2 * LONGEST_PARTS, np.uint8)
    layout = lay_out(text, spans, len(moves))
    state, n, status, place = START.copy(), 0, layout.status, layout.place
    seen = survey(state)
    for i in range(layout.n_spans):
        parts, begin, end = spans[i, 0], spans[i, 1], spans[i, 2]
        code = read_san(state, seen, text, begin, end) if begin < end else 0
        if parts < begin and code >= 0 and _means_another(state, seen, text, parts, end, room):
            code = AMBIGUOUS
        if code < 0:
            status, place = int(code), begin if begin < end else parts
            break
        if begin < end:
            moves[n] = code
            n += 1
            play(state, code)
            seen = survey(state)
    return GameText(n, status, place, layout.result, layout.end, layout.first_number, layout.passed)
