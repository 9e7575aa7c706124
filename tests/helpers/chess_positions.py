"""Chess games to check an engine on, as lists of moves from the usual start.

`SPECIAL` holds short games in SAN, by the situation they reach: by hand where a hand finds them, else the shortest that
a biased random search met. A name says what is true of the last position, or what the last ply does.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import chess
import chess.engine
import chess.pgn

LICHESS = Path(__file__).parents[1] / "data" / "lichess_100.pgn"
STOCKFISH = Path("/usr/games/stockfish")

WHITE_KNIGHT = ["Nf3", "Nd4", "Nb3", "Nc5", "Ne4", "Ng5", "Nh3", "Ng1"]
BLACK_KNIGHT = ["Nh6", "Nf5", "Nh4", "Ng6", "Ne5", "Nc4", "Nb6", "Nd5", "Nf6", "Ng8"]
"""Two rounds of 8 and 10 plies that never meet: a position comes back after 40 moves, for the third time after 80."""


def knights_tour(n_moves: int) -> str:
    return " ".join(f"{WHITE_KNIGHT[i % 8]} {BLACK_KNIGHT[i % 10]}" for i in range(n_moves))


PROMOTIONS = {
    f"{player}_{ending}={piece}": f"{before} {ending}={piece} {after}"
    for player, before, endings, after in (
        ("white", "a4 b5 axb5 a6 bxa6 Nc6 a7 Rb8", ("a8", "axb8"), "h6"),
        ("black", "b4 a5 a3 axb4 Nc3 bxa3 Rb1 a2 h3", ("a1", "axb1"), "g3"),
    )
    for ending in endings
    for piece in "QRBN"
}

SPECIAL: dict[str, str] = {
    "start": "",
    **PROMOTIONS,
    "promotion_check": "e4 d5 exd5 c6 dxc6 Nf6 cxb7 Qc7 bxc8=Q+",
    "promotion_check_knight": "d4 d5 c4 e5 dxe5 d4 e3 Bb4+ Bd2 dxe3 Bxb4 exf2+ Ke2 fxg1=N+",
    "promotion_mate_queen": "a4 c6 a5 Qc7 a6 h5 d4 Qd6 b4 Nf6 axb7 g6 bxc8=Q#",
    "promotion_mate_rook": "a4 c6 a5 Qc7 a6 h5 d4 Qd6 b4 Nf6 axb7 g6 bxc8=R#",
    "promotion_mate_knight": "f4 h6 f5 b6 h4 d5 f6 Kd7 fxe7 Kc6 e3 Kb7 exd8=N#",
    "promotion_mate_black": "g4 c5 h4 Nc6 h5 d5 d4 e5 h6 gxh6 b4 cxb4 g5 Qc7 dxe5 b3 e6 Nb8 Qxd5 b2 Qe4 bxc1=Q#",
    "en_passant_white": "e4 a6 e5 d5",
    "en_passant_white_two": "e4 a6 e5 a5 c4 a4 c5 d5",
    "en_passant_black": "a3 d5 h3 d4 e4",
    "en_passant_missed": "e4 a6 e5 d5 h3 h6",
    "en_passant_single_step": "e4 d6 e5 a6 h3 d5",
    "en_passant_pinned_on_rank": "e4 e6 Ke2 h6 Kd3 g6 Kc4 b6 e5 Qg5 Kb5 Qh5 a3 d5",
    "en_passant_pinned_on_diagonal": "b4 b5 e4 h5 c4 Ba6 cxb5 e5 d4 d5 Ke2 c5",
    "en_passant_only_answer": "f3 Nc6 Kf2 e5 h4 Be7 h5 Bd6 Kg3 Nh6 e4 Qg5+ Kh3 Qxg2+ Kh4 Bb4 b3 g5+",
    "en_passant_one_answer_of_several": "d4 b6 d5 h5 Kd2 e6 Ke3 Be7 Kd4 c5+",
    "en_passant_no_answer": "d4 Nh6 Be3 Rg8 d5 f6 Kd2 g6 Kc3 a5 Kc4 Ng4 Nf3 f5 Kc5 e5+",
    "en_passant_discovers_check": "d4 e5 e4 exd4 e5 h6 Qe2 d5 exd6+",
    "en_passant_captured_pawn_discovers_check": "g4 d5 g5 Bh3 d4 Kd7 Kd2 Kc8 Bxh3+ f5 gxf6+",
    "en_passant_double_check": "a4 e5 a5 Ke7 d4 f6 Bd2 g5 d5 Kd6 Bb4+ c5 dxc6+",
    "en_passant_mate": (
        "e4 e6 d4 d5 e5 c5 c3 cxd4 cxd4 Bb4+ Nc3 Nc6 Nf3 Nge7 Bd3 O-O Bxh7+ Kxh7 Ng5+ Kg6 h4 Nxd4 Qg4 f5 h5+ Kh6 "
        "Nxe6+ g5 hxg6#"
    ),
    "castling_kingside": "e4 e5 Nf3 Nc6 Bc4 Bc5 O-O Nf6 d3 O-O",
    "castling_queenside": "d4 d5 Nc3 Nc6 Bf4 Bf5 Qd2 Qd7 O-O-O O-O-O",
    "castling_kingside_check_white": (
        "h4 e5 f4 b6 f5 e4 a4 Nc6 b4 Ke7 f6+ Ke8 a5 Nce7 fxg7 d6 e3 Nf6 b5 Nfd5 gxh8=Q Bg4 Qxh7 c5 Bd3 Bh5 Qxf7+ Kxf7 "
        "Bxe4 Kf6 Ne2 Qd7 O-O+"
    ),
    "castling_queenside_check_black": (
        "b4 d5 b5 Be6 f4 f6 c4 Nh6 f5 dxc4 fxe6 a5 h4 Qd5 Ba3 Qxd2+ Nxd2 c3 Qb3 g5 Ndf3 Nd7 h5 Ne5 Kd1 O-O-O+"
    ),
    "castling_through_check_kingside": "g3 b6 Bg2 Ba6 Nf3 e6 e4 h6",
    "castling_through_check_queenside": "e3 d6 d4 Bg4 Qd2 h6 Nc3 h5 b3 a6 Bb2 a5",
    "castling_out_of_check": "g3 e6 Bg2 h6 Nf3 h5 d3 Bb4+",
    "castling_into_check": "g3 e6 Bg2 Bc5 f4 h6 Nf3 h5",
    "castling_after_rook_moved": "Nf3 Nf6 Rg1 Rg8 Rh1 Rh8 g3 g6 Bg2 Bg7",
    "castling_after_king_moved": "e4 e5 Nf3 Nf6 Bc4 Bc5 Ke2 Ke7 Ke1 Ke8",
    "castling_after_rook_captured": "h4 b6 g4 Bb7 a4 Bxh1 Ra3 Bb7 Rh3 e6 Rh1 a6 Nf3 a5 Bg2 e5",
    "castling_past_attacked_b1": "c4 d5 Nc3 Bf5 d4 e6 Be3 h6 Qd2 h5",
    "castling_past_attacked_rook": "g4 b6 Nh3 Bb7 e3 h6 Be2 a6",
    "double_check_and_mate": (
        "e4 c6 d4 d5 Nc3 dxe4 Nxe4 Nf6 Qd3 e5 dxe5 Qa5+ Bd2 Qxe5 O-O-O Nxe4 Qd8+ Kxd8 Bg5+ Kc7 Bd8#"
    ),
    "double_check": "e4 c6 d4 d5 Nc3 dxe4 Nxe4 Nf6 Qd3 e5 dxe5 Qa5+ Bd2 Qxe5 O-O-O Nxe4 Qd8+ Kxd8 Bg5+",
    "discovered_check": "e4 e5 Nf3 Nf6 Nxe5 Nxe4 Qe2 Nf6 Nc6+",
    "smothered_mate": "e4 c6 d4 d5 Nc3 dxe4 Nxe4 Nd7 Qe2 Ngf6 Nd6#",
    "fools_mate": "f3 e5 g4 Qh4#",
    "mate_threat": "e4 e5 Bc4 Nc6 Qh5",
    "stalemate_white": "d4 d6 Qd2 e5 a4 e4 Qf4 f5 h3 Be7 Qh2 Be6 Ra3 c5 Rg3 Qa5+ Nd2 Bh4 f3 Bb3 d5 e3 c4 f4",
    "stalemate_black": "e3 a5 Qh5 Ra6 Qxa5 h5 h4 Rah6 Qxc7 f6 Qxd7+ Kf7 Qxb7 Qd3 Qxb8 Qh7 Qxc8 Kg6 Qe6",
    "threefold": "Nf3 Nf6 Ng1 Ng8 Nf3 Nf6 Ng1 Ng8",
    "threefold_by_the_next_move": "Nf3 Nf6 Ng1 Ng8 Nf3 Nf6 Ng1",
    "twofold_without_the_castling_right": "g3 g6 Nf3 Nf6 Bg2 Bg7 Rg1 Rg8 Rh1 Rh8 Nh4 Nh5 Nf3",
    "twofold_without_the_en_passant": "e4 Nf6 e5 d5 Nf3 Ng8 Ng1 Nf6 Nf3 Ng8 Ng1",
    "threefold_with_a_pinned_en_passant": (
        "e4 e6 Ke2 h6 Kd3 g6 Kc4 b6 e5 Qg5 Kb5 Qh5 a3 d5 Nf3 Nf6 Ng1 Ng8 Nf3 Nf6 Ng1"
    ),
    "fivefold": " ".join(["Nf3 Nf6 Ng1 Ng8"] * 4),
    "fifty_moves_by_the_next_move": knights_tour(50).rpartition(" ")[0],
    "fifty_moves": knights_tour(50),
    "fifty_moves_ended_by_a_pawn": knights_tour(51) + " a3",
    "seventyfive_moves": knights_tour(75),
    "knights_by_file": "Nf3 a6 d4 a5 Nbd2",
    "knights_by_rank": "Nf3 a6 Ng5 a5 Nc3 a4 e3 b6 Ne2 b5 Ng1 b4 N1f3",
    "knights_by_square": (
        "d4 g6 e4 a6 g4 h6 Nd2 b5 g5 Ra7 Bh3 f6 Bxd7+ Qxd7 a4 Nc6 f4 Kd8 gxf6 Bg7 f7 Qg4 fxg8=N Bd7 axb5 Kc8 bxc6 e5 "
        "dxe5 Qf5 exf5 Be6 Nxh6 Bf7 fxg6 Be8 e6 Kd8 b4 Rh7 gxh7 Bd7 cxd7 Bc3 h8=N Ke7 d8=N Bb2 Nh8f7"
    ),
    "knights_by_square_capture": (
        "h4 d5 b4 Nf6 e4 a5 h5 Bh3 exd5 Bf5 bxa5 Qd7 d4 Qe6+ Ne2 Nbd7 f4 O-O-O a6 Ne4 c4 Ndf6 Ng1 Kd7 dxe6+ Kc8 exf7 "
        "Nc3 a7 Be4 a8=N Rd7 Ne2 h6 Nexc3 b5 c5 Nd5 c6 e6 Nxc7 Nb4 d5 Rd8 dxe6 Nc2+ Qxc2 Bb4 f8=N Rd5 Na3 Rd1+ Kxd1 "
        "Bc5 Nc3xb5"
    ),
    "knight_alone_for_the_other_is_pinned": "d4 Nf6 c4 e6 Nc3 Bb4 e3 a6 Ne2",
    "bishops_by_square": (
        "a4 g6 g4 Bh6 h4 b5 a5 Bg5 hxg5 b4 Rh6 Nf6 c4 Bb7 c5 Nxg4 Bh3 Ne3 c6 Qc8 cxb7 f6 Bxd7+ Kf7 bxa8=B e5 d4 Qd8 "
        "d5 Qf8 Bd2 Kg8 Bc8 Qe7 gxf6 Ng4 fxe7 c5 e8=B a6 Bec6 g5 Bc8b7"
    ),
    "queens_by_square_check": (
        "c4 c6 b4 Qa5 bxa5 Nf6 a6 b6 a4 g5 f4 e6 fxg5 h5 g6 d6 gxf7+ Kd7 e4 d5 cxd5 Kc7 dxe6 Rg8 fxg8=Q Nfd7 Qb3 Bd6 "
        "exd7 Bc5 dxc8=Q+ Kd6 Qbd5+ Ke7 Qdg5+ Kd6 Qg8d8+"
    ),
    "queens_by_square_capture": (
        "b4 b6 a4 a6 h3 c5 d4 d6 b5 h6 bxa6 g5 a5 g4 Ra4 Qd7 e4 h5 axb6 Qd8 Qe2 e5 dxc5 Be7 h4 Ra7 c4 Qd7 Qc2 Rc7 b7 "
        "Bg5 bxc8=Q+ Qd8 f4 Rb7 Qxd8+ Kxd8 c6 Nd7 cxd7 Rb2 Qxb2 Rh6 a7 Bf6 a8=Q+ Ke7 d8=Q+ Ke6 Qd4 d5 Qd8xd5+"
    ),
    "rooks_by_file_among_three": "a4 b5 axb5 a6 bxa6 Nc6 a7 Rb8 a8=R h6 h4 h5 Rh3 g6 Rha3",
    "rooks_by_rank_among_three": "a4 b5 axb5 a6 bxa6 Nc6 a7 Rb8 a8=R h6 h4 h5 Rh3 g6 R8a3",
    "bare_kings": (
        "Nh3 c5 g3 g5 Nxg5 Na6 Nxf7 Kxf7 a4 Bh6 e4 Bxd2+ Nxd2 Nc7 Ra2 Nd5 Ke2 a6 exd5 Nh6 Bh3 Kf8 Bxd7 Bxd7 Qg1 Bxa4 "
        "Rxa4 Qxd5 Rxa6 bxa6 g4 Qxh1 Qxh1 Nxg4 Qxa8+ Kf7 Qxa6 Nxh2 Nf3 Nxf3 Kxf3 Rb8 Be3 Rxb2 Bxc5 Rxc2 Bxe7 Kxe7 Qh6 "
        "Rxf2+ Kxf2 Kd8 Qxh7 Kc8 Qg7 Kd8 Ke2 Ke8 Qd4 Kf8 Qa1 Kf7 Qa6 Kf8 Ke1 Ke8 Qe6+ Kf8 Qg8+ Kxg8"
    ),
    "bare_but_a_knight": (
        "a3 f6 h3 Nc6 f4 b5 Nf3 Na5 Nh2 g5 fxg5 fxg5 d3 d5 Bxg5 Bxh3 Bh4 Bxg2 Bxe7 Nxe7 Bxg2 Nf5 Bxd5 Bxa3 Rxa3 Nd6 "
        "Bxa8 Qxa8 Rxa5 Qxh1+ Kf2 Qxd1 Rxa7 Qxc2 Rxc7 Qxb2 Rxh7 Qxb1 Rxh8+ Ke7 Kg2 Qxd3 exd3 Nc4 dxc4 bxc4 Kh1 Kd6 "
        "Rb8 Kd7 Kg2 Kc7 Kh1 Kxb8 Nf3 Ka7 Nd4 Ka8 Nb5 c3 Nxc3"
    ),
    "bare_but_a_bishop": (
        "a4 Nc6 Ra2 Nh6 Na3 f5 f3 f4 Nb1 Nb4 a5 Nxc2+ Qxc2 Kf7 Qxh7 Rxh7 Ra4 Ng8 Rxf4+ Kg6 Rxf8 Rxh2 Rxh2 Qxf8 Rh1 "
        "Qxf3 gxf3 e5 Nh3 Kh6 Bg2 b5 axb6 axb6 f4 exf4 Nxf4+ Kg5 Bxa8 Kxf4 Rg1 Ba6 d4+ Kf5 Kf1 Bxe2+ Kxe2 Ke6 Rxg7 "
        "Nh6 Bxh6 b5 Rxd7 Kxd7 Bd2 c5 Bb7 cxd4 Bg5 Kd6 Ba8 Ke6 Bf3 Kf5 Bd8 Kf4 Nc3 dxc3 bxc3 b4 Kd3 bxc3 Kxc3 Kxf3"
    ),
    "bare_but_like_bishops": (
        "Nc3 e5 Nb5 Qg5 Nxa7 Qxd2+ Qxd2 Rxa7 Qxd7+ Nxd7 f3 Nb8 Bd2 Rxa2 Rxa2 Bg4 fxg4 Bb4 Bxb4 f6 Ba3 g6 Bb4 Nh6 Ra8 "
        "Nxg4 Rxb8+ Kf7 Rxh8 Nxh2 Rxh7+ Kg8 R7xh2 e4 Rh6 g5 Rxf6 b6 Rxb6 cxb6 Kf2 g4 Rh7 Kxh7 Ke3 Kh8 Kxe4 g3 Ke5 Kg8 "
        "Bd2 b5 Ke4 Kg7 c4 bxc4 Bb4 Kg6 Ke5 Kh7 Bc5 Kg8 Nh3 Kf7 Bf8 Kxf8 Kf6 c3 bxc3 Ke8 e3 Kd8 Kf5 Kd7 Kg6 Kc8 Nf2 "
        "gxf2 Bb5 Kb7 c4 Kc7 e4 Kb8 Bd7 Kc7 Kg5 Kxd7 Kh6 Kd8 Kg7 Kc8 Kh8 Kb7 Kh7 Kb6 Kh8 Kc7 g4 Kc8 Kg7 Kc7 Kh8 Kc6 "
        "Kg7 Kc7 Kf8 f1=B Kg8 Bxc4+ Kh8 Bb5 Kh7 Kd7 e5 Kc7 Kg8 Be2 Kh8 Bxg4 e6 Bd1 Kg7 Kb6 Kh6 Kc6 Kg5 Kc7 Kg6 Kb7 "
        "Kf7 Bh5+ Kg8 Ka7 e7 Ka6 Kh7 Be8 Kh6 Kb6 Kg7 Bc6 Kh7 Ba8 Kh6 Kc7 e8=B"
    ),
}


def start_and_after(moves: list[chess.Move]) -> Iterator[chess.Board]:
    """The start and the position after each ply: one board, moved on."""
    board = chess.Board()
    yield board
    for move in moves:
        board.push(move)
        yield board


def game_of(text: str) -> list[chess.Move]:
    """SAN without move numbers; a word that is not the very SAN of its move is an error."""
    board = chess.Board()
    for word in text.split():
        move = board.parse_san(word)
        if board.san(move) != word:
            raise ValueError(f"{word!r} is written {board.san(move)!r} after {board.fen()}")
        board.push(move)
    return board.move_stack


def special_games() -> list[list[chess.Move]]:
    return [game_of(text) for text in SPECIAL.values()]


def random_games(n: int, seed: int, max_plies: int) -> list[list[chess.Move]]:
    """Any legal move as likely as another, until there is none or for `max_plies`; draws end nothing."""
    rng = random.Random(seed)
    return [random_game(rng, max_plies).move_stack for _ in range(n)]


def random_game(rng: random.Random, max_plies: int) -> chess.Board:
    board = chess.Board()
    while len(board.move_stack) < max_plies and (moves := list(board.legal_moves)):
        board.push(rng.choice(moves))
    return board


def real_games() -> list[list[chess.Move]]:
    """100 games of people."""
    games = []
    with LICHESS.open(encoding="utf-8") as lines:
        while game := chess.pgn.read_game(lines):
            if game.errors:
                raise ValueError(f"{game.headers['Site']}: {game.errors}")
            games.append(list(game.mainline_moves()))
    return games


def engine_games(n: int, seed: int, max_plies: int = 200) -> list[list[chess.Move]]:
    """Two to ten random plies, then Stockfish against itself at 50 nodes a move. One seed, one result."""
    rng, games = random.Random(seed), []
    with chess.engine.SimpleEngine.popen_uci(str(STOCKFISH)) as stockfish:
        stockfish.configure({"Threads": 1, "Hash": 1})
        for number in range(n):
            board = random_game(rng, rng.randint(2, 10))
            while not board.is_game_over() and len(board.move_stack) < max_plies:
                board.push(stockfish.play(board, chess.engine.Limit(nodes=50), game=number).move)
            games.append(board.move_stack)
    return games
