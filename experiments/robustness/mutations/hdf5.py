"""Ways to spoil HDF5 that turned bits hardly find: other types, shapes and sizes, links, bytes of other files."""

import io
from collections.abc import Callable
from random import Random
from typing import Any

import h5py
import numpy as np

from robustness.entry import Mutation
from robustness.mutations.plain import VALUES
from robustness.mutations.raw import RAW, several


def _as_text(file: h5py.File, name: str, old: np.ndarray) -> None:
    file.create_dataset(name, data=["a", "bc"] * (len(old) // 2 + 1), dtype=h5py.string_dtype())


def _as_references(file: h5py.File, name: str, old: np.ndarray) -> None:
    file.create_dataset(name, shape=(max(1, len(old)),), dtype=h5py.ref_dtype)


def _as_records(file: h5py.File, name: str, old: np.ndarray) -> None:
    file.create_dataset(name, data=np.zeros(len(old), [("a", "<i4"), ("b", "<f8")]))


def _without_end(file: h5py.File, name: str, old: np.ndarray) -> None:
    file.create_dataset(name, shape=(2**40, *old.shape[1:]), dtype=old.dtype, chunks=(1024, *old.shape[1:]))


def _of_another_file(file: h5py.File, name: str, old: np.ndarray) -> None:
    file.create_dataset(name, shape=old.shape, dtype=old.dtype, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def _external_link(file: h5py.File, name: str, _: np.ndarray) -> None:
    file[name] = h5py.ExternalLink("../corpus/corpus.h5", "/moves")


def _loop(file: h5py.File, name: str, _: np.ndarray) -> None:
    file[name] = h5py.SoftLink(f"/{name}")


def _group(file: h5py.File, name: str, _: np.ndarray) -> None:
    file.create_group(f"{name}/inner")


REPLACEMENTS: tuple[Callable[[h5py.File, str, np.ndarray], None], ...] = (
    _as_text, _as_references, _as_records, _without_end, _of_another_file, _external_link, _loop, _group
)  # fmt: skip
"""What may stand where a dataset of numbers was."""


def _numbers(random: Random, old: np.ndarray) -> np.ndarray:
    """Numbers of another type, shape or value."""
    how = random.randrange(6)
    if how == 0:
        return old.astype(random.choice(("<i1", ">i8", "<f8", "<u8", "?", "<c8")))
    if how == 1:
        return random.choice((old[:-1], old[:0], np.concatenate([old, old]), old[None], old.reshape(-1, 1)))
    if how == 2:
        return np.zeros((), old.dtype)
    spoilt = old.copy()
    if spoilt.size:
        extreme = np.array(random.choice((-1, 2**63 - 1, 2**31, 255, 0, 7))).astype(spoilt.dtype)
        spoilt.flat[random.randrange(spoilt.size) if how < 5 else slice(None)] = extreme
    return spoilt


def _spoil_attribute(random: Random, file: h5py.File) -> None:
    name = random.choice(list(file.attrs))
    if random.random() < 0.25:
        del file.attrs[name]
        return
    other: Any = random.choice(VALUES)
    own = file.attrs[name]
    text = str(own)
    choices = [other if isinstance(other, str | int | float) else "x", text[:-1], text.replace('"', "", 1), [1, 2]]
    try:
        file.attrs[name] = random.choice(choices)
    except (TypeError, ValueError, OverflowError):  # what HDF5 cannot hold
        file.attrs[name] = np.float32("nan")


def change_hdf5(random: Random, data: bytes) -> bytes:
    """Spoil a dataset or an attribute. Raises ValueError for a file that is spoilt already."""
    memory = io.BytesIO(data)
    try:
        with h5py.File(memory, "r+") as file:
            if len(file.attrs) and random.random() < 0.35:
                _spoil_attribute(random, file)
                return memory.getvalue()
            names: list[str] = []
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            name = random.choice(names)
            old = np.asarray(file[name])
            del file[name]
            how = random.random()
            if how < 0.5:
                file[name] = _numbers(random, old)
            elif how < 0.9:
                random.choice(REPLACEMENTS)(file, name, old)
    except (OSError, KeyError, RuntimeError, TypeError) as error:
        raise ValueError(str(error)) from error
    return memory.getvalue()


HDF5: tuple[Mutation, ...] = (*(change_hdf5,) * 3, *(several(RAW),) * 2)
