"""What is in an HDF5 file: plain numbers that lie inside it, and nothing that points elsewhere.

Types whose values are pointers, links, and bytes kept in other files are refused before a byte of an array is read.
"""

import math
import os
from typing import Any, NamedTuple

import h5py
import numpy as np

MAX_OBJECTS, MAX_TEXT, MAX_CHUNK = 1000, 2**20, 2**26
"""Arrays or attributes in one place, characters of an attribute, bytes that are compressed together."""
MAX_RATIO = 1100
"""Deflate never makes data smaller by more than this."""
SCALARS = (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING)
FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE}


class Stored(NamedTuple):
    """Where the bytes of an array are."""

    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int | None
    """Where in the file they begin; None when they are compressed, in the file's header, or there are none."""

    @property
    def n_bytes(self) -> int:
        """How many there are."""
        return math.prod(self.shape) * self.dtype.itemsize


class RefusedError(Exception):
    """A file holds what no format has; the message says what."""


def attributes(file: Any) -> dict[str, Any]:
    """A file's attributes. Raises RefusedError unless each is a number or a text."""
    if len(file.attrs) > MAX_OBJECTS:
        raise RefusedError(f"has {len(file.attrs)} attributes")
    values: dict[str, Any] = {}
    for name in file.attrs:
        about = h5py.h5a.open(file.id, name.encode())
        if about.shape != () or about.get_type().get_class() not in SCALARS:
            raise RefusedError(f"its attribute '{name}' is neither a number nor a text")
        value = file.attrs[name]
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, bytes | str) and len(value) > MAX_TEXT:
            raise RefusedError(f"its attribute '{name}' is {len(value)} characters long")
        values[name] = value
    return values


def scan(file: Any) -> dict[str, Stored]:
    """Where each array of a file is, at most one group deep. Raises RefusedError for what is not plain numbers."""
    size = os.path.getsize(file.filename)
    if file.id.get_create_plist().get_userblock():
        raise RefusedError("has a block of something else before it")
    stored: dict[str, Stored] = {}

    def walk(group: Any, prefix: str) -> None:
        if len(group) > MAX_OBJECTS:
            raise RefusedError(f"has {len(group)} arrays in one place")
        for name in group:
            place = prefix + name
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise RefusedError(f"'{place}' is a link to elsewhere")
            kind = group.get(name, getclass=True)
            if kind is h5py.Dataset:
                stored[place] = _stored(place, group[name].id, size)
            elif kind is h5py.Group and not prefix:
                walk(group[name], f"{name}/")
            else:
                raise RefusedError(f"'{place}' is no array")

    walk(file, "")
    return stored


def _stored(name: str, dataset: Any, size: int) -> Stored:
    """Where an array is in a file of some size. Raises RefusedError unless it is all there, and plain."""
    dtype, how, n_kept = _plain_dtype(name, dataset.get_type()), dataset.get_create_plist(), dataset.get_storage_size()
    layout, shape = how.get_layout(), dataset.shape
    if shape is None:
        raise RefusedError(f"'{name}' has no entries")
    n_bytes = Stored(dtype, shape, None).n_bytes
    if how.get_external_count() or layout not in (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED):
        raise RefusedError(f"the bytes of '{name}' are in another file")
    if layout == h5py.h5d.CHUNKED:
        _check_chunks(name, dataset, how, dtype.itemsize)
        whole = n_kept <= size and n_bytes <= MAX_RATIO * n_kept
        offset = None
    else:
        offset = dataset.get_offset()  # None in the header, and where there are no bytes
        whole = n_kept == n_bytes and (offset or 0) + n_bytes <= size
        whole = whole and (offset is not None or layout == h5py.h5d.COMPACT or not n_bytes)
    if not whole:
        raise RefusedError(f"'{name}' is not all there")
    return Stored(dtype, shape, offset if n_bytes else None)


def _check_chunks(name: str, dataset: Any, how: Any, itemsize: int) -> None:
    """Raise RefusedError unless a compressed array has all its chunks, none too large, compressed as we do."""
    filters, chunk = {how.get_filter(number)[0] for number in range(how.get_nfilters())}, how.get_chunk()
    if filters - FILTERS or math.prod(chunk) * itemsize > MAX_CHUNK:
        raise RefusedError(f"'{name}' is compressed in a way that is not read here")
    if dataset.get_num_chunks() != math.prod(-(-n // of) for n, of in zip(dataset.shape, chunk, strict=True)):
        raise RefusedError(f"'{name}' is not all there")


def _plain_dtype(name: str, kind: Any) -> np.dtype:
    """The dtype of an array of plain numbers, or of bytes of a fixed length."""
    variable = isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()
    if kind.get_class() not in (*SCALARS, h5py.h5t.ENUM) or variable:
        raise RefusedError(f"'{name}' holds neither plain numbers nor bytes of a fixed length")
    dtype = kind.dtype
    known = dtype.kind in "iufbS" and kind.equal(h5py.h5t.py_create(dtype, logical=True)) and dtype.isnative
    if not known or (kind.get_class() == h5py.h5t.ENUM and dtype != np.bool_):
        raise RefusedError(f"'{name}' holds neither plain numbers nor bytes of a fixed length")
    return dtype
