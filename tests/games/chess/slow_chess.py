"""Chess properties as plainly as python-chess can state them: what the fast engine is checked against.

Every property is a function of a board that carries its move stack, stated for the player to move ("mine"). Arrays over
squares have row 0 = rank 1 and column 0 = file a, so a flat index is a python-chess square; scalars have shape ().
Nothing here is shared with the package.
"""

from collections.abc import Callable

import chess
import numpy as np

START = chess.Board()
PIECES = (chess.PAWN, chess.KNIGHT, chess.BISHOP, chess.ROOK, chess.QUEEN, chess.KING)
VALUES = {chess.PAWN: 1, chess.KNIGHT: 3, chess.BISHOP: 3, chess.ROOK: 5, chess.QUEEN: 9, chess.KING: 0}
FORKED = (chess.ROOK, chess.QUEEN, chess.KING)


def on(squares):
    grid = np.zeros(64, bool)
    for square in squares:
        grid[square] = True
    return grid.reshape(8, 8)


def squares_of(board, *piece_types):
    """The mover's."""
    return [square for kind in piece_types for square in board.pieces(kind, board.turn)]


def leads_to(board, move, test):
    board.push(move)
    found = test(board)
    board.pop()
    return found


def piece(board):
    """Classes: yours K Q R B N P, blank, mine P N B R Q K."""
    grid = np.zeros((8, 8, 13), bool)
    for square in chess.SQUARES:
        held = board.piece_at(square)
        sign = 0 if held is None else 1 if held.color == board.turn else -1
        grid[square // 8, square % 8, 6 + sign * (held.piece_type if held else 0)] = True
    return grid


def piece_masked_blank(board):
    return np.delete(piece(board), 6, axis=-1)


def piece_moved(board):
    """As `piece_masked_blank`, less every square that holds the very piece it held at the start of the game."""
    grid = piece_masked_blank(board)
    for square, held in START.piece_map().items():
        if board.piece_at(square) == held:
            grid[square // 8, square % 8] = False
    return grid


def color(board):
    """Classes: yours, blank, mine."""
    grid = piece(board)
    return np.stack([grid[..., :6].any(-1), grid[..., 6], grid[..., 7:].any(-1)], axis=-1)


def threat(board):
    """Attacked by the opponent, whatever stands there."""
    return on(square for square in chess.SQUARES if board.is_attacked_by(not board.turn, square))


def legal_move(board):
    """Where a legal move ends; of castling, where the king ends."""
    return on(move.to_square for move in board.legal_moves)


def pseudo_legal_move(board):
    return on(move.to_square for move in board.pseudo_legal_moves)


def last_move(board):
    """The square on which the last ply ended."""
    return on([board.peek().to_square] if board.move_stack else [])


def material(board):
    """One of 40: the mover's material, 39 and more as the last."""
    return np.arange(40) == min(39, sum(VALUES[board.piece_type_at(square)] for square in squares_of(board, *PIECES)))


def check(board):
    return np.array(board.is_check())


def can_check_next(board):
    return np.array(any(board.gives_check(move) for move in board.legal_moves))


def has_queen(board):
    return np.array(len(squares_of(board, chess.QUEEN)) > 0)


def can_capture_queen(board):
    return np.array(any(board.piece_type_at(move.to_square) == chess.QUEEN for move in board.legal_moves))


def has_bishop_pair(board):
    return np.array(len(squares_of(board, chess.BISHOP)) >= 2)


def castling_rights(board):
    return np.array(board.has_castling_rights(board.turn))


def castling_kingside(board):
    return np.array(board.has_kingside_castling_rights(board.turn))


def castling_queenside(board):
    return np.array(board.has_queenside_castling_rights(board.turn))


def forks(board, square):
    """Whether the piece there attacks two of the opponent's R, Q, K."""
    held = [board.piece_at(target) for target in board.attacks(square)]
    return sum(p is not None and p.color != board.turn and p.piece_type in FORKED for p in held) >= 2


def fork(board):
    return np.array(any(forks(board, square) for square in squares_of(board, *PIECES)))


def knight_fork(board):
    return np.array(any(forks(board, square) for square in squares_of(board, chess.KNIGHT)))


def pin(board):
    """A piece of either player may not leave a line to its king."""
    return np.array(any(board.is_pinned(held.color, square) for square, held in board.piece_map().items()))


def en_passant(board):
    return np.array(board.has_legal_en_passant())


def ambiguous_move(board):
    """Two like pieces of the mover, pawns too, may legally go to one square."""
    arrivals = {(move.from_square, move.to_square) for move in board.legal_moves}
    named = [(board.piece_type_at(origin), target) for origin, target in arrivals]
    return np.array(len(set(named)) < len(named))


def connected_rooks(board):
    """Two of the mover's rooks on one rank or file with nothing between."""
    rooks = squares_of(board, chess.ROOK)
    return np.array(
        any(
            (a // 8 == b // 8 or a % 8 == b % 8) and not chess.SquareSet.between(a, b) & board.occupied
            for a in rooks
            for b in rooks
            if a < b
        )
    )


def can_claim_draw(board):
    """By repetition or fifty moves, on the board or with the next move. The slow one."""
    return np.array(board.can_claim_draw())


def mate_in_one(board):
    return any(leads_to(board, move, chess.Board.is_checkmate) for move in board.legal_moves)


def mate_threat(board):
    """Not in check, and if the mover passed, the opponent could mate at once."""
    return np.array(not board.is_check() and leads_to(board, chess.Move.null(), mate_in_one))


SLOW: dict[str, Callable[[chess.Board], np.ndarray]] = {
    property.__name__: property
    for property in (
        piece,
        piece_masked_blank,
        piece_moved,
        color,
        threat,
        legal_move,
        pseudo_legal_move,
        last_move,
        material,
        check,
        can_check_next,
        has_queen,
        can_capture_queen,
        has_bishop_pair,
        castling_rights,
        castling_kingside,
        castling_queenside,
        fork,
        knight_fork,
        pin,
        en_passant,
        ambiguous_move,
        connected_rooks,
        can_claim_draw,
        mate_threat,
    )
}


def san_text(moves: list[chess.Move]) -> str:
    """The published transcript: `;1.e4 e5 2.Nf3 Nc6`."""
    board, words = chess.Board(), []
    for move in moves:
        number = f"{board.fullmove_number}." if board.turn == chess.WHITE else ""
        words.append(number + board.san_and_push(move))
    return ";" + " ".join(words)
