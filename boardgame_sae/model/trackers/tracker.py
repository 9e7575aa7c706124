"""What a tracker is, and how it follows a training: each row that is written to metrics.jsonl goes to it too.

What is computed does not change, and neither does the run's hash. A resumed training goes on in the same run of the
tracker: the file `tracked`, which a finished run no longer has, counts the rows that were sent, so that none is sent
twice; those from before the tracker was asked for are sent first. A tracker that fails is told of once, and the
training goes on without it.
"""

import importlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from boardgame_sae.files import append_bytes
from boardgame_sae.launch import needs
from boardgame_sae.registry import Registry
from boardgame_sae.runs import METRICS_FILE, TRACKED_FILE, Run, warn

NONE = "none"
"""What `--tracker` is where metrics go to no tracker."""
PROJECT = "boardgame_sae"
"""The project that runs are shown in."""


class TrackedRun(NamedTuple):
    """What a tracker is told of a run."""

    id: str
    """The same whenever the training is resumed, and of no other: its kind and hash."""
    name: str
    kind: str
    config: dict[str, Any]
    resumed: bool
    """Whether the tracker has rows of it already."""


class TrackerRun(Protocol):
    """A run as a tracker's library has it."""

    def log(self, metrics: dict[str, Any], step: int | None = None) -> Any:
        """Show some numbers at a step."""

    def finish(self) -> Any:
        """Send what is left."""


@dataclass(frozen=True)
class Tracker:
    """A service that shows metrics."""

    library: str
    """The module of its library, which is imported when the tracker is asked for."""
    open: Callable[[Any, TrackedRun], TrackerRun]
    """Opens a run, beside others that may be open. It gets the library and what is known of the run."""


_TRACKERS: Registry[Tracker] = Registry("tracker", "boardgame_sae.model.trackers")


def tracker(
    name: str, *, library: str
) -> Callable[[Callable[[Any, TrackedRun], TrackerRun]], Callable[[Any, TrackedRun], TrackerRun]]:
    """Register what opens runs of a tracker. library: see `Tracker`. Raises ValueError when the name is taken."""

    def register(opener: Callable[[Any, TrackedRun], TrackerRun]) -> Callable[[Any, TrackedRun], TrackerRun]:
        _TRACKERS.add(name, Tracker(library, opener))
        return opener

    return register


def trackers() -> tuple[str, ...]:
    """Names of the registered trackers, in alphabetical order."""
    return tuple(sorted(_TRACKERS.names()))


def check_tracker(name: str) -> None:
    """Raise as `tracked` does for a tracker that cannot be used: before hours of work that it is to follow."""
    if name != NONE:
        _Following(name)


@contextmanager
def tracked(runs: Sequence[Run], name: str) -> Iterator[None]:
    """Have a tracker get all metrics of some runs that are written inside.

    name: a registered tracker, or `none`. A run is opened there when its first row is written.
    Raises ConfigError for an unknown tracker, RunError naming the extra where its library is missing.
    """
    if name == NONE:
        yield
        return
    following = _Following(name)
    for run in runs:
        run.followers.append(_Follower(run, following))
    try:
        yield
    finally:
        following.finish()


class _Following:
    """One tracker and all its open runs."""

    def __init__(self, name: str) -> None:
        self.name, self.tracker = name, _TRACKERS.find(name)
        with needs("trackers", f"--tracker {name}"):
            self.library = importlib.import_module(self.tracker.library)
        self.runs: list[TrackerRun] = []
        self.failed = False

    def open(self, run: TrackedRun) -> TrackerRun:
        """A run of the tracker."""
        self.runs.append(self.tracker.open(self.library, run))
        return self.runs[-1]

    def attempt(self, work: Callable[[], Any]) -> None:
        """Do something with the tracker unless it has failed before; what it prints goes to stderr."""
        if self.failed:
            return
        try:
            with redirect_stdout(sys.stderr):
                work()
        except Exception as error:  # whatever goes wrong there, the training is worth more
            self.failed = True
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            warn(f"the tracker {self.name} failed ({reason}); the training goes on, metrics are in {METRICS_FILE}")

    def finish(self) -> None:
        """Have all runs send what is left."""
        for run in self.runs:
            self.attempt(run.finish)


class _Follower:
    """Sends the rows of one run that the tracker does not have yet."""

    def __init__(self, run: Run, following: _Following) -> None:
        self._run, self._following = run, following
        self._opened: TrackerRun | None = None
        self._mark = f"{following.name}\n".encode()
        path = run / TRACKED_FILE
        self._sent = path.read_bytes().splitlines(keepends=True).count(self._mark) if path.exists() else 0
        self._passed = 0
        """Rows of metrics.jsonl so far."""

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Take note of the row that was just written."""
        self._following.attempt(lambda: self._follow(row))

    def _follow(self, row: Mapping[str, Any]) -> None:
        rows = [row]
        if self._opened is None:
            rows = [json.loads(line) for line in (self._run / METRICS_FILE).read_bytes().splitlines()]
            self._opened = self._following.open(self._about())
        for each in rows:
            self._passed += 1
            if self._passed > self._sent:
                numbers = {name: value for name, value in each.items() if name != "step"}
                self._opened.log(numbers, step=each.get("step"))
                append_bytes(self._run / TRACKED_FILE, self._mark)

    def _about(self) -> TrackedRun:
        run, identity = self._run, self._run.identity
        config = {**identity["config"], "inputs": identity["inputs"], "hash": run.hash}
        return TrackedRun(f"{run.kind}-{run.hash}", f"{run.name}-{run.hash}", run.kind, config, self._sent > 0)
