"""Written games into a corpus: read from files of any format that is known, or given as texts, checked by the rules.

A bad game is never fatal and never silent: it is skipped, listed with its place in `skipped.jsonl`, and counted by
reason in DONE. An import takes seconds, so one that was killed starts again from the beginning.
"""

import dataclasses
import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from boardgame_sae.config import (
    ConfigError,
    Count,
    Seed,
    Share,
    canonical_json,
    config,
    from_mapping,
    naming,
    to_mapping,
)
from boardgame_sae.files import RunError, write_bytes, writing
from boardgame_sae.games import Game, IllegalMove, MoveRecord, load_game
from boardgame_sae.plain_data import shortened
from boardgame_sae.runs import Run, progress, runs_root
from boardgame_sae.signatures import showing_fields
from boardgame_sae.transcripts.corpus import CORPUS_FILE, Corpus
from boardgame_sae.transcripts.corpus_writer import check_corpus_config, write_corpus
from boardgame_sae.transcripts.imports.game_format import Written, format_of
from boardgame_sae.transcripts.pgn.source import STANDARD_INPUT, Blocks, Source, open_source
from boardgame_sae.transcripts.pgn.tally import MAX_LISTED, SKIPPED_FILE
from boardgame_sae.transcripts.tokenization import tokenizer_of

MOST_BYTES = 2**31
"""Bytes of a file, unpacked, that are read at once."""
AT_ONCE = 4096
"""Games that are replayed together."""


@config
class CorpusConfig:
    """How games become a corpus."""

    game: str = "othello"
    """A registered game, with its options if any: `othello`, `othello6`, `connect_four`, ..."""
    tokenization: str | None = None
    """`move`, one token per move, or `char`, one per character (default: the game's own)."""
    validation_fraction: Share = 0.05
    """Share of games held out for choosing; equal games always fall in the same split."""
    test_fraction: Share = 0.05
    """Share of games held out for reporting."""
    seed: Seed = 0
    """The seed of the split."""
    players: tuple[Literal["imported"], ...] = ("imported",)
    """Who played: nobody whom this program could ask to play on."""

    def __post_init__(self) -> None:
        check_corpus_config(self)


@config
class ImportGamesConfig(CorpusConfig):
    """Which games to take from where, and how to write them down."""

    sources: tuple[str, ...]
    """Files of games, plain or zstd, in order; `-` is standard input. What is in them counts, not their paths."""
    min_plies: Count = 1
    """Minimum plies of a game."""
    n_games: Count | None = None
    """Stop once so many games are kept (default: take all)."""

    def __post_init__(self) -> None:
        if not self.sources or len(set(self.sources)) < len(self.sources):
            raise ValueError("sources are one file or more, each named once")
        super().__post_init__()


def import_games_run(cfg: ImportGamesConfig, *, out: str | Path | None = None) -> Path:
    """Import games into a run folder and return the folder; a finished one is reused.

    Raises ConfigError for a source that cannot be read or holds no games of a known form, RunError for one of which no
    game can be kept.
    """
    game = _game(cfg.game)
    sources = [open_source(name, Path(out).parent if out is not None else runs_root()) for name in cfg.sources]
    cfg = dataclasses.replace(
        cfg,
        sources=tuple(source.identity for source in sources),
        game=game.spec,
        tokenization=tokenizer_of(game, cfg.tokenization).name,
    )
    with Run("corpus", game.name, to_mapping(cfg), out=out) as run:
        if not run.done:
            began, found = time.perf_counter(), _Import(game, cfg)
            for source in sources:
                found.add(source)
            write_bytes(run / SKIPPED_FILE, "".join(found.listed[:MAX_LISTED]).encode())
            with writing(run / CORPUS_FILE) as temporary:
                write_corpus(temporary, MoveRecord.of(found.kept), cfg, run.hash)
            run.log_time("import", time.perf_counter() - began, games=len(found.kept))
            run.finish(**found.summary())
        return run.folder


class _Import:
    """What has been kept of some sources and what not."""

    def __init__(self, game: Game, cfg: ImportGamesConfig) -> None:
        self.game, self.cfg = game, cfg
        self.kept: list[list[int]] = []
        self.reasons: dict[str, Counter[str]] = {"skipped": Counter(), "filtered": Counter()}
        self.listed: list[str] = []
        """Lines of JSON about the games that are skipped."""

    def add(self, source: Source) -> None:
        """Read a source, unless there are games enough.

        Raises ConfigError when it holds no games of a known form, RunError when none of them can be kept.
        """
        before, shown = len(self.kept), "standard input" if source.name == STANDARD_INPUT else source.name
        if before == self.cfg.n_games:
            return
        with naming(shown):
            games = list(format_of(data := _bytes(source, shown)).read(data, self.game))
        with progress(len(games), "import games", "games") as bar:
            for first in range(0, len(games), AT_ONCE):
                batch = games[first : first + AT_ONCE]
                for written, (moves, fault) in zip(batch, _replayed(self.game, batch), strict=True):
                    self._take(source, written, moves, fault)
                    if len(self.kept) == self.cfg.n_games:
                        return
                bar.update(len(batch))
        if len(self.kept) == before:
            why = [f"{n} {why}" for counts in self.reasons.values() for why, n in counts.most_common()]
            first = f"; the first: {self.listed[0].strip()}" if self.listed else ""
            raise RunError(
                f"{shown}: none of its {len(games)} games can be kept ({', '.join(why) or 'it is empty'}{first}); give "
                "other games, or another --game"
            )

    def _take(self, source: Source, written: Written, moves: list[int], fault: str) -> None:
        if fault:
            self.reasons["skipped"][fault.partition(" '")[0]] += 1
            row = {"source": source.name, "place": written.place, "reason": fault}
            self.listed.append(canonical_json(row) + "\n")
        elif len(moves) < self.cfg.min_plies:
            self.reasons["filtered"]["plies"] += 1
        else:
            self.kept.append(moves)

    def summary(self) -> dict[str, Any]:
        """The summary of the import, for DONE."""
        counted = {kind: dict(sorted(counts.items())) for kind, counts in self.reasons.items()}
        return {"n_games": len(self.kept), "n_moves": sum(map(len, self.kept)), "warnings": {}, **counted}


def _game(spec: str) -> Game:
    game = load_game(spec)
    if game.family == "chess":
        raise ConfigError(f"game '{spec}': games of chess are read by `boardgame-sae import-pgn`")
    return game


def _bytes(source: Source, shown: str) -> bytes:
    """All of a source, unpacked. Raises RunError when it is damaged or larger than MOST_BYTES."""
    data, blocks = bytearray(), Blocks(source, binary=True)
    for block in blocks:
        data += block
        if len(data) > MOST_BYTES:
            raise RunError(f"{shown}: holds more than {MOST_BYTES / 2**30:g} GiB; divide it into several files")
    if blocks.fault:
        raise RunError(f"{shown}: {blocks.fault}; get it again")
    return bytes(data)


def _replayed(game: Game, batch: Sequence[Written]) -> list[tuple[list[int], str]]:
    """The moves of each game, or why it cannot be read or played."""
    played = iter(_codes(game, [written.text for written in batch if not written.fault]))
    return [([], written.fault) if written.fault else next(played) for written in batch]


def _codes(game: Game, texts: Sequence[str]) -> list[tuple[list[int], str]]:
    """The same for texts: they are replayed together, and halved where one cannot be."""
    if not texts:
        return []
    try:
        return [(moves.tolist(), "") for moves in game.record(texts)]
    except IllegalMove as error:
        if len(texts) == 1:
            return [([], f"illegal move '{shortened(error.move)}' at ply {error.ply}")]
    half = len(texts) // 2
    return _codes(game, texts[:half]) + _codes(game, texts[half:])


@showing_fields(ImportGamesConfig)
def import_games(
    sources: str | Path | Sequence[str | Path], *, out: str | Path | None = None, **settings: Any
) -> Corpus:
    """Import games from files and open the corpus: `import_games("WTH_2004.wtb")`, one game a line, PGN-like text.

    sources: files. out: the run's folder (default one named by its hash); a finished run is reused.
    settings: any other field of ImportGamesConfig.
    Raises ConfigError for a source that cannot be read or holds no games of a known form and for a bad setting,
    RunError for one of which no game can be kept.
    """
    names = [sources] if isinstance(sources, str | Path) else sources
    values = {"sources": [str(name) for name in names], **settings}
    return Corpus.open(import_games_run(from_mapping(ImportGamesConfig, values, "import_games"), out=out))


def _record(rules: Game, games: Sequence[str]) -> MoveRecord:
    """Written games as moves. Raises IllegalMove and ConfigError as `make_corpus` does."""
    if isinstance(games, str):
        raise ConfigError(f"make_corpus: games: is one text; give a list of games, [{shortened(repr(games))}]")
    texts = list(games)
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str):
            raise ConfigError(f"make_corpus: game {number} is {shortened(repr(text))}; give its moves as text")
    try:
        return rules.record(texts)
    except IllegalMove as error:
        error.add_note(f"in game {texts.index(error.text) + 1} of the {len(texts)} given")
        raise


@showing_fields(CorpusConfig)
def make_corpus(
    games: Sequence[str] | MoveRecord, game: str = "othello", *, out: str | Path | None = None, **settings: Any
) -> Corpus:
    """Make a corpus of games at hand and open it: `make_corpus(["f5d6c3", ...], "othello", test_fraction=0.2)`.

    games: as the game writes them (of chess too), or a MoveRecord. out: the run's folder (default one named by its
    hash). settings: any other field of CorpusConfig.
    Raises IllegalMove, with the game's number as a note, at the first move that cannot be read or played, ConfigError
    for a bad setting, no games or no list of them.
    """
    cfg = from_mapping(CorpusConfig, {"game": game, **settings}, "make_corpus")
    rules = load_game(cfg.game)
    cfg = dataclasses.replace(cfg, game=rules.spec, tokenization=tokenizer_of(rules, cfg.tokenization).name)
    record = games if isinstance(games, MoveRecord) else _record(rules, games)
    if not len(record):
        raise ConfigError("make_corpus: there are no games")
    rules.boards(record)  # raises IllegalMove
    digest = hashlib.sha256(record.moves_M.tobytes() + record.offsets.tobytes()).hexdigest()
    with Run("corpus", rules.name, to_mapping(cfg), {"games": digest}, out) as run:
        if not run.done:
            with writing(run / CORPUS_FILE) as temporary:
                write_corpus(temporary, record, cfg, run.hash)
            run.finish(n_games=len(record), n_moves=len(record.moves_M))
        return Corpus.open(run.folder)
