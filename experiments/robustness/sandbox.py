"""A forked process that reads spoilt files, one case after the other, and says what came of each.

It has all imports already, so that a case takes milliseconds. It may take so much memory; it writes nowhere but in the
case's folder, starts no program and opens no connection: that is refused and recorded by an audit hook, which sees all
that Python does. What libraries in C write is seen afterwards, by the times of the setup's files.
"""

import json
import os
import resource
import shutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from robustness.entry import Entry
from robustness.outcome import MEMORY_LIMIT, Outcome, Result, of_error

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.rename", "os.link", "os.symlink"}
TRIAL = "boardgame_sae.hdf5.trial"
"""The process of ours that opens an HDF5 file before any other does."""
PROGRAMS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "socket.connect", "os.startfile"}
HARMLESS = ("/dev/null", "__pycache__", "/proc/")
"""Parts of paths that may be written: compiled code is kept where Python and numba keep it."""


class Case(NamedTuple):
    """One spoilt file. All of it follows from the seed, the target and the index."""

    entry: Entry
    index: int
    key: str
    """What its random numbers depend on; of an empty one nothing is spoilt."""


class Escape(BaseException):
    """Raised where a case would leave its folder; not an Exception, so that hardly anything catches it."""


class Guard:
    """What an audit hook may let pass; there is one, and it can only be told where the current case is."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.starts_programs = False
        self.escaped = ""
        self.peak_before = _peak()
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event in PROGRAMS and not self.starts_programs and TRIAL not in repr(arguments):
            self._escape(event, arguments)
        elif event == "open" and isinstance(arguments[0], str | bytes) and (arguments[2] or 0) & WRITES:
            self._check(event, arguments[:1])
        elif event in CHANGES:
            self._check(event, arguments[: 2 if event in ("os.rename", "os.link") else 1])

    def _check(self, event: str, paths: Sequence[Any]) -> None:
        for path in (os.fsdecode(path) for path in paths if isinstance(path, str | bytes | os.PathLike)):
            inside = os.path.realpath(path).startswith(f"{self.folder}/")
            if not inside and not any(part in path for part in HARMLESS):
                self._escape(event, (path,))

    def _escape(self, event: str, arguments: tuple[Any, ...]) -> None:
        self.escaped = f"{event} {arguments!r}"
        raise Escape(self.escaped)


def work(cases: Sequence[Case], setup: Path, folder: Path, pipe: int) -> None:
    """Read every case; write each index when it begins, and its result, as lines of JSON. Run in a forked process."""
    _limit()
    guard = Guard()
    with os.fdopen(pipe, "w", buffering=1) as out:
        for case in cases:
            out.write(json.dumps({"began": case.index}) + "\n")
            result = try_case(case, setup, folder / str(case.index), guard)
            out.write(json.dumps(result._asdict()) + "\n")
            if result.outcome == Outcome.MEMORY:
                return  # what it took may not be given back


def _limit() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    bytes_now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (bytes_now + 2 * MEMORY_LIMIT,) * 2)  # twice: addresses are no memory yet
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def spoil(case: Case, setup: Path, folder: Path) -> tuple[Path, Path]:
    """Lay a case out: the setup by links, what it may change as a copy, one file of that spoilt.

    Returns the copied folder (or file) and the spoilt file. With even chances a copied run keeps its DONE.
    """
    random, entry = Random(case.key), case.entry
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in setup.iterdir():
        if path.name != entry.copied:
            (folder / path.name).symlink_to(path)
    copy = folder / entry.copied
    source = setup / entry.copied
    shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
    spoilt = copy / entry.file if entry.file else copy
    if random.random() < 0.5 and spoilt.name != "DONE":
        (copy / "DONE").unlink(missing_ok=True) if copy.is_dir() else None
    if not case.key:
        return copy, spoilt
    data = spoilt.read_bytes()
    for _ in range(20):
        try:
            changed = random.choice(entry.mutations)(random, data)
        except (ValueError, IndexError):
            continue
        if changed != data:
            break
    else:
        raise RuntimeError(f"{entry.name}: no mutation changes it")
    spoilt.write_bytes(changed)
    return copy, spoilt


def try_case(case: Case, setup: Path, folder: Path, guard: Guard) -> Result:
    """Lay a case out, read it, and clean up."""
    copy, spoilt = spoil(case, setup, folder)
    before, hashed = _times(setup), _is_hashed(copy, spoilt)
    guard.folder, guard.starts_programs, guard.escaped = str(folder), case.entry.starts_programs, ""
    here = os.getcwd()
    os.chdir(folder)
    outcome, message = Outcome.ACCEPTED, ""
    try:
        case.entry.reader(copy)
    except BaseException as error:
        outcome = of_error(error, spoilt, copy)
        message = _told(error, outcome)
    guard.folder = None
    os.chdir(here)
    if guard.escaped or _times(setup) != before:
        outcome, message = Outcome.ESCAPE, guard.escaped or "something changed beside the case's folder"
    elif _peak() - guard.peak_before > MEMORY_LIMIT:
        outcome = Outcome.MEMORY
    elif outcome == Outcome.ACCEPTED and hashed:
        outcome = Outcome.UNDETECTED
    shutil.rmtree(folder, ignore_errors=True)
    return Result(case.index, outcome, message)


def _told(error: BaseException, outcome: Outcome) -> str:
    if outcome == Outcome.REFUSED:
        return str(error)[:300]
    return "".join(traceback.format_exception(error))[-1500:]


def _is_hashed(copy: Path, spoilt: Path) -> bool:
    """Whether a DONE beside (or above) the spoilt file holds its hash of before."""
    done = copy / "DONE"
    if spoilt == done or not done.exists():
        return False
    return spoilt.relative_to(copy).as_posix() in json.loads(done.read_bytes())["files"]


def _times(folder: Path) -> list[tuple[str, int]]:
    """When each file and folder of the setup, and each thing beside it, was changed last."""
    walked = [(entry.path, entry.stat(follow_symlinks=False).st_mtime_ns) for entry in _walk(folder)]
    return [*sorted(walked), (str(folder), folder.stat().st_mtime_ns)]


def _walk(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    for entry in os.scandir(folder):
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)


def _peak() -> int:
    """Bytes of memory that this process has taken at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
