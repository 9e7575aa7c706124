"""No HDF5 file makes the process die, hang, read another file, or take memory that the file does not account for."""

import os
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardgame_sae.files import RunError, file_hash
from boardgame_sae.hdf5 import trial
from boardgame_sae.hdf5.reader import Array, Format, read_hdf5
from boardgame_sae.hdf5.writer import new_hdf5
from boardgame_sae.runs.integrity import write_done

TABLES = Format(
    "tables",
    1,
    "a table",
    RunError,
    "write it again",
    {"author": str},
    {
        "values": Array(("i", "u", "f8"), "rows"),
        "ends": Array(("i8",), "rows", beyond=1),
        "grid": Array(("f2", "f4"), "rows", rank=2),
        "more/*": Array(("i", "u", "f", "b", "S"), "rows"),
    },
)
N = 50
OPENING = "import sys; sys.path[:] = {path!r}; from boardgame_sae.hdf5 import trial"
"""How the process that opens a file first begins, up to what a test makes different."""
OPEN, ENDLESS = "trial.open_first(sys.argv[1])", "lambda file: [0 for _ in iter(int, 1)]"


def fill(file) -> None:
    """A good table."""
    file.attrs.update(format="tables", version=1, author="é")
    file["values"], file["ends"], file["grid"] = np.arange(N), np.arange(N + 1), np.ones((N, 3), np.float32)
    file["more/yes"], file["more/word"] = np.ones(N, bool), np.array([b"ab"] * N)
    file.create_dataset("more/packed", data=np.arange(N), chunks=(20,), compression="gzip", shuffle=True)


@pytest.fixture
def path(tmp_path) -> Path:
    with new_hdf5(tmp_path / "table.h5") as file:
        fill(file)
    return tmp_path / "table.h5"


def test_a_good_file_is_read_and_what_is_not_compressed_is_mapped(path):
    about, arrays = read_hdf5(path, TABLES)
    assert about == {"format": "tables", "version": 1, "author": "é"}
    assert set(arrays) == {"values", "ends", "grid", "more/yes", "more/word", "more/packed"}
    assert arrays["grid"].shape == (N, 3) and arrays["more/word"][0] == b"ab" and arrays["more/yes"].all()
    assert np.array_equal(arrays["values"], np.arange(N)) and np.array_equal(arrays["more/packed"], np.arange(N))
    assert [isinstance(arrays[name], np.memmap) for name in ("values", "grid", "more/packed")] == [True, True, False]


def replaced(name, **how):
    def spoil(file, folder):
        del file[name]
        file.create_dataset(name, **how)

    return spoil


def external(file, folder):
    (folder / "secret").write_bytes(bytes(range(256)) * 8)
    replaced("values", shape=(N,), dtype="i8", external=[(str(folder / "secret"), 0, N * 8)])(file, folder)


def virtual(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["a"] = np.arange(N)
    layout = h5py.VirtualLayout(shape=(N,), dtype="i8")
    layout[:] = h5py.VirtualSource(folder / "other.h5", "a", shape=(N,))
    del file["values"]
    file.create_virtual_dataset("values", layout)


def linked(link):
    def spoil(file, folder):
        with h5py.File(folder / "other.h5", "w") as other:
            other["a"] = np.arange(N)
        del file["values"]
        file["values"] = link

    return spoil


def never_written(file, folder):
    del file["values"]
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    h5py.h5d.create(file.id, b"values", h5py.h5t.NATIVE_INT64, h5py.h5s.create_simple((N,)), how)


NOT_THERE = "'values' is not all there"
TEXTS, REFERENCES = h5py.string_dtype(), h5py.ref_dtype
POINTERS = "neither plain numbers nor bytes"
SPOILED = {
    "variable strings": (replaced("values", data=["a"] * N, dtype=TEXTS), POINTERS),
    "variable arrays": (replaced("values", shape=(N,), dtype=h5py.vlen_dtype(np.int32)), POINTERS),
    "references": (replaced("values", shape=(N,), dtype=REFERENCES), POINTERS),
    "compounds": (replaced("values", data=np.zeros(N, [("a", "i4"), ("b", "f4")])), POINTERS),
    "opaque": (replaced("values", data=np.zeros(N, "V8")), POINTERS),
    "arrays in entries": (replaced("values", shape=(N,), dtype=np.dtype(("i4", (2,)))), POINTERS),
    "complex": (replaced("values", data=np.zeros(N, complex)), POINTERS),
    "an enumeration": (replaced("values", shape=(N,), dtype=h5py.enum_dtype({"a": 1, "b": 2}, "i4")), POINTERS),
    "the other byte order": (replaced("values", data=np.arange(N, dtype=">i8")), POINTERS),
    "numbers of another kind": (replaced("ends", data=np.zeros(N + 1, "f4")), "'ends' is float32 with 1 axes"),
    "numbers of another size": (replaced("grid", data=np.zeros((N, 3))), "'grid' is float64 with 2 axes"),
    "unsigned for signed": (replaced("ends", data=np.arange(N + 1, dtype="u8")), "'ends' is uint64 with 1 axes"),
    "bytes for numbers": (replaced("values", data=np.array([b"a"] * N)), r"'values' is \|S1 with 1 axes"),
    "a scalar": (replaced("values", data=5), "'values' is int64 with 0 axes"),
    "an axis too many": (replaced("values", data=np.zeros((N, 2))), "'values' is float64 with 2 axes"),
    "an axis too few": (replaced("grid", data=np.zeros(N)), "'grid' is float64 with 1 axes"),
    "an empty space": (replaced("values", data=h5py.Empty("i4")), "'values' has no entries"),
    "another length": (replaced("values", data=np.arange(N - 1)), "the lengths of 'ends' and 'values'|'more/"),
    "no ends": (replaced("ends", data=np.arange(0)), "the lengths of"),
    "external storage": (external, "the bytes of 'values' are in another file"),
    "virtual storage": (virtual, "the bytes of 'values' are in another file"),
    "an external link": (linked(h5py.ExternalLink("other.h5", "/a")), "'values' is a link to elsewhere"),
    "a soft link": (linked(h5py.SoftLink("/ends")), "'values' is a link to elsewhere"),
    "a dangling link": (linked(h5py.SoftLink("/nowhere")), "'values' is a link to elsewhere"),
    "bytes never written": (never_written, "'values' is not all there"),
    "chunks never written": (replaced("values", shape=(2**40,), dtype="i8", chunks=(2**16,)), NOT_THERE),
    "huge chunks": (replaced("values", shape=(2**28,), dtype="i8", chunks=(2**28,)), "compressed in a way"),
    "another filter": (replaced("values", data=np.arange(N), chunks=(10,), fletcher32=True), "compressed in a way"),
    "lzf": (replaced("values", data=np.arange(N), chunks=(10,), compression="lzf"), "compressed in a way"),
    "a group for an array": (lambda file, _: (file.pop("values"), file.create_group("values"))[0], "no array 'values'"),
    "a group within": (lambda file, _: file.create_group("more/deep/er"), "'more/deep' is no array"),
    "a group that is its own": (lambda file, _: file["more"].__setitem__("again", file), "'more/again' is no array"),
    "a type for an array": (lambda file, _: file.__setitem__("kind", np.dtype("i4")), "'kind' is no array"),
    "an unknown array": (lambda file, _: file.__setitem__("extra", np.arange(3)), "has an array 'extra'"),
    "a missing array": (lambda file, _: file.__delitem__("grid"), "has no array 'grid'"),
    "another format": (lambda file, _: file.attrs.__setitem__("format", "x"), "an HDF5 file, but not a table"),
    "another version": (lambda file, _: file.attrs.__setitem__("version", 2), "of version 2, this program reads 1"),
    "a number for a text": (lambda file, _: file.attrs.__setitem__("author", 3), "attribute 'author' is 3, not str"),
    "a missing attribute": (lambda file, _: file.attrs.__delitem__("author"), "its attribute 'author' is None"),
    "an attribute of arrays": (lambda file, _: file.attrs.__setitem__("x", np.zeros(9)), "neither a number nor a text"),
    "an attribute of texts": (lambda file, _: file.attrs.__setitem__("x", ["a", "b"]), "neither a number nor a text"),
    "a reference": (lambda file, _: file.attrs.__setitem__("x", file["ends"].ref), "neither a number nor a text"),
    "a long text": (lambda file, _: file.attrs.__setitem__("author", "x" * (2**20 + 1)), "1048577 characters long"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILED)
def test_what_no_format_has_is_refused_by_name(path, name, monkeypatch):
    spoil, message = SPOILED[name]
    with h5py.File(path, "r+") as file:
        spoil(file, path.parent)
    trial.trust(path)  # the refusal is this process's own
    with pytest.raises(RunError, match=message) as caught:
        read_hdf5(path, TABLES)
    assert str(caught.value).startswith(f"{path}: ") and str(caught.value).endswith("; write it again")


def test_a_user_block_is_refused(path):
    with h5py.File(path, "w", userblock_size=512) as file:
        fill(file)
    with pytest.raises(RunError, match="truncated or not an HDF5 file"):
        read_hdf5(path, TABLES)


def test_a_file_can_be_filled_in_place_where_it_is_mapped(path):
    with pytest.raises(RunError, match=r"'more/packed' cannot be filled in place"):
        read_hdf5(path, TABLES, "r+")
    with h5py.File(path, "r+") as file:
        del file["more/packed"]
    arrays = read_hdf5(path, TABLES, "r+").arrays
    arrays["values"][0] = 7
    arrays["values"].flush()
    assert read_hdf5(path, TABLES).arrays["values"][0] == 7


# Files from elsewhere are opened by another process first


@pytest.fixture
def elsewhere(path) -> Path:
    """A file that this process did not write."""
    os.utime(path, (1, 1))
    return path


def test_a_file_from_elsewhere_is_opened_by_another_process_once(elsewhere, monkeypatch):
    commands = []

    def counting(command, really=subprocess.run, **options):
        commands.append(command)
        return really(command, **options)

    monkeypatch.setattr(subprocess, "run", counting)
    for _ in range(2):
        assert read_hdf5(elsewhere, TABLES).arrays["values"][3] == 3
    assert len(commands) == 1


def test_neither_one_that_this_process_wrote_nor_one_that_a_run_vouches_for_is(path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    read_hdf5(path, TABLES)
    os.utime(path, (1, 1))
    write_done(path.parent, {path.name: file_hash(path)}, {})
    read_hdf5(path, TABLES)
    with open(path, "r+b") as file:
        file.write(b"no")
    with pytest.raises(RunError, match="changed since it was written"):
        read_hdf5(path, TABLES)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import time; time.sleep(60)", "does not open within 3 s;"),
        (f"{OPENING}; trial.SECONDS = 1; trial.scan = {ENDLESS}; {OPEN}", "does not open within 1 s of computing"),
        ("import os; os.kill(os.getpid(), 11)", "ends a process by signal 11"),
        ("raise OSError('odd')", r"truncated or not an HDF5 file \(OSError: odd\)"),
    ],
)
def test_a_process_that_hangs_dies_or_fails_is_an_error_that_names_the_file(elsewhere, code, message, monkeypatch):
    monkeypatch.setattr(trial, "_CODE", code)
    monkeypatch.setattr(trial, "SECONDS", 1)
    monkeypatch.setattr(trial, "PATIENCE", 3 if "sleep" in code else 60)
    began = time.perf_counter()
    with pytest.raises(RunError, match=message) as caught:
        read_hdf5(elsewhere, TABLES)
    assert str(elsewhere) in str(caught.value) and time.perf_counter() - began < 60


def test_a_process_that_waits_for_its_turn_is_not_taken_for_one_that_hangs(elsewhere, monkeypatch):
    """On a busy machine it may last longer than it computes."""
    monkeypatch.setattr(trial, "_CODE", f"import time; time.sleep(3); {OPENING}; {OPEN}")
    monkeypatch.setattr(trial, "SECONDS", 2)
    read_hdf5(elsewhere, TABLES)


def test_the_other_process_ends_by_itself_when_this_one_is_killed(elsewhere, monkeypatch):
    code = f"{OPENING}; trial.SECONDS = 1; trial.scan = {ENDLESS}; {OPEN}".format(path=sys.path)
    ended = subprocess.run([sys.executable, "-c", code, elsewhere], capture_output=True, timeout=300, check=False)
    assert ended.returncode < 0


@settings(max_examples=8)
@given(st.data())
def test_no_changed_byte_does_harm(data):
    """Whatever is changed, the file is read as plain numbers or refused by name."""
    folder = Path(os.environ["BOARDGAME_SAE_RUNS"]) / "mutated"
    folder.mkdir(parents=True, exist_ok=True)
    good = folder / "good.h5"
    if not good.exists():
        with new_hdf5(good) as file:
            fill(file)
    changed = bytearray(good.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    path = folder / "changed.h5"
    path.write_bytes(changed)
    try:
        arrays = read_hdf5(path, TABLES).arrays
    except RunError as error:
        said = str(error)
    else:
        said = f"{path}: "
        assert sum(len(array.tobytes()) for array in arrays.values()) < 2**20
    assert said.startswith(f"{path}: ")
