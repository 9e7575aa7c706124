"""The built-in player against the same search written plainly: every line to its end, no bounds, by python-chess."""

import chess
import numpy as np
import pytest
from chess_positions import SPECIAL, game_of, random_games, real_games
from chess_states import state_of

from boardgame_sae.games import MoveRecord, load_game
from boardgame_sae.games.chess.position import move_code
from boardgame_sae.games.chess.search import MATE, evaluate, make_room, score_moves, search, search_states
from boardgame_sae.games.random_bits import soft_pick

GAME = load_game("chess")
WORTH = {chess.PAWN: 100, chess.KNIGHT: 320, chess.BISHOP: 330, chess.ROOK: 500, chess.QUEEN: 900, chess.KING: 0}


def worth(kind, square):
    """Centipawns of a white piece on its square."""
    rank, file = divmod(square, 8)
    ring = 3 - min(rank, file, 7 - rank, 7 - file)
    return (
        WORTH[kind]
        + {
            chess.PAWN: (0, 0, 5, 10, 20, 40, 70, 0)[rank] + 10 * (square in (chess.D4, chess.E4, chess.D5, chess.E5)),
            chess.KNIGHT: 20 - 12 * ring,
            chess.BISHOP: 12 - 6 * ring,
            chess.ROOK: 20 * (rank == 6) + 5 * (file in (3, 4)),
            chess.QUEEN: 4 - 2 * ring,
            chess.KING: 25 * (square in (chess.C1, chess.G1)) - 12 * rank,
        }[kind]
    )


def slow_evaluate(board):
    total = 0
    for square, piece in board.piece_map().items():
        mine = piece.color == board.turn
        seen = square if piece.color == chess.WHITE else chess.square_mirror(square)
        total += (1 if mine else -1) * worth(piece.piece_type, seen)
    return total


def slow_search(board, depth, level=0):
    """All moves for `depth` plies; then any capture or promotion, and from then on those on the same square."""
    moves = list(board.legal_moves)
    if not moves:
        return level - MATE if board.is_check() else 0
    if board.halfmove_clock >= 100 or board.is_insufficient_material():
        return 0
    values = []
    if level >= depth:
        values = [slow_evaluate(board)]
        moves = [move for move in moves if board.is_capture(move) or move.promotion]
        if level > depth:
            moves = [move for move in moves if move.to_square == board.peek().to_square]
    for move in moves:
        board.push(move)
        values.append(-slow_search(board, depth, level + 1))
        board.pop()
    return max(values)


def boards():
    """Thirty positions: in the middle of games of people and at random, and special ones."""
    found = []
    for number, moves in enumerate([*real_games()[:10], *random_games(10, 5, 120)]):
        board = chess.Board()
        for move in moves[: 10 + 5 * number]:
            board.push(move)
        found.append(board)
    for name in ("en_passant_white", "promotion_check", "mate_threat", "double_check", "fools_mate", "bare_kings"):
        board = chess.Board()
        for move in game_of(SPECIAL[name]):
            board.push(move)
        found.append(board)
    fens = (
        "8/P6k/8/8/8/8/p6K/8 w - - 0 1",
        "6k1/5ppp/8/8/8/8/8/R6K w - - 98 80",
        "k7/2Q5/8/8/8/8/8/K7 b - - 0 1",
        "r3k2r/p1ppqpb1/bn2pnp1/3PN3/1p2P3/2N2Q1p/PPPBBPPP/R3K2R w KQkq - 0 1",
    )
    return [*found, *map(chess.Board, fens)]


BOARDS = boards()


def test_there_are_thirty_and_some_are_over():
    assert len(BOARDS) == 30 and sum(board.is_game_over() for board in BOARDS) >= 3


def test_evaluation_counts_material_and_squares_for_the_player_to_move():
    for board in BOARDS:
        assert evaluate(state_of(board)) == slow_evaluate(board), board.fen()
        assert evaluate(state_of(board.mirror())) == slow_evaluate(board)
    assert evaluate(state_of(chess.Board())) == 0


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_search_is_the_plain_search(depth):
    room = make_room()
    for board in BOARDS if depth < 2 else BOARDS[::5]:
        assert search(state_of(board), depth, room) == slow_search(board.copy(), depth), (board.fen(), depth)


def test_every_move_has_the_value_of_the_position_after_it():
    codes, scores, room = np.empty(256, np.uint16), np.empty(256, np.int64), make_room()
    for board in BOARDS:
        n = score_moves(state_of(board), 1, codes, scores, room)
        expected = {}
        for move in board.legal_moves:
            board.push(move)
            expected[move_code(move)] = -slow_search(board, 0)
            board.pop()
        assert dict(zip(codes[:n].tolist(), scores[:n].tolist(), strict=True)) == expected


def test_at_depth_0_all_moves_are_alike():
    codes, scores = GAME.score_moves(GAME.start(), 0)
    assert codes.tolist() == GAME.legal_moves(GAME.start()) and not scores.any()


def test_many_states_at_once_are_each_ones_search():
    record = MoveRecord.of([[move_code(move) for move in moves[:30]] for moves in real_games()[:3]])
    found = GAME.boards(record)
    room = make_room()
    assert GAME.search_boards(found, 2).tolist() == [search(state, 2, room) for state in found.state_N]
    assert search_states(found.state_N[:0], 2).shape == (0,)


def best(fen, depth):
    codes, scores, room = np.empty(256, np.uint16), np.empty(256, np.int64), make_room()
    n = score_moves(state_of(chess.Board(fen)), depth, codes, scores, room)
    place = int(scores[:n].argmax())
    assert (scores[:n] == scores[place]).sum() == 1
    return GAME.uci(int(codes[place])), int(scores[place])


def test_it_mates_in_one():
    assert best("6k1/5ppp/8/8/8/8/8/R6K w - - 0 1", 1) == ("a1a8", MATE)
    position = GAME.replay(";1.f3 e5 2.g4")[-1]
    codes, scores = GAME.score_moves(position, 1)
    assert GAME.uci(int(codes[scores.argmax()])) == "d8h4" and scores.max() == MATE


def test_it_mates_in_two_at_depth_3_alone():
    morphy = "kbK5/pp6/1P6/8/8/8/8/R7 w - - 0 1"
    assert best(morphy, 3) == ("a1a6", MATE - 2)
    codes, scores, room = np.empty(256, np.uint16), np.empty(256, np.int64), make_room()
    assert scores[: score_moves(state_of(chess.Board(morphy)), 2, codes, scores, room)].max() < MATE - 100


def test_it_sees_that_it_will_be_mated():
    assert search(state_of(chess.Board("k7/8/1K6/8/8/8/8/7R b - - 0 1")), 2, make_room()) == 2 - MATE
    mated = chess.Board("R5k1/5ppp/8/8/8/8/8/7K b - - 0 1")
    assert all(search(state_of(mated), depth, make_room()) == -MATE for depth in (0, 1, 3))


@pytest.mark.parametrize("temperature", [0.05, 0.5, 2.0, 50.0])
def test_a_move_is_drawn_with_the_probability_of_the_softmax(temperature):
    scores = np.array([30, -120, 30, 0, 250, -MATE], np.int64)
    weights = np.exp((scores - scores.max()) / (100 * temperature))
    n = 20_000
    places = [soft_pick(scores, len(scores), temperature, (i + 0.5) / n) for i in range(n)]
    assert np.abs(np.bincount(places, minlength=6) / n - weights / weights.sum()).max() < 2 / n
    assert (np.diff(places) >= 0).all()


def test_a_draw_never_falls_off_the_end():
    scores = np.array([10, 20, 30], np.int64)
    for u in (0.0, np.nextafter(1.0, 0), 1.0):
        assert 0 <= soft_pick(scores, 3, 0.3, u) < 3
    assert soft_pick(np.array([MATE, 5], np.int64), 2, 1e-9, 0.999999) == 0
