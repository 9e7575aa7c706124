"""Whether the files of a finished run are still what they were when it finished.

DONE holds the SHA-256 of every file of a run but timings. Whatever opens a run, or a file of one, asks `verified`
first, so that nothing is ever computed from a file that has changed. A folder that DONE calls optional may be left out
of a copy, but only whole. A file is hashed once per process; what a large
one was when it was last hashed is also kept beside DONE, in a hidden file that may be missing: while size, times and
inode are the same, so is the file. The time at which the inode changed is among them, which no program can set back.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from boardgame_sae.config import content_hash, not_finite
from boardgame_sae.files import RunError, file_hash, read_json, write_json

CARD_FILE, DONE_FILE = "run.json", "DONE"
RECORD_FILE = ".verified.json"
"""Of each large file of a run: its size, times and inode, and the hash it then had."""
LARGE = 2**26
"""Bytes from which on a file is not hashed again by each process."""
SETTLED = 2 * 10**9
"""Nanoseconds after which a file's times tell a further change apart, on any file system."""
_HASHES: dict[Path, tuple[list[int], str]] = {}
"""The hash of each file that this process has hashed, and its size, times and inode."""


class Done(NamedTuple):
    """What the DONE of a finished run says."""

    folder: Path
    files: dict[str, str]
    """SHA-256 by path within the folder."""
    summary: dict[str, Any]
    optional: tuple[str, ...] = ()
    """Folders that a copy of the run may do without, each of them whole."""

    @property
    def left_out(self) -> tuple[str, ...]:
        """The optional folders that this copy does without."""
        return tuple(name for name in self.optional if not (self.folder / name).exists())

    @property
    def held(self) -> dict[str, str]:
        """`files` without those of folders left out."""
        gone = tuple(f"{name}/" for name in self.left_out)
        return {name: known for name, known in self.files.items() if not name.startswith(gone)}


def is_done(folder: str | Path) -> bool:
    """Whether the run in a folder is finished."""
    return (Path(folder) / DONE_FILE).exists()


def check_finished(folder: Path) -> None:
    """Raise RunError for the folder of a run that is not finished."""
    if (folder / CARD_FILE).exists() and not is_done(folder):
        raise RunError(f"{folder}: this run is not finished; run its stage again, it resumes")


def read_done(folder: str | Path) -> Done:
    """What a finished run's DONE says. Raises RunError when it is missing, damaged or was changed."""
    path = Path(folder) / DONE_FILE
    fix = f"restore it, or move {folder} away and rebuild it with the command that made it"
    read = read_json(path)
    said = {name: part for name, part in read.items() if name != "hash"} if isinstance(read, dict) else {}
    files, summary, optional = said.get("files"), said.get("summary"), said.get("optional", [])
    listed = isinstance(optional, list) and all(isinstance(name, str) for name in optional)
    if not isinstance(files, dict) or not isinstance(summary, dict) or not listed or not_finite(read) is not None:
        raise RunError(f"{path}: damaged (it has no hashes of files, or no summary); {fix}")
    if read.get("hash", done_hash(said)) != done_hash(said):
        raise RunError(f"{path}: changed since it was written; {fix}")
    return Done(Path(folder), files, summary, tuple(optional))


def write_done(folder: Path, files: dict[str, str], summary: dict[str, Any], optional: Sequence[str] = ()) -> None:
    """Write DONE: the run is finished. optional: see `Done`. Raises RunError when the disk is full."""
    said = {"files": files, "summary": summary} | ({"optional": list(optional)} if optional else {})
    write_json(folder / DONE_FILE, {**said, "hash": done_hash(said)})


def done_hash(said: dict[str, Any]) -> str:
    """A hash of all else that a DONE says, so that a change of it is noticed too."""
    return content_hash(said, 64)


def verified(path: str | Path) -> bool:
    """Whether a finished run vouches for a file, or for a folder and all in it, and nothing of it has changed since.

    False where no DONE, in the folder or above it, lists it: files of the user's own, and of a run that is not done.
    Raises RunError naming the first file that is missing or changed, and the fix.
    """
    path = Path(path)
    place = path.resolve() if ".." in path.parts else path.absolute()
    folder = next((folder for folder in (place, *place.parents) if _is_finished_run(folder)), None)
    if folder is None:
        return False
    done, inside = read_done(folder), place.relative_to(folder).as_posix()
    listed = [name for name in done.held if inside in (".", name) or name.startswith(f"{inside}/")]
    for name in listed:
        _check(done, name)
    return bool(listed)


def _is_finished_run(folder: Path) -> bool:
    """Whether a folder has a DONE of ours: others call files so too."""
    path = folder / DONE_FILE
    return path.is_file() and ((folder / CARD_FILE).exists() or b'"files"' in path.read_bytes())


def _check(done: Done, name: str) -> None:
    """Raise RunError unless a file still has the hash in DONE."""
    path, known = done.folder / name, done.files[name]
    fix = f"restore it, or move {done.folder} away and rebuild it with the command that made it"
    try:
        if not path.is_file():
            raise RunError(f"{path}: missing, though its run finished with it; {fix}")
        stamp = _stamp(path)
        if _HASHES.get(path) == (stamp, known):
            return
        large = stamp[0] >= LARGE
        if large and _records(done.folder).get(name) == [*stamp, known]:
            _HASHES[path] = (stamp, known)
        elif sha256_of(path) != known:
            raise RunError(f"{path}: changed since it was written (its SHA-256 is not the one in DONE); {fix}")
        elif large and path in _HASHES:
            _record(done.folder, {**_records(done.folder), name: [*stamp, known]})
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error}); {fix}") from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file; one that has not changed is hashed once per process. Raises OSError as `file_hash` does."""
    path, stamp = path.absolute(), _stamp(path)
    if path in _HASHES and _HASHES[path][0] == stamp:
        return _HASHES[path][1]
    settled = time.time_ns() - max(stamp[1], stamp[2]) > SETTLED
    found = file_hash(path)
    if settled:  # else a change right after this one could leave the times as they are
        _HASHES[path] = (stamp, found)
    return found


def _stamp(path: Path) -> list[int]:
    about = path.stat()
    return [about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]


def _records(folder: Path) -> dict[str, Any]:
    try:
        records = json.loads((folder / RECORD_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return records if isinstance(records, dict) else {}


def _record(folder: Path, records: dict[str, Any]) -> None:
    try:
        write_json(folder / RECORD_FILE, records)
    except (OSError, RunError):
        return  # read-only or full: the file is hashed again next time


def damaged_files(folder: str | Path) -> list[str]:
    """Names of a finished run's files that are missing or have changed since. Every file is hashed again.

    Raises RunError when the run is not done.
    """
    folder = Path(folder)
    files = read_done(folder).held.items()
    return [name for name, known in files if not (folder / name).is_file() or file_hash(folder / name) != known]


def content_of(path: str | Path) -> str:
    """A hash of the names and bytes of a file, or of a folder's files; timings of a run do not count.

    Raises RunError for a run that is not done or has changed since, OSError when there is nothing to read.
    """
    path = Path(path)
    check_finished(path)
    verified(path)
    if is_done(path):
        return content_hash(read_done(path).files, 64)
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    return hashlib.sha256("".join(f"{file.name} {sha256_of(file)}\n" for file in files).encode()).hexdigest()
