"""The special games do reach what they are named for, by python-chess alone."""

import re
from itertools import product

import chess
import numpy as np
import pytest
from chess_positions import (
    SPECIAL,
    STOCKFISH,
    engine_games,
    game_of,
    random_games,
    real_games,
    special_games,
    start_and_after,
)
from slow_chess import SLOW, san_text

CASTLING = {"O-O": (chess.H1, chess.F1, chess.G1), "O-O-O": (chess.A1, chess.B1, chess.C1, chess.D1)}
"""White's rook's square, and those that must be empty."""


def last(name):
    """The last position, with its stack."""
    board = chess.Board()
    for move in game_of(SPECIAL[name]):
        board.push(move)
    return board


def before(name):
    board = last(name)
    board.pop()
    return board


def sans(board):
    return {board.san(move).rstrip("+#") for move in board.legal_moves}


def looks_castleable(board, side):
    rook, *between = CASTLING[side]
    king_and_rook = board.king(chess.WHITE) == chess.E1 and rook in board.pieces(chess.ROOK, chess.WHITE)
    return board.turn == chess.WHITE and king_and_rook and not any(board.piece_at(square) for square in between)


def claimed_first_after(name):
    """Plies after which a draw may first be claimed."""
    return next((n for n, b in enumerate(start_and_after(game_of(SPECIAL[name]))) if b.can_claim_draw()), None)


def test_every_piece_is_promoted_to_by_either_player_with_and_without_capture():
    seen = set()
    for moves in special_games():
        board = chess.Board()
        for move in moves:
            if move.promotion:
                seen.add((board.turn, move.promotion, board.is_capture(move)))
            board.push(move)
    assert seen == set(product(chess.COLORS, (chess.QUEEN, chess.ROOK, chess.BISHOP, chess.KNIGHT), (False, True)))


@pytest.mark.parametrize("name", [name for name in SPECIAL if name.startswith(("promotion_check", "promotion_mate"))])
def test_promotion_gives_check_or_mate(name):
    board = last(name)
    assert board.peek().promotion and board.is_check()
    assert board.is_checkmate() == ("mate" in name)


def test_en_passant_is_legal():
    assert last("en_passant_white").has_legal_en_passant() and last("en_passant_black").has_legal_en_passant()
    assert {"cxd6", "exd6"} <= sans(last("en_passant_white_two"))
    for name in ("en_passant_missed", "en_passant_single_step"):
        assert not last(name).has_pseudo_legal_en_passant()


@pytest.mark.parametrize("name", ["en_passant_pinned_on_rank", "en_passant_pinned_on_diagonal", "en_passant_no_answer"])
def test_en_passant_is_illegal(name):
    board = last(name)
    assert board.has_pseudo_legal_en_passant() and not board.has_legal_en_passant()
    assert board.is_check() == (name == "en_passant_no_answer")


def test_neither_pawn_alone_is_pinned_on_the_rank():
    board = last("en_passant_pinned_on_rank")
    assert not board.is_pinned(chess.WHITE, chess.E5) and not board.is_pinned(chess.BLACK, chess.D5)
    assert last("en_passant_pinned_on_diagonal").is_pinned(chess.WHITE, chess.B5)


def test_en_passant_answers_a_check():
    only, several = last("en_passant_only_answer"), last("en_passant_one_answer_of_several")
    assert only.is_check() and all(only.is_en_passant(move) for move in only.legal_moves) and any(only.legal_moves)
    assert several.is_check() and {several.is_en_passant(move) for move in several.legal_moves} == {False, True}


def test_en_passant_discovers_check():
    for name, n_checkers in (
        ("en_passant_discovers_check", 1),
        ("en_passant_captured_pawn_discovers_check", 1),
        ("en_passant_double_check", 2),
        ("en_passant_mate", 2),
    ):
        board = last(name)
        assert before(name).is_en_passant(board.peek())
        assert len(board.checkers()) == n_checkers
        assert board.checkers() & ~chess.BB_SQUARES[board.peek().to_square]
    assert last("en_passant_mate").is_checkmate()


def test_castling_happens_on_either_side_by_either_player():
    seen = set()
    for moves in special_games():
        board = chess.Board()
        for move in moves:
            if board.is_castling(move):
                seen.add((board.turn, board.san(move)))
            board.push(move)
    sides = set(product(chess.COLORS, ("O-O", "O-O-O")))
    assert sides <= seen and {(chess.WHITE, "O-O+"), (chess.BLACK, "O-O-O+")} <= seen


@pytest.mark.parametrize(
    ("name", "side", "right", "check", "legal"),
    [
        ("castling_through_check_kingside", "O-O", True, False, False),
        ("castling_through_check_queenside", "O-O-O", True, False, False),
        ("castling_out_of_check", "O-O", True, True, False),
        ("castling_into_check", "O-O", True, False, False),
        ("castling_after_rook_moved", "O-O", False, False, False),
        ("castling_after_king_moved", "O-O", False, False, False),
        ("castling_after_rook_captured", "O-O", False, False, False),
        ("castling_past_attacked_b1", "O-O-O", True, False, True),
        ("castling_past_attacked_rook", "O-O", True, False, True),
    ],
)
def test_castling_is_forbidden_or_not(name, side, right, check, legal):
    board = last(name)
    rights = {"O-O": board.has_kingside_castling_rights, "O-O-O": board.has_queenside_castling_rights}
    assert looks_castleable(board, side)
    assert rights[side](chess.WHITE) == right
    assert board.is_check() == check
    assert (side in sans(board)) == legal


def test_castling_attacks_are_where_they_are_said_to_be():
    for name, square in (
        ("castling_through_check_kingside", chess.F1),
        ("castling_through_check_queenside", chess.D1),
        ("castling_into_check", chess.G1),
        ("castling_past_attacked_b1", chess.B1),
        ("castling_past_attacked_rook", chess.H1),
    ):
        assert last(name).is_attacked_by(chess.BLACK, square)
    assert any(m.to_square == chess.H1 for m in game_of(SPECIAL["castling_after_rook_captured"])[1::2])


def test_checks_and_mates():
    assert len(last("double_check").checkers()) == 2
    discovered = last("discovered_check")
    assert discovered.is_check() and not discovered.checkers() & chess.BB_SQUARES[discovered.peek().to_square]
    assert last("double_check_and_mate").is_checkmate() and last("fools_mate").is_checkmate()
    smothered = last("smothered_mate")
    assert smothered.is_checkmate() and smothered.piece_type_at(smothered.peek().to_square) == chess.KNIGHT
    king = smothered.king(smothered.turn)
    assert all(smothered.color_at(square) == smothered.turn for square in smothered.attacks(king))
    assert SLOW["mate_threat"](last("mate_threat"))


def test_stalemates():
    assert last("stalemate_white").is_stalemate() and last("stalemate_white").turn == chess.WHITE
    assert last("stalemate_black").is_stalemate() and last("stalemate_black").turn == chess.BLACK


def test_repetitions():
    assert last("threefold").is_repetition(3) and not last("threefold").is_fivefold_repetition()
    assert last("fivefold").is_fivefold_repetition()
    assert last("threefold_by_the_next_move").can_claim_draw()
    assert not last("threefold_by_the_next_move").is_repetition(3)
    assert claimed_first_after("threefold") == 7
    for name in ("twofold_without_the_castling_right", "twofold_without_the_en_passant"):
        assert not last(name).can_claim_draw()
    assert claimed_first_after("threefold_with_a_pinned_en_passant") == 21


def test_the_twofold_positions_stand_three_times_on_the_board():
    """Only the rights differ the first time, so that an engine that compares pieces alone claims a draw."""
    for name, answer in (("twofold_without_the_castling_right", "Nf6"), ("twofold_without_the_en_passant", "Nf6")):
        boards = [b.board_fen() + str(b.turn) for b in start_and_after(game_of(f"{SPECIAL[name]} {answer}"))]
        assert boards.count(boards[-1]) == 3


def test_fifty_moves():
    assert last("fifty_moves").is_fifty_moves() and not last("fifty_moves").is_repetition(3)
    soon = last("fifty_moves_by_the_next_move")
    assert soon.can_claim_fifty_moves() and not soon.is_fifty_moves() and not soon.can_claim_threefold_repetition()
    assert claimed_first_after("fifty_moves") == claimed_first_after("fifty_moves_by_the_next_move") == 99
    assert not last("fifty_moves_ended_by_a_pawn").can_claim_draw()
    assert last("seventyfive_moves").is_seventyfive_moves() and not last("seventyfive_moves").is_repetition(3)


def test_insufficient_material():
    for name, n_pieces in (
        ("bare_kings", 2),
        ("bare_but_a_knight", 3),
        ("bare_but_a_bishop", 3),
        ("bare_but_like_bishops", 4),
    ):
        assert last(name).is_insufficient_material() and len(last(name).piece_map()) == n_pieces


def test_like_pieces_are_told_apart():
    for name, pattern in (
        ("knights_by_file", r"N[a-h][a-h]\d"),
        ("knights_by_rank", r"N\d[a-h]\d"),
        ("knights_by_square", r"N[a-h]\d[a-h]\d"),
        ("knights_by_square_capture", r"N[a-h]\dx[a-h]\d"),
        ("knight_alone_for_the_other_is_pinned", r"N[a-h]\d"),
        ("bishops_by_square", r"B[a-h]\d[a-h]\d"),
        ("queens_by_square_check", r"Q[a-h]\d[a-h]\d\+"),
        ("queens_by_square_capture", r"Q[a-h]\dx[a-h]\d\+"),
    ):
        assert re.fullmatch(pattern, SPECIAL[name].split()[-1]), name
    assert {"R1a3", "R8a3", "Rha3"} <= sans(before("rooks_by_file_among_three"))
    pinned = before("knight_alone_for_the_other_is_pinned")
    assert pinned.is_pinned(chess.WHITE, chess.C3) and chess.E2 in pinned.attacks(chess.C3)


def test_every_yes_or_no_property_is_true_and_false_somewhere_in_the_special_games():
    seen = {name: set() for name in SLOW if name != "can_claim_draw"}
    for moves in special_games():
        for board in start_and_after(moves):
            for name, values in seen.items():
                labels = SLOW[name](board)
                assert labels.dtype == bool
                if labels.ndim == 0:
                    values.add(bool(labels))
    assert {name for name, values in seen.items() if values != {False, True}} == {
        "piece",
        "piece_masked_blank",
        "piece_moved",
        "color",
        "threat",
        "legal_move",
        "pseudo_legal_move",
        "last_move",
        "material",
    }


def test_shapes_and_the_start():
    labels = {name: property(chess.Board()) for name, property in SLOW.items()}
    assert labels["piece"].shape == (8, 8, 13) and (labels["piece"].sum(-1) == 1).all()
    assert labels["piece"][0, 4, 12] and labels["piece"][7, 4, 0] and labels["piece"][0, 0, 10]
    assert labels["piece_masked_blank"].shape == (8, 8, 12) and labels["piece_masked_blank"].sum() == 32
    assert not labels["piece_moved"].any()
    assert labels["color"].sum((0, 1)).tolist() == [16, 32, 16]
    assert labels["legal_move"].sum() == 16 and labels["legal_move"][2:4].all()
    assert labels["threat"].sum() == 22 and not labels["last_move"].any()
    assert labels["material"].shape == (40,) and labels["material"][39]
    assert np.array([labels[name] for name in labels if labels[name].ndim == 0]).sum() == 5


def test_sources_of_games():
    assert len(real_games()) == 100
    assert random_games(3, 1, 60) == random_games(3, 1, 60) != random_games(3, 2, 60)
    assert max(len(moves) for moves in random_games(3, 1, 60)) == 60
    assert san_text(game_of("e4 e5 Nf3 Nc6")) == ";1.e4 e5 2.Nf3 Nc6"
    assert san_text(game_of("e4 e5 Nf3")) == ";1.e4 e5 2.Nf3" and san_text([]) == ";"


@pytest.mark.skipif(not STOCKFISH.exists(), reason="no Stockfish")
def test_engine_games_repeat():
    assert engine_games(2, 1, 40) == engine_games(2, 1, 40) != engine_games(2, 2, 40)
