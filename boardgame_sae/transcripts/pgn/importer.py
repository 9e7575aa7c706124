"""Real games into a chess corpus: streamed from PGN, filtered, read and checked by the rules, in parallel.

This process unpacks the sources and cuts their text into batches of whole games; workers read the batches. Each becomes
a part file that appears whole, so that a killed import resumes where it was. A bad game is never fatal and never
silent: it is skipped, listed with its place in `skipped.jsonl`, and counted by reason in DONE.
"""

import dataclasses
import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from boardgame_sae.config import ConfigError, canonical_json, config, from_mapping, to_mapping
from boardgame_sae.files import RunError, append_bytes, write_bytes, writing
from boardgame_sae.games import MoveRecord, Result, load_game
from boardgame_sae.games.chess.game import COLUMNS, ENDINGS
from boardgame_sae.integrity import read_done
from boardgame_sae.launch import map_ordered
from boardgame_sae.players.skill_bins import skill_bins
from boardgame_sae.runs import Run, progress, runs_root
from boardgame_sae.transcripts.corpus import CORPUS_FILE, Corpus, check_corpus_config, write_corpus
from boardgame_sae.transcripts.pgn.reader import Batch, Cutter, PGNGame, read_batch
from boardgame_sae.transcripts.pgn.source import STANDARD_INPUT, Blocks, Source, open_source
from boardgame_sae.transcripts.tokenization import tokenizer_of

SKIPPED_FILE = "skipped.jsonl"
MAX_LISTED = 10_000
"""Skipped games that are listed one by one; all are counted."""
RESULTS = {"1-0": Result.WON, "0-1": Result.LOST, "1/2-1/2": Result.DRAWN, "*": Result.UNFINISHED}
"""A result as PGN writes it."""
FROM_HEADERS = {
    name: np.dtype(COLUMNS[name].dtype)
    for name in ("white_elo", "black_elo", "result", "opening", "eco", "time_control")
}
"""The corpus's columns that are filled from each game's headers."""


@config
class ImportPGNConfig:
    """Which games to take from where, and how to write them down."""

    sources: tuple[str, ...]
    """Files of PGN, plain or zstd, in order; `-` is standard input. What is in them counts, not their paths."""
    min_elo: int | None = None
    """Minimum Elo of both players."""
    max_elo: int | None = None
    """Maximum Elo of both players."""
    max_elo_difference: int | None = None
    """Maximum difference between the two."""
    min_plies: int = 1
    """Minimum plies of a game."""
    max_plies: int | None = None
    """Maximum plies of a game (default: the longest game there is room for, 600)."""
    results: tuple[str, ...] = ()
    """Results to take, of 1-0, 0-1, 1/2-1/2 and * (default: all)."""
    time_controls: tuple[str, ...] = ()
    """Time controls to take, matched exactly, such as 300+0 (default: all)."""
    min_base_seconds: int | None = None
    """Minimum seconds for a whole game, the 300 of 300+2."""
    max_base_seconds: int | None = None
    """Maximum seconds for a whole game."""
    n_games: int | None = None
    """Stop once so many games are kept (default: take all)."""
    game: str = "chess"
    """The registered game."""
    players: tuple[Literal["pgn"], ...] = ("pgn",)
    """Who played: nobody whom this program could ask to play on."""
    tokenization: str | None = None
    """`move`, one token per move, or `char`, one per character (default: the game's own)."""
    validation_fraction: float = 0.05
    """Share of games held out for choosing; equal games always fall in the same split."""
    test_fraction: float = 0.05
    """Share of games held out for reporting."""
    seed: int = 0
    """The seed of the split."""

    def __post_init__(self) -> None:
        if not self.sources or len(set(self.sources)) < len(self.sources):
            raise ValueError("sources are one file or more, each named once")
        unknown = [word for word in self.results if word not in RESULTS]
        if unknown:
            raise ValueError(f"result '{unknown[0]}' is none of {', '.join(RESULTS)}")
        if self.n_games is not None and self.n_games < 1:
            raise ValueError("n_games must be at least 1")
        spans = (("elo", 0), ("plies", 1), ("base_seconds", 0))
        for name, minimum in spans:
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            given = [bound for bound in (low, high) if bound is not None]
            if given != sorted(given) or min(given, default=minimum) < minimum:
                raise ValueError(f"min_{name} and max_{name} are at least {minimum}, the second not below the first")
        if self.max_elo_difference is not None and self.max_elo_difference < 0:
            raise ValueError("max_elo_difference must be at least 0")
        check_corpus_config(self)


_ELO = re.compile(rb"\s*(\d{1,4})\??\s*")
_TIME = re.compile(rb"(\d{1,9})(?:\+\d+)?")


def _elo(headers: Mapping[bytes, bytes], name: bytes) -> int:
    """A player's Elo, 0 where it is not known."""
    elo = _ELO.fullmatch(headers.get(name, b""))
    return int(elo[1]) if elo else 0


def _refuse(cfg: ImportPGNConfig) -> Callable[[Mapping[bytes, bytes]], str]:
    """A function from headers to why the filters that need no moves refuse them: `filtered: ...`, or nothing."""
    by_elo = (cfg.min_elo, cfg.max_elo) != (None, None)
    low, high, apart = cfg.min_elo or 0, cfg.max_elo or 10_000, cfg.max_elo_difference
    by_base = (cfg.min_base_seconds, cfg.max_base_seconds) != (None, None)
    shortest, longest = cfg.min_base_seconds or 0, cfg.max_base_seconds
    controls = {text.encode() for text in cfg.time_controls}
    results = {text.encode() for text in cfg.results}

    def refuse(headers: Mapping[bytes, bytes]) -> str:
        if by_elo or apart is not None:
            weaker, stronger = sorted((_elo(headers, b"WhiteElo"), _elo(headers, b"BlackElo")))
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
        result = headers.get(b"Result", b"?")
        if results and result.decode("latin1") in RESULTS and result not in results:
            return "filtered: result"
        return ""

    return refuse


def _filtered_late(cfg: ImportPGNConfig, game: PGNGame) -> str:
    """Why the filters that need the moves refuse a good game, or nothing."""
    if cfg.results and _result(game) not in cfg.results:
        return "filtered: result"
    if not cfg.min_plies <= len(game.moves) <= (cfg.max_plies or len(game.moves)):
        return "filtered: plies"
    return ""


def _result(game: PGNGame) -> str:
    """The result in the header, or else the one at the end of the text."""
    result = game.headers.get(b"Result", b"").decode("latin1")
    return result if result in RESULTS else game.result


def _row(game: PGNGame) -> tuple[Any, ...]:
    """A kept game's entries in FROM_HEADERS."""
    headers = game.headers
    opening = headers.get(b"Opening", b"") or headers.get(b"ECO", b"")
    opening = opening if opening.isascii() else opening[:64].decode("utf-8", "ignore").encode()
    eco, control = headers.get(b"ECO", b""), headers.get(b"TimeControl", b"")
    elos = _elo(headers, b"WhiteElo"), _elo(headers, b"BlackElo")
    texts = (b"" if text == b"?" else text for text in (opening, eco, control))
    return (*elos, RESULTS[_result(game)], *texts)


class _Part(NamedTuple):
    """What became of a batch."""

    path: str
    batch: Batch
    """Without its text."""
    n_read: int
    missed: Sequence[tuple[int, str, dict[str, Any]]]
    """Number in the batch, reason and place of each game that is not kept, in order."""


def _import_part(job: tuple[ImportPGNConfig, Batch, str]) -> _Part:
    """Read a batch's games and write those that are kept, whole; or only say what is in a part written before."""
    cfg, batch, path = job
    without_text = dataclasses.replace(batch, text=b"", ends=[], bodies=[])
    if Path(path).exists():
        with safe_open(path, "np") as file:
            summary = json.loads(file.metadata()["summary"])
        missed = [(number, reason, place) for number, reason, place in summary["missed"]]
        return _Part(path, without_text, summary["n_read"], missed)
    moves, rows, differs, missed, n_read = [], [], [], [], 0
    for game in read_batch(batch, load_game(cfg.game).max_plies, _refuse(cfg)):
        reason = game.fault or _filtered_late(cfg, game)
        if reason:
            missed.append((n_read, reason, game.place))
        else:
            moves.append(game.moves)
            rows.append(_row(game))
            differs.append(_result(game) != game.result)
        n_read += 1
    record = MoveRecord.of(moves)
    arrays: dict[str, np.ndarray] = {"moves": record.moves_M, "lengths": record.lengths}
    columns = zip(*rows, strict=True) if rows else [()] * len(FROM_HEADERS)
    for (name, kind), values in zip(FROM_HEADERS.items(), columns, strict=True):
        column = np.array(values, kind)
        arrays[name] = column.view(np.uint8).reshape(len(rows), kind.itemsize) if kind.kind == "S" else column
    arrays["differs"] = np.array(differs, bool)
    with writing(Path(path)) as temporary:
        save_file(arrays, temporary, {"summary": canonical_json({"n_read": n_read, "missed": missed})})
    return _Part(path, without_text, n_read, missed)


class _Tally:
    """What has been kept and what not, part by part."""

    def __init__(self, run: Run, limit: int | None) -> None:
        self.run, self.limit = run, limit
        self.paths: list[str] = []
        self.n_kept, self.n_listed = 0, 0
        self.missed: Counter[str] = Counter()
        self.source: Counter[str] = Counter()
        """Of the source that is being read: games read and kept, and those that were not, by reason."""
        write_bytes(run / SKIPPED_FILE, b"")

    def add(self, part: _Part) -> bool:
        """Take in the next part; False when no more games are wanted.

        Raises RunError when a source ends of which no game was kept.
        """
        missed, n_read, name = part.missed, part.n_read, part.batch.source
        kept = np.setdiff1d(np.arange(n_read), [number for number, _, _ in missed])
        wanted = n_read if self.limit is None else self.limit - self.n_kept
        full = self.limit is not None and len(kept) >= wanted
        if full:
            kept = kept[:wanted]
            n_read = int(kept[-1]) + 1
            missed = [game for game in missed if game[0] < n_read]
        self.paths.append(part.path)
        self.n_kept += len(kept)
        self._list(name, missed)
        reasons = Counter(reason for _, reason, _ in missed)
        self.missed += reasons
        self.source += Counter({"read": n_read, "kept": len(kept)}) + reasons
        if part.batch.is_last:
            self._end(name)
        return not full

    def _list(self, name: str, missed: Sequence[tuple[int, str, dict[str, Any]]]) -> None:
        """Write down the games that are skipped, and not merely filtered."""
        before = self.source["read"]
        rows = [
            canonical_json({"source": name, "game": before + number + 1, "reason": reason, **place}) + "\n"
            for number, reason, place in missed
            if not reason.startswith("filtered: ")
        ][: MAX_LISTED - self.n_listed]
        self.n_listed += len(rows)
        if rows:
            append_bytes(self.run / SKIPPED_FILE, "".join(rows).encode())

    def _end(self, name: str) -> None:
        counts, self.source = self.source, Counter()
        if counts["kept"]:
            return
        shown = "standard input" if name == STANDARD_INPUT else name
        if not counts["read"]:
            raise RunError(f"{shown}: there is no game in it; give PGN text")
        why = ", ".join(f"{reason} {n}" for reason, n in counts.most_common() if reason != "read")
        raise RunError(
            f"{shown}: none of its {counts['read']} games can be kept ({why}); "
            f"{self.run / SKIPPED_FILE} lists them; change the filters or leave the source out"
        )

    def summary(self, record: MoveRecord, warnings: Mapping[str, int]) -> dict[str, Any]:
        """The summary of the import, for DONE."""
        filtered = {why: n for why, n in sorted(self.missed.items()) if why.startswith("filtered: ")}
        return {
            "n_games": len(record),
            "n_moves": len(record.moves_M),
            "skipped": {why: n for why, n in sorted(self.missed.items()) if why not in filtered},
            "filtered": {why.removeprefix("filtered: "): n for why, n in filtered.items()},
            "warnings": dict(warnings),
        }


def _jobs(cfg: ImportPGNConfig, sources: Sequence[Source], run: Run) -> Iterator[tuple[ImportPGNConfig, Batch, str]]:
    """The batches of all sources with the parts they become; those that are there already come without text."""
    part = 0
    for source in sources:
        for batch in Cutter(Blocks(source)):
            path = run / f"parts/{part:06d}.safetensors"
            part += 1
            yield cfg, dataclasses.replace(batch, text=b"") if path.exists() else batch, str(path)


def _bind(run: Run, cfg: ImportPGNConfig, tally: _Tally) -> tuple[MoveRecord, dict[str, int]]:
    """Write the corpus from its parts; returns its games, and how many of them are odd in which way."""
    parts = []
    for path in tally.paths:
        with safe_open(path, "np") as file:
            parts.append({name: file.get_tensor(name) for name in ("moves", "lengths", "differs", *FROM_HEADERS)})
    lengths = np.concatenate([part["lengths"] for part in parts])[: tally.n_kept]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    record = MoveRecord(np.concatenate([part["moves"] for part in parts])[: offsets[-1]], offsets)
    columns = {}
    for name, kind in FROM_HEADERS.items():
        column = np.concatenate([part[name] for part in parts])[: tally.n_kept]
        columns[name] = np.ascontiguousarray(column).view(kind).ravel() if kind.kind == "S" else column
    for side, elo in (("first", columns["white_elo"]), ("second", columns["black_elo"])):
        columns[f"rating_{side}"] = np.where(elo > 0, elo, np.nan).astype(np.float32)
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
        tally, consumed = _Tally(run, cfg.n_games), 0
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
    if summary["skipped"]:
        lines.append(f"{Path(folder) / SKIPPED_FILE} lists the skipped games")
    return "\n".join(lines)


def import_pgn(
    sources: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    workers: int = 1,
    **settings: object,
) -> Corpus:
    """Import games and open the corpus. `settings`: any other field of ImportPGNConfig.

    Raises what `import_pgn_run` raises.
    """
    names = [sources] if isinstance(sources, str | Path) else sources
    values = {"sources": [str(name) for name in names], **settings}
    return Corpus.open(import_pgn_run(from_mapping(ImportPGNConfig, values, "import_pgn"), out=out, workers=workers))
