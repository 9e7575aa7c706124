"""New HDF5 files."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from boardgame_sae.files import open_new
from boardgame_sae.hdf5.trial import trust


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
    with open_new(path) as raw:
        patient = _PatientFile(raw)
        with h5py.File(patient, "w", libver="latest") as file:
            yield file
        if patient.error is not None:
            raise patient.error
    trust(path)
