"""The one reader of HDF5 files: a format says what its files hold, and a file that holds anything else is refused."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import h5py
import numpy as np

from boardgame_sae.files import lfs_pointer_error
from boardgame_sae.hdf5.plain import RefusedError, Stored, attributes, scan
from boardgame_sae.hdf5.trial import try_elsewhere
from boardgame_sae.runs.integrity import verified

SIGNATURE = b"\x89HDF\r\n\x1a\n"


class Array(NamedTuple):
    """What a format says of an array, or of all arrays in a place."""

    types: tuple[str, ...]
    """What its entries may be, in numpy's words: `u2`, or of any size `u`."""
    axis: str
    """What its first axis counts; arrays that count the same have the same length."""
    beyond: int = 0
    """Entries that it has more than that: 1 for offsets."""
    rank: int = 1
    """Number of axes."""


class Format(NamedTuple):
    """A kind of HDF5 file."""

    name: str
    """What its attribute `format` says."""
    version: int
    """What its attribute `version` says."""
    what: str
    """What messages call it."""
    error: Callable[[str], Exception]
    """What is raised for a file that is not one."""
    fix: str
    """What to do about a damaged one, for messages."""
    attributes: Mapping[str, type]
    """The type of each further attribute."""
    arrays: Mapping[str, Array]
    """Its arrays by path; `games/*` and `*` stand for any name there."""


class Contents(NamedTuple):
    """An open file."""

    attributes: dict[str, Any]
    arrays: dict[str, np.ndarray]
    """By path, memory-mapped unless compressed."""


def read_hdf5(path: Path, format_: Format, mode: Literal["r", "r+"] = "r") -> Contents:
    """Open a file of a format; its arrays are mapped, or read where they are compressed.

    mode: whether what is mapped can be written to.
    Raises RunError when a finished run's file has changed, and the format's error, naming the file, for one that is
    missing, damaged, not of the format, or holds what no file of the format has.
    """
    vouched_for, pointer = verified(path), lfs_pointer_error(path)
    if pointer is not None:
        raise pointer
    try:
        _check_signature(path)
        if not vouched_for:
            try_elsewhere(path)
        with h5py.File(path, "r") as file:
            about, stored = attributes(file), scan(file)
            _check_kind(format_, about)
            _check_arrays(format_, stored)
            return Contents(about, {name: _array(path, file, name, at, mode) for name, at in stored.items()})
    except RefusedError as error:
        raise format_.error(f"{path}: {error}; {format_.fix}") from None
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise format_.error(f"{path}: truncated or not an HDF5 file ({error}); {format_.fix}") from error


def _check_signature(path: Path) -> None:
    with open(path, "rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            raise lfs_pointer_error(path) or RefusedError("truncated or not an HDF5 file")


def _check_kind(format_: Format, about: Mapping[str, Any]) -> None:
    """Raise RefusedError unless a file's attributes are those of its format."""
    if about.get("format") != format_.name:
        raise RefusedError(f"an HDF5 file, but not {format_.what} of boardgame_sae")
    if about.get("version") != format_.version:
        raise RefusedError(f"{format_.what} of version {about.get('version')}, this program reads {format_.version}")
    for name, kind in format_.attributes.items():
        if type(about.get(name)) is not kind:
            raise RefusedError(f"its attribute '{name}' is {about.get(name)!r}, not {kind.__name__}")


def _check_arrays(format_: Format, stored: Mapping[str, Stored]) -> None:
    """Raise RefusedError unless a file's arrays are those of its format."""
    missing = [name for name in format_.arrays if not name.endswith("*") and name not in stored]
    if missing:
        raise RefusedError(f"has no array '{missing[0]}'")
    lengths: dict[str, tuple[str, int]] = {}
    for name, (dtype, shape, _) in stored.items():
        array = format_.arrays.get(name) or format_.arrays.get(f"{name.rpartition('/')[0]}/*".lstrip("/"))
        if array is None:
            raise RefusedError(f"has an array '{name}', which is not part of {format_.what}")
        if not {dtype.kind, dtype.str[1:]} & {*array.types} or len(shape) != array.rank:
            raise RefusedError(f"'{name}' is {dtype} with {len(shape)} axes, which is not part of {format_.what}")
        other, length = lengths.setdefault(array.axis, (name, shape[0] - array.beyond))
        if length != shape[0] - array.beyond or length < 0:
            raise RefusedError(f"the lengths of '{other}' and '{name}' do not fit together")


def _array(path: Path, file: h5py.File, name: str, at: Stored, mode: Literal["r", "r+"]) -> np.ndarray:
    if at.offset is not None:
        return np.memmap(path, at.dtype, mode, at.offset, at.shape)
    if mode == "r+":
        raise RefusedError(f"'{name}' cannot be filled in place")
    dataset: Any = file[name]
    return dataset[()]
