"""Scores: numbers about an SAE, each with a name, a meaning, a range and a source; the registry; and `evaluate`.

A score is a function of a `Subject` (an SAE, or a baseline, on a testbed). Register one and it appears in every
suite it names, in every table and on the report's axes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.registry import Registry

SUITES = ("quick", "supervised", "saebench", "causal", "all")


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

_SCORES: Registry[Score] = Registry("score", "boardgame_sae.metrics")
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
        _SCORES.add(name, Score(name, title, meaning, low, high, better, source, suites, needs, function))
        return function

    return keep


def scores() -> dict[str, Score]:
    """The registered scores by name, suite by suite."""
    found = _SCORES.all()
    return dict(sorted(found.items(), key=lambda pair: SUITES.index(pair[1].suites[-1])))
