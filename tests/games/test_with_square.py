"""Boards with a square set otherwise, by oracles: python-chess, and the rules written out."""

import chess as python_chess
import numpy as np
import pytest

from boardgame_sae.games import load_game
from boardgame_sae.games.chess.position import move_code


def random_positions(game, n_games, step):
    for moves in game.play_games(np.arange(n_games, dtype=np.uint64)):
        yield from list(game.positions(moves.tolist()))[::step]


def test_chess_moves_on_edited_boards_are_python_chess_s():
    game, rng, n = load_game("chess"), np.random.default_rng(0), 0
    for position in random_positions(game, 4, 5):
        for square, content in zip(rng.integers(64, size=6).tolist(), rng.choice(game.contents, 6), strict=True):
            board = position.board
            try:
                edited = game.with_square(position, square, str(content))
            except ValueError:
                continue
            board.remove_piece_at(square)
            if content != "empty":
                whose, kind = content.split()
                colour = board.turn if whose == "my" else not board.turn
                board.set_piece_at(square, python_chess.Piece(python_chess.PIECE_NAMES.index(kind), colour))
            board.castling_rights = board.clean_castling_rights()
            if board.status() & python_chess.STATUS_INVALID_EP_SQUARE:
                board.ep_square = None
            assert sorted(move_code(move) for move in board.legal_moves) == game.legal_moves(edited)
            assert edited.board.board_fen() == board.board_fen()
            n += 1
    assert n > 300


@pytest.mark.parametrize("name", ["othello", "othello6", "othello4", "connect_four", "chess"])
def test_what_stands_there_is_what_was_put_and_undoing_it_gives_the_position_back(name):
    game, rng, n = load_game(name), np.random.default_rng(1), 0
    for position in random_positions(game, 3, 4):
        before = game.cells(position)
        for square in rng.permutation(len(game.squares))[:8].tolist():
            for content in game.contents:
                try:
                    edited = game.with_square(position, square, content)
                except ValueError:
                    continue
                after = game.cells(edited)
                assert [s for s in range(len(before)) if before[s] != after[s]] in ([], [square])
                assert game.mover(edited) == game.mover(position) and edited.ply == position.ply
                assert (after[square] == ".") == (content == "empty")
                if after == before:
                    assert game.legal_moves(edited) == game.legal_moves(position)
                n += after != before
    assert n > 20


def test_othello_s_moves_on_edited_boards_flank_discs():
    game = load_game("othello6")
    for position in random_positions(game, 3, 5):
        for square in range(0, 36, 5):
            for content in game.contents:
                edited = game.with_square(position, square, content)
                cells, mine = game.cells(edited), "b" if edited.mover else "w"
                expected = []
                for s in range(36):
                    for step in [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]:
                        line, (row, column) = "", divmod(s, 6)
                        while 0 <= row < 6 and 0 <= column < 6:
                            line += cells[6 * row + column]
                            row, column = row + step[0], column + step[1]
                        rest = line[1:].lstrip("w" if mine == "b" else "b")
                        if line[0] == "." and rest[:1] == mine and len(rest) < len(line) - 1:
                            expected.append(s)
                            break
                assert game.legal_moves(edited) == expected


@pytest.mark.parametrize(
    ("name", "moves", "square", "content", "message"),
    [
        ("othello", "d3", "a1", "my rook", "nothing called 'my rook' stands on a square; mine, yours, empty do"),
        ("chess", "e4 e5", "e1", "empty", "e1 cannot be empty: each side has one king"),
        ("chess", "e4 e5", "e5", "my king", "e5 cannot be my king"),
        ("chess", "e4 e5", "a1", "my pawn", "no pawn stands on a first or last rank"),
        ("chess", "e4 e5", "f7", "my knight", None),
        ("chess", "e4 e5", "f7", "my bishop", "the player who has just moved would be in check"),
        ("connect_four", "aab", "a1", "empty", "a1 cannot be empty: a disc rests on it"),
        ("connect_four", "aab", "a4", "mine", "the square below is empty"),
        ("connect_four", "gagaga", "g4", "mine", "would have won before"),
    ],
)
def test_what_the_rules_know_no_position_for_is_refused_in_words(name, moves, square, content, message):
    game = load_game(name)
    position, number = game.replay(moves)[-1], game.squares.index(square)
    if message is None:
        assert game.legal_moves(game.with_square(position, number, content))
        return
    with pytest.raises(ValueError, match=message):
        game.with_square(position, number, content)
