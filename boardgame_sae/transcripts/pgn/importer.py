"""Real games into a chess corpus: streamed from PGN, filtered, read and checked by the rules, in parallel.

This process unpacks the sources and cuts their text into batches of whole games; workers read the batches. Each becomes
a part file that appears whole, so that a killed import resumes where it was. A bad game is never fatal and never
silent: it is skipped, listed with its place in `skipped.jsonl`, and counted by reason in DONE.
"""

import dataclasses
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

import numpy as np

from boardgame_sae.config import (
    ConfigError,
    Count,
    Natural,
    Seed,
    Share,
    config,
    from_mapping,
    to_mapping,
)
from boardgame_sae.files import writing
from boardgame_sae.games import MoveRecord, load_game
from boardgame_sae.games.chess.game import ENDINGS
from boardgame_sae.games.chess.notation import RESULTS
from boardgame_sae.games.record import LONGEST_TEXT
from boardgame_sae.launch import map_ordered
from boardgame_sae.players.skill_bins import skill_bins
from boardgame_sae.runs import Run, progress, runs_root
from boardgame_sae.runs.integrity import read_done
from boardgame_sae.signatures import showing_fields
from boardgame_sae.transcripts.corpus import CORPUS_FILE, Corpus
from boardgame_sae.transcripts.corpus_writer import check_corpus_config, write_corpus
from boardgame_sae.transcripts.pgn.columns import pack, result_of, row_of, unpack
from boardgame_sae.transcripts.pgn.cutter import Batch, Cutter
from boardgame_sae.transcripts.pgn.headers import Headers, elo, stated_result
from boardgame_sae.transcripts.pgn.part import Part, read_games, read_part, write_part
from boardgame_sae.transcripts.pgn.reader import PGNGame, read_batch
from boardgame_sae.transcripts.pgn.source import Blocks, Source, open_source
from boardgame_sae.transcripts.pgn.tally import KEPT, SKIPPED_FILE, Tally
from boardgame_sae.transcripts.tokenization import tokenizer_of


@config
class ImportPGNConfig:
    """Which games to take from where, and how to write them down."""

    sources: tuple[str, ...]
    """Files of PGN, plain or zstd, in order; `-` is standard input. What is in them counts, not their paths."""
    min_elo: Natural | None = None
    """Minimum Elo of both players."""
    max_elo: Natural | None = None
    """Maximum Elo of both players."""
    max_elo_difference: Natural | None = None
    """Maximum difference between the two."""
    min_plies: Count = 1
    """Minimum plies of a game."""
    max_plies: Count | None = None
    """Maximum plies of a game (default: the longest game there is room for, 600)."""
    results: tuple[str, ...] = ()
    """Results to take, of 1-0, 0-1, 1/2-1/2 and * (default: all)."""
    time_controls: tuple[str, ...] = ()
    """Time controls to take, matched exactly, such as 300+0 (default: all)."""
    min_base_seconds: Natural | None = None
    """Minimum seconds for a whole game, the 300 of 300+2."""
    max_base_seconds: Natural | None = None
    """Maximum seconds for a whole game."""
    n_games: Count | None = None
    """Stop once so many games are kept (default: take all)."""
    game: str = "chess"
    """The registered game."""
    players: tuple[Literal["pgn"], ...] = ("pgn",)
    """Who played: nobody whom this program could ask to play on."""
    tokenization: str | None = None
    """`move`, one token per move, or `char`, one per character (default: the game's own)."""
    validation_fraction: Share = 0.05
    """Share of games held out for choosing; equal games always fall in the same split."""
    test_fraction: Share = 0.05
    """Share of games held out for reporting."""
    seed: Seed = 0
    """The seed of the split."""

    def __post_init__(self) -> None:
        if not self.sources or len(set(self.sources)) < len(self.sources):
            raise ValueError("sources are one file or more, each named once")
        unknown = [word for word in self.results if word not in RESULTS[1:]]
        if unknown:
            raise ValueError(f"result '{unknown[0]}' is none of {', '.join(RESULTS[1:])}")
        for name in ("elo", "plies", "base_seconds"):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if low is not None and high is not None and low > high:
                raise ValueError(f"max_{name} must not be below min_{name}")
        check_corpus_config(self)


_TIME = re.compile(rb"(\d{1,9})(?:\+\d+)?")


def _refuse(cfg: ImportPGNConfig) -> Callable[[Headers], str]:
    """A function from headers to why the filters that need no moves refuse them: `filtered: ...`, or nothing."""
    by_elo = (cfg.min_elo, cfg.max_elo) != (None, None)
    low, high, apart = cfg.min_elo or 0, cfg.max_elo or 10_000, cfg.max_elo_difference
    by_base = (cfg.min_base_seconds, cfg.max_base_seconds) != (None, None)
    shortest, longest = cfg.min_base_seconds or 0, cfg.max_base_seconds
    controls = {text.encode() for text in cfg.time_controls}
    results = set(cfg.results)

    def refuse(headers: Headers) -> str:
        if by_elo or apart is not None:
            weaker, stronger = sorted((elo(headers, b"WhiteElo"), elo(headers, b"BlackElo")))
            if by_elo and not (weaker > 0 and low <= weaker and stronger <= high):
                return "filtered: elo"
            if apart is not None and not (weaker > 0 and stronger - weaker <= apart):
                return "filtered: elo difference"
        if controls and headers.get(b"TimeControl", b"") not in controls:
            return "filtered: time control"
        if by_base:
            base = _TIME.fullmatch(headers.get(b"TimeControl", b""))
            if not base or int(base[1]) < shortest or (longest is not None and int(base[1]) > longest):
                return "filtered: base seconds"
        result = stated_result(headers) if results else ""
        return "filtered: result" if result in RESULTS[1:] and result not in results else ""

    return refuse


def _filtered_late(cfg: ImportPGNConfig, game: PGNGame) -> str:
    """Why the filters that need the moves refuse a good game, or nothing."""
    if cfg.results and result_of(game) not in cfg.results:
        return "filtered: result"
    if not cfg.min_plies <= len(game.moves) <= (cfg.max_plies or len(game.moves)):
        return "filtered: plies"
    return ""


def _import_part(job: tuple[ImportPGNConfig, Batch, str]) -> Part:
    """Read a batch's games and write those that are kept, whole; or only say what is in a part written before."""
    cfg, batch, path = job
    without_text = dataclasses.replace(batch, text=b"", ends=[], bodies=[])
    if Path(path).exists():
        return read_part(path, without_text)
    moves, rows, differs, told, n_read = [], [], [], [], 0
    for game in read_batch(batch, load_game(cfg.game).max_plies, _refuse(cfg)):
        reason = game.fault or _filtered_late(cfg, game)
        if reason:
            told.append((n_read, reason, game.place))
        else:
            row, cut = row_of(game)
            if cut:
                told.append((n_read, f"{KEPT}{', '.join(cut)} cut to {LONGEST_TEXT} bytes", game.place))
            moves.append(game.moves)
            rows.append(row)
            differs.append(result_of(game) != game.result)
        n_read += 1
    record = MoveRecord.of(moves)
    arrays = {"moves": record.moves_M, "lengths": record.lengths, "differs": np.array(differs, bool), **pack(rows)}
    part = Part(path, without_text, n_read, told)
    write_part(part, arrays)
    return part


def _jobs(cfg: ImportPGNConfig, sources: Sequence[Source], run: Run) -> Iterator[tuple[ImportPGNConfig, Batch, str]]:
    """The batches of all sources with the parts they become; those that are there already come without text."""
    part = 0
    for source in sources:
        for batch in Cutter(Blocks(source)):
            path = run / f"parts/{part:06d}.safetensors"
            part += 1
            yield cfg, dataclasses.replace(batch, text=b"") if path.exists() else batch, str(path)


def _bind(run: Run, cfg: ImportPGNConfig, tally: Tally) -> tuple[MoveRecord, dict[str, int]]:
    """Write the corpus from its parts; returns its games, and how many of them are odd in which way."""
    parts = [read_games(path) for path in tally.paths]
    lengths = np.concatenate([part["lengths"] for part in parts])[: tally.n_kept]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    record = MoveRecord(np.concatenate([part["moves"] for part in parts])[: offsets[-1]], offsets)
    columns = unpack(parts, tally.n_kept)
    for side, known in (("first", columns["white_elo"]), ("second", columns["black_elo"])):
        columns[f"rating_{side}"] = np.where(known > 0, known, np.nan).astype(np.float32)
    bins = skill_bins(columns["rating_first"], columns["rating_second"])
    columns["skill_first"], columns["skill_second"] = bins
    with writing(run / CORPUS_FILE) as temporary:
        write_corpus(temporary, record, cfg, run.hash, columns)
    mated = Corpus.open(run / CORPUS_FILE).arrays["games/ending"] == ENDINGS.index("checkmate")
    winner = np.where(lengths % 2 == 1, 1, -1)
    differs = np.concatenate([part["differs"] for part in parts])[: tally.n_kept]
    warnings = {
        "result is not that of the checkmate on the board": int((mated & (columns["result"] != winner)).sum()),
        "result is not that at the end of the text": int(differs.sum()),
    }
    return record, {what: n for what, n in warnings.items() if n}


def import_pgn_run(cfg: ImportPGNConfig, *, out: str | Path | None = None, workers: int = 1) -> Path:
    """Import games into a run folder and return the folder; a finished one is reused, a killed one resumed.

    Raises ConfigError for a source that cannot be read or is not PGN, RunError for one of which no game can be kept.
    """
    game = load_game(cfg.game)
    if game.family != "chess":
        raise ConfigError(f"game '{cfg.game}': PGN holds games of chess; leave out --game")
    if (cfg.max_plies or 0) > game.max_plies:
        raise ConfigError(f"max_plies is {cfg.max_plies}; {game.name} has room for {game.max_plies}")
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, not {workers}")
    beside = Path(out).parent if out is not None else runs_root()
    sources, names = [open_source(name, beside) for name in cfg.sources], {}
    for source in sources:
        if names.setdefault(source.identity, source.name) != source.name:
            raise ConfigError(f"{source.name}: holds the same bytes as {names[source.identity]}; name one of them")
    cfg = dataclasses.replace(
        cfg,
        sources=tuple(source.identity for source in sources),
        game=game.spec,
        tokenization=tokenizer_of(game, cfg.tokenization).name,
    )
    with Run("corpus", game.name, to_mapping(cfg), out=out) as run:
        if run.done:
            return run.folder
        began = time.perf_counter()
        tally, consumed = Tally(run, cfg.n_games), 0
        with (
            progress(sum(source.size for source in sources), "import PGN", "B") as bar,
            closing(map_ordered(_import_part, _jobs(cfg, sources, run), workers)) as parts,  # pyright: ignore[reportArgumentType] - a generator
        ):
            for part in parts:
                bar.update(max(part.batch.consumed - consumed, 0))
                consumed = 0 if part.batch.is_last else part.batch.consumed
                if not tally.add(part):
                    break
        record, warnings = _bind(run, cfg, tally)
        shutil.rmtree(run / "parts")
        run.log_time("import", time.perf_counter() - began, games=len(record), sources=list(names.values()))
        run.finish(**tally.summary(record, warnings))
        return run.folder


def import_table(folder: str | Path) -> str:
    """What a finished import kept and what not, as text. Raises RunError when the folder holds no finished run."""
    summary = read_done(folder).summary
    lines = [f"{'kept':52}{summary['n_games']:>12,}"]
    for kind in ("skipped", "filtered", "warnings"):
        name = {"skipped": "skipped: ", "filtered": "filtered: ", "warnings": "kept, but "}[kind]
        lines += [f"{name + what:52}{n:>12,}" for what, n in summary[kind].items()]
    if (Path(folder) / SKIPPED_FILE).stat().st_size:
        lines.append(f"{Path(folder) / SKIPPED_FILE} lists the games that are skipped or not whole")
    return "\n".join(lines)


@showing_fields(ImportPGNConfig)
def import_pgn(
    sources: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    workers: int = 1,
    **settings: object,
) -> Corpus:
    """Import games and open the corpus. `settings`: any other field of ImportPGNConfig.

    sources: files of PGN, plain or `.zst`, or `-` for standard input. out: the run's folder (default one named by its
    hash); a finished run is reused, a killed one resumed. workers: processes; the bytes do not depend on their number.
    Raises ConfigError for a source that cannot be read or is not PGN and for a bad setting, RunError for one of which
    no game can be kept.
    """
    names = [sources] if isinstance(sources, str | Path) else sources
    values = {"sources": [str(name) for name in names], **settings}
    return Corpus.open(import_pgn_run(from_mapping(ImportPGNConfig, values, "import_pgn"), out=out, workers=workers))
