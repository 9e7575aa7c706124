"""What stands in a text of moves, compiled: where moves, results, numbers, comments and variations begin and end.

A move, null move or result is what python-chess 1.11 takes for one, wherever in a word it stands (its MOVETEXT_REGEX).
"""

import numpy as np
from numba import njit

from boardgame_sae.games.bits import Int

RESULTS = ("", "1-0", "0-1", "1/2-1/2", "*")
"""What ends a game's text, by number; the first: nothing does."""
_WON, _LOST, _DRAWN, _UNFINISHED = 1, 2, 3, 4
WORD, MOVE, NULL_MOVE, RESULT, NUMBER = range(5)
"""Kinds of token; a word is anything else."""
SAME_LINE, NEXT_LINE, BLANK_LINE = range(3)
"""What lies between two tokens."""
NEWLINE, SPACE, LAST_ASCII, CAPITAL = np.uint8(10), np.uint8(32), np.uint8(127), np.uint8(0xDF)
OPEN, CLOSE, BRACE, UNBRACE, SEMICOLON, DOLLAR = (np.uint8(ord(c)) for c in "(){};$")
DOT, ZERO, ONE, TWO, NINE, STAR, MINUS, SLASH, COLON = (np.uint8(ord(c)) for c in ".0129*-/:")
A, H, EIGHT, X, AT, SMALL_O, LARGE_O, P, Z, EQUALS = (np.uint8(ord(c)) for c in "ah8x@oOPZ=")
PLUS, HASH, EXCLAMATION, QUESTION, N, B, R, Q, K = (np.uint8(ord(c)) for c in "+#!?NBRQK")
HALF = np.array([0xC2, 0xBD], np.uint8)
"""One half in UTF-8; the second byte alone is Latin-1's."""


@njit(cache=True, forceinline=True)
def is_space(character: np.uint8) -> bool:
    return bool(character == SPACE or np.uint8(9) <= character <= np.uint8(13))


@njit(cache=True, forceinline=True)
def is_digit(character: np.uint8) -> bool:
    return bool(ZERO <= character <= NINE)


@njit(cache=True)
def is_letter(character: np.uint8) -> bool:
    """Whether a character is a letter, or may be one of another alphabet."""
    return bool(np.uint8(97) <= (character | SPACE) <= np.uint8(122) or character > LAST_ASCII)


@njit(cache=True, forceinline=True)
def is_file(character: np.uint8) -> bool:
    return bool(A <= character <= H)


@njit(cache=True, forceinline=True)
def is_row(character: np.uint8) -> bool:
    return bool(ONE <= character <= EIGHT)


@njit(cache=True, forceinline=True)
def is_piece(character: np.uint8) -> bool:
    return bool(character in (N, B, R, Q, K))


@njit(cache=True, forceinline=True)
def at_or_space(text: np.ndarray, at: Int) -> np.uint8:
    """The character at a place; a space past the end."""
    return text[at] if at < len(text) else SPACE


@njit(cache=True)
def _after(text: np.ndarray, at: int, character: np.uint8) -> int:
    """Just past the next such character, or -1."""
    while at < len(text):
        if text[at] == character:
            return at + 1
        at += 1
    return -1


@njit(cache=True)
def _past_line(text: np.ndarray, at: int) -> int:
    """The end of the line: its newline, or the text's end."""
    after = _after(text, at, NEWLINE)
    return after - 1 if after >= 0 else len(text)


@njit(cache=True)
def past_variation(text: np.ndarray, at: int) -> int:
    """Just past the `)` that ends the variation which opens at `at`, comments in it aside; or -1."""
    depth = 0
    while at < len(text):
        character = text[at]
        if character == BRACE:
            at = _after(text, at, UNBRACE)
            if at < 0:
                return -1
            continue
        if character == SEMICOLON:
            at = _past_line(text, at)
            continue
        depth += (character == OPEN) - (character == CLOSE)
        at += 1
        if depth == 0:
            return at
    return -1


@njit(cache=True, forceinline=True)
def next_token(text: np.ndarray, at: int, started: bool, ended: bool) -> tuple[int, int]:
    """Where the next token begins, past space, comments and variations (once the game has `started`), and the gap.

    It is the text's length where there is none; for a comment or variation that never ends, -1 - its place. Once a game
    has `ended`, a blank line ends the search.
    """
    gap, in_line = SAME_LINE, True
    while at < len(text):
        character, begin = text[at], at
        if character == NEWLINE:
            gap, in_line = (NEXT_LINE if in_line and gap == SAME_LINE else gap if in_line else BLANK_LINE), False
            at += 1
        elif is_space(at_or_space(text, at)):
            at += 1
        elif ended and gap == BLANK_LINE:
            return at, gap
        elif character in (CLOSE, UNBRACE, DOT):
            at, in_line = at + 1, True
        elif character == BRACE:
            at, in_line = _after(text, at, UNBRACE), True
        elif character == OPEN and started:
            at, in_line = past_variation(text, at), True
        elif character == SEMICOLON:
            at, in_line = _past_line(text, at), True
        else:
            return at, gap
        if at < 0:
            return -1 - begin, gap
    return at, gap


@njit(cache=True, forceinline=True)
def _square(text: np.ndarray, at: int) -> bool:
    return at + 1 < len(text) and is_file(text[at]) and is_row(text[at + 1])


@njit(cache=True)
def _castling_end(text: np.ndarray, at: int) -> int:
    """Just past the `O-O-O`, `O-O` or zeros for letters that begin there, or -1."""
    o, end = at_or_space(text, at), at + 3
    if (o != ZERO and o != LARGE_O) or at_or_space(text, at + 1) != MINUS or at_or_space(text, at + 2) != o:
        return -1
    return end + 2 if at_or_space(text, end) == MINUS and at_or_space(text, end + 1) == o else end


@njit(cache=True, forceinline=True)
def _move_end(text: np.ndarray, at: int) -> int:
    """Just past the move that begins there, as far as its form tells, or -1."""
    begin = at + 1 if is_piece(text[at]) else at
    end = begin
    if is_file(at_or_space(text, end)):
        end += 1
    if is_row(at_or_space(text, end)):
        end += 1
    if at_or_space(text, end) == X or at_or_space(text, end) == MINUS:
        end += 1
    if not _square(text, end):
        end = begin
        if not _square(text, end):
            return _castling_end(text, at)
    end += 2
    promotes = end + 1 if at_or_space(text, end) == EQUALS else end
    return promotes + 1 if is_piece(at_or_space(text, promotes) & CAPITAL) else end


@njit(cache=True)
def _null_move_end(text: np.ndarray, at: int) -> int:
    """Just past the `--`, `Z0`, `0000`, `@@@@` or piece dropped (`N@f3`) that begins there, or -1."""
    character, second = text[at], at_or_space(text, at + 1)
    if (character == MINUS and second == MINUS) or (character == Z and second == ZERO):
        return at + 2
    third, fourth = at_or_space(text, at + 2), at_or_space(text, at + 3)
    if character in (ZERO, AT) and character == second and character == third and character == fourth:
        return at + 4
    drop = at + 1 if character == P or is_piece(at_or_space(text, at)) else at
    return drop + 3 if at_or_space(text, drop) == AT and _square(text, drop + 1) else -1


@njit(cache=True)
def _half_end(text: np.ndarray, at: int) -> int:
    """Just past the `1/2` or one character that means it, or -1."""
    if at_or_space(text, at) == ONE and at_or_space(text, at + 1) == SLASH and at_or_space(text, at + 2) == TWO:
        return at + 3
    wide = at + (at_or_space(text, at) == HALF[0])
    return wide + 1 if at_or_space(text, wide) == HALF[1] else -1


@njit(cache=True)
def _score_end(text: np.ndarray, at: int) -> tuple[int, int]:
    """Points in half points and what comes after them: `0`, `1`, `1/2`; -1 where there are none."""
    half = _half_end(text, at)
    if half >= 0:
        return 1, half
    if at_or_space(text, at) == ZERO or at_or_space(text, at) == ONE:
        return int(2 * np.int64(text[at] - ZERO)), at + 1
    return -1, at


@njit(cache=True)
def _past_blanks(text: np.ndarray, at: int) -> int:
    while at < len(text) and (text[at] == SPACE or text[at] == np.uint8(9)):
        at += 1
    return at


@njit(cache=True)
def _result(text: np.ndarray, at: int) -> tuple[int, int]:
    """Which of RESULTS begins there, 0 if none, and what comes after it; `1 - 0` and a lone `1/2` are results too."""
    if text[at] == STAR:
        return _UNFINISHED, at + 1
    white, end = _score_end(text, at)
    if white < 0:
        return 0, at
    dash = _past_blanks(text, end)
    black, black_end = _score_end(text, _past_blanks(text, dash + 1))
    if at_or_space(text, dash) == MINUS and black >= 0 and white + black == 2:
        end = black_end
    elif white != 1:
        return 0, at
    if (
        is_digit(at_or_space(text, end))
        or is_letter(at_or_space(text, end))
        or at_or_space(text, end) in (MINUS, SLASH, COLON)
    ):
        return 0, at
    return (_DRAWN if white == 1 else _WON if white == 2 else _LOST), end


@njit(cache=True)
def _ends_word(text: np.ndarray, at: int) -> bool:
    """Whether space, a bracket, a comment or the text's end is at a place."""
    character = at_or_space(text, at)
    return is_space(character) or character in (OPEN, CLOSE, BRACE, UNBRACE, SEMICOLON)


@njit(cache=True)
def _number(text: np.ndarray, at: int) -> tuple[int, int, int]:
    """The move number that begins there, its dots and what comes after them (-1: none does): `12`, `12.`, `12...`.

    It has three digits at most, so that it hides no null move (`0000`).
    """
    end, value = at, 0
    while end < at + 4 and is_digit(at_or_space(text, end)):
        value, end = 10 * value + int(np.int64(text[end] - ZERO)), end + 1
    digits = end
    while end < len(text) and text[end] == DOT:
        end += 1
    if digits == at or digits == at + 4 or (end == digits and not _ends_word(text, end)):
        return 0, 0, -1
    if end > digits and is_digit(at_or_space(text, end)) and _move_end(text, end) < 0:
        return 0, 0, -1
    return value, end - digits, end


@njit(cache=True)
def _word_end(text: np.ndarray, at: int) -> int:
    """The end of a word, which ends before space, brackets and anything that is no word."""
    if text[at] == DOLLAR:
        at += 1
        while at < len(text) and is_digit(at_or_space(text, at)):
            at += 1
        return at
    at += 1
    while not _ends_word(text, at) and text[at] != DOLLAR and text[at] != STAR:
        if _move_end(text, at) >= 0 or _null_move_end(text, at) >= 0:
            break
        at += 1
    return at


@njit(cache=True, forceinline=True)
def token(text: np.ndarray, at: int) -> tuple[int, int, int, int]:
    """The token that begins at a place: its kind, its end, and of a result its index in RESULTS, of a number the number
    and its dots."""
    character = text[at]
    if is_digit(character):
        number, dots, end = _number(text, at)
        if dots > 0:
            return NUMBER, end, number, dots
    end = _move_end(text, at)
    if end >= 0:
        return MOVE, end, 0, 0
    end = _null_move_end(text, at)
    if end >= 0:
        return NULL_MOVE, end, 0, 0
    if is_digit(character) or character == STAR or character > LAST_ASCII:
        result, end = _result(text, at)
        if result > 0:
            return RESULT, end, result, 0
        number, _, end = _number(text, at)
        if end >= 0:
            return NUMBER, end, number, 0
    return WORD, _word_end(text, at), 0, 0
