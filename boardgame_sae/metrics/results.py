"""What scores found about one subject, in memory and in a folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from boardgame_sae.files import read_json, write_json, write_parquet
from boardgame_sae.metrics.counting.game_counts import GameCounts

SCORES_FILE, COUNTS_FILE, LATENTS_FILE = "scores.json", "{}.counts.safetensors", "latents.parquet"


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
