"""Seeded, parallel, resumable play into a corpus: the same bytes for any number of workers, killed or not.

Games are played in parts of a fixed size. Each part is a file that appears whole; a killed run plays only the parts
that are missing, and the finished parts are then bound into one corpus.
"""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from boardgame_sae.config import ConfigError, Count, Seed, Share, config, from_mapping, to_mapping
from boardgame_sae.files import RunError, writing
from boardgame_sae.games import MoveRecord, load_game
from boardgame_sae.launch import map_ordered
from boardgame_sae.players.openings import make_opening
from boardgame_sae.players.play import Played, game_seeds, identities, play_games
from boardgame_sae.players.registry import Player, make_player, rating, settle_player
from boardgame_sae.players.skill_bins import skill_bins
from boardgame_sae.runs import Run, progress
from boardgame_sae.signatures import showing_fields
from boardgame_sae.transcripts.corpus import CORPUS_FILE, Corpus
from boardgame_sae.transcripts.corpus_writer import check_corpus_config, write_corpus
from boardgame_sae.transcripts.tokenization import tokenizer_of
from boardgame_sae.weights import read_arrays


@config
class GenerateConfig:
    """What to play and how to write it down."""

    game: str = "othello"
    """A registered game, with its options if any: `othello`, `othello6`, `classic`, `othello:passes=explicit`, ..."""
    players: tuple[str, ...] = ("random",)
    """One player for both sides, or the first and the second mover: `random`, `epsilon_greedy:epsilon=0.2`,
    `graded:temperature=8/1/0.25`, `stockfish:nodes=1000,skill=3`; `players/registry.py` lists them."""
    opening: str | None = None
    """How games begin before the players take over: `random:plies=6`, `book:plies=12`."""
    n_games: Count = 100_000
    """Games to play."""
    max_plies: Count | None = None
    """Longer games are broken off there."""
    tokenization: str | None = None
    """`move`, one token per move, or `char`, one per character (default: the game's own)."""
    validation_fraction: Share = 0.05
    """Share of games held out for choosing; equal games always fall in the same split."""
    test_fraction: Share = 0.05
    """Share of games held out for reporting."""
    seed: Seed = 0
    """The seed; game i depends on it and on i alone."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.players) <= 2:
            raise ValueError("players are one (for both sides) or two")
        check_corpus_config(self)


def _both(cfg: GenerateConfig) -> list[Player]:
    return [make_player(text) for text in (cfg.players * 2)[:2]]


def _part_size(cfg: GenerateConfig) -> int:
    return min(player.games_per_part for player in _both(cfg))


def _play_part(job: tuple[GenerateConfig, int, str]) -> int:
    """Play one part and write it whole; returns how many games it holds."""
    cfg, part, path = job
    first = part * _part_size(cfg)
    last = min(first + _part_size(cfg), cfg.n_games)
    opening = make_opening(cfg.opening) if cfg.opening else None
    seeds_B = game_seeds(cfg.seed, first, last)
    played = play_games(load_game(cfg.game), _both(cfg), seeds_B, opening=opening, max_plies=cfg.max_plies)
    record = played.record
    with writing(Path(path)) as temporary:
        arrays = {"moves": record.moves_M, "lengths": record.lengths, "temperatures": played.temperatures_B2}
        save_file(arrays, temporary)
    return last - first


def _read_part(path: Path) -> Played:
    """Raises RunError naming the file when it is damaged or another version wrote it."""
    fix = f"remove {path.parent} and run the same command again: it plays from the beginning"
    arrays, _ = read_arrays(path, fix)
    if {"moves", "lengths", "temperatures"} - arrays.keys() or len(arrays["moves"]) != arrays["lengths"].sum():
        raise RunError(f"{path}: damaged, or of another version (not the games of a part); {fix}")
    offsets = np.concatenate([[0], np.cumsum(arrays["lengths"])])
    return Played(MoveRecord(arrays["moves"], offsets), arrays["temperatures"])


def skill_columns(both: Sequence[Player], temperatures_B2: np.ndarray) -> dict[str, np.ndarray]:
    """What a corpus keeps of its players' strength, as PLAYER_COLUMNS says; nothing where nothing is known."""
    ratings_B2 = np.stack(
        [[rating(player, value) for value in column] for player, column in zip(both, temperatures_B2.T, strict=True)], 1
    )
    if not np.isfinite(ratings_B2).any():
        return {}
    columns = {}
    for side, name in enumerate(("first", "second")):
        columns[f"temperature_{name}"] = temperatures_B2[:, side].astype(np.float32)
        columns[f"rating_{name}"] = ratings_B2[:, side].astype(np.float32)
    columns["skill_first"], columns["skill_second"] = skill_bins(ratings_B2[:, 0], ratings_B2[:, 1])
    return columns


def generate_run(cfg: GenerateConfig, *, out: str | Path | None = None, workers: int = 1) -> Path:
    """Play a corpus into a run folder and return the folder; a finished one is reused, a killed one resumed.

    Raises ConfigError for an unknown game, player, opening or tokenization, RunError when an engine fails again and
    again.
    """
    game = load_game(cfg.game)
    cfg = dataclasses.replace(
        cfg,
        game=game.spec,
        tokenization=tokenizer_of(game, cfg.tokenization).name,
        players=tuple(map(settle_player, cfg.players)),
    )
    both, opening = _both(cfg), make_opening(cfg.opening) if cfg.opening else None
    inputs = identities(game, both, opening)
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, not {workers}")
    with Run("corpus", game.name, to_mapping(cfg), inputs, out) as run:
        if run.done:
            return run.folder
        began, size = time.perf_counter(), _part_size(cfg)
        paths = [run / f"parts/{part:06d}.safetensors" for part in range(-(-cfg.n_games // size))]
        jobs = [(cfg, part, str(path)) for part, path in enumerate(paths) if not path.exists()]
        done = cfg.n_games - sum(min(size, cfg.n_games - part * size) for _, part, _ in jobs)
        with progress(cfg.n_games, f"play {game.name}", "games", initial=done) as bar:
            for n_played in map_ordered(_play_part, jobs, workers):
                bar.update(n_played)
        played = Played.concatenate([_read_part(path) for path in paths])
        with writing(run / CORPUS_FILE) as temporary:
            columns = skill_columns(both, played.temperatures_B2)
            write_corpus(temporary, played.record, cfg, run.hash, columns)
        for path in paths:
            path.unlink()
        (run / "parts").rmdir()
        run.log_time("generate", time.perf_counter() - began, games=cfg.n_games)
        run.finish(n_games=cfg.n_games, n_moves=len(played.record.moves_M))
        return run.folder


@showing_fields(GenerateConfig)
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
    """Play a corpus and open it: `generate("othello6", n_games=10_000)`.

    game, players: names, with options if any: `search:depth=2`. n_games, seed: how many games, and which. out: the
    run's folder (default one named by its hash); a finished run is reused, a killed one resumed. workers: processes;
    the bytes do not depend on their number. settings: any other field of GenerateConfig.
    Raises ConfigError for an unknown game, player, opening or tokenization and for a bad setting, RunError when an
    engine fails again and again.
    """
    both = (players,) if isinstance(players, str) else tuple(players)
    values = {"game": game, "players": both, "n_games": n_games, "seed": seed, **settings}
    return Corpus.open(generate_run(from_mapping(GenerateConfig, values, "generate"), out=out, workers=workers))
