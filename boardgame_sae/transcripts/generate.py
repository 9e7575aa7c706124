"""Seeded, parallel, resumable play into a corpus: the same bytes for any number of workers, killed or not.

Games are played in parts of a fixed size. Each part is a file that appears whole; a killed run plays only the parts
that are missing, and the finished parts are then bound into one corpus.
"""

import time
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors.numpy import load_file, save_file

from boardgame_sae.config import ConfigError, config, seed_for, to_mapping
from boardgame_sae.games import MoveRecord, load_game
from boardgame_sae.launch import map_ordered
from boardgame_sae.runs import Run, progress, writing
from boardgame_sae.transcripts.corpus import CORPUS_FILE, Corpus, write_corpus
from boardgame_sae.transcripts.players import make_player, play_games

PART_SIZE = 8192


@config
class GenerateConfig:
    """What to play and how to write it down."""

    game: str = "othello"
    """A registered game: othello, othello6, classic, nomidflip, delflank, iago, ..."""
    passes: Literal["implicit", "explicit"] = "implicit"
    """Whether a forced pass is left out of the transcript or written as a move."""
    players: tuple[str, ...] = ("random",)
    """One player for both sides, or the first and the second mover: `random`, `epsilon_greedy:epsilon=0.2`."""
    n_games: int = 100_000
    """Games to play."""
    tokenization: Literal["move", "char"] = "move"
    """One token a move, or one a character."""
    validation_fraction: float = 0.05
    """Share of games kept for choosing; equal games always fall in the same split."""
    test_fraction: float = 0.05
    """Share of games kept for reporting."""
    seed: int = 0
    """The seed; game i depends on it and on i alone."""

    def __post_init__(self) -> None:
        if self.n_games < 1:
            raise ValueError("n_games must be at least 1")
        if not 1 <= len(self.players) <= 2:
            raise ValueError("players are one (for both sides) or two")
        if min(self.validation_fraction, self.test_fraction) < 0 or self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction are shares that leave games to train on")


def game_seeds(seed: int, first: int, last: int) -> np.ndarray:
    """One uint64 seed a game, for games first..last-1 of a corpus."""
    base = np.uint64(seed_for(seed, "games"))
    with np.errstate(over="ignore"):
        return base + np.arange(first, last, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def _play_part(job: tuple[GenerateConfig, int, str]) -> int:
    """Play one part and write it whole; returns how many games it holds."""
    cfg, part, path = job
    game = load_game(cfg.game, passes=cfg.passes)
    both = [make_player(text) for text in (cfg.players * 2)[:2]]
    first = part * PART_SIZE
    last = min(first + PART_SIZE, cfg.n_games)
    record = play_games(game, both, game_seeds(cfg.seed, first, last))
    with writing(Path(path)) as temporary:
        save_file({"moves": record.moves_M, "lengths": np.diff(record.offsets)}, temporary)
    return last - first


def _read_part(path: Path) -> MoveRecord:
    arrays = load_file(path)
    return MoveRecord(arrays["moves"], np.concatenate([[0], np.cumsum(arrays["lengths"])]))


def generate_run(cfg: GenerateConfig, *, out: str | Path | None = None, workers: int = 1) -> Path:
    """Play a corpus into a run folder and return the folder; a finished one is reused, a killed one resumed.

    Raises ConfigError for an unknown player, ValueError for an unknown game.
    """
    load_game(cfg.game, passes=cfg.passes)
    for text in cfg.players:
        make_player(text)
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, not {workers}")
    with Run("corpus", cfg.game, to_mapping(cfg), out=out) as run:
        if run.done:
            return run.folder
        began = time.perf_counter()
        n_parts = -(-cfg.n_games // PART_SIZE)
        paths = [run / f"parts/{part:06d}.safetensors" for part in range(n_parts)]
        jobs = [(cfg, part, str(path)) for part, path in enumerate(paths) if not path.exists()]
        done = cfg.n_games - sum(min(PART_SIZE, cfg.n_games - part * PART_SIZE) for _, part, _ in jobs)
        with progress(cfg.n_games, f"play {cfg.game}", "games", initial=done) as bar:
            for n_played in map_ordered(_play_part, jobs, workers):
                bar.update(n_played)
        record = MoveRecord.concatenate([_read_part(path) for path in paths])
        with writing(run / CORPUS_FILE) as temporary:
            write_corpus(temporary, record, cfg, run.hash)
        for path in paths:
            path.unlink()
        (run / "parts").rmdir()
        run.log_time("generate", time.perf_counter() - began, games=cfg.n_games)
        run.finish(n_games=cfg.n_games, n_moves=len(record.moves_M))
        return run.folder


def generate(
    game: str = "othello",
    players: str | tuple[str, ...] = "random",
    n_games: int = 100_000,
    seed: int = 0,
    *,
    out: str | Path | None = None,
    workers: int = 1,
    **settings: object,
) -> Corpus:
    """Play a corpus and open it. `settings`: any other field of GenerateConfig. See `generate_run`."""
    from boardgame_sae.config import from_mapping

    both = (players,) if isinstance(players, str) else tuple(players)
    values = {"game": game, "players": both, "n_games": n_games, "seed": seed, **settings}
    return Corpus.open(generate_run(from_mapping(GenerateConfig, values, "generate"), out=out, workers=workers))
