"""Positions for the compiled chess from python-chess's boards, so that tests can begin anywhere."""

import chess
import numpy as np

from boardgame_sae.games.chess import kernels


def state_of(board: chess.Board) -> np.ndarray:
    """The words of a position: no repetitions, no claim."""
    state = np.zeros(kernels.WIDTH, np.uint64)
    for word, squares in enumerate((board.pawns, board.knights, board.bishops, board.rooks, board.queens, board.kings)):
        state[word] = squares
    state[kernels.BLACK], state[kernels.WHITE] = (board.occupied_co[color] for color in (chess.BLACK, chess.WHITE))
    state[kernels.TURN], state[kernels.CASTLING] = board.turn, board.clean_castling_rights()
    state[kernels.EP] = 0 if board.ep_square is None else 1 << board.ep_square
    state[kernels.CLOCK] = board.halfmove_clock
    return state
