"""Opening an HDF5 file that may hang or crash libhdf5: another process does it first, with limits."""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py

from boardgame_sae.hdf5.plain import MAX_CHUNK, RefusedError, attributes, scan

SECONDS, BYTES_PER_SECOND = 10, 2**25
"""Time of a processor that a file may take to open, and one second more for each so many bytes of it."""
PATIENCE = 10
"""How many times as long it may last by the clock: on a busy machine a process waits for its turn."""
MAX_MEMORY = 2**32
"""Bytes that the other process may take."""
_TRUSTED: set[tuple[int, ...]] = set()
"""Device, inode, size and time of each file that this process wrote, or that was opened without harm."""
_CODE = "import sys; sys.path[:] = {path!r}; from boardgame_sae.hdf5.trial import open_first; open_first(sys.argv[1])"


def trust(path: Path) -> None:
    """Take a file, as it is now, for one that opens without harm."""
    _TRUSTED.add(_stamp(path))


def try_elsewhere(path: Path) -> None:
    """Have another process open a file, unless this one wrote it or has tried it before.

    Raises RefusedError when that process hangs, dies, or cannot open it.
    """
    if _stamp(path) in _TRUSTED:
        return
    command, seconds = [sys.executable, "-c", _CODE.format(path=sys.path), str(path)], _seconds(path)
    longest = PATIENCE * seconds
    try:
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=longest, check=False)
    except subprocess.TimeoutExpired:
        raise RefusedError(f"damaged, as it does not open within {longest} s") from None
    if ended.returncode == -getattr(signal, "SIGXCPU", 0) < 0:
        raise RefusedError(f"damaged, as it does not open within {seconds} s of computing")
    if ended.returncode < 0:
        raise RefusedError(f"damaged, as opening it ends a process by signal {-ended.returncode}")
    if ended.returncode:
        why = ended.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise RefusedError(f"truncated or not an HDF5 file ({why[-1]})")
    trust(path)


def open_first(path: str) -> None:
    """Open a file and read all of it that is compressed, in a process that may hang or die of it.

    What is not plain is left to the process that asks, which says so.
    """
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # Windows has none: there the process that asks ends one that lasts too long

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        seconds = _seconds(Path(path))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    with contextlib.suppress(RefusedError), h5py.File(path, "r") as file:
        attributes(file)
        for name, at in scan(file).items():
            if at.offset is None and at.shape:
                rows = max(1, MAX_CHUNK * at.shape[0] // max(1, at.n_bytes))
                dataset: Any = file[name]
                for start in range(0, at.shape[0], rows):
                    dataset[start : start + rows]


def _seconds(path: Path) -> int:
    return SECONDS + path.stat().st_size // BYTES_PER_SECOND


def _stamp(path: Path) -> tuple[int, ...]:
    about = path.stat()
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns
