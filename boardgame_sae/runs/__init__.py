"""A run folder: one artifact, one folder, that a kill cannot spoil.

    data/runs/<kind>/<name>-<hash>/
        run.json            kind, config, hashes of the inputs: what the folder's name is the hash of
        metrics.jsonl       one line per logged step, as it happens
        timings.jsonl       how long things took; the only file that differs between two equal runs
        state.safetensors   what a killed run resumes from; removed when the run is done
        tracked             which of its metrics a tracker has; removed when the run is done
        ...                 the artifact's own files
        DONE                every file's SHA-256; present: reuse, absent: resume

Every file appears whole or not at all (`files.writing`), and nothing is written through a link that lies in the folder.
One process works in a folder at a time (`lock`); others that want the same run wait, and use its result.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import field
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from tqdm import tqdm

from boardgame_sae.config import Count, Natural, NonNegative, canonical_json, content_hash, not_finite, record
from boardgame_sae.files import RunError, append_bytes, as_record, file_hash, read_json, read_json_lines, write_json
from boardgame_sae.runs.integrity import CARD_FILE, DONE_FILE, check_finished, is_done, read_done, verified, write_done
from boardgame_sae.runs.lock import LOCK_FILE, FolderLock
from boardgame_sae.runs.state import state_hash
from boardgame_sae.streams import Patient
from boardgame_sae.weights import read_metadata, read_tensors, write_tensors

FORMAT = 1
"""Increased when the same config comes to mean other files, so that old runs are not taken for new ones."""
METRICS_FILE, TIMINGS_FILE, STATE_FILE = "metrics.jsonl", "timings.jsonl", "state.safetensors"
TRACKED_FILE = "tracked"
"""A line for each row of metrics that a tracker has: the tracker's name."""
_STATE = "state"
UNHASHED_FILES = (TIMINGS_FILE, DONE_FILE, STATE_FILE, TRACKED_FILE, LOCK_FILE)
_FINISHED_ONLY: ContextVar[bool] = ContextVar("finished_only", default=False)


def runs_root() -> Path:
    """Where runs go by default: $BOARDGAME_SAE_RUNS, else data/runs below the current folder."""
    return Path(os.environ.get("BOARDGAME_SAE_RUNS", "data/runs"))


class UnfinishedError(RunError):
    """Where only finished runs may be opened, one would have had to be made: its kind and its folder."""

    def __init__(self, kind: str, folder: Path) -> None:
        super().__init__(f"{folder}: this run is not finished")
        self.kind, self.folder = kind, folder


@contextmanager
def finished_only() -> Iterator[None]:
    """Within this block a run that is not finished is an UnfinishedError: to see what there is, and make nothing."""
    token = _FINISHED_ONLY.set(True)
    try:
        yield
    finally:
        _FINISHED_ONLY.reset(token)


@record
class CardRecord:
    """What must be right in run.json for it to be compared."""

    hash: str
    content: dict[str, str] = field(default_factory=dict)


@record
class TimingRecord:
    """What is read of a line of timings.jsonl; there may be more."""

    what: str
    seconds: NonNegative
    steps: Count = 1
    """Steps of a training that it took so long for."""
    n_steps: Count = 1
    """Steps of the whole training."""
    beside: Natural = 0
    """Other runs that were trained in the same time."""


class Run:
    """One run folder. Open it, check `done`, work, `finish`."""

    def __init__(
        self,
        kind: str,
        name: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, str] | None = None,
        out: str | Path | None = None,
        *,
        content: Mapping[str, str] | None = None,
    ) -> None:
        """Open (or create) the folder of a run, and lock it against other processes, unless it is done.

        While another process works in it, wait: until that has finished it, or has gone, and then go on from there.

        kind, name: what its folder is called. config: plain data. inputs: hash of each artifact it is made from.
        out: the folder; by default a hashed one under `runs_root()`. content: hash of what each of the artifacts holds,
        where `inputs` say only how it was made; it does not count for the run's own hash.
        Raises RunError when `out` holds another run, one made from other content, or something else, or this process
        is working in it already.
        """
        self.kind, self.name, self.content = kind, name, dict(content or {})
        self.followers: list[Callable[[Mapping[str, Any]], None]] = []
        """What is called with each row of metrics once it is written."""
        self.identity = {"kind": kind, "config": dict(config), "inputs": dict(inputs or {})}
        self.hash = content_hash({**self.identity, "format": FORMAT})
        self.folder = Path(out) if out is not None else runs_root() / kind / f"{name}-{self.hash}"
        if _FINISHED_ONLY.get() and not is_done(self.folder):
            raise UnfinishedError(kind, self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be made a run folder ({error}); choose another --out") from error
        self._lock = FolderLock(self.folder)
        self._lock.take(unless=self._is_finished)
        try:
            self._claim()
        except BaseException:
            self.close()
            raise

    def _is_finished(self) -> bool:
        """Whether there is nothing left to wait for. Raises RunError when the folder holds another run."""
        if (self.folder / CARD_FILE).exists():
            self._check_card()
        return is_done(self.folder)

    def _check_card(self) -> None:
        path = self.folder / CARD_FILE
        card = read_json(path)
        as_record(CardRecord, card, str(path), "restore it, or move the folder away and run the same command again")
        if card["hash"] != self.hash:
            raise RunError(f"{self.folder}: holds another run ({self._difference(card)}); choose another --out")
        for name, then in card.get("content", {}).items():
            if self.content.get(name, then) != then:
                raise RunError(
                    f"{self.folder}: was made from the {name} as it was before it changed; restore the {name}, or move "
                    "this folder away and run the same command again"
                )

    def _claim(self) -> None:
        path = self.folder / CARD_FILE
        if not path.exists():
            others = [path.name for path in self.folder.iterdir() if not path.name.startswith(".")]
            if others:
                raise RunError(f"{self.folder}: holds {others[0]} but no {CARD_FILE}; choose an empty folder as --out")
            made_of = {"content": self.content} if self.content else {}
            write_json(path, {**self.identity, **made_of, "name": self.name, "hash": self.hash})
            return
        self._check_card()
        if not self.done:
            self._drop_links()
            self._drop_half_line()
        else:
            with suppress(OSError):  # a kill right after DONE was written has left them
                self._drop_progress()

    def _drop_links(self) -> None:
        """Remove what is neither a file nor a folder, so that nothing is written to where a link points."""
        for path in list(self.folder.rglob("*")):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                path.unlink(missing_ok=True)

    def _drop_half_line(self) -> None:
        """Cut off what a kill has left of the last line of timings.jsonl."""
        path = self.folder / TIMINGS_FILE
        if path.exists():
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)

    def _difference(self, card: Mapping[str, Any]) -> str:
        for part in ("kind", "config", "inputs"):
            ours, theirs = self.identity[part], card.get(part)
            if ours == theirs:
                continue
            if not (isinstance(ours, dict) and isinstance(theirs, dict)):
                return f"its {part} is {theirs!r}, not {ours!r}"
            for key in sorted({*ours, *theirs}):
                if ours.get(key) != theirs.get(key):
                    return f"its {part} has {key} = {theirs.get(key)!r}, not {ours.get(key)!r}"
        return "made by another version"

    @property
    def done(self) -> bool:
        """True when the artifact is finished and can be reused. Raises RunError when a file of it has changed since."""
        done = is_done(self.folder)
        if done:
            verified(self.folder)
        return done

    def reopen(self) -> None:
        """Take back that the run is done, to add to it; what it holds stays.

        While another process adds to it, wait: what it holds may have grown after that.
        """
        if _FINISHED_ONLY.get():
            raise UnfinishedError(self.kind, self.folder)
        self._lock.take()
        (self.folder / DONE_FILE).unlink(missing_ok=True)
        self._drop_links()

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def log(self, **row: Any) -> None:
        """Append one line to metrics.jsonl, and tell `followers`. Raises RunError when the disk is full."""
        self._append(METRICS_FILE, row)
        for follower in self.followers:
            follower(row)

    def log_time(self, what: str, seconds: float, **row: Any) -> None:
        """Append one line to timings.jsonl: what took how many seconds, and when it ended (epoch seconds).

        Raises RunError when the disk is full.
        """
        self._append(TIMINGS_FILE, {"what": what, "seconds": round(seconds, 3), "at": round(time.time()), **row})

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        path = self.folder / name
        if place := not_finite(row):
            raise RunError(f"{path}: '{place}' would be {row.get(place)}: what it is computed from has diverged")
        append_bytes(path, (canonical_json(row) + "\n").encode())

    def save_state(self, tensors: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        """Write what a killed run resumes from: tensors and plain data, in one safetensors file.

        Raises RunError when the disk is full.
        """
        metrics, size = self.folder / METRICS_FILE, 0
        if metrics.exists():
            with open(metrics, "r+b") as file:  # Windows flushes only what can be written to
                os.fsync(file.fileno())
            size = metrics.stat().st_size
        plain = canonical_json({**meta, "metrics_bytes": size})
        about = {_STATE: canonical_json({"meta": plain, "hash": state_hash(plain, tensors)})}
        write_tensors(self.folder / STATE_FILE, tensors, about)

    def load_state(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The last saved state as (tensors, meta), or None; metrics written after it are cut off.

        Raises RunError when it is damaged.
        """
        path, metrics = self.folder / STATE_FILE, self.folder / METRICS_FILE
        if not path.exists():
            metrics.unlink(missing_ok=True)
            return None
        fix = "remove it to start this run from the beginning"
        tensors = read_tensors(path, fix, finite=False)
        try:
            about = json.loads(read_metadata(path, fix)[_STATE])
            intact = about["hash"] == state_hash(about["meta"], tensors)
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{path}: damaged, or of another version ({error}); {fix}") from error
        if not intact:
            raise RunError(f"{path}: damaged (its content is not what was saved); {fix}")
        meta = json.loads(about["meta"])
        if metrics.exists():
            os.truncate(metrics, meta["metrics_bytes"])
        return tensors, meta

    def finish(self, optional: Sequence[str] = (), /, **summary: Any) -> None:
        """Mark the run done: write every file's hash and a summary to DONE, and remove the saved state.

        optional: folders, relative to the run's, that a copy of it may leave out, each of them whole.
        Raises RunError when the disk is full.
        """
        self._remove_leftovers()
        files = sorted(path for path in self.folder.rglob("*") if path.is_file() and path.name not in UNHASHED_FILES)
        hashes = {str(path.relative_to(self.folder)): file_hash(path) for path in files}
        write_done(self.folder, hashes, summary, optional)
        self._drop_progress()  # last: if DONE cannot be written, nothing is lost
        self.close()

    def _drop_progress(self) -> None:
        """Remove what only a run that is not done needs."""
        for name in (STATE_FILE, TRACKED_FILE):
            (self.folder / name).unlink(missing_ok=True)

    @property
    def summary(self) -> dict[str, Any]:
        """The summary of a run that is done. Raises RunError when it is not."""
        return read_done(self.folder).summary

    def _remove_leftovers(self) -> None:
        """Remove what killed writes left, of this process or of its workers: ours, and safetensors' own temporaries."""
        for leftover in self.folder.rglob(".*"):
            if leftover.is_file() and leftover != self.folder / LOCK_FILE:
                leftover.unlink()

    def close(self) -> None:
        """Release the lock, so that other processes can work in the folder."""
        self._lock.release()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._lock.held:
            self._remove_leftovers()
        self.close()


def read_timings(folder: str | Path) -> list[TimingRecord]:
    """What a run's timings.jsonl says; nothing where it has none.

    Raises RunError naming a line that is damaged or no timing, and its field.
    """
    path = Path(folder) / TIMINGS_FILE
    return read_json_lines(TimingRecord, path, "remove that line: it only says how long something took")


def progress(
    total: int,
    desc: str,
    unit: str,
    *,
    initial: int = 0,
    disable: bool = False,
    leave: bool = True,
    after: float = 0.0,
) -> Any:
    """A progress bar with speed and time left, redrawn ten times a second; in a log file, a line every ten seconds.

    Worker processes show none: those of several would overwrite each other.

    leave: whether it stays when it is full; not for one that is part of another. after: seconds that the work must take
    for the bar to be shown.
    """
    stderr = Patient(sys.stderr)
    interval = 0.1 if stderr.isatty() else 10.0
    return tqdm(
        total=total,
        initial=initial,
        desc=desc,
        unit=f" {unit}",
        unit_scale=True,
        mininterval=interval,
        disable=disable or parent_process() is not None,
        leave=leave,
        delay=after,
        file=stderr,
    )


def warn(text: str) -> None:
    """Say on stderr what whoever runs this must not overlook."""
    with suppress(OSError, ValueError, AttributeError):  # closed, full or none: no reason to stop
        sys.stderr.write(f"warning: {text}\n")
        sys.stderr.flush()


def run_hash(folder: str | Path) -> str:
    """The hash of the finished run in a folder. Raises RunError when it is no run, not done, or has changed since."""
    folder = Path(folder)
    card = read_json(folder / CARD_FILE)
    check_finished(folder)
    verified(folder)
    return card["hash"]
