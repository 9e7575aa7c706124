"""A testbed: model, hook point, corpus splits and labels. It is the ground truth that an SAE is scored on."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar, TypeVarTuple

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.activations.hook_points import default_hook_name, hook_width, read, run_with_hooks
from boardgame_sae.activations.store import ActivationStore, harvest_run
from boardgame_sae.config import content_hash, from_mapping, naming
from boardgame_sae.files import RunError, write_json
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import Hook
from boardgame_sae.notebook import table
from boardgame_sae.probes.fit import PROBES_FILE, ProbeConfig, load_probe, probe_results, probe_run
from boardgame_sae.probes.probe import Probe
from boardgame_sae.runs import Run, progress
from boardgame_sae.runs.integrity import verified
from boardgame_sae.testbeds.columns import MIN_COUNT, PropertyColumns, Span, few_of
from boardgame_sae.testbeds.shared import SharedTestbed
from boardgame_sae.testbeds.shipped import MANIFEST_FILE, PROBES, find_testbed, read_manifest
from boardgame_sae.transcripts.corpus import SPLITS, Corpus
from boardgame_sae.transcripts.labels import (
    PackedLabels,
    Positions,
    open_labels,
    positions,
    property_labels,
    resolve_read_at,
    write_labels,
)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
LABELS_FILE = "{}_labels.h5"
GAMES_AT_ONCE = 128
"""Games that are read, encoded and counted together."""
KEPT_BYTES = 2**30
"""Bytes of a testbed's activations, and of packed labels, that stay in memory; beyond that they are read again."""


class Testbed(SharedTestbed["Testbed"]):
    """A model, a hook point, the games to score on and the truth about every position of them."""

    __test__ = False  # not a test class, although pytest collects names like this

    def __init__(
        self,
        model: GameModel,
        corpus: Corpus,
        hook_name: str | None = None,
        *,
        properties: Sequence[str] = (),
        n_games: int = 1000,
        positions: str | None = None,
        labels: dict[str, dict[str, PackedLabels]] | None = None,
    ) -> None:
        """Make a testbed.

        hook_name: default the residual stream two thirds up. properties: names (default those the game scores; the
        first is the headline). n_games: games per split; fewer if the split has fewer. positions: where boards are
        read, `ply` or a place of the game's notation (default the game's).
        Raises HookError for a bad hook point, ValueError for a corpus of another game, an unknown property or place.
        """
        if model.alphabet != corpus.alphabet:
            raise ValueError(f"{corpus.path}: its alphabet is not the model's; give the corpus of the model's own game")
        self.model, self.corpus, self.n_games = model, corpus, n_games
        self.hook_name = hook_name or default_hook_name(model.gpt)
        self.width = hook_width(model.gpt, self.hook_name)
        self.properties = tuple(properties) or corpus.game.scored_properties
        for name in self.properties:
            corpus.game.property(name)
        self.read_at = resolve_read_at(corpus.game, corpus.tokenizer, positions)
        self.probes: dict[str, Probe] = {}
        """Linear probes of this hook point by property, where there are any."""
        self._probe_folders: tuple[Path, ...] = ()
        self._labels = labels if labels is not None else {}
        self._where: dict[str, Positions] = {}
        self._acts: dict[str, Tensor] = {}
        self._bytes_left = KEPT_BYTES
        self._computed: dict[Any, Any] = {}

    def __repr__(self) -> str:
        return f"Testbed({self.corpus.game.spec}, {self.hook_name}, {', '.join(self.properties)})"

    def _repr_html_(self) -> str:
        gpt, games = self.model.gpt.cfg, {split: len(self.positions(split).games_B) for split in SPLITS}
        rows = [
            ("game", self.corpus.game.spec),
            ("GPT", f"{gpt.n_layers} layers of width {gpt.d_model}"),
            ("hook point", f"{self.hook_name}, width {self.width}"),
            ("properties", ", ".join(f"{columns.name} ({len(columns.class_names)})" for columns in self.columns)),
            ("boards are read at", self.read_at),
            ("games", ", ".join(f"{n:,} {split}" for split, n in games.items())),
            ("probes", ", ".join(self.probes) or "none"),
        ]
        return table("Testbed", rows)

    def once(self, function: Callable[["Testbed", *Ts], T], *args: *Ts) -> T:
        """A function's result for this testbed and these arguments, computed once, for all scores of all SAEs."""
        key = (function, args)
        if key not in self._computed:
            self._computed[key] = function(self, *args)
        return self._computed[key]

    @property
    def identity(self) -> dict[str, object]:
        """What the testbed is made of, as plain data."""
        return {
            "model": self.model.hash,
            "corpus": self.corpus.hash_for(self.properties),
            "hook_name": self.hook_name,
            "properties": list(self.properties),
            "n_games": self.n_games,
            "positions": self.read_at,
        }

    @property
    def hash(self) -> str:
        """Hash of `identity`: how the testbed was made."""
        return content_hash(self.identity)

    @property
    def made_of(self) -> dict[str, str]:
        """Hashes of what its GPT and its corpus hold now."""
        return {"model": self.model.content, "corpus": self.corpus.content_for(self.properties)}

    @property
    def content(self) -> str:
        """Hash of what scores depend on, however its GPT and its corpus were made."""
        return content_hash({**self.identity, **self.made_of})

    @cached_property
    def columns(self) -> tuple[PropertyColumns, ...]:
        """The columns of `labels`, property by property."""
        columns, start = [], 0
        for name in self.properties:
            prop = self.corpus.game.property(name)
            n_squares = len(self.corpus.game.squares)
            on_board = prop.shape[:2] == self.corpus.game.shape
            square_P = np.arange(prop.size) * n_squares // prop.size if on_board else np.full(prop.size, -1)
            stop = start + prop.size
            class_names = tuple(prop.class_names)
            columns.append(PropertyColumns(name, prop.level, start, stop, class_names, square_P, bool(prop.needs)))
            start = stop
        return tuple(columns)

    def positions(self, split: str) -> Positions:
        """The scored positions of a split."""
        if split not in self._where:
            games_B = self.corpus.games(split)[: self.n_games]
            self._where[split] = positions(self.corpus, games_B, self.read_at, self.model.gpt.cfg.n_ctx)
        return self._where[split]

    def spans(self, split: str) -> list[Span]:
        """A split's scored positions, GAMES_AT_ONCE games at a time.

        Raises ValueError when the split has no position.
        """
        where = self.positions(split)
        if not len(where):
            raise ValueError(
                f"{self.corpus.path}: none of the {len(where.games_B)} {split} games has a scored position "
                f"(`{self.read_at}`); give a corpus with more games, or another place"
            )
        firsts = range(0, len(where.games_B), GAMES_AT_ONCE)
        starts = [*np.searchsorted(where.game_N, firsts).tolist(), len(where)]
        counts = [min(GAMES_AT_ONCE, len(where.games_B) - first) for first in firsts]
        spans = [Span(*fields) for fields in zip(starts, starts[1:], firsts, counts, strict=False)]
        return [span for span in spans if span.stop > span.start]

    def _shown(self, split: str, what: str) -> Iterator[Span]:
        """A split's spans, with a progress bar where they take longer than a moment."""
        with progress(len(self.positions(split)), f"{what} of {split}", "positions", leave=False, after=1.0) as bar:
            for span in self.spans(split):
                yield span
                bar.update(span.stop - span.start)

    def labels(self, split: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """bool (n, P): every scored property's classes at positions start, ..., stop - 1, in the order of `columns`."""
        where = self.positions(split)
        stop = len(where) if stop is None else stop
        if split not in self._labels and len(where) * self.columns[-1].stop <= 8 * KEPT_BYTES:
            parts = [
                {name: PackedLabels.of(labels) for name, labels in self._compute(split, *span[:2]).items()}
                for span in self._shown(split, "labels")
            ]
            self._labels[split] = {
                name: PackedLabels.concatenate([part[name] for part in parts]) for name in self.properties
            }
        if split in self._labels:
            by_property = [self._labels[split][name].rows(start, stop) for name in self.properties]
        else:
            by_property = list(self._compute(split, start, stop).values())
        return np.concatenate([labels.reshape(stop - start, -1) for labels in by_property], axis=1)

    def _compute(self, split: str, start: int, stop: int) -> dict[str, np.ndarray]:
        return property_labels(self.corpus, self.positions(split).rows(start, stop), self.properties)

    @cached_property
    def supported_P(self) -> np.ndarray:
        """bool (P,): columns true and false at least MIN_COUNT times in every split."""
        supported = np.ones(self.columns[-1].stop, dtype=bool)
        sizes = [columns.stop - columns.start for columns in self.columns]
        for split in SPLITS:
            true_P, known_P = np.zeros(len(supported), np.int64), np.zeros(len(supported), np.int64)
            for start, stop, *_ in self.spans(split):
                labels_NP = self.labels(split, start, stop)
                true_P += labels_NP.sum(0)
                known_P += np.repeat([columns.known(labels_NP).sum() for columns in self.columns], sizes)
            supported &= (true_P >= MIN_COUNT) & (known_P - true_P >= MIN_COUNT)
        return supported

    @property
    def n_classes(self) -> dict[str, tuple[int, int]]:
        """Of each property, how many classes are supported, and how many it has."""
        supported = {columns.name: self.supported_P[columns.start : columns.stop] for columns in self.columns}
        return {name: (int(supported_C.sum()), len(supported_C)) for name, supported_C in supported.items()}

    @property
    def few_classes(self) -> str:
        """What to warn of where scores of the headline rest on a tenth of its classes or fewer; else nothing."""
        return few_of(self.properties[0], *self.n_classes[self.properties[0]])

    def activations(self, split: str) -> Tensor:
        """The hook point's activations at a split's scored positions: float32 (N, width) on the CPU; kept."""
        if split not in self._acts:
            acts_ND = torch.cat([self._read(split, *span[:2]) for span in self._shown(split, "activations")])
            self._acts[split], self._bytes_left = acts_ND, self._bytes_left - acts_ND.nbytes
        return self._acts[split]

    def read(self, split: str, start: int, stop: int, *, keep: bool = True) -> Tensor:
        """Activations of positions start, ..., stop - 1. keep: read and keep the whole split if there is room."""
        fits = keep and 4 * len(self.positions(split)) * self.width <= self._bytes_left
        if split in self._acts or fits:
            return self.activations(split)[start:stop]
        return self._read(split, start, stop)

    @torch.no_grad()
    def _read(self, split: str, start: int, stop: int) -> Tensor:
        where, gpt = self.positions(split).rows(start, stop), self.model.gpt
        tokens_BL = torch.from_numpy(self.corpus.rows(where.games_B, gpt.cfg.n_ctx)[0][:, :-1]).to(gpt.device)
        acts_BLD = read(gpt, tokens_BL, [self.hook_name])[self.hook_name].float().cpu()
        return acts_BLD[where.game_N, where.token_N]

    def run_with_hooks(self, games: str | Sequence[str] | Tensor, hooks: Mapping[str, Hook] | None = None) -> Tensor:
        """What the GPT predicts after every token of some games while hooks read or change its activations.

        games: the moves of one game, or of several of one length, as the game writes them; or token ids (B, L).
        hooks: functions by hook point. Each gets the activations (B, L, ...) there and returns what replaces them, of
        the same shape, or None to leave them: `{"blocks.3.hook_resid_post": saes.hooks.splice(sae)}`.
        Returns logits (B, L, alphabet), without gradients; `model.alphabet` says what each token is.
        Raises HookError for a hook point that there is not or a replacement of another shape, IllegalMove for games
        that cannot be played, ValueError for games of different lengths or beyond the GPT's context.
        """
        tokens_BL = games if isinstance(games, Tensor) else self.model.encode(games)
        return run_with_hooks(self.model.gpt, tokens_BL, hooks or {})

    def probe(self, hook_name: str | None = None, property: str | None = None, **settings: Any) -> Probe:
        """A linear probe of a property at a hook point, with named labels: `probe.direction("d3 mine")`.

        hook_name, property: default the testbed's own, and what stands on every square. settings: fields of
        ProbeConfig. A probe that the testbed's folder holds is loaded; another is fitted on train games, once: the run
        is kept and reused.
        Raises HookError, ValueError for a property that the game does not have, ConfigError for a bad setting.
        """
        hook_name, name = hook_name or self.hook_name, property or self.corpus.game.board_property
        labels = tuple(self.corpus.game.property(name).class_names)
        hook_width(self.model.gpt, hook_name)
        held = () if settings else self._probe_folders
        folder = next((folder for folder in held if self._holds(folder, name, hook_name)), None)
        if folder is None:
            cfg = {"property": name, "hook_names": [hook_name], "positions": self.read_at, **settings}
            folder = probe_run(self.model, self.corpus, from_mapping(ProbeConfig, cfg, "probe"))
        return replace(load_probe(folder, hook_name), labels=labels)

    def at(self, hook_name: str) -> "Testbed":
        """The same model, games and truth, read at another hook point."""
        return self._sibling(self.model, hook_name)

    def random_twin(self, seed: int = 0) -> "Testbed":
        """The same testbed around a GPT with random weights."""
        return self._sibling(self.model.random_twin(seed), self.hook_name)

    @cached_property
    def everywhere(self) -> "Testbed":
        """The same at every token of half as many games: what the published code measures a latent's scale on."""
        n_games = max(1, len(self.positions("train").games_B) // 2)
        own = {"properties": self.properties, "n_games": n_games, "positions": "token"}
        return Testbed(self.model, self.corpus, self.hook_name, **own)

    def _sibling(self, model: GameModel, hook_name: str) -> "Testbed":
        what = {"properties": self.properties, "n_games": self.n_games, "positions": self.read_at}
        other = Testbed(model, self.corpus, hook_name, **what, labels=self._labels)
        other._where = self._where
        return other

    def harvest(
        self, n_activations: int, dtype: Literal["float16", "float32"] = "float32", out: str | Path | None = None
    ) -> ActivationStore:
        """At least n_activations train activations at the hook point, from disk (harvested first if need be).

        Raises RunError for a full disk or activations that float16 cannot hold.
        """
        return ActivationStore.open(
            harvest_run(self.model, self.corpus, self.hook_name, n_activations=n_activations, dtype=dtype, out=out)
        )

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto") -> "Testbed":
        """Open a testbed's folder.

        Raises RunError or CorpusError naming what is missing or damaged, or was changed since the testbed was made.
        Labels that the folder does not hold are computed when they are needed. Probes of the hook point that lie in its
        `probes/` are loaded into `probes`.
        """
        folder = Path(folder)
        verified(folder)
        manifest = read_manifest(folder)
        model, corpus = GameModel.load(folder / manifest.model, device), Corpus.open(folder / manifest.corpus)
        own = {"properties": manifest.properties, "n_games": manifest.n_games, "positions": manifest.positions}
        with naming(str(folder / MANIFEST_FILE)):
            testbed = cls(model, corpus, manifest.hook_name, **own)
        made_of = testbed.made_of
        for part, now in made_of.items():
            if manifest.content.get(part) != now:
                raise RunError(
                    f"{folder / getattr(manifest, part)}: the {part} has changed since the testbed {folder} was made "
                    f"from it; restore the {part}, or make another testbed from it with `boardgame-sae testbed`"
                )
        for split in SPLITS:
            path = folder / LABELS_FILE.format(split)
            if path.exists():
                testbed._labels[split] = labels = open_labels(path, made_of)
                if lacking := [name for name in testbed.properties if name not in labels]:
                    raise RunError(f"{path}: has no labels of {', '.join(lacking)}; make the testbed again")
        testbed._probe_folders = tuple(path.parent for path in sorted((folder / PROBES).glob(f"*/{PROBES_FILE}")))
        for probes in testbed._probe_folders:
            name = probe_results(probes)["property"]
            if name in testbed.properties and testbed._holds(probes, name, testbed.hook_name):
                testbed.probes[name] = load_probe(probes, testbed.hook_name)
        return testbed

    def _holds(self, folder: Path, name: str, hook_name: str) -> bool:
        """Whether a folder's probes are of this property and hook point, and of all positions where boards are read."""
        about = probe_results(folder)
        here = about["property"] == name and about["positions"] == self.read_at and not about["min_ply"]
        return here and hook_name in about["hook_points"]


def testbed_run(
    model_folder: str | Path,
    corpus_folder: str | Path,
    *,
    hook_name: str | None = None,
    properties: Sequence[str] = (),
    n_games: int = 1000,
    positions: str | None = None,
    name: str | None = None,
    out: str | Path | None = None,
    device: str = "auto",
) -> Path:
    """Make a testbed's folder, its manifest and the labels of every scored position; reused when done.

    Raises as `Testbed` does, RunError or CorpusError for a model or corpus that cannot be read.
    """
    model, corpus = GameModel.load(model_folder, device), Corpus.open(corpus_folder)
    testbed = Testbed(model, corpus, hook_name, properties=properties, n_games=n_games, positions=positions)
    config = {key: value for key, value in testbed.identity.items() if key not in ("model", "corpus")}
    inputs = {"model": model.hash, "corpus": corpus.hash_for(testbed.properties)}
    made_of = testbed.made_of
    with Run("testbed", name or corpus.game.name, config, inputs, out, content=made_of) as run:
        if not run.done:
            for split in SPLITS:
                testbed.labels(split)
                write_labels(run / LABELS_FILE.format(split), testbed._labels[split], made_of)
            paths = {"model": Path(model_folder).resolve(), "corpus": Path(corpus_folder).resolve()}
            places = {part: os.path.relpath(path, run.folder.resolve()) for part, path in paths.items()}
            write_json(run / MANIFEST_FILE, {**config, **places, "content": made_of})
            run.finish(n_supported=int(testbed.supported_P.sum()), n_columns=len(testbed.supported_P))
        return run.folder


def load_testbed(folder: str | Path, device: str = "auto") -> Testbed:
    """Open a testbed by its folder, the name of one that ships, `othello-small`, or of one on the hub, `hf:owner/name`.

    device: where the GPT computes: `auto`, `cpu`, ... Raises RunError or CorpusError naming what is missing or damaged.
    """
    return Testbed.load(find_testbed(folder), device)
