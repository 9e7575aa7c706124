"""What is true of chess positions, compiled: sets of squares and yes-or-no facts, stated for the player to move."""

import numpy as np
from numba import njit

from boardgame_sae.games.bits import ONE, ZERO, Int, Squares, bit, count, lowest
from boardgame_sae.games.chess.kernels import (
    BLACK,
    CASTLING,
    CLAIM,
    EP,
    KINGS,
    KNIGHTS,
    QUEENS,
    ROOKS,
    TURN,
    WHITE,
    WIDTH,
    Survey,
    attacks_of,
    generate,
    has_legal_ep,
    has_move,
    in_check,
    kind_at,
    pinned_pieces,
    play,
    pseudo_targets_of,
    rook_attacks,
    survey,
    targets_of,
)
from boardgame_sae.games.chess.play import MOST_MOVES, START, material
from boardgame_sae.games.chess.tables import RANK_1, RANK_8

FACTS = (
    "check",
    "can_check_next",
    "has_queen",
    "can_capture_queen",
    "has_bishop_pair",
    "castling_rights",
    "castling_kingside",
    "castling_queenside",
    "fork",
    "knight_fork",
    "pin",
    "en_passant",
    "ambiguous_move",
    "connected_rooks",
    "can_claim_draw",
    "mate_threat",
)
"""The columns of the facts."""
THREAT, LEGAL, PSEUDO_LEGAL = range(3)
"""The columns of the sets of squares."""
BISHOP_WORD = 2
MOST_MATERIAL = 39
"""Material of one side at the start; promotions can give more, which counts as this."""


@njit(cache=True)
def _attacked(state: np.ndarray, side: Int) -> Squares:
    """Squares that a side attacks, whatever stands on them."""
    pieces, attacked = state[side], ZERO
    while pieces != ZERO:
        square = lowest(pieces)
        pieces &= pieces - ONE
        attacked |= attacks_of(state, kind_at(state, bit(square)), square, side)
    return attacked


@njit(cache=True)
def _targets(state: np.ndarray, seen: Survey) -> tuple[Squares, Squares, bool]:
    """Where legal moves end, where pseudo-legal ones do, and whether two like pieces can go to one square."""
    legal, pseudo, twice = ZERO, ZERO, False
    for kind in range(6):
        pieces, by_kind = seen[1] & state[kind], ZERO
        while pieces != ZERO:
            square = lowest(pieces)
            pieces &= pieces - ONE
            targets = targets_of(state, seen, kind, square)
            twice = twice or targets & by_kind != ZERO
            by_kind |= targets
            pseudo |= pseudo_targets_of(state, seen, kind, square)
        legal |= by_kind
    return legal, pseudo, twice


@njit(cache=True)
def _forks(state: np.ndarray, side: Int) -> tuple[bool, bool]:
    """Whether any piece, and whether a knight, attacks two or more of the other's rooks, queens and king."""
    prey = state[13 - side] & (state[ROOKS] | state[QUEENS] | state[KINGS])
    pieces, any_piece, knight = state[side], False, False
    while pieces != ZERO:
        square = lowest(pieces)
        pieces &= pieces - ONE
        kind = kind_at(state, bit(square))
        if count(attacks_of(state, kind, square, side) & prey) >= 2:
            any_piece, knight = True, knight or kind == KNIGHTS
    return any_piece, knight


@njit(cache=True)
def _rooks_connect(state: np.ndarray, side: Int) -> bool:
    rooks = state[ROOKS] & state[side]
    left = rooks
    while left != ZERO:
        if rook_attacks(lowest(left), state[WHITE] | state[BLACK]) & rooks != ZERO:
            return True
        left &= left - ONE
    return False


@njit(cache=True)
def _some_move(state: np.ndarray, mates: bool, moves: np.ndarray, after: np.ndarray) -> bool:
    """Whether a legal move gives check (or mate)."""
    for i in range(generate(state, survey(state), moves)):
        after[:] = state
        play(after, np.int64(moves[i]))
        if in_check(after) and not (mates and has_move(after, survey(after))):
            return True
    return False


@njit(cache=True)
def truth(states_NK: np.ndarray, sets_N3: np.ndarray, facts_NF: np.ndarray) -> None:
    """Write the sets of squares (uint64) and the facts (bool) of some states."""
    moves, after, passed = np.empty(MOST_MOVES, np.uint16), np.empty(WIDTH, np.uint64), np.empty(WIDTH, np.uint64)
    for i in range(len(states_NK)):
        state = states_NK[i]
        seen, side = survey(state), BLACK + np.int64(state[TURN])
        own, other, checked = seen[1], seen[2], seen[3] != ZERO
        legal, pseudo, twice = _targets(state, seen)
        sets_N3[i, THREAT], sets_N3[i, LEGAL], sets_N3[i, PSEUDO_LEGAL] = _attacked(state, 13 - side), legal, pseudo
        rights = state[CASTLING] & (RANK_1 if side == WHITE else RANK_8)
        any_fork, knight_fork = _forks(state, side)
        passed[:] = state
        passed[TURN] ^= ONE
        passed[EP] = ZERO
        facts = facts_NF[i]
        facts[0] = checked
        facts[1] = _some_move(state, False, moves, after)
        facts[2] = own & state[QUEENS] != ZERO
        facts[3] = legal & other & state[QUEENS] != ZERO
        facts[4] = count(own & state[BISHOP_WORD]) >= 2
        facts[5] = rights != ZERO
        facts[6] = rights & (bit(7) | bit(63)) != ZERO
        facts[7] = rights & (bit(0) | bit(56)) != ZERO
        facts[8], facts[9] = any_fork, knight_fork
        facts[10] = (pinned_pieces(state, WHITE) | pinned_pieces(state, BLACK)) != ZERO
        facts[11] = has_legal_ep(state, seen)
        facts[12] = twice
        facts[13] = _rooks_connect(state, side)
        facts[14] = state[CLAIM] != ZERO
        facts[15] = not checked and _some_move(passed, True, moves, after)


@njit(cache=True)
def mark_pieces(states_NK: np.ndarray, blank: bool, moved: bool, labels_NSC: np.ndarray) -> None:
    """Mark what stands where in labels that are all false: yours K to P, (blank,) mine P to K.

    blank: there is a class for empty squares. moved: leave out what stands where it stood at the start of a game.
    """
    mine = 7 if blank else 6
    for i in range(len(states_NK)):
        state = states_NK[i]
        side = BLACK + np.int64(state[TURN])
        for kind in range(6):
            for colour in (side, 13 - side):
                pieces = state[kind] & state[colour]
                if moved:
                    pieces &= ~(START[kind] & START[colour])
                c = mine + kind if colour == side else 5 - kind
                while pieces != ZERO:
                    labels_NSC[i, lowest(pieces), c] = True
                    pieces &= pieces - ONE
        if blank:
            empty = ~(state[WHITE] | state[BLACK])
            while empty != ZERO:
                labels_NSC[i, lowest(empty), 6] = True
                empty &= empty - ONE


@njit(cache=True)
def mark_colours(states_NK: np.ndarray, labels_NSC: np.ndarray) -> None:
    """Mark whose piece stands where: yours, none, mine."""
    for i in range(len(states_NK)):
        side = BLACK + np.int64(states_NK[i, TURN])
        own, other = states_NK[i, side], states_NK[i, 13 - side]
        for square in range(64):
            c = 2 if own & bit(square) != ZERO else 0 if other & bit(square) != ZERO else 1
            labels_NSC[i, square, c] = True


@njit(cache=True)
def mark_sets(sets_N: np.ndarray, labels_NS: np.ndarray) -> None:
    """Sets of squares as booleans."""
    for i in range(len(sets_N)):
        for square in range(64):
            labels_NS[i, square] = sets_N[i] & bit(square) != ZERO


@njit(cache=True)
def mark_material(states_NK: np.ndarray, labels_NC: np.ndarray) -> None:
    """Mark the material of the player to move, in labels that are all false."""
    for i in range(len(states_NK)):
        labels_NC[i, min(MOST_MATERIAL, material(states_NK[i], BLACK + np.int64(states_NK[i, TURN])))] = True


@njit(cache=True)
def mark_moves(states_NK: np.ndarray, token_of_code: np.ndarray, legal_NV: np.ndarray) -> None:
    """Mark the legal moves by their tokens, in an array that is all false."""
    moves = np.empty(MOST_MOVES, np.uint16)
    for i in range(len(states_NK)):
        for m in range(generate(states_NK[i], survey(states_NK[i]), moves)):
            legal_NV[i, token_of_code[moves[m]]] = True
