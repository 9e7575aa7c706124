"""Chess notation, compiled: moves to SAN and SAN to moves, whole games to transcripts and move text to games.

A transcript is what the published models read: `;1.e4 e5 2.Nf3 Nc6`.
"""

import numpy as np
from numba import njit

from boardgame_sae.games.bits import ONE, ZERO, Int, Squares, bit, lowest
from boardgame_sae.games.chess.kernels import (
    EP,
    KINGS,
    KNIGHTS,
    PAWNS,
    QUEENS,
    TURN,
    WIDTH,
    Survey,
    attacks_of,
    has_move,
    in_check,
    kind_at,
    play,
    survey,
    targets_of,
)
from boardgame_sae.games.chess.play import START
from boardgame_sae.games.chess.tables import FILE_A, RANK_1, RANK_8

UNREADABLE, ILLEGAL, AMBIGUOUS = -1, -2, -3
"""What `read_san` says of a text that is no legal move."""
LETTERS = np.frombuffer(b"PNBRQK", np.uint8)
A, ONE_CHARACTER, CAPTURE, EQUALS, CHECK, MATE, SPACE, DOT, BEGIN = (np.uint8(ord(c)) for c in "a1x=+# .;")
LONGEST_PLY = 14
"""Characters that a ply takes at most: a number of four digits, its dot, seven of SAN, a check, a space."""
CASTLE = np.frombuffer(b"O-O-O", np.uint8)


@njit(cache=True)
def _rivals(state: np.ndarray, seen: Survey, kind: Int, origin: Int, target: Int) -> Squares:
    """Other own pieces of a type that may legally go to a square too."""
    side = 6 + np.int64(state[TURN])
    near = attacks_of(state, kind, target, side) & state[kind] & seen[1] & ~bit(origin)
    others = ZERO
    while near != ZERO:
        square = lowest(near)
        near &= near - ONE
        if targets_of(state, seen, kind, square) & bit(target) != ZERO:
            others |= bit(square)
    return others


@njit(cache=True)
def write_san(state: np.ndarray, seen: Survey, code: Int, text: np.ndarray, at: Int) -> Int:
    """Write a legal move in standard algebraic notation, without `+` or `#`; returns where the text ends."""
    origin, target, promotion = code >> 9, code >> 3 & 63, code & 7
    kind = kind_at(state, bit(origin))
    if kind == KINGS and (target - origin == 2 or origin - target == 2):
        length = 3 if target > origin else 5
        text[at : at + length] = CASTLE[:length]
        return at + length
    takes = state[13 - (6 + np.int64(state[TURN]))] & bit(target) != ZERO
    if kind == PAWNS:
        takes = takes or (state[EP] == bit(target) and (target - origin) % 8 != 0)
        if takes:
            text[at] = A + origin % 8
            at += 1
    else:
        text[at] = LETTERS[kind]
        at += 1
        rivals = ZERO if kind == KINGS else _rivals(state, seen, kind, origin, target)
        if rivals != ZERO:
            one_file = rivals & (FILE_A << np.uint64(origin % 8)) != ZERO
            if rivals & (RANK_1 << np.uint64(origin & 56)) != ZERO or not one_file:
                text[at] = A + origin % 8
                at += 1
            if one_file:
                text[at] = ONE_CHARACTER + origin // 8
                at += 1
    if takes:
        text[at] = CAPTURE
        at += 1
    text[at], text[at + 1] = A + target % 8, ONE_CHARACTER + target // 8
    at += 2
    if promotion != 0:
        text[at], text[at + 1] = EQUALS, LETTERS[promotion]
        at += 2
    return at


@njit(cache=True)
def _write_number(number: Int, text: np.ndarray, at: Int) -> Int:
    size = 1 if number < 10 else 2 if number < 100 else 3 if number < 1000 else 4
    for place in range(at + size - 1, at - 1, -1):
        text[place] = ONE_CHARACTER - 1 + number % 10
        number //= 10
    text[at + size] = DOT
    return at + size + 1


@njit(cache=True)
def write_games(
    moves_M: np.ndarray, offsets: np.ndarray, text: np.ndarray, plies: np.ndarray, ends: np.ndarray
) -> None:
    """Transcripts of legal games, one after the other, into `text`; game b ends at `ends[b + 1]`.

    plies: plies complete once the character is read: the space after a move completes it, or the text's end.
    """
    state, at = np.empty(WIDTH, np.uint64), 0
    for game in range(len(offsets) - 1):
        state[:] = START
        seen, n_plies = survey(state), offsets[game + 1] - offsets[game]
        text[at], plies[at] = BEGIN, 0
        at += 1
        for ply in range(n_plies):
            from_here = at
            if ply > 0:
                text[at] = SPACE
                plies[at] = ply
                at += 1
                from_here = at
            if ply % 2 == 0:
                at = _write_number(ply // 2 + 1, text, at)
            code = np.int64(moves_M[offsets[game] + ply])
            at = write_san(state, seen, code, text, at)
            play(state, code)
            seen = survey(state)
            if seen[3] != ZERO:
                text[at] = CHECK if has_move(state, seen) else MATE
                at += 1
            plies[from_here:at] = ply
        if n_plies > 0:
            plies[at - 1] = n_plies
        ends[game + 1] = at


@njit(cache=True)
def move_san(state: np.ndarray, code: Int) -> np.ndarray:
    """One legal move in standard algebraic notation, `+` and `#` included: uint8 characters."""
    text, after = np.empty(LONGEST_PLY, np.uint8), state.copy()
    at = write_san(state, survey(state), code, text, 0)
    play(after, code)
    if in_check(after):
        text[at] = CHECK if has_move(after, survey(after)) else MATE
        at += 1
    return text[:at]


@njit(cache=True)
def _is_castling(text: np.ndarray, begin: Int, end: Int) -> Int:
    """3 for `O-O` or `0-0`, 5 for `O-O-O` or `0-0-0`, else 0."""
    size = end - begin
    if size != 3 and size != 5:
        return 0
    for i in range(size):
        character = text[begin + i]
        if (i % 2 == 1 and character != np.uint8(45)) or (i % 2 == 0 and character not in (np.uint8(79), np.uint8(48))):
            return 0
    return size


@njit(cache=True)
def _kind_of(character: np.uint8, lower: bool) -> Int:
    """Type of the piece that a letter names, 6 for no piece; `lower`: small letters count too."""
    if lower and character >= np.uint8(97):
        character -= np.uint8(32)
    for kind in range(KNIGHTS, KINGS + 1):
        if character == LETTERS[kind]:
            return kind
    return 6


@njit(cache=True)
def _castle(state: np.ndarray, seen: Survey, size: Int) -> Int:
    king = seen[0]
    target = king + 2 if size == 3 else king - 2
    home = king == (4 if state[TURN] == ONE else 60)
    if home and targets_of(state, seen, KINGS, king) & bit(target) != ZERO:
        return king << 9 | target << 3
    return ILLEGAL


@njit(cache=True)
def _read_piece(text: np.ndarray, begin: Int, end: Int) -> tuple[Int, Int]:
    """The type that a letter at the beginning names, 6 where there is none; and what comes after it."""
    kind = _kind_of(text[begin], False) if end - begin >= 3 else 6
    return kind, begin + 1 if kind < 6 else begin


@njit(cache=True)
def _read_promotion(text: np.ndarray, begin: Int, end: Int) -> tuple[Int, Int]:
    """The type that a letter at the end names, 0 where there is none; and the end of what comes before it."""
    kind = _kind_of(text[end - 1], True) if end - begin >= 3 else 6
    if kind == 6:
        return 0, end
    return kind, end - 2 if text[end - 2] == EQUALS else end - 1


@njit(cache=True)
def _read_target(text: np.ndarray, begin: Int, end: Int) -> tuple[Int, Int]:
    """The square named at the end, -1 where there is none; and the end of what comes before it and its `x` or `-`."""
    if end - begin < 2:
        return -1, end
    file, row = np.int64(text[end - 2]) - 97, np.int64(text[end - 1]) - 49
    if not (0 <= file < 8 and 0 <= row < 8):
        return -1, end
    takes = end - begin > 2 and text[end - 3] in (CAPTURE, np.uint8(45))
    return 8 * row + file, end - 3 if takes else end - 2


@njit(cache=True)
def _read_origin(text: np.ndarray, begin: Int, end: Int) -> tuple[Squares, Int, Int]:
    """Squares that a file (hint 1), a rank (2) or both (3) leave for the origin; what comes after them."""
    origins, hints = ~ZERO, 0
    if begin < end and 0 <= np.int64(text[begin]) - 97 < 8:
        origins &= FILE_A << np.uint64(text[begin] - A)
        begin += 1
        hints += 1
    if begin < end and 0 <= np.int64(text[begin]) - 49 < 8:
        origins &= RANK_1 << np.uint64(8 * np.int64(text[begin] - ONE_CHARACTER))
        begin += 1
        hints += 2
    return origins, hints, begin


@njit(cache=True)
def read_san(state: np.ndarray, seen: Survey, text: np.ndarray, begin: Int, end: Int) -> Int:
    """The code of the move that `text[begin:end]` names, or UNREADABLE, ILLEGAL or AMBIGUOUS.

    As lenient as python-chess's parse_san: `+`, `#`, `!` and `?` at the end are passed over, more of the square of
    origin than needed may be named, `=` may be missing, castling may name the rook's square (`e1h1`).
    """
    while end > begin and text[end - 1] in (CHECK, MATE, np.uint8(33), np.uint8(63)):
        end -= 1
    castles = _is_castling(text, begin, end)
    if castles != 0:
        return _castle(state, seen, castles)
    kind, begin = _read_piece(text, begin, end)
    promotion, end = _read_promotion(text, begin, end)
    target, end = _read_target(text, begin, end)
    origins, hints, begin = _read_origin(text, begin, end)
    if target < 0 or begin != end:
        return UNREADABLE
    if kind == 6 and promotion == 0 and bit(seen[0]) == origins and target - seen[0] in (3, -4):
        return _castle(state, seen, 3 if target > seen[0] else 5)  # `e1h1`
    if kind == 6 and hints != 3:
        kind = PAWNS
        if hints % 2 == 0:
            origins &= FILE_A << np.uint64(target % 8)
    return _find(state, seen, kind, origins, target, promotion)


@njit(cache=True)
def _find(state: np.ndarray, seen: Survey, kind: Int, origins: Squares, target: Int, promotion: Int) -> Int:
    """The one legal move to a square by a piece of a type (6: any) from some squares."""
    pieces, code = seen[1] & origins, ILLEGAL
    if kind < 6:
        pieces &= state[kind]
    while pieces != ZERO:
        square = lowest(pieces)
        pieces &= pieces - ONE
        own = kind_at(state, bit(square))
        promotes = own == PAWNS and bit(target) & (RANK_1 | RANK_8) != ZERO
        if promotes != (promotion != 0) or promotion > QUEENS:
            continue
        if kind == KINGS and (target - square == 2 or square - target == 2):
            continue
        if targets_of(state, seen, own, square) & bit(target) != ZERO:
            if code >= 0:
                return AMBIGUOUS
            code = square << 9 | target << 3 | promotion
    return code


@njit(cache=True)
def san_of(state: np.ndarray, text: np.ndarray) -> Int:
    """`read_san` of a whole text."""
    return read_san(state, survey(state), text, 0, len(text))
