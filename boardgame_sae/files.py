"""Files: written whole or not at all, read with errors that name them, hashed.

A file is written under a temporary name, flushed to disk and renamed, so that a kill leaves the old one or the new one.
A full disk is an error that says so, even where the library that writes would end the process.
"""

import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from boardgame_sae.config import not_finite

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, a used-up quota, and a file that is too large for the file system."""


class RunError(RuntimeError):
    """A run that cannot go on; the message names the file and the fix."""


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it and rename it into place, else remove it.

    Raises RunError when the disk is full; nothing half-written stays behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except Exception as error:  # a full disk is an OSError, but a SafetensorError from safetensors
        temporary.unlink(missing_ok=True)
        raise disk_error(path, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def disk_error(path: Path, error: Exception) -> Exception:
    """What to raise for an error while writing a file: a RunError if the disk is full, else the error itself."""
    full = getattr(error, "errno", None) in DISK_FULL or any(os.strerror(code) in str(error) for code in DISK_FULL)
    if not full:
        return error
    try:
        free = f"{shutil.disk_usage(path.parent).free / 2**20:.0f} MiB free"
    except OSError:
        free = "free space unknown"
    return RunError(
        f"{path}: cannot be written, the disk is full or the file too large for it ({free}); make room and run the "
        "same command again: everything finished before is intact"
    )


class _PatientFile:
    """An open file that keeps its first write error and goes on as if nothing had happened."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self.raw, self.error = raw, None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)

    def write(self, data: Any) -> int:
        rest = memoryview(data)
        try:
            while rest and self.error is None:
                rest = rest[self.raw.write(rest) :]
        except OSError as error:
            self.error = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        try:
            return self.raw.truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0


@contextmanager
def new_hdf5(path: Path) -> Iterator[Any]:
    """Yield a new HDF5 file (h5py.File) to fill; on success every byte of it is in `path`.

    Raises OSError when the disk is full: HDF5 itself would end the process with a segmentation fault on closing.
    """
    with open(path, "w+b", buffering=0) as raw:
        patient = _PatientFile(raw)
        with h5py.File(patient, "w", libver="latest") as file:
            yield file
        if patient.error is not None:
            raise patient.error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Raises RunError when the disk is full."""
    with writing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write plain data as readable JSON, whole or not at all.

    Raises RunError when the disk is full, and for NaN and infinity, naming the field.
    """
    if place := not_finite(value):
        raise RunError(f"{path}: '{place}' would be NaN or infinite: what it is computed from has diverged")
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def write_parquet(path: Path, columns: Mapping[str, Any]) -> None:
    """Write a table, numpy arrays by column name, as Parquet; the same table always gives the same bytes.

    Raises RunError when the disk is full.
    """
    import duckdb  # imported late: few processes write tables

    with writing(path) as temporary, duckdb.connect(":memory:", config={"threads": 1}) as database:
        database.register("columns", dict(columns))
        target = str(temporary).replace("'", "''")
        database.execute(f"COPY (SELECT * FROM columns) TO '{target}' (FORMAT parquet)")


def read_parquet(path: Path) -> dict[str, Any]:
    """Read what `write_parquet` wrote: numpy arrays by column name. Raises RunError naming a file that is damaged."""
    import duckdb

    try:
        with duckdb.connect(":memory:", config={"threads": 1}) as database:
            return database.execute("SELECT * FROM read_parquet(?)", [str(path)]).fetchnumpy()
    except duckdb.Error as error:
        raise RunError(f"{path}: damaged ({error}); remove its folder and run the stage again") from error


def read_json(path: Path) -> Any:
    """Read a JSON file, in UTF-8 or UTF-16, with or without a byte-order mark.

    Raises RunError naming the file when it is missing, damaged or a git-LFS pointer.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RunError(f"{path}: no such file; is the folder a run of boardgame-sae?") from None
    except (OSError, ValueError, RecursionError) as error:
        raise lfs_pointer_error(path) or RunError(
            f"{path}: damaged ({error}); restore it, or run the command that wrote it again"
        ) from error


LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""What a file begins with that git holds in place of a large one."""


def lfs_pointer_error(path: Path) -> RunError | None:
    """What to raise for a file that is a git-LFS pointer to the real one; None if it is not."""
    try:
        with open(path, "rb") as file:
            pointer = file.read(len(LFS_POINTER)) == LFS_POINTER
    except OSError:
        return None
    return RunError(f"{path}: a git-LFS pointer, not the file itself; run `git lfs pull` there") if pointer else None


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal. Raises OSError when it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
