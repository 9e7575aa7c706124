"""HDF5 corpus: games as moves and as token ids, the ply at every token, metadata, splits, batches.

    corpus.h5    attributes: format, version, game, tokenization, alphabet (JSON), config (JSON), hash
        moves, move_offsets      the games themselves, in the game's move codes
        tokens, token_offsets    what the GPT reads
        plies                    plies complete after reading each token
        split                    per game: 0 train, 1 validation, 2 test
        games/...                per game: its length, and columns that the game declares

The arrays are contiguous, so that they are memory-mapped and a corpus opens at once, whatever its size.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from boardgame_sae.config import content_hash, seed_for
from boardgame_sae.games import Boards, Game, IllegalMove, MoveRecord, load_game
from boardgame_sae.hdf5.reader import Array, Format, read_hdf5
from boardgame_sae.notebook import pictures, table
from boardgame_sae.players.registry import plays_uniformly
from boardgame_sae.runs.integrity import sha256_of, verified
from boardgame_sae.transcripts.evaluations import EVALUATIONS_FILE, EVALUATIONS_FOLDER, Evaluations
from boardgame_sae.transcripts.packing import Packing
from boardgame_sae.transcripts.tokenization import Tokenizer, find_tokenizer

CORPUS_FILE = "corpus.h5"
FORMAT, VERSION = "boardgame_sae corpus", 2
SPLITS = ("train", "validation", "test")


class CorpusError(ValueError):
    """A file that is not a usable corpus; the message names it and the fix."""


CORPUS = Format(
    FORMAT,
    VERSION,
    "a corpus",
    CorpusError,
    "give a corpus.h5 as it was written, or generate or import the games again",
    dict.fromkeys(("game", "tokenization", "alphabet", "config", "hash"), str),
    {
        "moves": Array(("u2",), "moves"),
        "move_offsets": Array(("i8",), "games", beyond=1),
        "tokens": Array(("u1", "u2"), "tokens"),
        "plies": Array(("u2",), "tokens"),
        "token_offsets": Array(("i8",), "games", beyond=1),
        "split": Array(("u1",), "games"),
        "games/length": Array(("u2",), "games"),
        "games/*": Array(("i", "u", "f", "b", "S"), "games"),
    },
)
"""What a corpus file holds, and nothing else."""


@dataclass(frozen=True, eq=False, repr=False)
class Corpus:
    """An open corpus. Index arrays of games (B,) name games by their place in it."""

    path: Path
    attributes: dict[str, Any]
    arrays: dict[str, np.ndarray]
    evaluated_at: Path | None = None
    """Where evaluations of its positions are; by default beside it, if there are any."""

    @classmethod
    def open(cls, path: str | Path) -> "Corpus":
        """Open a corpus file, or the run folder that holds one.

        Raises CorpusError, naming the file, when it is missing, truncated, no HDF5, or not a corpus of this version;
        RunError when a file of a finished run has changed since.
        """
        path = Path(path)
        verified(path)
        path = path / CORPUS_FILE if path.is_dir() else path
        if not path.exists():
            raise CorpusError(f"{path}: no such corpus; `boardgame-sae generate` makes one, and resumes a killed one")
        corpus = cls(path, *read_hdf5(path, CORPUS))
        corpus._check()
        return corpus

    def _check(self) -> None:
        for offsets, values in (("move_offsets", "moves"), ("token_offsets", "tokens")):
            ends, n_values = self.arrays[offsets], len(self.arrays[values])
            if ends[0] != 0 or ends[-1] != n_values or (ends[1:] < ends[:-1]).any():
                raise CorpusError(f"{self.path}: its {offsets} do not match its {values}; {CORPUS.fix}")
        for name, kind in (("alphabet", list), ("config", dict)):
            try:
                read = json.loads(self.attributes[name])
            except (ValueError, RecursionError):
                read = None
            if not isinstance(read, kind):
                raise CorpusError(f"{self.path}: its attribute '{name}' is no JSON {kind.__name__}; {CORPUS.fix}")

    @cached_property
    def game(self) -> Game:
        """The game that was played. Raises CorpusError for a column of a type that the game does not give it."""
        game = load_game(self.attributes["game"])
        for name, column in game.columns.items():
            values = self.arrays.get(f"games/{name}")
            if values is not None and not column.holds(values.dtype):
                raise CorpusError(f"{self.path}: 'games/{name}' is {values.dtype}, not {column.dtype}; {CORPUS.fix}")
        return game

    @property
    def tokenization(self) -> str:
        """The name of its tokenization: `move`, `char`."""
        return self.attributes["tokenization"]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """What made its tokens. Raises ConfigError, naming the file, when nothing of that name is registered."""
        return find_tokenizer(self.tokenization, f"{self.path}: ")

    @property
    def is_random_play(self) -> bool:
        """Whether every legal move was equally likely to be played."""
        players = self.config.get("players", ())
        return len(players) > 0 and all(map(plays_uniformly, players))

    @cached_property
    def alphabet(self) -> tuple[str, ...]:
        """What each token id stands for."""
        return tuple(json.loads(self.attributes["alphabet"]))

    @property
    def hash(self) -> str:
        """Hash of what the corpus was made from."""
        return self.attributes["hash"]

    @property
    def content(self) -> str:
        """SHA-256 of its file: what it holds, however it was made."""
        return sha256_of(self.path)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The config it was made with."""
        return json.loads(self.attributes["config"])

    def __len__(self) -> int:
        return len(self.arrays["split"])

    def __repr__(self) -> str:
        return f"Corpus({str(self.path)!r}: {len(self):,} games of {self.game.spec})"

    def _repr_html_(self) -> str:
        rows = [("game", self.game.spec), ("players", ", ".join(self.config.get("players", ()))),
                ("tokens", f"{len(self.arrays['tokens']):,}, one per {self.tokenizer.unit}"),
                *((split, f"{len(self.games(split)):,} games") for split in SPLITS)]  # fmt: skip
        last = [
            self.game.picture(self.game.position_after(moves.tolist()))
            for moves in self.record(np.arange(len(self))[:3])
        ]
        return table("Corpus", rows) + pictures((picture, f"game {n}, at its end") for n, picture in enumerate(last))

    @cached_property
    def n_ctx(self) -> int:
        """Tokens a GPT reads of the longest possible game: all but the last, after which nothing is predicted."""
        return self.tokenizer.n_ctx(self.game)

    def games(self, split: str, n_games: int | None = None) -> np.ndarray:
        """Places of the first `n_games` games (default all) of a split. Raises ValueError if there are fewer."""
        if split not in SPLITS:
            raise ValueError(f"unknown split '{split}'; the splits are {', '.join(SPLITS)}")
        games_B = np.flatnonzero(self.arrays["split"] == SPLITS.index(split))
        if n_games is not None and len(games_B) < n_games:
            raise ValueError(
                f"{self.path}: {n_games} {split} games asked for, it has {len(games_B)}; generate more games"
            )
        return games_B[:n_games]

    def n_read(self, games_B: np.ndarray, n_ctx: int | None = None) -> np.ndarray:
        """Tokens (B,) of each of some games that a GPT of that context reads (default: the corpus's)."""
        offsets = self.arrays["token_offsets"]
        return np.minimum(offsets[np.asarray(games_B) + 1] - offsets[games_B], n_ctx or self.n_ctx)

    def rows(self, games_B: np.ndarray, n_ctx: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and plies of some games, each (B, n_ctx + 1) int64, for a GPT of that context (default: its own).

        After a game's end ids are 0 and plies -1: a token is present where its ply is not negative.
        """
        offsets = self.arrays["token_offsets"]
        starts_B, stops_B = offsets[games_B], offsets[np.asarray(games_B) + 1]
        place_BL = starts_B[:, None] + np.arange((n_ctx or self.n_ctx) + 1)[None]
        return self._read(np.where(place_BL < stops_B[:, None], place_BL, -1))

    def _read(self, place_BL: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ids and plies of the tokens at some places: 0 and -1 where a place is -1."""
        inside_BL = place_BL >= 0
        place_BL = np.where(inside_BL, place_BL, 0)
        tokens_BL = np.where(inside_BL, self.arrays["tokens"][place_BL].astype(np.int64), 0)
        plies_BL = np.where(inside_BL, self.arrays["plies"][place_BL].astype(np.int64), -1)
        return tokens_BL, plies_BL

    def record(self, games_B: np.ndarray) -> MoveRecord:
        """The moves of some games."""
        return MoveRecord(self.arrays["moves"], self.arrays["move_offsets"])[np.asarray(games_B)]

    @cached_property
    def evaluations(self) -> Evaluations | None:
        """What an engine thinks of its positions, where `annotate` has asked one; read when it is first needed.

        Raises EvaluationsError when they are damaged or of another corpus.
        """
        beside = [self.path.parent / EVALUATIONS_FILE, self.path.parent / EVALUATIONS_FOLDER / EVALUATIONS_FILE]
        path = self.evaluated_at or next((path for path in beside if path.exists()), None)
        return Evaluations.open(path, self.hash, self.content) if path else None

    def with_evaluations(self, path: str | Path) -> "Corpus":
        """This corpus with the evaluations in a run folder or file. Raises EvaluationsError when they are not its."""
        corpus = replace(self, evaluated_at=Path(path))
        assert corpus.evaluations is not None
        return corpus

    def knows(self, name: str) -> bool:
        """Whether it has a column that a property `needs`, of its games or, per position, beside it."""
        return self.evaluations is not None if self._is_evaluation(name) else f"games/{name}" in self.arrays

    def _is_evaluation(self, name: str) -> bool:
        return name in self.game.columns and self.game.columns[name].per_position

    def hash_for(self, names: Sequence[str]) -> str:
        """Hash of all that some properties' labels depend on: its own, and of evaluations where one needs them."""
        return self._with_evaluations(self.hash, names)

    def content_for(self, names: Sequence[str]) -> str:
        """The same of what it holds, and not of how it was made."""
        return self._with_evaluations(self.content, names)

    def _with_evaluations(self, own: str, names: Sequence[str]) -> str:
        needed = {self.game.property(name).needs for name in names}
        if not any(map(self._is_evaluation, needed)) or self.evaluations is None:
            return own
        return content_hash([own, self.evaluations.hash])

    def boards(self, games_B: np.ndarray) -> Boards:
        """Every position of some games, with what the corpus knows of them that the game makes use of.

        Raises CorpusError at the first move that the rules forbid.
        """
        games_B, record, about = np.asarray(games_B), self.record(games_B), {}
        for name in filter(self.knows, self.game.about):
            if self._is_evaluation(name):
                assert self.evaluations is not None
                about[name] = self.evaluations.rows(games_B, record.lengths + 1)
            else:
                about[name] = self.arrays[f"games/{name}"][games_B]
        try:
            return self.game.boards(record, about=about)
        except IllegalMove as error:
            raise CorpusError(f"{self.path}: {error}; restore it, or make the corpus again") from error

    @property
    def packs(self) -> bool:
        """Whether games share the rows of a training batch: where a token shows where a game begins."""
        return self.tokenizer.has_start_token(self.game)

    def batch(
        self, split: str, step: int, batch_size: int, seed: int, n_ctx: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and plies of a training step, as of `rows`: a pure function of its arguments.

        Rows are single games, as `batch_games` picks them, or else blocks of games packed by `Packing`, in the order
        of the same permutations; plies then start again at 0 in each game.
        """
        if not self.packs:
            return self.rows(self.batch_games(split, step, batch_size, seed), n_ctx)
        size, first, last = (n_ctx or self.n_ctx) + 1, step * batch_size, (step + 1) * batch_size
        parts, epoch, before = [], 0, 0
        while before < last:
            after = before + self._n_blocks(split, seed, epoch, size)
            if after > first:
                blocks = slice(max(first - before, 0), last - before)
                parts.append(self._packing(split, seed, epoch, size).places(blocks))
            epoch, before = epoch + 1, after
        return self._read(np.concatenate(parts))

    def batch_games(self, split: str, step: int, batch_size: int, seed: int) -> np.ndarray:
        """Places (batch_size,) of the games of a training step: a pure function of its arguments.

        Each pass over the split is a new permutation; a batch may run over its end into the next pass.
        """
        games_B = self._split_games(split)
        places = np.arange(step * batch_size, (step + 1) * batch_size)
        chosen = np.empty(batch_size, dtype=np.int64)
        for epoch in np.unique(places // len(games_B)):
            here = places // len(games_B) == epoch
            chosen[here] = games_B[self._permutation(split, seed, int(epoch))[places[here] % len(games_B)]]
        return chosen

    def _split_games(self, split: str) -> np.ndarray:
        key = ("games", split)
        if key not in self._memo:
            games_B = self.games(split)
            if len(games_B) == 0:
                raise CorpusError(f"{self.path}: no {split} games; generate more")
            self._memo[key] = games_B
        return self._memo[key]

    def _permutation(self, split: str, seed: int, epoch: int) -> np.ndarray:
        def make() -> np.ndarray:
            generator = np.random.default_rng(seed_for(seed, "batches", epoch))
            return generator.permutation(len(self._split_games(split)))

        return self._of_late(("permutation", split, seed, epoch), make)

    def _packing(self, split: str, seed: int, epoch: int, size: int) -> Packing:
        def make() -> Packing:
            games_B = self._split_games(split)[self._permutation(split, seed, epoch)]
            offsets = self.arrays["token_offsets"]
            starts_B = offsets[games_B]
            return Packing.of(starts_B, offsets[games_B + 1] - starts_B, size)

        return self._of_late(("packing", split, seed, epoch, size), make)

    def _n_blocks(self, split: str, seed: int, epoch: int, size: int) -> int:
        key = ("blocks", split, seed, epoch, size)
        if key not in self._memo:
            self._memo[key] = len(self._packing(split, seed, epoch, size))
        return self._memo[key]

    def _of_late(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """What `make` gives, kept; of each kind (the first of its key) the last two are."""
        if key not in self._memo:
            for old in [other for other in self._memo if other[0] == key[0]][:-1]:
                del self._memo[old]
            self._memo[key] = make()
        return self._memo[key]

    @cached_property
    def _memo(self) -> dict[tuple[Any, ...], Any]:
        return {}
