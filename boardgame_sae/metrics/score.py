"""Scores: numbers about an SAE, each with a name, a meaning, a range and a source; the registry; and `evaluate`.

A score is a function of a `Subject` (an SAE, or a baseline, on a testbed). Register one and it appears in every
suite it names, in every table and on the report's axes.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from boardgame_sae.activations.testbed import Testbed
from boardgame_sae.metrics.latents import Latents, as_latents
from boardgame_sae.runs import read_json, write_json

SUITES = ("quick", "supervised", "saebench", "causal", "all")
ROWS_AT_ONCE = 8192


class ScoreValue(NamedTuple):
    """What a score found."""

    value: float
    """The headline number."""
    interval: tuple[float, float] | None
    """95% confidence interval of it, by bootstrap over games; None where there is none."""
    parts: dict[str, Any]
    """Numbers that stand beside it, by name."""
    details: dict[str, Any]
    """Longer data: by property, by latent."""


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
    needs_decoder: bool
    """Whether only something that reconstructs activations can be scored."""
    function: Callable[["Subject"], ScoreValue]


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
    needs_decoder: bool = False,
) -> Callable[[F], F]:
    """Register a function of a subject as a score."""

    def keep(function: F) -> F:
        _scores[name] = Score(name, title, meaning, low, high, better, source, suites, needs_decoder, function)
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
    """`sae`, `random_gpt_sae`, or the baseline it is: `probe`, `neurons`, `residual`."""
    encoder: Any
    """An object with `encode(x)`, and `decode(z)` and `W_dec` if it reconstructs."""
    testbed: Testbed
    """Where its activations come from."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Plain data to keep with its scores: config, folder."""

    def __post_init__(self) -> None:
        self._latents: dict[str, Latents] = {}

    def latents(self, split: str) -> Latents:
        """Its latents at a split's scored positions, computed once."""
        if split not in self._latents:
            self._latents[split] = self._encode(self.testbed.activations(split))
        return self._latents[split]

    @torch.no_grad()
    def _encode(self, acts_ND: Tensor) -> Latents:
        device = self.testbed.model.gpt.device
        parts = [as_latents(self.encoder.encode(part.to(device)).cpu()) for part in acts_ND.split(ROWS_AT_ONCE)]
        return Latents.concatenate(parts)

    @cached_property
    def max_activation_F(self) -> Any:
        """m_f: each latent's largest activation on train, at the scored positions."""
        return self.latents("train").max_F()


class Scores(Mapping[str, ScoreValue]):
    """The scores of one subject: `scores["coverage"].value`."""

    def __init__(
        self, subject: Mapping[str, Any], values: Mapping[str, ScoreValue], seconds: Mapping[str, float]
    ) -> None:
        self.subject, self.values_by_name, self.seconds = dict(subject), dict(values), dict(seconds)

    def __getitem__(self, name: str) -> ScoreValue:
        return self.values_by_name[name]

    def __iter__(self) -> Any:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)

    def to_json(self, path: str | Path) -> None:
        """Write everything but the timings as JSON."""
        write_json(Path(path), {"subject": self.subject, "scores": {n: v._asdict() for n, v in self.items()}})

    @classmethod
    def from_json(cls, path: str | Path) -> "Scores":
        """Read what `to_json` wrote."""
        data = read_json(Path(path))
        values = {name: ScoreValue(**value) for name, value in data["scores"].items()}
        pairs = {name: tuple(found.interval) if found.interval else None for name, found in values.items()}
        return cls(data["subject"], {n: v._replace(interval=pairs[n]) for n, v in values.items()}, {})

    def table(self) -> str:
        """The numbers as text, one a line."""
        lines = []
        for name, found in self.items():
            interval = f"  [{found.interval[0]:.4f}, {found.interval[1]:.4f}]" if found.interval else ""
            lines.append(f"{name:32}{found.value:9.4f}{interval}")
            lines += [f"  {part:30}{value:9.4f}" for part, value in found.parts.items() if isinstance(value, float)]
        return "\n".join(lines)


def evaluate(
    sae: Any,
    testbed: Testbed,
    suite: str = "supervised",
    *,
    name: str | None = None,
    kind: str = "sae",
    facts: dict[str, Any] | None = None,
) -> Scores:
    """Score an SAE (any object with encode, decode, W_dec) on a testbed.

    suite: quick, supervised, saebench, causal or all. Raises ValueError for another suite, or an SAE whose width is
    not the hook point's.
    """
    if suite not in SUITES:
        raise ValueError(f"unknown suite '{suite}'; the suites are {', '.join(SUITES)}")
    width = getattr(getattr(sae, "W_dec", None), "shape", (0, testbed.width))[-1]
    if width != testbed.width:
        raise ValueError(
            f"an SAE of width {width} cannot be scored at {testbed.hook_name}, whose activations have width "
            f"{testbed.width}; choose the hook point it was trained on"
        )
    if isinstance(sae, torch.nn.Module):
        sae = sae.to(testbed.model.gpt.device)
    subject = Subject(name or type(sae).__name__, kind, sae, testbed, facts or {})
    values, seconds = {}, {}
    for each in scores().values():
        if (suite == "all" or suite in each.suites) and (hasattr(sae, "decode") or not each.needs_decoder):
            began = time.perf_counter()
            values[each.name] = each.function(subject)
            seconds[each.name] = time.perf_counter() - began
    splits = {split: len(testbed.positions(split)) for split in ("train", "validation", "test")}
    about = {"name": subject.name, "kind": kind, "suite": suite, "testbed": testbed.identity, "positions": splits}
    return Scores({**about, **subject.facts}, values, seconds)
