"""Have an engine evaluate the positions of a corpus, in parallel and resumably, into a file beside it.

Games are evaluated in parts of a fixed size, each a file that appears whole. A game's evaluations depend on the game
alone: the engine forgets all others before it.
"""

import io
import shutil
import time
from pathlib import Path

import numpy as np

from boardgame_sae.config import ConfigError, Count, config, to_mapping
from boardgame_sae.files import RunError, write_bytes
from boardgame_sae.games import Game, MoveRecord
from boardgame_sae.launch import map_ordered
from boardgame_sae.players.play import identities
from boardgame_sae.players.registry import Player, make_player, settle_player
from boardgame_sae.runs import Run, progress
from boardgame_sae.transcripts.corpus import SPLITS, Corpus
from boardgame_sae.transcripts.evaluations import EVALUATIONS_FILE, EVALUATIONS_FOLDER, Evaluations, clip


@config
class AnnotateConfig:
    """What is evaluated, by whom."""

    engine: str = "stockfish:nodes=1000"
    """A player at full strength: `stockfish:nodes=1000`, `uci:path=...,depth=8` or the built-in `search:depth=2`."""
    splits: tuple[str, ...] = SPLITS
    """Splits whose games are evaluated."""
    n_games: Count | None = None
    """The first games of each split (default: all)."""

    def __post_init__(self) -> None:
        unknown = [split for split in self.splits if split not in SPLITS]
        if unknown or not self.splits:
            raise ValueError(f"splits are some of {', '.join(SPLITS)}, not {', '.join(unknown) or 'none'}")


def evaluate_games(game: Game, player: Player, record: MoveRecord) -> np.ndarray:
    """Centipawns for the player to move of every position of some games, the start first: int16, clipped.

    Raises ConfigError and RunError as `Player.evaluate` does.
    """
    return clip(player.evaluate(game, record))


def _evaluate_part(job: tuple[str, str, np.ndarray, str]) -> int:
    """Evaluate some games of a corpus into a file; returns how many."""
    corpus_path, engine, games_B, path = job
    corpus = Corpus.open(corpus_path)
    centipawns = evaluate_games(corpus.game, make_player(engine), corpus.record(games_B))
    data = io.BytesIO()
    np.save(data, centipawns)
    write_bytes(Path(path), data.getvalue())
    return len(games_B)


def _read_part(path: Path) -> np.ndarray:
    """Raises RunError naming the file when it is damaged or another version wrote it."""
    fix = f"remove {path.parent} and run the same command again: it evaluates from the beginning"
    try:
        centipawns = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise RunError(f"{path}: damaged ({error}); {fix}") from error
    if not isinstance(centipawns, np.ndarray) or centipawns.dtype != np.int16 or centipawns.ndim != 1:
        raise RunError(f"{path}: damaged, or of another version (not the evaluations of a part); {fix}")
    return centipawns


def annotate_run(
    corpus: str | Path, cfg: AnnotateConfig | str | None = None, *, out: str | Path | None = None, workers: int = 1
) -> Path:
    """Evaluate the positions of a corpus into a run folder, which is returned; resumes, and is reused when finished.

    corpus: its folder or file. cfg: what is evaluated, or the engine alone. out: by default `evaluations` in the
    corpus's own folder, where `Corpus` finds it.
    Raises ConfigError when there is no such engine or it does not play that game, RunError when it fails again and
    again.
    """
    opened = Corpus.open(corpus)
    cfg = AnnotateConfig(engine=cfg) if isinstance(cfg, str) else cfg or AnnotateConfig()
    cfg = AnnotateConfig(engine=settle_player(cfg.engine), splits=cfg.splits, n_games=cfg.n_games)
    player = make_player(cfg.engine)
    try:
        evaluate_games(opened.game, player, MoveRecord.of([]))  # what cannot be done is said before there is a folder
    except ConfigError as error:
        raise ConfigError(f"engine '{cfg.engine}': {error}") from None
    inputs = {"corpus": opened.hash, **identities(opened.game, [player], None)}
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, not {workers}")
    beside = opened.path.parent / EVALUATIONS_FOLDER
    content = {"corpus": opened.content}
    with Run("evaluations", opened.game.name, to_mapping(cfg), inputs, out or beside, content=content) as run:
        if run.done:
            return run.folder
        began, size = time.perf_counter(), player.games_per_part
        games_B = np.sort(np.concatenate([opened.games(split)[: cfg.n_games] for split in cfg.splits]))
        paths = [run / f"parts/{part:06}.npy" for part in range(-(-len(games_B) // size))]
        parts = [games_B[place : place + size] for place in range(0, len(games_B), size)]
        jobs = [
            (str(opened.path), cfg.engine, part, str(path))
            for part, path in zip(parts, paths, strict=True)
            if not path.exists()
        ]
        done = len(games_B) - sum(len(part) for _, _, part, _ in jobs)
        with progress(len(games_B), f"evaluate {opened.game.name}", "games", initial=done) as bar:
            for n in map_ordered(_evaluate_part, jobs, workers):
                bar.update(n)
        offsets = np.concatenate([[0], np.cumsum(opened.record(games_B).lengths + 1)])
        centipawns = np.concatenate([np.empty(0, np.int16), *map(_read_part, paths)])
        made = Evaluations(opened.hash, cfg.engine, games_B, offsets, centipawns, opened.content)
        made.write(run / EVALUATIONS_FILE)
        shutil.rmtree(run / "parts", ignore_errors=True)
        run.log_time("annotate", time.perf_counter() - began, games=len(games_B))
        run.finish(n_games=len(games_B), n_positions=len(centipawns))
        return run.folder
