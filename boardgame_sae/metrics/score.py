"""Scores: numbers about an SAE, each with a name, a meaning, a range and a source; and their registry.

A score is a function of a `Subject` (an SAE, or a baseline, on a testbed) and of the score's own config. Register
it in any module below `metrics/` and it is computed in every suite it names, cached by its config and version,
compared and pooled with intervals, and shown in every table and on the report's axes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar, get_args

from boardgame_sae.config import config, from_mapping, to_mapping
from boardgame_sae.foreign_names import closest
from boardgame_sae.metrics import Suite
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.statistics.statistic import Statistic
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.registry import Registry

SUITES: tuple[str, ...] = get_args(Suite)


@config
class NoConfig:
    """The config of a score that has nothing to set."""


class UnscorableError(ValueError):
    """A subject that a score cannot be computed for, found while computing; the message is the reason, in words.

    The score is skipped for this subject, and everything else goes on.
    """


class Need(NamedTuple):
    """Something that a subject may lack, without which a score cannot be computed."""

    has: Callable[[Subject], bool]
    lacking: str
    """The reason given for a subject that lacks it."""


NEEDS: dict[str, Need] = {
    "decode": Need(lambda subject: subject.source.decode is not None, "it does not give back the activations it reads"),
    "W_dec": Need(
        lambda subject: subject.source.W_dec is not None and subject.source.decode is not None,
        "it has no decoder rows (`W_dec`) at the hook point it reads",
    ),
    "probes": Need(
        lambda subject: bool(subject.testbed.probes),
        "the testbed has no probes; `boardgame-sae score` fits them, `testbed.probes` takes them",
    ),
}
"""What a score may need, by name."""


class Chance(NamedTuple):
    """The chance level of a score."""

    part: str
    """The part that holds it. For another number beside the score, `x`, it is `x_<part>`."""
    shared: bool = True
    """Whether it is the same for every subject of a testbed: then it is a line of tables and figures by itself, else it
    is given beside each subject's value."""


@dataclass(frozen=True)
class Display:
    """How tables, figures and the page show a score. A score without one is still shown everywhere.

    An ending is what follows the score's name in the name of a table's column: `_above_chance` for a part, `.high` for
    a group, `.fork` for a property, nothing for the value itself.
    """

    main: bool = False
    """Whether summaries and testbeds' cards give it. The first main score ranks SAEs."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Titles of numbers beside the value, after the score's own: `Coverage: above chance`. Default: their names."""
    titles: Mapping[str, str] = field(default_factory=dict)
    """Titles of numbers that are known by a title of their own: `Explained variance`."""
    columns: tuple[str, ...] = ()
    """Endings of the numbers beside the value in short tables."""
    chance: Chance | None = None
    """Its chance level, if one of its parts is that."""
    figure: str = ""
    """The figure of scores against L0 that it is drawn in; by default the one for all other scores."""
    panels: Mapping[str, str] = field(default_factory=dict)
    """Its panels there: a title for each ending. Default: one panel, for the value, with the score's title."""
    unit: str = ""
    """The label of the figure's axis: `F1 on test`."""


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
    """The last is the one it belongs to; `quick` is an excerpt of others. Of no suite: it is computed only when it is
    asked for by itself, as one that needs a network is."""
    needs: tuple[str, ...]
    """What a subject must have to be scored: names in NEEDS."""
    config: type
    """A config class; its defaults are the full score."""
    quick: Mapping[str, Any]
    """Fields of the config that differ in the suite `quick`."""
    version: int
    """Increased whenever the score's meaning changes, so that older results are computed again."""
    order: int
    """Its place in tables: lower comes first, then by name."""
    statistic: Statistic | None
    """How its numbers are computed from sums over games; None for a score without intervals."""
    function: Callable[[Subject, Any], ScoreValue]
    display: Display

    def config_in(self, suite: str) -> Any:
        """Its config in a suite."""
        return from_mapping(self.config, dict(self.quick) if suite == "quick" else {}, self.name)

    def satisfied_by(self, value: ScoreValue, suite: str) -> bool:
        """Whether a result is of this version, and of the suite's config or of the full one, which holds more."""
        wanted = [to_mapping(self.config_in(name)) for name in (suite, "all")]
        return value.version == self.version and value.config in wanted

    def compute(self, subject: Subject, suite: str) -> ScoreValue:
        """Score a subject."""
        return self.compute_with(subject, self.config_in(suite))

    def compute_with(self, subject: Subject, cfg: Any) -> ScoreValue:
        """Score a subject by a config of its own."""
        return self.function(subject, cfg)._replace(config=to_mapping(cfg), version=self.version)


_SCORES: Registry[Score] = Registry("score", "boardgame_sae.metrics")
F = TypeVar("F", bound=Callable[[Subject, Any], ScoreValue])


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
    config: type = NoConfig,
    quick: Mapping[str, Any] | None = None,
    version: int = 1,
    order: int = 100,
    statistic: Statistic | None = None,
    display: Display = Display(),
) -> Callable[[F], F]:
    """Register a function of a subject and a config as a score; the arguments are `Score`'s fields.

    Raises ValueError when there already is a score of that name, for an unknown suite or need, and when the config
    of a suite cannot be made: it has a field without a default, or `quick` sets one that it lacks.
    """
    unknown = [*(set(suites) - set(SUITES)), *(set(needs) - set(NEEDS))]
    if unknown:
        raise ValueError(f"score '{name}': {unknown[0]}; suites are of {SUITES}")

    def keep(function: F) -> F:
        about = (title, meaning, low, high, better, source, suites, needs, config, quick or {}, version, order)
        registered = Score(name, *about, statistic, function, display)
        for suite in suites:
            registered.config_in(suite)
        _SCORES.add(name, registered)
        return function

    return keep


def scores() -> dict[str, Score]:
    """The registered scores by name, in the order of tables."""
    return dict(sorted(_SCORES.all().items(), key=lambda item: (item[1].order, item[0])))


def scores_in(suite: str) -> dict[str, Score]:
    """The scores of a suite by name. Raises ValueError for an unknown suite, and for one that no score belongs to."""
    if suite not in SUITES:
        near = closest(suite, SUITES)
        hint = f"; did you mean '{near}'?" if near else ""
        raise ValueError(f"unknown suite '{suite}'; the suites are {', '.join(SUITES)}{hint}")
    chosen = {name: score for name, score in scores().items() if _belongs(score, suite)}
    if not chosen:
        filled = [name for name in SUITES if any(_belongs(score, name) for score in scores().values())]
        raise ValueError(f"no score belongs to the suite '{suite}' yet; suites with scores are {', '.join(filled)}")
    return chosen


def _belongs(score: Score, suite: str) -> bool:
    return suite in score.suites or (suite == "all" and bool(score.suites))


def main_scores() -> list[Score]:
    """The scores that summaries give; the first of them ranks SAEs."""
    return [score for score in scores().values() if score.display.main]
