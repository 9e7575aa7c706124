"""Othello on bitboards, compiled by numba: moves, whole games, replays, labels.

A set of squares is a uint64 with bit `row * n + column`. Every function takes the `Setup` that `rules` makes of
a game's rules, so that one compiled code serves all boards and variants; its branches on the rules always go the same
way, which costs nothing measurable.

The state of a game is a tuple `(own, other, first, steps, passes, legal)`: discs of the player to move and of the
other, whether the one who began (black) is to move, steps counted against the limit, passes in a row that led here,
and the squares that may be played.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from numba import njit

from boardgame_sae.games.bits import ONE, ZERO, Squares, count, lowest
from boardgame_sae.games.random_bits import below, draw, fraction

State: TypeAlias = tuple[Squares, Squares, bool, int, int, Squares]

FLANKING, ADJACENT = 0, 1
FLIP_ALL, FLIP_ENDS, REMOVE = 0, 1, 2


class Setup(NamedTuple):
    """The rules as the kernels read them."""

    n: np.uint64
    """Rows, and columns."""
    full: Squares
    """All squares."""
    inner: Squares
    """All squares but the first and last column: no line along a row or a diagonal passes through those."""
    black: Squares
    white: Squares
    legality: int
    effect: int
    diagonals: bool
    """Discs are flanked along diagonals too."""
    explicit: bool
    """A player who cannot move passes by a ply of its own."""
    closing: bool
    """Two passes in a row end the game; otherwise it ends as soon as nobody can move."""
    limit: int
    """Steps, passes counted, after which the game is over."""


@njit(cache=True, forceinline=True)
def _beyond(own: Squares, runs: Squares, step: np.uint64) -> Squares:
    """Squares that follow, either way along a step, a run of `runs` that starts beside a square of `own`."""
    up, down = (own << step) & runs, (own >> step) & runs
    for _ in range(5):
        up |= (up << step) & runs
        down |= (down >> step) & runs
    return (up << step) | (down >> step)


@njit(cache=True, forceinline=True)
def legal_squares(setup: Setup, own: Squares, other: Squares) -> Squares:
    """Squares where the owner of `own` may play."""
    if setup.legality == ADJACENT:
        last = setup.full & ~(setup.inner | (setup.inner >> ONE))
        first = setup.full & ~(setup.inner | last)
        row = own | ((own & ~last) << ONE) | ((own & ~first) >> ONE)
        reach = row | (row << setup.n) | (row >> setup.n)
    else:
        runs = other & setup.inner
        reach = _beyond(own, runs, ONE) | _beyond(own, other, setup.n)
        if setup.diagonals:
            reach |= _beyond(own, runs, setup.n - ONE) | _beyond(own, runs, setup.n + ONE)
    return reach & setup.full & ~(own | other)


@njit(cache=True, forceinline=True)
def _captured_along(setup: Setup, own: Squares, runs: Squares, played: Squares, step: np.uint64) -> Squares:
    """Discs on one line that a disc on `played` captures, both ways."""
    first_up, first_down = (played << step) & runs, (played >> step) & runs
    up, down = first_up, first_down
    for _ in range(5):
        up |= (up << step) & runs
        down |= (down >> step) & runs
    end_up, end_down = (up << step) & own, (down >> step) & own
    if setup.effect == FLIP_ENDS:
        up, down = first_up | (end_up >> step), first_down | (end_down << step)
    return (up if end_up != ZERO else ZERO) | (down if end_down != ZERO else ZERO)


@njit(cache=True, forceinline=True)
def captured(setup: Setup, own: Squares, other: Squares, played: Squares) -> Squares:
    """Discs of `other` that turn (or vanish) when the owner of `own` plays on the square `played`."""
    runs = other & setup.inner
    taken = _captured_along(setup, own, runs, played, ONE) | _captured_along(setup, own, other, played, setup.n)
    if setup.diagonals:
        taken |= _captured_along(setup, own, runs, played, setup.n - ONE)
        taken |= _captured_along(setup, own, runs, played, setup.n + ONE)
    return taken


@njit(cache=True)
def start(setup: Setup) -> State:
    """The state before the first ply."""
    return setup.black, setup.white, True, 0, 0, legal_squares(setup, setup.black, setup.white)


@njit(cache=True)
def must_pass(setup: Setup, state: State) -> bool:
    """Whether the only legal ply is a pass; without it, and without a legal square, the game is over."""
    own, other, _, steps, passes, legal = state
    if not setup.explicit or legal != ZERO or steps >= setup.limit:
        return False
    return passes < 2 if setup.closing else legal_squares(setup, other, own) != ZERO


@njit(cache=True, forceinline=True)
def _settle(setup: Setup, own: Squares, other: Squares, first: bool, steps: int, passes: int) -> State:
    """The state in which `own` is to move, or, where passes are not plies and `own` cannot move, `other` again."""
    if steps >= setup.limit:
        return own, other, first, steps, passes, ZERO
    legal = legal_squares(setup, own, other)
    if legal == ZERO and not setup.explicit:
        again = legal_squares(setup, other, own)
        if again != ZERO:
            return other, own, not first, steps + 1, passes, again if steps + 1 < setup.limit else ZERO
        if setup.closing:
            steps = min(setup.limit, steps + 2)
    return own, other, first, steps, passes, legal


@njit(cache=True)
def pass_on(setup: Setup, state: State) -> State:
    """The state after a pass that is a ply of its own."""
    own, other, first, steps, passes, _ = state
    return _settle(setup, other, own, not first, steps + 1, passes + 1)


@njit(cache=True, forceinline=True)
def put(setup: Setup, state: State, square: int) -> tuple[State, Squares]:
    """The state after a disc on a square, and the set of discs that it turned or removed."""
    own, other, first, steps, _, _ = state
    played = ONE << np.uint64(square)
    taken = captured(setup, own, other, played)
    own = own | played if setup.effect == REMOVE else own | played | taken
    return _settle(setup, other & ~taken, own, not first, steps + 1, 0), taken


@njit(cache=True)
def _greediest(setup: Setup, own: Squares, other: Squares, legal: Squares) -> Squares:
    """The legal squares that capture most: all of them leave the mover the same, largest disc difference."""
    best, most = ZERO, -1
    while legal != ZERO:
        square = legal & (~legal + ONE)
        legal ^= square
        n_taken = count(captured(setup, own, other, square))
        if n_taken > most:
            best, most = ZERO, n_taken
        if n_taken == most:
            best |= square
    return best


@njit(cache=True, forceinline=True)
def _choose(setup: Setup, state: State, epsilon: float, seed: np.uint64) -> tuple[int, np.uint64]:
    """A square for the player to move and the generator's next word; `Game.play_games` states the draws."""
    own, other, _, _, _, legal = state
    if legal & (legal - ONE) == ZERO:
        return lowest(legal), seed
    if epsilon < 1.0:
        seed, bits = draw(seed)
        if fraction(bits) >= epsilon:
            legal = _greediest(setup, own, other, legal)
    seed, bits = draw(seed)
    for _ in range(below(bits, count(legal))):
        legal &= legal - ONE
    return lowest(legal), seed


@njit(cache=True)
def _play_one(
    setup: Setup, seed: np.uint64, epsilons: tuple[float, float], moves: np.ndarray
) -> tuple[int, int, np.uint64]:
    """One game from a generator's word into `moves`: its length, its steps, and the next word."""
    state, n_plies, pass_code = start(setup), 0, np.int64(setup.n * setup.n)
    while True:
        if state[5] != ZERO:
            square, seed = _choose(setup, state, epsilons[0] if state[2] else epsilons[1], seed)
            moves[n_plies] = square
            state, _ = put(setup, state, square)
        elif must_pass(setup, state):
            moves[n_plies] = pass_code
            state = pass_on(setup, state)
        else:
            return n_plies, state[3], seed
        n_plies += 1


@njit(cache=True)
def play_games(
    setup: Setup,
    seeds_B: np.ndarray,
    epsilons: tuple[float, float],
    moves_M: np.ndarray,
    offsets: np.ndarray,
    full_only: bool,
    tries: int,
) -> bool:
    """Epsilon-greedy games into `moves_M`, their bounds into `offsets`.

    full_only: play again, at most `tries` times, until a game reaches the step limit. Returns whether all did.
    """
    for game in range(len(seeds_B)):
        seed, n_plies, kept = seeds_B[game], 0, False
        for _ in range(tries):
            n_plies, steps, seed = _play_one(setup, seed, epsilons, moves_M[offsets[game] :])
            kept = not full_only or steps == setup.limit
            if kept:
                break
        if not kept:
            return False
        offsets[game + 1] = offsets[game] + n_plies
    return True


@njit(cache=True)
def _write(
    state: State, row: int, mine_N: np.ndarray, yours_N: np.ndarray, legal_N: np.ndarray, first_N: np.ndarray
) -> None:
    own, other, first, _, _, legal = state
    mine_N[row], yours_N[row], legal_N[row], first_N[row] = own, other, legal, first


@njit(cache=True)
def replay(
    setup: Setup,
    moves_M: np.ndarray,
    offsets: np.ndarray,
    mine_N: np.ndarray,
    yours_N: np.ndarray,
    legal_N: np.ndarray,
    taken_N: np.ndarray,
    first_N: np.ndarray,
    last_N: np.ndarray,
    ply_N: np.ndarray,
) -> int:
    """Every position of every game into arrays of n_plies + 1 rows per game.

    Returns the index in `moves_M` of the first illegal move, or -1.
    """
    pass_code, row = np.int64(setup.n * setup.n), 0
    for game in range(len(offsets) - 1):
        state = start(setup)
        _write(state, row, mine_N, yours_N, legal_N, first_N)
        taken_N[row], last_N[row], ply_N[row] = ZERO, -1, 0
        for at in range(offsets[game], offsets[game + 1]):
            row += 1
            move, taken = int(np.int64(moves_M[at])), ZERO
            if move < pass_code and (state[5] >> np.uint64(move)) & ONE:
                state, taken = put(setup, state, move)
            elif move == pass_code and must_pass(setup, state):
                state = pass_on(setup, state)
            else:
                return at
            _write(state, row, mine_N, yours_N, legal_N, first_N)
            taken_N[row], last_N[row], ply_N[row] = taken, move, at - offsets[game] + 1
        row += 1
    return -1


@njit(cache=True)
def perft(setup: Setup, depth: int) -> int:
    """Sequences of `depth` plies from the start, and of fewer where the game is over sooner."""
    leaves, todo = 0, [(start(setup), depth)]
    while len(todo) > 0:
        state, depth = todo.pop()
        legal = state[5]
        if depth == 0:
            leaves += 1
        elif legal == ZERO and must_pass(setup, state):
            todo.append((pass_on(setup, state), depth - 1))
        elif legal == ZERO:
            leaves += 1
        elif depth == 1:
            leaves += count(legal)
        else:
            while legal != ZERO:
                todo.append((put(setup, state, lowest(legal))[0], depth - 1))
                legal &= legal - ONE
    return leaves


@njit(cache=True)
def unpack(sets_CN: tuple[np.ndarray, ...], labels_NSC: np.ndarray) -> None:
    """Sets of squares as booleans: entry (i, s, c) is bit s of `sets_CN[c][i]`."""
    n_squares = labels_NSC.shape[1]
    for c in range(len(sets_CN)):
        for i in range(len(labels_NSC)):
            bits = sets_CN[c][i]
            for s in range(n_squares):
                labels_NSC[i, s, c] = (bits >> np.uint64(s)) & ONE != ZERO


@njit(cache=True)
def _shift(bits: Squares, step: int) -> Squares:
    return bits << np.uint64(step) if step >= 0 else bits >> np.uint64(-step)


@njit(cache=True)
def lines(setup: Setup, steps: np.ndarray, mine_N: np.ndarray, yours_N: np.ndarray, labels_NSDK: np.ndarray) -> None:
    """Mark (i, s, d, k - 1) where s is empty and k of `yours`, then one of `mine`, follow it along `steps[d]`.

    labels_NSDK: bool, all false at first; steps: int64 differences of square index, one a direction.
    """
    n = np.int64(setup.n)
    for i in range(len(mine_N)):
        empty = setup.full & ~(mine_N[i] | yours_N[i])
        for d in range(len(steps)):
            runs = yours_N[i] if abs(steps[d]) == n else yours_N[i] & setup.inner
            at = _shift(mine_N[i], -steps[d]) & runs
            for k in range(n - 2):
                hits = _shift(at, -steps[d]) & empty
                while hits != ZERO:
                    labels_NSDK[i, lowest(hits), d, k] = True
                    hits &= hits - ONE
                at = _shift(at, -steps[d]) & runs
