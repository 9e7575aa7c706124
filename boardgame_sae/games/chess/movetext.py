"""The moves of one game as PGN writes them, compiled: numbers, comments, variations and annotations are passed over."""

import numpy as np
from numba import njit

from boardgame_sae.games.chess.kernels import play, survey
from boardgame_sae.games.chess.play import START
from boardgame_sae.games.chess.san import read_san

UNCLOSED, TOO_LONG, ODD_BYTE = -4, -5, -6
"""Beside those of `read_san`: a comment or variation that never ends; more plies than there is room for; a byte that no
PGN has."""
RESULTS = ("", "1-0", "0-1", "1/2-1/2", "*")
"""What ends a game's text, by the number that `read_game` gives it; the first: nothing does."""

TAB, NEWLINE, RETURN, SPACE = np.uint8(9), np.uint8(10), np.uint8(13), np.uint8(32)
OPEN, CLOSE, BRACE, UNBRACE, SEMICOLON, DOLLAR = (np.uint8(ord(c)) for c in "(){};$")
LAST_CHARACTER = np.uint8(126)
DOT, ZERO, NINE, STAR, MINUS, SLASH = (np.uint8(ord(c)) for c in ".09*-/")


@njit(cache=True, forceinline=True)
def _is_space(character: np.uint8) -> bool:
    return character in (SPACE, NEWLINE, RETURN, TAB)


@njit(cache=True)
def _after(text: np.ndarray, at: int, character: np.uint8) -> int:
    """Just past the next such character, or -1."""
    while at < len(text):
        if text[at] == character:
            return at + 1
        at += 1
    return -1


@njit(cache=True)
def _past_variation(text: np.ndarray, at: int) -> int:
    """Just past the `)` that ends the variation which opens at `at`, comments in it aside; or -1."""
    depth = 0
    while at < len(text):
        character = text[at]
        if character == BRACE:
            at = _after(text, at, UNBRACE)
            if at < 0:
                return -1
            continue
        depth += (character == OPEN) - (character == CLOSE)
        at += 1
        if depth == 0:
            return at
    return -1


@njit(cache=True)
def _result(text: np.ndarray, begin: int, end: int) -> int:
    """Which result a word is, 0 if none: `1-0`, `0-1`, `1/2-1/2` or `*`."""
    size, first = end - begin, text[begin]
    if first == STAR:
        return 4 if size == 1 else 0
    if size == 3 and text[begin + 1] == MINUS:
        if first == ZERO + np.uint8(1) and text[begin + 2] == ZERO:
            return 1
        return 2 if first == ZERO and text[begin + 2] == ZERO + np.uint8(1) else 0
    if size == 7 and text[begin + 1] == SLASH and text[begin + 3] == MINUS:
        return 3
    return 0


@njit(cache=True)
def _move_begins(text: np.ndarray, begin: int, end: int) -> int:
    """Where, in a word, the move begins: past a number and its dots (`12.`, `12...`), which may be all there is."""
    at = begin
    while at < end and ZERO <= text[at] <= NINE:
        at += 1
    if at < end and text[at] == DOT:
        while at < end and text[at] == DOT:
            at += 1
        return at
    return end if at == end else begin


@njit(cache=True)
def _next_word(text: np.ndarray, at: int) -> int:
    """Where the next word begins, past space, dots, comments and variations; the text's length where none does.

    For a comment or variation that never ends: -1 - its place.
    """
    while at < len(text):
        character, begin = text[at], at
        if _is_space(character) or character == DOT:
            at += 1
        elif character == BRACE:
            at = _after(text, at, UNBRACE)
        elif character == OPEN:
            at = _past_variation(text, at)
        elif character == SEMICOLON:
            at = _after(text, at, NEWLINE)
            at = len(text) if at < 0 else at
        else:
            return at
        if at < 0:
            return -1 - begin
    return at


@njit(cache=True)
def _word_end(text: np.ndarray, at: int) -> int:
    """Where the word that begins at a place ends."""
    while at < len(text) and text[at] > SPACE and text[at] != BRACE and text[at] != OPEN:
        at += 1
    return at


@njit(cache=True)
def read_game(text: np.ndarray, moves: np.ndarray) -> tuple[int, int, int, int]:
    """Read the moves of one game from the standard start into `moves`.

    Returns (plies, status, place, result). status: 0, or what is wrong with the word at `place` in the text
    (UNREADABLE, ILLEGAL, AMBIGUOUS, UNCLOSED, TOO_LONG, ODD_BYTE); plies before it have been read. result: the index in
    RESULTS of the word that ended the game.
    """
    state, n, at = START.copy(), 0, _next_word(text, 0)
    seen = survey(state)
    while 0 <= at < len(text):
        begin, end = at, _word_end(text, at)
        if text[begin] < SPACE or text[begin] > LAST_CHARACTER:
            return n, ODD_BYTE, begin, 0
        result = _result(text, begin, end)
        if result > 0:
            return n, 0, begin, result
        move = _move_begins(text, begin, end)
        if text[begin] != DOLLAR and move < end:
            code = read_san(state, seen, text, move, end) if n < len(moves) else TOO_LONG
            if code < 0:
                return n, int(code), move, 0
            moves[n] = code
            n += 1
            play(state, code)
            seen = survey(state)
        at = _next_word(text, end)
    return (n, UNCLOSED, -1 - at, 0) if at < 0 else (n, 0, at, 0)
