"""The rules of chess on bitboards, compiled by numba: legal moves, playing them, repetition, the end of a game.

A state is a row of WIDTH uint64 words, named by the constants below. A move is coded `from << 9 | to << 3 | promotion`
(promotion 0: none, else the new piece's type, KNIGHT 1 to QUEEN 4); castling is the king's move of two squares. Codes
rise with the square of origin, then of destination.
"""

from typing import TypeAlias

import numpy as np
from numba import njit

from boardgame_sae.games.bits import ONE, ZERO, Bool, Int, Squares, bit, count, highest, lowest
from boardgame_sae.games.chess.tables import BETWEEN, DARK, KING, KNIGHT, LINE, PAWN, RANK_1, RANK_8, RAYS
from boardgame_sae.games.random_bits import mix

PAWNS, KNIGHTS, BISHOPS, ROOKS, QUEENS, KINGS = range(6)
"""Words of a state: the squares of each piece type, of both colours."""
BLACK, WHITE = 6, 7
"""Words of a state: the squares of each colour's pieces."""
TURN, CASTLING, EP, CLOCK, REPEATS, CLAIM, WIDTH = 8, 9, 10, 11, 12, 13, 14
"""Words of a state: 1 when White is to move; rooks that may still castle; the square that a pawn has just skipped;
plies since the last capture or pawn move; how often the position stood before in this game; 1 when the player to move
can claim a draw."""
ONGOING, CHECKMATE, STALEMATE, INSUFFICIENT, FIVEFOLD, SEVENTY_FIVE = range(6)
"""How a game stands."""

Survey: TypeAlias = tuple[Int, Squares, Squares, Squares, Squares, Squares]
"""King's square, own pieces, other pieces, checkers, pinned own pieces, squares that answer a check."""


def start_state() -> np.ndarray:
    """The state before the first ply: uint64 (WIDTH,)."""
    state = np.zeros(WIDTH, np.uint64)
    for kind, files in enumerate(("", "bg", "cf", "ah", "d", "e")):
        state[kind] = sum(1 << "abcdefgh".index(file) | 1 << 56 + "abcdefgh".index(file) for file in files)
    state[PAWNS] = 0x00FF00000000FF00
    state[WHITE], state[BLACK] = 0xFFFF, 0xFFFF << 48
    state[TURN], state[CASTLING] = 1, 0x8100000000000081
    return state


@njit(cache=True, forceinline=True)
def _up(direction: Int, square: Int, occupied: Squares) -> Squares:
    ray = RAYS[direction, square]
    blockers = ray & occupied
    return ray ^ RAYS[direction, lowest(blockers)] if blockers != ZERO else ray


@njit(cache=True, forceinline=True)
def _down(direction: Int, square: Int, occupied: Squares) -> Squares:
    ray = RAYS[direction, square]
    blockers = ray & occupied
    return ray ^ RAYS[direction, highest(blockers)] if blockers != ZERO else ray


@njit(cache=True)
def rook_attacks(square: Int, occupied: Squares) -> Squares:
    """Squares a rook attacks."""
    return _up(0, square, occupied) | _up(1, square, occupied) | _down(4, square, occupied) | _down(5, square, occupied)


@njit(cache=True)
def bishop_attacks(square: Int, occupied: Squares) -> Squares:
    """Squares a bishop attacks."""
    return _up(2, square, occupied) | _up(3, square, occupied) | _down(6, square, occupied) | _down(7, square, occupied)


@njit(cache=True)
def attackers(state: np.ndarray, square: Int, occupied: Squares, side: Int) -> Squares:
    """Pieces of a side (BLACK, WHITE) that attack a square when the board is occupied so."""
    pieces = (KNIGHT[square] & state[KNIGHTS]) | (KING[square] & state[KINGS])
    pieces |= PAWN[7 - side, square] & state[PAWNS]
    straight, diagonal = state[ROOKS] | state[QUEENS], state[BISHOPS] | state[QUEENS]
    pieces |= rook_attacks(square, occupied) & straight
    pieces |= bishop_attacks(square, occupied) & diagonal
    return pieces & state[side]


@njit(cache=True, forceinline=True)
def kind_at(state: np.ndarray, square: Squares) -> Int:
    """Type of the piece on a square (given as a set), 6 where there is none."""
    for kind in range(6):
        if state[kind] & square != ZERO:
            return kind
    return 6


@njit(cache=True, forceinline=True)
def attacks_of(state: np.ndarray, kind: Int, square: Int, side: Int) -> Squares:
    """Squares that a piece of a type and side attacks from a square."""
    occupied = state[WHITE] | state[BLACK]
    if kind == PAWNS:
        return PAWN[side - BLACK, square]
    if kind == KNIGHTS:
        return KNIGHT[square]
    if kind == KINGS:
        return KING[square]
    attacked = ZERO
    if kind != ROOKS:
        attacked |= bishop_attacks(square, occupied)
    if kind != BISHOPS:
        attacked |= rook_attacks(square, occupied)
    return attacked


@njit(cache=True)
def pinned_pieces(state: np.ndarray, side: Int) -> Squares:
    """Pieces of a side that stand alone between their king and a slider."""
    king, occupied, pinned = lowest(state[KINGS] & state[side]), state[WHITE] | state[BLACK], ZERO
    other = state[13 - side]
    snipers = rook_attacks(king, other) & (state[ROOKS] | state[QUEENS])
    snipers |= bishop_attacks(king, other) & (state[BISHOPS] | state[QUEENS])
    snipers &= other
    while snipers != ZERO:
        blockers = BETWEEN[king, lowest(snipers)] & occupied
        if blockers & (blockers - ONE) == ZERO:
            pinned |= blockers
        snipers &= snipers - ONE
    return pinned & state[side]


@njit(cache=True)
def survey(state: np.ndarray) -> Survey:
    """What the legality of every move depends on."""
    side = BLACK + np.int64(state[TURN])
    own, other = state[side], state[13 - side]
    king = lowest(state[KINGS] & own)
    checkers = attackers(state, king, own | other, 13 - side)
    answers = ~ZERO
    if checkers != ZERO:
        answers = checkers | BETWEEN[king, lowest(checkers)] if checkers & (checkers - ONE) == ZERO else ZERO
    return king, own, other, checkers, pinned_pieces(state, side), answers


@njit(cache=True)
def _king_targets(state: np.ndarray, seen: Survey, legal: bool) -> Squares:
    """Squares the king may go to; `legal` false: also those where it could be taken (never by castling)."""
    king, own, other, checkers, _, _ = seen
    enemy = 13 - (BLACK + np.int64(state[TURN]))
    occupied = own | other
    without = occupied ^ bit(king)
    allowed, targets = ZERO, KING[king] & ~own
    if not legal:
        allowed = targets
        targets = ZERO
    while targets != ZERO:
        square = lowest(targets)
        if attackers(state, square, without, enemy) == ZERO:
            allowed |= bit(square)
        targets &= targets - ONE
    home = RANK_1 if state[TURN] == ONE else RANK_8
    rights = state[CASTLING] & home
    if rights == ZERO or checkers != ZERO:
        return allowed
    for step in (1, -1):
        rook = king + 3 if step == 1 else king - 4
        if rights & bit(rook) == ZERO or BETWEEN[king, rook] & occupied != ZERO:
            continue
        passed = attackers(state, king + step, without, enemy) | attackers(state, king + 2 * step, without, enemy)
        if passed == ZERO:
            allowed |= bit(king + 2 * step)
    return allowed


@njit(cache=True)
def _ep_is_safe(state: np.ndarray, seen: Survey, origin: Int) -> bool:
    """Whether a capture in passing leaves the king unattacked."""
    king, own, other, _, _, _ = seen
    enemy = 13 - (BLACK + np.int64(state[TURN]))
    victim = state[EP] >> np.uint64(8) if state[TURN] == ONE else state[EP] << np.uint64(8)
    occupied = (own | other) ^ bit(origin) ^ victim ^ state[EP]
    return attackers(state, king, occupied, enemy) & ~victim == ZERO


@njit(cache=True, forceinline=True)
def _pawn_moves(state: np.ndarray, square: Int, own: Squares, other: Squares) -> Squares:
    """Squares a pawn may go to as it moves and takes, pins and checks aside, without captures in passing."""
    empty, pawn = ~(own | other), bit(square)
    if state[TURN] == ONE:
        one = (pawn << np.uint64(8)) & empty
        two = ((one & (RANK_1 << np.uint64(16))) << np.uint64(8)) & empty
    else:
        one = (pawn >> np.uint64(8)) & empty
        two = ((one & (RANK_8 >> np.uint64(16))) >> np.uint64(8)) & empty
    return one | two | (PAWN[np.int64(state[TURN]), square] & other)


@njit(cache=True)
def targets_of(state: np.ndarray, seen: Survey, kind: Int, square: Int) -> Squares:
    """Squares to which the piece of the player to move on a square may legally go."""
    king, own, other, _, pinned, answers = seen
    if kind == KINGS:
        return _king_targets(state, seen, True)
    if kind == PAWNS:
        targets = _pawn_moves(state, square, own, other)
    else:
        targets = attacks_of(state, kind, square, BLACK + np.int64(state[TURN])) & ~own
    targets &= answers
    if pinned & bit(square) != ZERO:
        targets &= LINE[king, square]
    if kind == PAWNS and PAWN[np.int64(state[TURN]), square] & state[EP] != ZERO and _ep_is_safe(state, seen, square):
        targets |= state[EP]
    return targets


@njit(cache=True)
def pseudo_targets_of(state: np.ndarray, seen: Survey, kind: Int, square: Int) -> Squares:
    """The same without regard to whether the own king could be taken."""
    _, own, other, _, _, _ = seen
    if kind == KINGS:
        return _king_targets(state, seen, False)
    if kind == PAWNS:
        return _pawn_moves(state, square, own, other) | (PAWN[np.int64(state[TURN]), square] & state[EP])
    return attacks_of(state, kind, square, BLACK + np.int64(state[TURN])) & ~own


@njit(cache=True)
def generate(state: np.ndarray, seen: Survey, moves: np.ndarray) -> Int:
    """Write the legal moves, their codes ascending, into `moves` (at least 256 long); returns how many."""
    n, pieces = 0, seen[1]
    if seen[5] == ZERO:  # in double check only the king moves
        pieces &= state[KINGS]
    while pieces != ZERO:
        square = lowest(pieces)
        pieces &= pieces - ONE
        kind = kind_at(state, bit(square))
        targets = targets_of(state, seen, kind, square)
        promotes = kind == PAWNS and targets & (RANK_1 | RANK_8) != ZERO
        while targets != ZERO:
            code = square << 9 | lowest(targets) << 3
            targets &= targets - ONE
            if promotes:
                for piece in range(KNIGHTS, QUEENS + 1):
                    moves[n] = code | piece
                    n += 1
            else:
                moves[n] = code
                n += 1
    return n


@njit(cache=True)
def has_move(state: np.ndarray, seen: Survey) -> bool:
    """Whether the player to move has a legal move."""
    pieces = seen[1]
    while pieces != ZERO:
        square = lowest(pieces)
        pieces &= pieces - ONE
        if targets_of(state, seen, kind_at(state, bit(square)), square) != ZERO:
            return True
    return False


@njit(cache=True)
def is_legal(state: np.ndarray, seen: Survey, code: Int) -> bool:
    """Whether a code is a legal move."""
    origin, target, promotion = code >> 9, bit(code >> 3 & 63), code & 7
    if origin > 63 or seen[1] & bit(origin) == ZERO:
        return False
    kind = kind_at(state, bit(origin))
    promotes = kind == PAWNS and target & (RANK_1 | RANK_8) != ZERO
    if promotes != (promotion != 0) or promotion > QUEENS:
        return False
    return targets_of(state, seen, kind, origin) & target != ZERO


@njit(cache=True)
def play(state: np.ndarray, code: Int) -> None:
    """Make a legal move, in place; REPEATS and CLAIM are left as they are."""
    origin, target, promotion = code >> 9, code >> 3 & 63, code & 7
    f, t = bit(origin), bit(target)
    side = BLACK + np.int64(state[TURN])
    enemy, kind, skipped = 13 - side, kind_at(state, f), state[EP]
    state[EP] = ZERO
    state[CLOCK] += ONE
    if state[enemy] & t != ZERO:
        for other in range(KINGS):
            state[other] &= ~t
        state[enemy] ^= t
        state[CLOCK] = ZERO
    state[kind] ^= f | t
    state[side] ^= f | t
    if kind == PAWNS:
        state[CLOCK] = ZERO
        if t == skipped:
            victim = bit(target - 8 if side == WHITE else target + 8)
            state[PAWNS] ^= victim
            state[enemy] ^= victim
        elif target - origin == 16 or origin - target == 16:
            state[EP] = bit((origin + target) >> 1)
        elif promotion != 0:
            state[PAWNS] ^= t
            state[promotion] |= t
    elif kind == KINGS:
        if target - origin == 2 or origin - target == 2:
            rook = bit(origin + 3) | bit(origin + 1) if target > origin else bit(origin - 4) | bit(origin - 1)
            state[ROOKS] ^= rook
            state[side] ^= rook
        state[CASTLING] &= ~(RANK_1 if side == WHITE else RANK_8)
    state[CASTLING] &= ~(f | t)
    state[TURN] ^= ONE


@njit(cache=True)
def in_check(state: np.ndarray) -> bool:
    """Whether the player to move is in check."""
    side = BLACK + np.int64(state[TURN])
    king = lowest(state[KINGS] & state[side])
    return attackers(state, king, state[WHITE] | state[BLACK], 13 - side) != ZERO


@njit(cache=True)
def has_legal_ep(state: np.ndarray, seen: Survey) -> bool:
    """Whether a capture in passing is legal."""
    if state[EP] == ZERO:
        return False
    pawns = PAWN[1 - np.int64(state[TURN]), lowest(state[EP])] & state[PAWNS] & seen[1]
    while pawns != ZERO:
        if _ep_is_safe(state, seen, lowest(pawns)):
            return True
        pawns &= pawns - ONE
    return False


@njit(cache=True)
def key(state: np.ndarray) -> np.uint64:
    """A number that two states share when they count as the same position: equal pieces, turn, castling rights and
    legal captures in passing (FIDE 9.2.3).
    """
    bits = ZERO
    for word in range(CASTLING + 1):
        bits = mix(bits + state[word])
    if state[EP] != ZERO and has_legal_ep(state, survey(state)):
        bits = mix(bits + state[EP])
    return bits


@njit(cache=True)
def repeats(keys: np.ndarray, ply: Int, clock: Int) -> Int:
    """How many of the `clock` plies before `ply` had its key."""
    n = 0
    for back in range(4, min(clock, ply) + 1, 2):
        if keys[ply - back] == keys[ply]:
            n += 1
    return n


@njit(cache=True)
def _cannot_win(state: np.ndarray, side: Int) -> bool:
    """Whether a side could not mate with any help (python-chess's has_insufficient_material)."""
    own, other = state[side], state[13 - side]
    if own & (state[PAWNS] | state[ROOKS] | state[QUEENS]) != ZERO:
        return False
    if own & state[KNIGHTS] != ZERO:
        return count(own) <= 2 and other & ~(state[KINGS] | state[QUEENS]) == ZERO
    if own & state[BISHOPS] != ZERO:
        one_colour = state[BISHOPS] & DARK == ZERO or state[BISHOPS] & ~DARK == ZERO
        return one_colour and (state[PAWNS] | state[KNIGHTS]) == ZERO
    return True


@njit(cache=True)
def ending(state: np.ndarray, checked: Bool, can_move: Bool) -> Int:
    """How a game stands, claims left unclaimed; as in python-chess, what comes first in the code counts."""
    if checked and not can_move:
        return CHECKMATE
    if (
        (state[PAWNS] | state[ROOKS] | state[QUEENS]) == ZERO
        and _cannot_win(state, WHITE)
        and _cannot_win(state, BLACK)
    ):
        return INSUFFICIENT
    if not can_move:
        return STALEMATE
    if state[CLOCK] >= np.uint64(150):
        return SEVENTY_FIVE
    return FIVEFOLD if state[REPEATS] >= np.uint64(4) else ONGOING
