"""Scores: numbers about an SAE, each with a name, a meaning, a range and a source; the registry; and `evaluate`.

A score is a function of a `Subject` (an SAE, or a baseline, on a testbed). Register one and it appears in every
suite it names, in every table and on the report's axes.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from boardgame_sae.activations.testbed import Span, Testbed
from boardgame_sae.launch import keep_freed_memory
from boardgame_sae.metrics.bootstrap import LEVEL, N_RESAMPLES, SEED
from boardgame_sae.metrics.encoder import Encoder, as_encoder
from boardgame_sae.metrics.game_counts import GameCounts
from boardgame_sae.metrics.latents import Latents
from boardgame_sae.runs import read_json, write_json, write_parquet
from boardgame_sae.transcripts.corpus import SPLITS

SCORES_FILE, COUNTS_FILE, LATENTS_FILE = "scores.json", "{}.counts.safetensors", "latents.parquet"
SUITES = ("quick", "supervised", "saebench", "causal", "all")
ROWS_AT_ONCE = 1024
"""Positions that are encoded at once: their dense latents are small enough for memory to be used again."""
MAX_BYTES = 2**31
"""Memory for one subject's latents and counts, unless told otherwise."""


class ScoreValue(NamedTuple):
    """What a score found."""

    value: float
    """The headline number."""
    interval: tuple[float, float] | None
    """95% confidence interval of it, by bootstrap over games; None where there is none."""
    parts: dict[str, Any]
    """Numbers that stand beside it, by name."""
    details: dict[str, Any]
    """Longer data: by property, by group, by square."""
    counts: GameCounts | None = None
    """What the interval was resampled from, for intervals of differences; kept beside the scores, not among them."""

    def plain(self) -> dict[str, Any]:
        """What is written as JSON."""
        return {name: value for name, value in self._asdict().items() if name != "counts"}


@dataclass(frozen=True)
class Score:
    """A registered score."""

    name: str
    title: str
    meaning: str
    low: float
    high: float
    better: Literal["higher", "lower"]
    source: str
    suites: tuple[str, ...]
    needs: tuple[str, ...]
    """What a subject must have to be scored, of NEEDS."""
    function: Callable[["Subject"], ScoreValue]


NEEDS: dict[str, tuple[Callable[["Subject"], bool], str]] = {
    "decode": (lambda subject: subject.encoder.decode is not None, "it does not give back the activations it reads"),
    "W_dec": (
        lambda subject: subject.encoder.W_dec is not None and subject.encoder.decode is not None,
        "it has no decoder rows (`W_dec`) at the hook point it reads",
    ),
    "probes": (
        lambda subject: bool(subject.testbed.probes),
        "the testbed has no probes; `boardgame-sae score` fits them, `testbed.probes` takes them",
    ),
}
"""What a score may need: how to see that a subject has it, and what to say where it has not."""

_scores: dict[str, Score] = {}
F = TypeVar("F", bound=Callable[["Subject"], ScoreValue])


def score(
    name: str,
    *,
    title: str,
    meaning: str,
    source: str,
    suites: tuple[str, ...],
    low: float = 0.0,
    high: float = 1.0,
    better: Literal["higher", "lower"] = "higher",
    needs: tuple[str, ...] = (),
) -> Callable[[F], F]:
    """Register a function of a subject as a score."""

    def keep(function: F) -> F:
        _scores[name] = Score(name, title, meaning, low, high, better, source, suites, needs, function)
        return function

    return keep


def scores() -> dict[str, Score]:
    """The registered scores by name."""
    import boardgame_sae.metrics.every  # noqa: F401 (importing the modules registers them)

    return dict(_scores)


@dataclass(eq=False)
class Subject:
    """Something that turns a testbed's activations into latents."""

    name: str
    """What tables call it."""
    kind: str
    """`sae`, `random_gpt_sae`, or the baseline it is: `probe`, `sparse_probe`, `neurons`,
    `residual`."""
    given: Any
    """What is scored: anything that `as_encoder` takes."""
    testbed: Testbed
    """Where its activations come from."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Plain data to keep with its scores: config, folder."""
    full: bool = True
    """Whether the numbers of published code are wanted too, which cost another pass."""
    max_bytes: int = MAX_BYTES
    """What its latents and the counts of them may take in memory; see `evaluate`."""
    kept: dict[str, Any] = field(default_factory=dict)
    """What several scores make use of, computed by the first of them."""

    def __post_init__(self) -> None:
        self.encoder: Encoder = as_encoder(self.given, self.testbed, self.name)
        self._latents: dict[str, list[Latents]] = {}
        self._in_memory, self._folder = 0, None

    def latents(self, split: str) -> list[Latents]:
        """Its latents at a split's scored positions, for each of the testbed's spans; computed once.

        Beyond half of `max_bytes` they lie in temporary files.
        """
        if split not in self._latents:
            found = []
            for number, span in enumerate(self.testbed.spans(split)):
                part = self._encode(self.testbed, split, span)
                self._in_memory += part.nbytes
                found.append(
                    part if self._in_memory <= self.max_bytes // 2 else part.on_disk(self._file(split, number))
                )
            self._latents[split] = found
        return self._latents[split]

    @cached_property
    def l0(self) -> float:
        """Mean number of latents on at a scored test position."""
        parts = self.latents("test")
        return sum(len(part.values_Z) for part in parts) / sum(part.n_positions for part in parts)

    @cached_property
    def reference_max_F(self) -> np.ndarray:
        """m_f as published: each latent's largest activation at any token of half of the train games.

        Of latents that were given, as nothing is known of other tokens, at the scored positions of these games.
        """
        everywhere, scored = self.testbed.everywhere, self.testbed.positions("train").game_N
        n_scored = int(np.searchsorted(scored, everywhere.n_games))
        if self.encoder.is_table or n_scored == len(everywhere.positions("train")):
            stop_of = zip(self.testbed.spans("train"), self.latents("train"), strict=True)
            known = [latents.select_rows(np.arange(span.start, span.stop) < n_scored) for span, latents in stop_of]
            return np.max([part.max_F() for part in known], axis=0)
        return np.max([self._encode(everywhere, "train", span).max_F() for span in everywhere.spans("train")], axis=0)

    def _encode(self, testbed: Testbed, split: str, span: Span) -> Latents:
        if self.encoder.is_table:
            return self.encoder.read(split, span.start, span.stop)
        acts_ND, parts = testbed.read(split, span.start, span.stop), []
        for first in range(0, len(acts_ND), ROWS_AT_ONCE):
            some_ND = acts_ND[first : first + ROWS_AT_ONCE]
            parts.append(self.encoder.read(split, first, first + len(some_ND), some_ND))
        return Latents.concatenate(parts)

    def _file(self, split: str, number: int) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="latents-")
        return Path(self._folder.name) / f"{split}-{number}"


class Scores(Mapping[str, ScoreValue]):
    """The scores of one subject: `scores["coverage"].value`."""

    def __init__(
        self, subject: Mapping[str, Any], values: Mapping[str, ScoreValue], seconds: Mapping[str, float]
    ) -> None:
        self.subject, self.values_by_name, self.seconds = dict(subject), dict(values), dict(seconds)
        self.latents: dict[str, np.ndarray] | None = None
        """A table with a row for each latent: the class it tells best, and how well (see `cards`)."""

    def __getitem__(self, name: str) -> ScoreValue:
        return self.values_by_name[name]

    def __iter__(self) -> Any:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)

    def to_json(self, path: str | Path) -> None:
        """Write the numbers as JSON; neither timings nor what `save` writes beside them."""
        write_json(Path(path), {"subject": self.subject, "scores": {n: v.plain() for n, v in self.items()}})

    def save(self, folder: str | Path) -> None:
        """Write a folder: scores.json, counts of every game (<score>.counts.safetensors), latents.parquet."""
        self.to_json(Path(folder) / SCORES_FILE)
        for name, found in self.items():
            if found.counts is not None:
                found.counts.save(Path(folder) / COUNTS_FILE.format(name))
        if self.latents is not None:
            write_parquet(Path(folder) / LATENTS_FILE, self.latents)

    @classmethod
    def load(cls, folder: str | Path) -> "Scores":
        """Read what `save` wrote, but the table of latents. Raises RunError naming a file that is damaged."""
        found = cls.from_json(Path(folder) / SCORES_FILE)
        for name, value in found.items():
            path = Path(folder) / COUNTS_FILE.format(name)
            if path.exists():
                found.values_by_name[name] = value._replace(counts=GameCounts.load(path))
        return found

    @classmethod
    def from_json(cls, path: str | Path) -> "Scores":
        """Read what `to_json` wrote."""
        data = read_json(Path(path))
        values = {name: ScoreValue(**value) for name, value in data["scores"].items()}
        pairs = {name: tuple(found.interval) if found.interval else None for name, found in values.items()}
        return cls(data["subject"], {n: v._replace(interval=pairs[n]) for n, v in values.items()}, {})

    def table(self) -> str:
        """The numbers as text, one a line, with their intervals."""
        lines = []
        for name, found in self.items():
            lines.append(f"{name:36}{found.value:12.4f}{brackets(found.interval)}")
            inside = {**found.details.get("by_property", {}), **found.details.get("groups", {})}
            for part, value in found.parts.items():
                if isinstance(value, float):
                    lines.append(f"  {part:34}{value:12.4f}{brackets(inside.get(part, {}).get('interval'))}")
        return "\n".join(lines)


def brackets(interval: Sequence[float] | None) -> str:
    """An interval as the text that follows its value; nothing where there is none."""
    return f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else ""


def evaluate(
    sae: Any,
    testbed: Testbed,
    suite: str = "supervised",
    *,
    name: str | None = None,
    kind: str = "sae",
    facts: dict[str, Any] | None = None,
    max_bytes: int = MAX_BYTES,
) -> Scores:
    """Score an SAE on a testbed.

    sae: an SAE or transcoder of ours, SAELens or dictionary_learning, or its folder; any object with `encode` (and
        `decode` and `W_dec`, where it has them); or latents, (positions, n_latents); see `encoder.as_encoder`.
    suite: quick, supervised, saebench, causal or all.
    name, kind, facts: what tables call it, what it is, and plain data to keep with its scores.
    max_bytes: what its latents and the counts of them may take in memory, whatever the number of positions, latents
        and properties. Latents beyond half of it lie in temporary files; counts beyond a quarter are made for a few
        latents at a time. Not counted: the model, the activations and labels that the testbed keeps
        (`testbed.KEPT_BYTES`), and one batch of activations and latents.
    What cannot be scored is left out; `subject["skipped"]` says why.
    Raises ValueError for another suite, and where widths, hook points or shapes do not fit.
    """
    if suite not in SUITES:
        raise ValueError(f"unknown suite '{suite}'; the suites are {', '.join(SUITES)}")
    keep_freed_memory()
    subject = Subject(name or _name(sae), kind, sae, testbed, facts or {}, full=suite != "quick", max_bytes=max_bytes)
    values, seconds, skipped = dict[str, ScoreValue](), dict[str, float](), dict[str, str]()
    for each in scores().values():
        if suite not in ("all", *each.suites):
            continue
        lacking = [reason for has, reason in (NEEDS[need] for need in each.needs) if not has(subject)]
        if lacking:
            skipped[each.name] = lacking[0]
            continue
        began = time.perf_counter()
        values[each.name] = each.function(subject)
        seconds[each.name] = time.perf_counter() - began
    splits = {split: len(testbed.positions(split)) for split in SPLITS}
    about = {"name": subject.name, "kind": kind, "suite": suite, "testbed": testbed.identity, "positions": splits}
    about |= {"chosen_on": ["train", "validation"], "reported_on": "test", "l0": subject.l0, "skipped": skipped}
    about["interval"] = {"over": "games", "level": LEVEL, "n_resamples": N_RESAMPLES, "seed": SEED}
    found = Scores({**about, **subject.facts}, values, seconds)
    found.latents = subject.kept.get("latents")
    return found


def _name(sae: Any) -> str:
    return Path(sae).name if isinstance(sae, str | Path) else type(sae).__name__
