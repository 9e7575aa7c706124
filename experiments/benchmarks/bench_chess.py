"""How fast chess is here, beside python-chess and beside Stockfish by itself. One core, unless a row says two.

Run `python experiments/benchmarks/bench_chess.py`. A rate is the best of a few repeats, after a warm-up that compiles.
"""

import io
import random
import shlex
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import chess
import chess.pgn
import numpy as np

from boardgame_sae.config import ConfigError
from boardgame_sae.games import Boards, load_game
from boardgame_sae.launch import keep_freed_memory
from boardgame_sae.players.openings import make_opening
from boardgame_sae.players.play import play_games
from boardgame_sae.players.registry import make_player
from boardgame_sae.players.uci.engine import find_engine
from boardgame_sae.transcripts.corpus import Corpus
from boardgame_sae.transcripts.generate import GenerateConfig, generate_run

TESTS = Path(__file__).parents[2] / "tests"
sys.path[:0] = [str(TESTS / "games" / "chess"), str(Path(__file__).parent)]
from bench_games import seconds_of  # noqa: E402 - beside this file, and found by the path above
from slow_chess import SLOW  # noqa: E402

N_GAMES, N_LABELLED, BATCH, N_SLOW, REPEATS = 2_000, 100_000, 10_000, 400, 3
ENGINE = "stockfish:depth=1,temperature=8/4/2/1/0.5/0.25"
ENGINE_GAMES = 48
COPIES = 40


def random_games_with_text() -> tuple[float, float]:
    """Positions per second of random games written as transcripts: ours, and python-chess's."""
    game, seeds_B = load_game("chess"), np.arange(N_GAMES, dtype=np.uint64)
    game.texts(game.play_games(seeds_B[:1]))
    n_positions = len(game.play_games(seeds_B).moves_M)
    ours = n_positions / seconds_of(lambda: game.characters(game.play_games(seeds_B)))
    choose, board, words = random.Random(0).choice, chess.Board(), []
    start = time.perf_counter()
    while time.perf_counter() - start < 2:
        moves = list(board.legal_moves)
        if not moves or board.ply() > 350:
            board = chess.Board()
            continue
        move = choose(moves)
        words.append(board.san(move))
        board.push(move)
    return ours, len(words) / (time.perf_counter() - start)


def labels(level: str) -> tuple[float, float]:
    """Positions per second with every property of a level: ours in batches, and the definitions on python-chess."""
    keep_freed_memory()
    game = load_game("chess")
    record = game.play_games(np.arange(N_LABELLED // 300, dtype=np.uint64))
    boards, names = game.boards(record), [prop.name for prop in game.properties(level) if prop.name in SLOW]

    def all_batches(boards: Boards) -> None:
        for start in range(0, len(boards), BATCH):
            game.property_labels(boards[start : start + BATCH], names)

    all_batches(boards)
    ours = len(boards) / seconds_of(lambda: all_batches(boards))
    positions = game.replay(game.texts(record[:1])[0])[:N_SLOW]
    slow = [position.board for position in positions]
    seconds = seconds_of(lambda: [SLOW[name](board) for board in slow for name in names], repeats=1)
    return ours, len(slow) / seconds


def engine_games() -> tuple[float, float] | None:
    """Games per second of a softmax over Stockfish's scores, and of Stockfish fed the same searches without waiting.

    By itself, Stockfish writes its answers to a pipe that discards them. None where it is not installed.
    """
    try:
        engine = find_engine("stockfish")
    except ConfigError:
        return None
    game, player, opening = load_game("chess"), make_player(ENGINE), make_opening("random:plies=6")
    seeds_B = np.arange(ENGINE_GAMES, dtype=np.uint64)
    play_games(game, [player, player], seeds_B[:1], opening=opening)
    ours, alone = [], []
    for _ in range(REPEATS):
        start = time.perf_counter()
        record = play_games(game, [player, player], seeds_B, opening=opening).record
        ours.append(ENGINE_GAMES / (time.perf_counter() - start))
        script = _script(game, [moves.tolist() for moves in record])
        start = time.perf_counter()
        _feed(engine, script)
        alone.append(ENGINE_GAMES / (time.perf_counter() - start))
    return max(ours), max(alone)


def _script(game: Any, games: list[list[int]]) -> bytes:
    """The commands an engine is sent in the course of some games; its answers are not waited for."""
    lines = ["setoption name Threads value 1", "setoption name Hash value 1", "setoption name MultiPV value 256"]
    for moves in games:
        lines += ["ucinewgame", "isready"]
        words = [game.uci(move) for move in moves]
        for ply in range(6, len(moves)):
            lines += [f"position startpos moves {' '.join(words[:ply])}", "go depth 1"]
    return "\n".join([*lines, "quit", ""]).encode()


def engine_games_on_two_cores() -> tuple[float, float] | None:
    """Games per second of Stockfish's softmax play into a corpus with two workers, and of two Stockfishes."""
    try:
        engine = find_engine("stockfish")
    except ConfigError:
        return None
    cfg = GenerateConfig(game="chess", players=(ENGINE,), opening="random:plies=6", n_games=384)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run = generate_run(cfg, out=Path(folder) / "corpus", workers=2)
        ours = cfg.n_games / (time.perf_counter() - start)
        corpus = Corpus.open(run)
        games = [moves.tolist() for moves in corpus.record(np.arange(ENGINE_GAMES))]
    scripts = [_script(corpus.game, games[first::2]) for first in (0, 1)]
    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda script: _feed(engine, script), scripts))
    return ours, ENGINE_GAMES / (time.perf_counter() - start)


def _feed(engine: Path, script: bytes) -> None:
    """Run an engine on a script and discard its answers."""
    subprocess.run(f"{shlex.quote(str(engine))} | cat > /dev/null", input=script, shell=True, check=True)


def pgn_games() -> tuple[float, float]:
    """Games per second of PGN import, one process, from file to corpus; and of python-chess's reader."""
    from boardgame_sae.transcripts.pgn.importer import ImportPGNConfig, import_pgn_run

    text = (TESTS / "data" / "lichess_100.pgn").read_text()
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder) / "few.pgn", Path(folder) / "many.pgn"
        few.write_text(text)
        many.write_text((text + "\n\n") * COPIES)
        import_pgn_run(ImportPGNConfig(sources=(str(few),)), out=Path(folder) / "few")
        start = time.perf_counter()
        import_pgn_run(ImportPGNConfig(sources=(str(many),)), out=Path(folder) / "many")
        ours = 100 * COPIES / (time.perf_counter() - start)
    stream = io.StringIO(text)

    def read_all() -> None:
        stream.seek(0)
        while chess.pgn.read_game(stream) is not None:
            pass

    return ours, 100 / seconds_of(read_all)


def rows() -> list[dict[str, Any]]:
    """One row for each comparison."""
    games, low, high, pgn = random_games_with_text(), labels("low"), labels("high"), pgn_games()
    engine, both = engine_games() or (None, None), engine_games_on_two_cores() or (None, None)
    measured = [
        ("random chess with SAN text", *games, "positions/s", "python-chess", 150_000),
        ("all low-level chess labels", *low, "positions/s", "the same on python-chess", 1_000_000),
        ("all high-level chess labels", *high, "positions/s", "the same on python-chess", 100_000),
        ("PGN import", *pgn, "games/s", "chess.pgn.read_game", "5 times the peer"),
        ("Stockfish softmax play, one worker", *engine, "games/s", "the same searches, an engine alone", "0.8 of it"),
        (
            "... two workers, two cores, all included",
            *both,
            "games/s",
            "two engines alone",
            "0.8 of it",
        ),
    ]
    keys = ("what", "ours", "peer_value", "unit", "peer", "target")
    return [dict(zip(keys, row, strict=True)) for row in measured]


def main() -> None:
    """Print the rows."""
    for row in rows():
        print(row["what"], row["ours"], row["unit"], f"({row['peer']}: {row['peer_value']})", "target:", row["target"])


if __name__ == "__main__":
    main()
