"""How fast Othello is here, side by side with a plain Python engine and, where installed, rust-reversi. One thread.

Run `python experiments/benchmarks/bench_games.py`. Times are the best of a few repeats, after a warm-up that compiles.
"""

import importlib
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from boardgame_sae.games import load_game

N_GAMES, N_LABELLED, N_SLOW, REPEATS = 20_000, 2_000, 3, 5
NAMES = ("board", "legal_move", "flipped")


def seconds_of(act: Callable[[], Any], repeats: int = REPEATS) -> float:
    """The shortest of a few timings."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        act()
        times.append(time.perf_counter() - start)
    return min(times)


def games_per_second() -> float:
    """Random 8x8 games per second."""
    game = load_game("othello")
    seeds_B = np.arange(N_GAMES, dtype=np.uint64)
    game.play_games(seeds_B[:1])
    return N_GAMES / seconds_of(lambda: game.play_games(seeds_B))


def positions_per_second() -> float:
    """Positions per second that are replayed and labelled (mine, yours, empty; legal; flipped) as booleans."""
    game = load_game("othello")
    record = game.play_games(np.arange(N_LABELLED, dtype=np.uint64))
    game.property_labels(game.boards(record[:1]), NAMES)
    n_positions = len(record.moves_M) + len(record)
    return n_positions / seconds_of(lambda: game.property_labels(game.boards(record), NAMES))


def slow_games_per_second() -> tuple[float, float]:
    """Random games per second of the plain Python engine of the tests, and its positions per second."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "games" / "othello"))
    slow = importlib.import_module("slow_othello").SlowOthello("othello", "implicit")
    choose, n_positions = random.Random(0).choice, 0

    def play() -> None:
        nonlocal n_positions
        for _ in range(N_SLOW):
            state = slow.start()
            while moves := slow.moves(state):
                state = slow.play(state, choose(moves))
                n_positions += 1

    seconds = seconds_of(play, repeats=1)
    return N_SLOW / seconds, n_positions / seconds


def rust_reversi_games_per_second() -> float | None:
    """Random games per second of rust-reversi with its own random mover; None where it is not installed."""
    try:
        board_class = importlib.import_module("rust_reversi").Board
    except ImportError:
        return None

    def play() -> None:
        for _ in range(2_000):
            board = board_class()
            while not board.is_game_over():
                if board.is_pass():
                    board.do_pass()
                else:
                    board.do_move(board.get_random_move())

    return 2_000 / seconds_of(play)


def rows() -> list[dict[str, Any]]:
    """One row for each comparison; `peer_value` is None where the peer is not installed."""
    games, labels, (slow_games, slow_positions) = games_per_second(), positions_per_second(), slow_games_per_second()
    measured = [
        ("random Othello games", games, "games/s", "plain Python engine", slow_games, 150_000),
        ("random Othello games", games, "games/s", "rust-reversi", rust_reversi_games_per_second(), 150_000),
        ("positions replayed and labelled", labels, "positions/s", "plain Python engine", slow_positions, 2_000_000),
    ]
    keys = ("what", "ours", "unit", "peer", "peer_value", "target")
    return [dict(zip(keys, row, strict=True)) for row in measured]


def main() -> None:
    """Print the rows."""
    for row in rows():
        peer = "not installed" if row["peer_value"] is None else f"{row['peer_value']:,.0f}"
        print(
            f"{row['what']}: {row['ours']:,.0f} {row['unit']} (target {row['target']:,}); {row['peer']}: {peer}",
        )


if __name__ == "__main__":
    main()
