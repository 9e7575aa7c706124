"""The compiled chess against python-chess: legal moves, SAN, endings and every property, position by position."""

import chess
import numpy as np
import pytest
from chess_positions import STOCKFISH, engine_games, random_games, real_games, special_games, start_and_after
from slow_chess import SLOW, san_text

from boardgame_sae.games import MoveRecord, load_game
from boardgame_sae.games.chess.position import move_code

SLOWEST = ("can_claim_draw", "mate_threat")


SOURCES = {
    "special": special_games,
    "real": lambda: real_games()[:40],
    "random": lambda: random_games(12, 1, 400),
    "engine": lambda: engine_games(4, 1) if STOCKFISH.exists() else pytest.skip("no Stockfish here"),
}


@pytest.fixture(scope="module", params=SOURCES)
def games_of(request):
    return SOURCES[request.param]()


def check_games(games, properties, every=1):
    """Compare everything on the positions of some games; properties on every so-many-th. Returns how many positions."""
    game = load_game("chess")
    record = MoveRecord.of([[move_code(move) for move in moves] for moves in games])
    assert game.texts(record) == [san_text(moves) for moves in games]
    read = game.record(game.texts(record))
    assert read.moves_M.tolist() == record.moves_M.tolist()
    boards = game.boards(record)
    labels, row, position = game.property_labels(boards, properties), -1, game.start()
    for moves in games:
        for ply, board in enumerate(start_and_after(moves)):
            row += 1
            position = game.start() if ply == 0 else game.play(position, move_code(moves[ply - 1]))
            assert position.state == tuple(boards.state_N[row].tolist())
            assert position.board == board
            assert game.legal_moves(position) == sorted(map(move_code, board.legal_moves))
            assert game.is_over(position) == (board.outcome() is not None or ply >= game.max_plies)
            if row % every == 0:
                for name in properties:
                    expected = SLOW[name](board)
                    assert (labels[name][row] == expected).all(), (name, board.fen())
    return row + 1


def test_every_position_agrees(games_of):
    fast = [name for name in SLOW if name not in SLOWEST]
    assert check_games(games_of, fast, every=5) > 300


def test_the_slow_properties_agree(games_of):
    check_games(games_of[:25], SLOWEST, every=13)


def test_special_games_agree_in_everything():
    check_games(special_games(), list(SLOW))


def test_sans_that_are_wrong_are_judged_as_python_chess_does():
    game = load_game("chess")
    names = {
        chess.InvalidMoveError: "unparsable",
        chess.IllegalMoveError: "illegal",
        chess.AmbiguousMoveError: "ambiguous",
    }
    pieces, files, ranks = ["", *"NBRQK"], ["", *"abcdefgh"], ["", *"12345678"]
    generator = np.random.default_rng(0)
    words = ["O-O", "O-O-O", "0-0", "0-0-0+", "O-O-O-O", "e9", "", "x", "Nf3!?", "e8", "e8=K", "b1c3", "e1g1", "Ke1g1"]
    seen = set()
    position = game.start()
    for moves in [*real_games()[:6], *special_games()[:12]]:
        for ply, board in enumerate(start_and_after(moves)):
            position = game.start() if ply == 0 else game.play(position, move_code(moves[ply - 1]))
            legal = [board.san(move) for move in board.legal_moves]
            made = [
                "".join(
                    generator.choice(part)
                    for part in (
                        pieces,
                        files,
                        ranks,
                        ["", "x"],
                        files[1:],
                        ranks[1:],
                        ["", "", "", "=Q", "N", "=K"],
                        ["", "+"],
                    )
                )
                for _ in range(30)
            ]
            for word in [*words, *made, *legal, *(word.replace("x", "").rstrip("+#") for word in legal)]:
                try:
                    expected = "legal" if board.parse_san(word.rstrip("!?")) else "unparsable"
                except ValueError as error:
                    expected = names[type(error)]
                assert game.judge(position, word) == expected, (word, board.fen())
                seen.add(expected)
    assert seen == {"legal", *names.values()}


@pytest.mark.slow
def test_fifty_thousand_positions_agree_in_everything():
    """Every property on every position of special, real, random and engine games (`make slow`)."""
    sources = [special_games(), real_games(), random_games(170, 7, 250)]
    if STOCKFISH.exists():
        sources.append(engine_games(60, 7))
    assert sum(check_games(games, list(SLOW)) for games in sources) >= 50_000
