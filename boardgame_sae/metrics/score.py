"""Scores: numbers about an SAE, each with a name, a meaning, a range and a source; the registry; and `evaluate`.

A score is a function of a `Subject` (an SAE, or a baseline, on a testbed). Register one and it appears in every
suite it names, in every table and on the report's axes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeVar

from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.registry import Registry

SUITES = ("quick", "supervised", "saebench", "causal", "all")


class Chance(NamedTuple):
    """What a score would be by luck alone."""

    part: str
    """The part that holds it. Of another number beside the score, `x`, it is `x_<part>`."""
    shared: bool = True
    """Whether it is the same for every subject of a testbed: then it is a line of tables and figures by itself, else it
    stands beside each subject's value."""


@dataclass(frozen=True)
class Display:
    """How tables, figures and the page show a score. A score that says nothing of it is shown everywhere all the same.

    An ending is what follows the score's name in the name of a table's column: `_above_chance` of a part, `.high` of
    a group, `.fork` of a property, nothing of the value itself.
    """

    main: bool = False
    """Whether summaries and testbeds' cards give it. The first main score ranks SAEs: it says which is the best."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Titles of numbers beside the value, after the score's own: `Coverage: above chance`. Default: their names."""
    titles: Mapping[str, str] = field(default_factory=dict)
    """Titles of those that are known by one of their own: `Explained variance`."""
    columns: tuple[str, ...] = ()
    """Endings of what stands beside the value in short tables."""
    chance: Chance | None = None
    """What the score would be by luck, if any of its parts says so."""
    figure: str = ""
    """The figure of scores against L0 that it belongs to; by default that of all other scores."""
    panels: Mapping[str, str] = field(default_factory=dict)
    """Its panels there: a title for each ending. Default: one, of the value, under the score's title."""
    unit: str = ""
    """What its numbers are, as the figure's axis says it: `F1 on test`."""


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
    display: Display = Display()


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
    display: Display = Display(),
) -> Callable[[F], F]:
    """Register a function of a subject as a score."""

    def keep(function: F) -> F:
        _SCORES.add(name, Score(name, title, meaning, low, high, better, source, suites, needs, function, display))
        return function

    return keep


def scores() -> dict[str, Score]:
    """The registered scores by name, suite by suite."""
    found = _SCORES.all()
    return dict(sorted(found.items(), key=lambda pair: SUITES.index(pair[1].suites[-1])))


def main_scores() -> list[Score]:
    """The scores that summaries give; the first of them ranks SAEs."""
    return [score for score in scores().values() if score.display.main]
