"""The work on a study's groups: each trains its SAEs on one stream and scores them, and what fails is only listed.

What is finished lies in run folders, so that a group which is started again, here or on another machine, goes on where
it stopped, and the sweep that lists all runs finds them made.
"""

import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch

from boardgame_sae.files import RunError
from boardgame_sae.launch import Died, map_as_done, torch_threads
from boardgame_sae.metrics import Suite
from boardgame_sae.metrics.baselines.registry import twin_baselines
from boardgame_sae.model.trackers.tracker import NONE
from boardgame_sae.pipeline.engines.engine import Engine
from boardgame_sae.pipeline.engines.on_ray import map_on_ray
from boardgame_sae.pipeline.grid import Planned, train_planned
from boardgame_sae.pipeline.plan import Group
from boardgame_sae.pipeline.score import score_baselines, score_ceilings, score_saes, trained_twins
from boardgame_sae.probes.fit import ProbeConfig
from boardgame_sae.runs import UnfinishedError, finished_only
from boardgame_sae.saes.training.train import sae_name
from boardgame_sae.streams import Patient
from boardgame_sae.testbeds.testbed import Testbed, load_testbed

T = TypeVar("T")
R = TypeVar("R")
RUNS = "BOARDGAME_SAE_RUNS"


class Scoring(NamedTuple):
    """How the SAEs of a study are scored."""

    suite: Suite
    probes: ProbeConfig
    twin_kinds: tuple[str, ...]
    """Kinds of SAEs that are trained beside each SAE of the trained GPT."""
    exact: bool
    """Whether each L0 has a sparse probe of its own, see `score_ceilings`."""


class Place(NamedTuple):
    """Where the process that hands out the work stands, so that all find the same files under the same paths."""

    folder: str
    runs: str | None
    """What the environment says of where runs go."""
    began: float
    """Tells one sweep of a process from the next."""

    @classmethod
    def here(cls) -> "Place":
        """That of this process."""
        return cls(os.getcwd(), os.environ.get(RUNS), time.time())

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Stand there. Raises RunError where there is no such folder."""
        before = Place.here()
        try:
            self._enter()
        except OSError as error:
            raise RunError(
                f"{self.folder}: not found on the machine {platform.node()} ({error.strerror}); every machine must "
                "see the same files under the same paths"
            ) from error
        try:
            yield
        finally:
            before._enter()

    def _enter(self) -> None:
        os.chdir(self.folder)
        os.environ.pop(RUNS, None)
        os.environ |= {} if self.runs is None else {RUNS: self.runs}


@dataclass(frozen=True)
class Job:
    """A group and all that another process must know to work on it."""

    group: Group
    testbed: str
    """Its testbed's folder."""
    scoring: Scoring
    device: str
    n_threads: int
    place: Place
    tracker: str = NONE
    """What gets the metrics of its trainings too."""


class Failure(NamedTuple):
    """What was not made, and why."""

    name: str
    why: str


def do_groups(jobs: Sequence[Job], *, engine: Engine, workers: int) -> list[Failure]:
    """Train and score groups, and return what failed; all else is finished.

    workers: processes of the local engine (1: this one). Raises RunError as `map_on_ray` does.
    """
    if jobs and engine.engine == "ray":
        done = map_on_ray(do_group, jobs, engine, engine.cpus_per_group or torch.get_num_threads())
    else:
        done = map_as_done(do_group, jobs, workers, engine.retries)
    failures, began = list[Failure](), time.perf_counter()
    for n_done, (number, result) in enumerate(done, 1):
        group = jobs[number].group
        new = [Failure(str(group), result.why)] if isinstance(result, Died) else result
        failures += new
        ending = f", {len(new)} failed" if new else ""
        seconds = time.perf_counter() - began
        Patient(sys.stderr).write(f"group {n_done} of {len(jobs)}: {group}, after {seconds:.0f} s{ending}\n")
    return failures


def do_group(job: Job) -> list[Failure]:
    """Train and score a group's SAEs, those that are not yet, and return what failed."""
    failures = list[Failure]()
    try:
        with job.place.entered(), torch_threads(job.n_threads):
            _do(job, failures)
    except Exception as error:
        failures.append(Failure(str(job.group), _said(error)))
    return failures


def what_is_done(job: Job) -> tuple[list[Planned], bool]:
    """Which SAEs of a group are trained, and whether all that it scores is scored; nothing is made."""
    with finished_only(), job.place.entered(), torch_threads(job.n_threads):
        trained = {one: found for one in job.group.planned if (found := _finished(lambda one=one: _train(job, [one])))}
        saes = [folder for folders in trained.values() for folder in folders]
        whole = len(saes) == len(job.group.planned)
        return list(trained), whole and _finished(lambda: _score(job, saes)) is not None


def _finished(work: Callable[[], R]) -> R | None:
    try:
        return work()
    except UnfinishedError:
        return None


def _do(job: Job, failures: list[Failure]) -> None:
    if not job.group.planned:
        _score(job, [])
        return
    where = str(job.group).partition(" at ")[2]
    saes = _each(
        job.group.planned, lambda some: _train(job, some), lambda one: f"{sae_name(one.sae)} at {where}", failures
    )
    _each(saes, lambda some: _score(job, some), lambda folder: f"scores of {folder.name}", failures)


def _train(job: Job, planned: Sequence[Planned]) -> list[Path]:
    testbed = _opened(job.testbed, job.device, job.place)
    bed = testbed.random_twin() if job.group.random else testbed
    return train_planned(bed, planned, job.device, tracker=job.tracker)


def _each(
    items: Sequence[T], work: Callable[[Sequence[T]], list[R]], name: Callable[[T], str], failures: list[Failure]
) -> list[R]:
    """Do some work on all items together, or, where that fails, on each alone, to keep what does not fail."""
    if not items:
        return []
    try:
        return work(items)
    except Exception as error:
        if len(items) == 1:
            failures.append(Failure(name(items[0]), _said(error)))
            return []
    return [result for item in items for result in _each([item], work, name, failures)]


def _score(job: Job, saes: Sequence[Path]) -> list[Path]:
    """Score SAEs, their twins, and probes as sparse as they are; of a group without SAEs, the baselines."""
    suite, probes, twin_kinds, exact = job.scoring
    testbed = _opened(job.testbed, job.device, job.place)
    how = {"suite": suite, "probes": probes, "device": job.device, "opened": testbed}
    if not job.group.planned:
        return [score_baselines(job.testbed, **how)]
    twins = [] if job.group.random else trained_twins(saes, twin_baselines(twin_kinds), testbed, job.device)
    scored = score_saes([*saes, *twins], job.testbed, **how)
    if not job.group.random:
        score_ceilings(scored[: len(saes)], job.testbed, **how, exact=exact)
    return scored


@lru_cache(maxsize=1)
def _opened(folder: str, device: str, place: Place) -> Testbed:
    """A testbed, which the groups of one sweep in one process share with all that it has computed."""
    assert place
    return load_testbed(folder, device)


def _said(error: Exception) -> str:
    """What an error says; of one that nobody foresaw also what it is, with its traceback on stderr."""
    if isinstance(error, ValueError | RuntimeError | OSError):
        return str(error)
    Patient(sys.stderr).write("".join(traceback.format_exception(error)))
    return f"{type(error).__name__}: {error}"


def listed(failures: Sequence[Failure]) -> str:
    """Failures as lines, what failed for one reason together."""
    names: dict[str, list[str]] = {}
    for failure in failures:
        names.setdefault(failure.why, []).append(failure.name)
    return "\n".join(f"  {', '.join(failed)}: {why}" for why, failed in names.items())
