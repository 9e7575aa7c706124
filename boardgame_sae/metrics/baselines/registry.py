"""What SAEs are compared with, by kind: ceilings, which no SAE can be expected to pass, and floors, which each should.

A baseline is made in one of three ways, and scored like an SAE:

    of a testbed       one for all SAEs: linear probes, neurons, residual channels
    of a sparsity k    one for the SAEs of that L0: linear probes with k outputs on
    of an SAE          a twin, trained as the SAE was, but on a random-weights GPT, or with a part frozen

Each module of this folder registers its own, with all that tables and figures need to show it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from boardgame_sae.config import ConfigError
from boardgame_sae.registry import Registry
from boardgame_sae.saes.sae import SAE
from boardgame_sae.testbeds.testbed import Testbed

SAE_KIND, SAE_TITLE = "sae", "SAE"
"""The kind of subject that baselines are compared with, and its title in tables."""


class NoTwinError(ValueError):
    """An SAE has no twin of a kind; the message is the reason, in words. The SAE is scored beside everything else."""


class Look(NamedTuple):
    """How figures draw a baseline."""

    colour: str
    marker: str
    """Matplotlib's marker, where the baseline is a point."""
    line: Literal["-", "--", ":", "-."] = "-"
    """Matplotlib's line style, where the baseline is a horizontal line."""
    size: float = 5.0
    """Size of the marker, in points."""


class Made(NamedTuple):
    """A baseline of one testbed, ready to be scored."""

    name: str
    """What tables call it."""
    latents: Any
    """Anything that `as_latent_source` takes."""
    testbed: Testbed
    """Where its activations come from: the testbed itself, or the same read at another hook point."""
    facts: dict[str, Any] = {}  # noqa: RUF012 (never changed)
    """Plain data to keep with its scores."""


@dataclass(frozen=True)
class Baseline:
    """One kind of baseline. Exactly one of `of_testbed`, `of_sparsity` and `of_sae` makes it."""

    kind: str
    title: str
    role: Literal["ceiling", "floor"]
    order: int
    """Its place in tables and legends; SAEs are at 0."""
    look: Look
    label: str
    """What a figure calls the one shown beside the best SAE, where that needs more words than the title."""
    has_l0: bool = True
    """Whether its L0 is meaningful: it is not where the latents were never meant to be sparse."""
    of_testbed: Callable[[Testbed], Made] | None = None
    of_sparsity: Callable[[Testbed, int], Made] | None = None
    of_sae: Callable[[Path, Testbed, str], Path] | None = None
    """Trains the twin of a saved SAE on (a variant of) a testbed, on a device, and returns its folder.

    Raises NoTwinError for an SAE that has none."""
    recognises: Callable[[SAE], bool] | None = None
    """Whether a saved SAE is one of these twins."""
    variant: Callable[[Testbed], Testbed] | None = None
    """The testbed that such twins are scored on."""
    by_default: bool = True
    """Whether twins are trained also where no kind of twin is asked for by its name."""


_BASELINES: Registry[Baseline] = Registry("baseline", "boardgame_sae.metrics.baselines")


def register(baseline: Baseline) -> Baseline:
    """Make a baseline known. Raises ValueError when its kind is taken, or not exactly one function makes it."""
    makers = (baseline.of_testbed, baseline.of_sparsity, baseline.of_sae)
    if sum(maker is not None for maker in makers) != 1:
        raise ValueError(f"baseline '{baseline.kind}': give exactly one of of_testbed, of_sparsity and of_sae")
    if (baseline.of_sae is None) != (baseline.recognises is None) or (baseline.of_sae is None) != (
        baseline.variant is None
    ):
        raise ValueError(f"baseline '{baseline.kind}': of_sae, recognises and variant go together")
    return _BASELINES.add(baseline.kind, baseline)


def baselines() -> dict[str, Baseline]:
    """Every baseline by its kind, in the order of tables."""
    return dict(sorted(_BASELINES.all().items(), key=lambda item: (item[1].order, item[0])))


def find_baseline(kind: str) -> Baseline:
    """The baseline of a kind. Raises ConfigError with the closest kind."""
    return _BASELINES.find(kind)


def twin_baselines(kinds: Sequence[str] | None = None) -> list[Baseline]:
    """The baselines of some kinds that are trained for each SAE; None: those trained by default.

    Raises ConfigError for an unknown kind, and for one that is not trained but scored in any case.
    """
    trained = [baseline for baseline in baselines().values() if baseline.of_sae is not None]
    if kinds is None:
        return [baseline for baseline in trained if baseline.by_default]
    wanted = [find_baseline(kind) for kind in dict.fromkeys(kinds)]
    for baseline in wanted:
        if baseline.of_sae is None:
            names = ", ".join(baseline.kind for baseline in trained)
            raise ConfigError(
                f"the baseline '{baseline.kind}' is always scored; ask only for those trained for each SAE: {names}"
            )
    return wanted


def kind_of(sae: SAE) -> str:
    """The kind of a saved SAE: the baseline whose twin it is, or `sae`."""
    twins = (kind for kind, baseline in baselines().items() if baseline.recognises and baseline.recognises(sae))
    return next(twins, SAE_KIND)


def kind_title(kind: str) -> str:
    """What tables call a kind of subject, baselines and SAEs alike."""
    known = _BASELINES.all()
    return known[kind].title if kind in known else SAE_TITLE if kind == SAE_KIND else kind.replace("_", " ")


def kind_order(kind: str) -> int:
    """The place of a kind in tables and legends: SAEs first, unknown kinds last."""
    return 0 if kind == SAE_KIND else list(baselines()).index(kind) + 1 if kind in _BASELINES.all() else 10**6


def has_l0(kind: str) -> bool:
    """Whether L0 is meaningful for this kind of subject."""
    known = _BASELINES.all()
    return kind not in known or known[kind].has_l0
