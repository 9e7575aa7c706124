"""The scores of one subject, in memory and in a folder.

    scores.json                 every score: value, interval, parts, details, and the config and version that gave it
    <score>.sums.safetensors    what its intervals were resampled from: sums over every test game
    latents.parquet             a row per latent, with the columns of every score that has any

What tables read from a score's `details`: `by_property` and `groups` hold the numbers of properties and of groups of
properties, each with its `value`, `interval` and `parts`; `headline` is the property that the score's own value is for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from boardgame_sae.config import Count, HookName, Name, Natural, NonNegative, Seed, content_hash, record
from boardgame_sae.files import as_record, read_json, read_parquet, write_json, write_parquet
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.notebook import table
from boardgame_sae.runs.integrity import verified

SCORES_FILE, SUMS_FILE, LATENTS_FILE = "scores.json", "{}.sums.safetensors", "latents.parquet"
SCORE_AGAIN = "score the SAE again"
"""What to do about files that cannot be read."""
Interval = tuple[float, float]


class ScoreValue(NamedTuple):
    """The result of one score."""

    value: float
    """The headline number."""
    interval: Interval | None
    """Its 95% confidence interval, by bootstrap over games; None where there is none."""
    parts: dict[str, Any]
    """Further numbers, by name."""
    details: dict[str, Any]
    """Longer data: by property, by group, by square."""
    intervals: dict[str, Interval] = {}  # noqa: RUF012 (never changed)
    """95% intervals of the parts that have one, by name."""
    config: dict[str, Any] = {}  # noqa: RUF012
    """The score's config, as plain data."""
    version: int = 1
    """The score's version."""
    sums: GameSums | None = None
    """What intervals, those of differences too, are resampled from; saved in a file of its own."""
    latents: dict[str, np.ndarray] | None = None
    """Columns of a table with a row per latent, where the score has any; saved in a file of its own."""

    def __repr__(self) -> str:
        return f"ScoreValue({self.value:.4f}{brackets(self.interval)}, {len(self.parts)} parts)"

    def _repr_html_(self) -> str:
        rows = [("value", self.value, brackets(self.interval))]
        rows += [(name, value, brackets(self.intervals.get(name))) for name, value in self.parts.items()]
        return table("Score", rows, ("", "", "95% interval"))

    def plain(self) -> dict[str, Any]:
        """The part that is written as JSON."""
        return {name: value for name, value in self._asdict().items() if name not in ("sums", "latents")}


@record
class NumberRecord:
    """A number of a property or of a group, in a score's details."""

    value: float
    interval: Interval | None = None
    parts: dict[Name, Any] = field(default_factory=dict)


@record
class DetailsRecord:
    """What tables read of a score's details."""

    headline: Name | None = None
    layout: tuple[tuple[Name, Name, Natural], ...] = ()
    by_property: dict[Name, NumberRecord] = field(default_factory=dict)
    groups: dict[Name, NumberRecord] = field(default_factory=dict)


@record
class ScoreRecord:
    """One score in scores.json; see `ScoreValue`."""

    value: float
    interval: Interval | None
    parts: dict[Name, int | float]
    details: dict[str, Any]
    intervals: dict[Name, Interval] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    version: int = 1


@record
class TestbedRecord:
    """The testbed that a subject was scored on: its `identity`."""

    __test__: ClassVar[bool] = False

    corpus: str
    hook_name: HookName
    n_games: Count
    positions: Name
    properties: Annotated[tuple[Name, ...], Field(min_length=1)]


@record
class SAERecord:
    """The SAE that was scored: its config, and the folder it was in."""

    architecture: Name | None = None
    n_latents: Count | None = None
    seed: Seed | None = None
    sae_folder: Name | None = None


@record
class SubjectRecord:
    """What is read of the subject in scores.json; there is more."""

    name: Name
    kind: Name
    testbed: TestbedRecord | None = None
    l0: NonNegative | None = None
    k: Count | None = None
    sae: SAERecord | None = None
    skipped: dict[Name, str] = field(default_factory=dict)


@record
class ScoresRecord:
    """scores.json."""

    subject: dict[str, Any]
    scores: dict[Name, ScoreRecord]


class Scores(Mapping[str, ScoreValue]):
    """The scores of one subject: `scores["coverage"].value`."""

    def __init__(
        self,
        subject: Mapping[str, Any],
        values: Mapping[str, ScoreValue],
        seconds: Mapping[str, float] | None = None,
        latents: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """subject: plain data about what was scored. seconds: how long each of the scores just computed took.

        latents: columns of the table of latents that came from a folder; columns of the values replace them.
        """
        self.subject, self.values_by_name, self.seconds = dict(subject), dict(values), dict(seconds or {})
        self._saved_latents = dict(latents or {})

    def __getitem__(self, name: str) -> ScoreValue:
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)

    def __repr__(self) -> str:
        values = ", ".join(f"{name} {score.value:.4f}" for name, score in self.items())
        return f"Scores({self.subject.get('name')}: {values})"

    def _repr_html_(self) -> str:
        rows = [(name, score.value, brackets(score.interval) + self._basis(score)) for name, score in self.items()]
        rows += [(name, "skipped", reason) for name, reason in self.subject.get("skipped", {}).items()]
        return table(f"Scores of {self.subject.get('name')}", rows, ("score", "value", "95% interval"))

    @property
    def latents(self) -> dict[str, np.ndarray] | None:
        """The table with a row per latent, joined from all scores that have columns for it; None where none has."""
        tables = [self._saved_latents, *(value.latents or {} for value in self.values())]
        return {name: column for table in tables for name, column in table.items()} or None

    def called(self, name: str) -> "Scores":
        """The same scores under another name."""
        return Scores({**self.subject, "name": name}, self.values_by_name, self.seconds, self._saved_latents)

    def plain(self) -> dict[str, Any]:
        """The subject and the numbers as plain data; neither timings nor what `save` writes beside them."""
        return {"subject": self.subject, "scores": {name: value.plain() for name, value in self.items()}}

    @property
    def content(self) -> str:
        """Hash of all that `plain` gives."""
        return content_hash(self.plain(), 64)

    def to_json(self, path: str | Path) -> None:
        """Write `plain` as JSON."""
        write_json(Path(path), self.plain())

    def save(self, folder: str | Path) -> None:
        """Write the files that this module describes; scores.json last, so that what it names is there."""
        for name, value in self.items():
            if value.sums is not None:
                value.sums.save(Path(folder) / SUMS_FILE.format(name))
        if self.latents is not None:
            write_parquet(Path(folder) / LATENTS_FILE, self.latents)
        self.to_json(Path(folder) / SCORES_FILE)

    @classmethod
    def load(cls, folder: str | Path) -> "Scores":
        """Read what `save` wrote. Raises RunError naming a file that is missing, damaged or changed."""
        verified(folder)
        scores, latents = cls.from_json(Path(folder) / SCORES_FILE), Path(folder) / LATENTS_FILE
        columns = read_parquet(latents, {}, SCORE_AGAIN) if latents.exists() else None
        values = dict(scores)
        for name, value in scores.items():
            path = Path(folder) / SUMS_FILE.format(name)
            if path.exists():
                values[name] = value._replace(sums=GameSums.load(path))
        return cls(scores.subject, values, latents=columns)

    @classmethod
    def from_json(cls, path: str | Path) -> "Scores":
        """Read what `to_json` wrote. Raises RunError naming a file that is missing, damaged or something else."""
        verified(path)
        return cls.from_plain(read_json(Path(path)), str(path))

    @classmethod
    def from_plain(cls, plain: Any, source: str) -> "Scores":
        """What `plain` gave. source: where it was read. Raises RunError naming source and the field at fault."""
        written = as_record(ScoresRecord, plain, source, SCORE_AGAIN)
        as_record(SubjectRecord, written.subject, f"{source}: subject", SCORE_AGAIN)
        for name, score in written.scores.items():
            as_record(DetailsRecord, score.details, f"{source}: scores.{name}.details", SCORE_AGAIN)
        return cls(written.subject, {name: ScoreValue(**vars(score)) for name, score in written.scores.items()})

    def table(self) -> str:
        """The numbers as text, one per line, with their intervals, and why scores were skipped."""
        lines = []
        for name, score in self.items():
            lines.append(f"{name:36}{score.value:12.4f}{brackets(score.interval)}{self._basis(score)}")
            groups = {**score.details.get("by_property", {}), **score.details.get("groups", {})}
            for part, value in score.parts.items():
                if isinstance(value, float):
                    interval = score.intervals.get(part) or groups.get(part, {}).get("interval")
                    lines.append(f"  {part:34}{value:12.4f}{brackets(interval)}")
        lines += [f"{name:36}     skipped: {reason}" for name, reason in self.subject.get("skipped", {}).items()]
        return "\n".join(lines)

    def _basis(self, score: ScoreValue) -> str:
        """How many classes and test positions a score about properties rests on, as the text that follows it."""
        classes = self.subject.get("classes", {}).get(score.details.get("headline"))
        if classes is None:
            return ""
        scored, known = classes
        n_positions = self.subject["positions"]["test"]
        return f"  on {scored} of {known} classes of {score.details['headline']}, {n_positions:,} positions"


def brackets(interval: Sequence[float] | None) -> str:
    """An interval as the text that follows its value; nothing where there is none."""
    return f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else ""
