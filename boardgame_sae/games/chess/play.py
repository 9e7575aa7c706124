"""Whole games of chess, compiled: random and greedy play, replay with repetition and draw claims, perft."""

import numpy as np
from numba import njit

from boardgame_sae.games.bits import ONE, ZERO, Bool, Int, bit
from boardgame_sae.games.chess.kernels import (
    BLACK,
    CLAIM,
    CLOCK,
    EP,
    ONGOING,
    PAWNS,
    REPEATS,
    TURN,
    WIDTH,
    Survey,
    ending,
    generate,
    has_move,
    is_legal,
    key,
    kind_at,
    play,
    repeats,
    start_state,
    survey,
)
from boardgame_sae.games.chess.tables import VALUES
from boardgame_sae.games.random_bits import below, draw, fraction

START = start_state()
MOST_MOVES = 256
"""No position has more legal moves (218 is the record)."""


@njit(cache=True)
def gain(state: np.ndarray, code: Int) -> Int:
    """Material that a legal move wins at once: what it takes, and what a promotion adds."""
    origin, target, promotion = bit(code >> 9), bit(code >> 3 & 63), code & 7
    taken = kind_at(state, target)
    won = VALUES[taken] if taken < 6 else np.int64(0)
    if promotion != 0:
        won += VALUES[promotion] - VALUES[PAWNS]
    elif target == state[EP] and state[PAWNS] & origin != ZERO:
        won += VALUES[PAWNS]
    return won


@njit(cache=True)
def settle(state: np.ndarray, keys: np.ndarray, ply: Int) -> None:
    """After a move: note the position's key, and how often it stood before."""
    keys[ply] = key(state)
    state[REPEATS] = np.uint64(repeats(keys, ply, np.int64(state[CLOCK])))


@njit(cache=True)
def _greediest(state: np.ndarray, moves: np.ndarray, n: Int) -> Int:
    """Keep only the moves that win most material; returns how many."""
    best, kept = np.int64(-1), 0
    for i in range(n):
        won = gain(state, np.int64(moves[i]))
        if won > best:
            best, kept = won, 0
        if won == best:
            moves[kept] = moves[i]
            kept += 1
    return kept


@njit(cache=True)
def pick(state: np.ndarray, moves: np.ndarray, n: Int, epsilon: float, word: np.uint64) -> tuple[Int, np.uint64]:
    """An epsilon-greedy move and the generator's next word; `Game.play_games` states the draws."""
    if n == 1:
        return np.int64(moves[0]), word
    if epsilon < 1.0:
        word, bits = draw(word)
        if fraction(bits) >= epsilon:
            n = _greediest(state, moves, n)
    word, bits = draw(word)
    return np.int64(moves[below(bits, n)]), word


@njit(cache=True)
def legal_moves(state: np.ndarray) -> np.ndarray:
    """The codes of the legal moves, ascending: uint16."""
    moves = np.empty(MOST_MOVES, np.uint16)
    return moves[: generate(state, survey(state), moves)]


@njit(cache=True)
def play_games(
    seeds_B: np.ndarray, epsilons: tuple[float, float], moves_M: np.ndarray, offsets: np.ndarray, max_plies: Int
) -> None:
    """Epsilon-greedy games into `moves_M`, their bounds into `offsets`; each ends by the rules or at `max_plies`."""
    keys, legal, state = np.empty(max_plies + 1, np.uint64), np.empty(MOST_MOVES, np.uint16), np.empty(WIDTH, np.uint64)
    for game in range(len(seeds_B)):
        state[:] = START
        keys[0] = key(state)
        word, at = seeds_B[game], offsets[game]
        for ply in range(max_plies):
            seen = survey(state)
            n = generate(state, seen, legal)
            if ending(state, seen[3] != ZERO, n > 0) != ONGOING:
                break
            epsilon = epsilons[0] if state[TURN] == ONE else epsilons[1]
            code, word = pick(state, legal, n, epsilon, word)
            moves_M[at] = code
            at += 1
            play(state, code)
            settle(state, keys, ply + 1)
        offsets[game + 1] = at


@njit(cache=True)
def _next_repeats_twice(state: np.ndarray, seen: Survey, keys: np.ndarray, ply: Int) -> bool:
    """Whether a legal move leads to a position that stood twice before."""
    legal, after = np.empty(MOST_MOVES, np.uint16), np.empty(WIDTH, np.uint64)
    for i in range(generate(state, seen, legal)):
        after[:] = state
        play(after, np.int64(legal[i]))
        if after[CLOCK] != ZERO:
            keys[ply + 1] = key(after)
            if repeats(keys, ply + 1, np.int64(after[CLOCK])) >= 2:
                return True
    return False


@njit(cache=True)
def _quiet_move_goes_on(state: np.ndarray, seen: Survey) -> bool:
    """Whether a legal move that takes nothing and moves no pawn leaves the other a move."""
    legal, after = np.empty(MOST_MOVES, np.uint16), np.empty(WIDTH, np.uint64)
    for i in range(generate(state, seen, legal)):
        after[:] = state
        play(after, np.int64(legal[i]))
        if after[CLOCK] != ZERO and has_move(after, survey(after)):
            return True
    return False


@njit(cache=True)
def can_claim_draw(state: np.ndarray, seen: Survey, keys: np.ndarray, ply: Int, twice: Int) -> Bool:
    """Whether the player to move can claim a draw, by a move to come too (FIDE 9.2, 9.3; python-chess's definition).

    twice: the last ply at which a position stood for at least the second time, -1 if none did.
    """
    if state[REPEATS] >= np.uint64(2):
        return True
    if state[CLOCK] >= np.uint64(100) and has_move(state, seen):
        return True
    if state[CLOCK] >= np.uint64(99) and _quiet_move_goes_on(state, seen):
        return True
    return twice >= 0 and ply - twice <= np.int64(state[CLOCK]) and _next_repeats_twice(state, seen, keys, ply)


@njit(cache=True)
def replay(
    moves_M: np.ndarray,
    offsets: np.ndarray,
    states_NK: np.ndarray,
    first_N: np.ndarray,
    last_N: np.ndarray,
    ply_N: np.ndarray,
) -> Int:
    """Every position of every game into arrays of n_plies + 1 rows per game.

    Returns the index in `moves_M` of the first illegal move, or -1.
    """
    longest = 0
    for game in range(len(offsets) - 1):
        longest = max(longest, offsets[game + 1] - offsets[game])
    keys, row = np.empty(longest + 2, np.uint64), 0
    for game in range(len(offsets) - 1):
        states_NK[row], first_N[row], last_N[row], ply_N[row] = START, True, -1, 0
        keys[0], twice = key(START), -1
        seen = survey(states_NK[row])
        for at in range(offsets[game], offsets[game + 1]):
            code, ply = np.int64(moves_M[at]), at - offsets[game] + 1
            if not is_legal(states_NK[row], seen, code):
                return at
            row += 1
            states_NK[row] = states_NK[row - 1]
            state = states_NK[row]
            play(state, code)
            settle(state, keys, ply)
            seen = survey(state)
            if state[REPEATS] != ZERO:
                twice = ply
            state[CLAIM] = np.uint64(can_claim_draw(state, seen, keys, ply, twice))
            first_N[row], last_N[row], ply_N[row] = state[TURN] == ONE, code, ply
        row += 1
    return -1


@njit(cache=True)
def key_of(state: np.ndarray) -> np.uint64:
    """The key of a state."""
    return key(state)


@njit(cache=True)
def advance(state: np.ndarray, keys: np.ndarray, ply: Int, code: Int) -> None:
    """Make a legal move, in place, as `replay` does: the state with repeats and claim, and its key at `keys[ply]`."""
    play(state, code)
    settle(state, keys, ply)
    twice, clock = -1, np.int64(state[CLOCK])
    for earlier in range(max(0, ply - clock), ply + 1):
        if repeats(keys, earlier, clock - (ply - earlier)) > 0:
            twice = earlier
    room = np.empty(ply + 2, np.uint64)
    room[: ply + 1] = keys[: ply + 1]
    state[CLAIM] = np.uint64(can_claim_draw(state, survey(state), room, ply, twice))


@njit(cache=True)
def endings(states_NK: np.ndarray) -> np.ndarray:
    """How the game stands in each of some states: int8 (N,)."""
    endings_N = np.empty(len(states_NK), np.int8)
    for i in range(len(states_NK)):
        seen = survey(states_NK[i])
        endings_N[i] = ending(states_NK[i], seen[3] != ZERO, has_move(states_NK[i], seen))
    return endings_N


@njit(cache=True)
def perft(state: np.ndarray, depth: Int) -> Int:
    """Sequences of `depth` legal plies from a state."""
    if depth == 0:
        return 1
    states, moves = np.empty((depth, WIDTH), np.uint64), np.empty((depth, MOST_MOVES), np.uint16)
    todo, done = np.zeros(depth, np.int64), np.zeros(depth, np.int64)
    states[0] = state
    todo[0] = generate(state, survey(state), moves[0])
    level, leaves = 0, 0
    while level >= 0:
        if level == depth - 1:
            leaves += todo[level]
            level -= 1
        elif done[level] == todo[level]:
            level -= 1
        else:
            code = np.int64(moves[level, done[level]])
            done[level] += 1
            level += 1
            states[level] = states[level - 1]
            play(states[level], code)
            todo[level], done[level] = generate(states[level], survey(states[level]), moves[level]), 0
    return leaves


@njit(cache=True)
def material(state: np.ndarray, side: Int) -> Int:
    """Material of a side."""
    total = 0
    for kind in range(5):
        pieces = state[kind] & state[side]
        while pieces != ZERO:
            total += VALUES[kind]
            pieces &= pieces - ONE
    return total


@njit(cache=True)
def balance(state: np.ndarray) -> Int:
    """Material of the player to move minus the other's."""
    side = BLACK + np.int64(state[TURN])
    return material(state, side) - material(state, 13 - side)
