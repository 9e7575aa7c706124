"""Files: written whole or not at all, read with errors that name them, hashed.

A file is written under a temporary name, flushed to disk and renamed, so that a kill leaves the old one or the new one.
A full disk is an error that says so, even where the library that writes would end the process.
"""

import errno
import glob
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from boardgame_sae.config import ConfigError, from_mapping, not_finite
from boardgame_sae.plain_data import MAX_JSON_BYTES, parse_json, read_bounded

T = TypeVar("T")
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, a used-up quota, and a file that is too large for the file system."""


class RunError(RuntimeError):
    """A run that cannot go on; the message names the file and the fix."""


_FLAGS = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"))
"""Of every file that is opened for writing; Windows has only the last, the others all but that."""


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it and rename it into place, else remove it.

    Nothing is there when the block begins: what a killed write has left, a link too, is removed.
    Raises RunError when the disk is full; nothing half-written stays behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.unlink(missing_ok=True)
        yield temporary
        with open(temporary, "r+b") as file:  # Windows flushes only what can be written to
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
    full = full or re.fullmatch(r"\d+ requested and \d+ written", str(error)) is not None  # how numpy says it
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


def open_new(path: Path) -> io.FileIO:
    """Create a file and open it for reading and writing; what has its name goes, and a link there is not followed."""
    path.unlink(missing_ok=True)
    return _opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, "w+b")


def append_bytes(path: Path, data: bytes) -> None:
    """Add to the end of a file, which need not be there. Raises RunError for a link or when the disk is full."""
    try:
        with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, "ab") as file:
            file.write(data)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise RunError(f"{path}: a link, and nothing is written through links; remove it") from error
        raise disk_error(path, error) from error


def _opened(path: Path, flags: int, mode: str) -> io.FileIO:
    return io.FileIO(path, mode, opener=lambda name, _: os.open(name, flags | _FLAGS, 0o666))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Raises RunError when the disk is full."""
    with writing(path) as temporary, io.BufferedWriter(open_new(temporary)) as file:
        file.write(data)


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


def read_parquet(path: Path, columns: Mapping[str, type], fix: str) -> dict[str, np.ndarray]:
    """Read what `write_parquet` wrote: numpy arrays by column name.

    columns: the type, int, float or str, of each column that must be there; there may be more. fix: what to do about a
    file that is damaged or something else.
    Raises RunError naming the file and, where there is one at fault, the column: missing, of another type, with empty
    entries or with numbers that are not finite.
    """
    import duckdb

    if not path.exists():
        raise RunError(f"{path}: no such file; {fix}")
    try:
        with duckdb.connect(":memory:", config={"threads": 1}) as database:
            query = "SELECT * FROM read_parquet(?)"
            table: dict[str, Any] = database.execute(query, [glob.escape(str(path))]).fetchnumpy()
    except duckdb.Error as error:
        raise RunError(f"{path}: damaged ({error}); {fix}") from error
    for name, kind in columns.items():
        if fault := _column_fault(table.get(name), kind):
            raise RunError(f"{path}: column '{name}' {fault}; {fix}")
    return table


_COLUMN_KINDS = {int: ("iu", "whole numbers"), float: ("f", "numbers"), str: ("O", "text")}
"""Letters of numpy's kinds of arrays that hold a type, and what it is called."""


def _column_fault(values: np.ndarray | None, kind: type) -> str | None:
    """What is wrong with a column that is to hold a type."""
    if values is None:
        return "is missing"
    if np.ma.is_masked(values):
        return "has empty entries"
    letters, called = _COLUMN_KINDS[kind]
    if values.dtype.kind not in letters or (kind is str and not all(isinstance(value, str) for value in values)):
        return f"does not hold {called}"
    return "holds NaN or infinite values" if kind is float and not np.isfinite(values).all() else None


def read_json(path: Path) -> Any:
    """Read a JSON file, in UTF-8 or UTF-16, with or without a byte-order mark.

    Raises RunError naming the file when it is missing, damaged or a git-LFS pointer.
    """
    try:
        return parse_json(read_bounded(path, MAX_JSON_BYTES))
    except FileNotFoundError:
        raise RunError(f"{path}: no such file; is the folder a run of boardgame-sae?") from None
    except (OSError, ValueError) as error:
        raise lfs_pointer_error(path) or RunError(
            f"{path}: damaged ({error}); restore it, or run the command that wrote it again"
        ) from error


def read_record(cls: type[T], path: Path, fix: str) -> T:
    """Read a JSON file as a record, the class that is its schema. fix: what to do about one that is something else.

    Raises RunError naming the file and, where there is one at fault, the field.
    """
    return as_record(cls, read_json(path), str(path), fix)


def read_json_lines(cls: type[T], path: Path, fix: str) -> list[T]:
    """The lines of a file, each of JSON, as records; none where there is no file.

    fix: what to do about a line that is something else. Raises RunError naming the file, the line and the field.
    """
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [_line_record(cls, line, f"{path}: line {number}", fix) for number, line in enumerate(lines, 1)]


def _line_record(cls: type[T], line: bytes, source: str, fix: str) -> T:
    try:
        value = parse_json(line)
    except ValueError as error:
        raise RunError(f"{source}: damaged ({error}); {fix}") from error
    return as_record(cls, value, source, fix)


def as_record(cls: type[T], value: Any, source: str, fix: str) -> T:
    """Plain data that was read from a file as a record. source: the file, and where in it.

    Raises RunError as `read_record` does.
    """
    if not isinstance(value, dict):
        raise RunError(f"{source}: holds a {type(value).__name__} where fields were expected; {fix}")
    try:
        return from_mapping(cls, value, source)
    except ConfigError as error:
        raise RunError(f"{str(error).splitlines()[0]}; {fix}") from error


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
