"""A small chess player, compiled: alpha-beta over a few plies, then the exchanges that captures begin.

It is the opponent that is always there, and the ladder of known strength where no engine is installed: its moves are
drawn from a softmax over the scores of all legal moves, at a temperature in pawns.
"""

from typing import TypeAlias

import numpy as np
from numba import njit

from boardgame_sae.games.bits import ONE, ZERO, Bool, Int, bit, lowest
from boardgame_sae.games.chess.kernels import (
    BLACK,
    CLOCK,
    EP,
    ONGOING,
    PAWNS,
    TURN,
    WHITE,
    WIDTH,
    ending,
    generate,
    key,
    kind_at,
    play,
    survey,
)
from boardgame_sae.games.chess.play import MOST_MOVES, START, settle
from boardgame_sae.games.random_bits import below, draw, fraction, soft_pick

MATE = 30_000
"""Score of a mate at once, in centipawns; a ply later is one less."""
Room: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
WORTH = np.array([100, 320, 330, 500, 900, 0], np.int64)
"""Centipawns by piece type."""
MOST_LEVELS = 40
"""Plies below the root at which captures are no longer followed."""


def _square_worth() -> np.ndarray:
    """Centipawns that a white piece is worth more on a square: int64 (6, 64). Pieces like the centre, pawns the far
    ranks, rooks the seventh, the king its castled corner.
    """
    worth = np.zeros((6, 64), np.int64)
    for square in range(64):
        rank, file = divmod(square, 8)
        off_centre = max(abs(2 * rank - 7), abs(2 * file - 7)) // 2
        worth[0, square] = (0, 0, 5, 10, 20, 40, 70, 0)[rank] + (10 if file in (3, 4) and rank in (3, 4) else 0)
        worth[1, square] = 20 - 12 * off_centre
        worth[2, square] = 12 - 6 * off_centre
        worth[3, square] = (20 if rank == 6 else 0) + (5 if file in (3, 4) else 0)
        worth[4, square] = 4 - 2 * off_centre
        worth[5, square] = (25 if rank == 0 and file in (2, 6) else 0) - 12 * rank
    return worth


TODO, TRIED, ALPHA, BETA, BEST = range(5)
"""Rows of a search's bounds: moves of a level, how many of them have been tried, the window, the best score."""
FIFTY_MOVES = np.uint64(100)
SQUARE_WORTH = _square_worth()


@njit(cache=True)
def evaluate(state: np.ndarray) -> Int:
    """Centipawns by which the player to move is ahead: material, and where it stands."""
    total = np.int64(0)
    for kind in range(6):
        for side in (WHITE, BLACK):
            pieces, sign = state[kind] & state[side], 1 if side == WHITE else -1
            while pieces != ZERO:
                square = lowest(pieces) if side == WHITE else lowest(pieces) ^ 56
                total += sign * (WORTH[kind] + SQUARE_WORTH[kind, square])
                pieces &= pieces - ONE
    return total if state[TURN] == ONE else -total


@njit(cache=True)
def _promise(state: np.ndarray, code: Int) -> Int:
    """How early to try a move: the most valuable capture first, by the least valuable piece; 0 where nothing is won."""
    origin, target, promotion = bit(code >> 9), bit(code >> 3 & 63), code & 7
    taken, own = kind_at(state, target), kind_at(state, origin)
    promise = np.int64(0)
    if taken < 6:
        promise = 16 * WORTH[taken] - WORTH[own] + 1000
    elif own == PAWNS and target == state[EP]:
        promise = 16 * WORTH[PAWNS]
    return promise + 16 * WORTH[promotion] if promotion != 0 else promise


@njit(cache=True)
def _prepare(state: np.ndarray, moves: np.ndarray, promises: np.ndarray, n: Int, quiet: Bool, onto: Int) -> Int:
    """Give each move its promise and return how many are left.

    Without `quiet` only those that promise something are; and of these, where `onto` is a square, those that end there.
    """
    kept = 0
    for i in range(n):
        promise = _promise(state, np.int64(moves[i]))
        if quiet or (promise > 0 and (onto < 0 or moves[i] >> 3 & 63 == onto)):
            moves[kept], promises[kept] = moves[i], promise
            kept += 1
    return kept


@njit(cache=True)
def _bring_best(moves: np.ndarray, promises: np.ndarray, first: Int, n: Int) -> Int:
    """Swap the most promising of the moves first..n-1 to the front and return it."""
    best = first
    for i in range(first + 1, n):
        if promises[i] > promises[best]:
            best = i
    moves[first], moves[best] = moves[best], moves[first]
    promises[first], promises[best] = promises[best], promises[first]
    return np.int64(moves[first])


@njit(cache=True)
def make_room() -> Room:
    """Memory for searches: made once, used by many."""
    states, moves = np.empty((MOST_LEVELS, WIDTH), np.uint64), np.empty((MOST_LEVELS, MOST_MOVES), np.uint16)
    promises, bounds = np.empty((MOST_LEVELS, MOST_MOVES), np.int64), np.empty((5, MOST_LEVELS), np.int64)
    return states, moves, promises, bounds


@njit(cache=True)
def _enter(level: Int, depth: Int, room: Room) -> tuple[bool, Int]:
    """Look at the position of a level: (True, its value) where it has one at once, else (False, 0), its moves ready."""
    states, moves, promises, bounds = room
    state, last = states[level], level == MOST_LEVELS - 1
    seen = survey(state)
    n = generate(state, seen, moves[level])
    if n == 0:
        return True, level - MATE if seen[3] != ZERO else 0
    if state[CLOCK] >= FIFTY_MOVES or ending(state, seen[3] != ZERO, True) != ONGOING:
        return True, 0
    bounds[BEST, level] = -MATE - 1
    onto = -1
    if level >= depth:
        bounds[BEST, level] = evaluate(state)
        if bounds[BEST, level] >= bounds[BETA, level] or last:
            return True, bounds[BEST, level]
        bounds[ALPHA, level] = max(bounds[ALPHA, level], bounds[BEST, level])
        if level > depth:
            onto = np.int64(moves[level - 1, bounds[TRIED, level - 1] - 1] >> 3 & 63)
    bounds[TODO, level] = _prepare(state, moves[level], promises[level], n, level < depth, onto)
    bounds[TRIED, level] = 0
    return False, 0


@njit(cache=True)
def search(root: np.ndarray, depth: Int, room: Room) -> Int:
    """Centipawns for the player to move after `depth` plies of best play, then a capture and the exchange it begins."""
    states, moves, promises, bounds = room
    states[0], bounds[ALPHA, 0], bounds[BETA, 0] = root, -MATE - 1, MATE + 1
    level, entering = 0, True
    while True:
        known, value = _enter(level, depth, room) if entering else (False, 0)
        tried = bounds[TRIED, level]
        if not known and tried < bounds[TODO, level]:
            code = _bring_best(moves[level], promises[level], tried, bounds[TODO, level])
            bounds[TRIED, level] += 1
            states[level + 1] = states[level]
            play(states[level + 1], code)
            bounds[ALPHA, level + 1], bounds[BETA, level + 1] = -bounds[BETA, level], -bounds[ALPHA, level]
            level, entering = level + 1, True
            continue
        if not known:
            value = bounds[BEST, level]
        if level == 0:
            return value
        level, entering = level - 1, False
        bounds[BEST, level] = max(bounds[BEST, level], -value)
        bounds[ALPHA, level] = max(bounds[ALPHA, level], bounds[BEST, level])
        if bounds[ALPHA, level] >= bounds[BETA, level]:
            bounds[TODO, level] = bounds[TRIED, level]


@njit(cache=True)
def search_states(states_NK: np.ndarray, depth: Int) -> np.ndarray:
    """`search` of each of some states: int64 (N,)."""
    values, room = np.empty(len(states_NK), np.int64), make_room()
    for i in range(len(states_NK)):
        values[i] = search(states_NK[i], depth, room)
    return values


@njit(cache=True)
def score_moves(state: np.ndarray, depth: Int, moves: np.ndarray, scores: np.ndarray, room: Room) -> Int:
    """Write the legal moves and the centipawns of each after a search; at depth 0 all are 0. Returns how many."""
    n = generate(state, survey(state), moves)
    after = np.empty(WIDTH, np.uint64)
    for i in range(n):
        scores[i] = 0
        if depth > 0:
            after[:] = state
            play(after, np.int64(moves[i]))
            scores[i] = -search(after, depth - 1, room)
    return n


@njit(cache=True)
def search_games(
    words_B: np.ndarray,
    depths: tuple[Int, Int],
    temperatures_B2: np.ndarray,
    openings_M: np.ndarray,
    opening_offsets: np.ndarray,
    max_plies: Int,
    moves_M: np.ndarray,
    offsets: np.ndarray,
) -> None:
    """Games between two searchers into `moves_M`, their bounds into `offsets`.

    Each game begins with its opening, then each move is drawn by one draw of the game's generator (none where one move
    is legal): at depth 0 uniformly, else from the softmax at the side's temperature.
    """
    keys, state = np.empty(max_plies + 1, np.uint64), np.empty(WIDTH, np.uint64)
    legal, scores, room = np.empty(MOST_MOVES, np.uint16), np.empty(MOST_MOVES, np.int64), make_room()
    for game in range(len(words_B)):
        state[:] = START
        keys[0] = key(state)
        word, at = words_B[game], offsets[game]
        n_opening = opening_offsets[game + 1] - opening_offsets[game]
        for ply in range(max_plies):
            seen = survey(state)
            n = generate(state, seen, legal)
            if ending(state, seen[3] != ZERO, n > 0) != ONGOING:
                break
            if ply < n_opening:
                code = np.int64(openings_M[opening_offsets[game] + ply])
            elif n == 1:
                code = np.int64(legal[0])
            else:
                side = 0 if state[TURN] == ONE else 1
                word, bits = draw(word)
                if depths[side] == 0:
                    code = np.int64(legal[below(bits, n)])
                else:
                    n = score_moves(state, depths[side], legal, scores, room)
                    code = np.int64(legal[soft_pick(scores, n, temperatures_B2[game, side], fraction(bits))])
            moves_M[at] = code
            at += 1
            play(state, code)
            settle(state, keys, ply + 1)
        offsets[game + 1] = at
