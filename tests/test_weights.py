"""Tensor files: whole, finite, readable by others' eyes and named when they are not what they should be."""

import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from boardgame_sae.files import RunError
from boardgame_sae.weights import (
    read_arrays,
    read_metadata,
    read_pt,
    read_tensors,
    shapes_of,
    without_wrappers,
    write_tensors,
)

FIX = "train it again"
TENSORS = {"W": torch.arange(6.0).reshape(2, 3), "half": torch.ones(3, dtype=torch.bfloat16), "n": torch.tensor([7])}


def test_what_is_written_is_read_and_has_safetensors_own_bytes(tmp_path):
    write_tensors(tmp_path / "ours", TENSORS, {"about": "x"})
    save_file(TENSORS, tmp_path / "theirs", {"about": "x"})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    read = read_tensors(tmp_path / "ours", FIX)
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[name], TENSORS[name]) and read[name].dtype == TENSORS[name].dtype for name in read)
    assert read_metadata(tmp_path / "ours", FIX) == {"about": "x"}
    assert shapes_of(tmp_path / "ours", FIX) == {"W": (2, 3), "half": (3,), "n": (1,)}


def test_numpy_arrays_are_written_as_torch_writes_them(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3).T, "b": np.array([True, False])}
    write_tensors(tmp_path / "arrays", arrays)
    read, metadata = read_arrays(tmp_path / "arrays", FIX)
    assert metadata == {} and all(np.array_equal(read[name], arrays[name]) for name in arrays)
    assert torch.equal(load_file(tmp_path / "arrays")["a"], torch.from_numpy(arrays["a"].copy()))


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_umask_says_who_may_read_weights(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_tensors(tmp_path / "weights", TENSORS)
    finally:
        os.umask(before)
    assert (tmp_path / "weights").stat().st_mode & 0o777 == 0o666 & ~umask
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_values_that_are_not_finite_are_named(tmp_path, value, dtype):
    write_tensors(tmp_path / "w", {**TENSORS, "W_dec": torch.tensor([1.0, value], dtype=dtype)})
    with pytest.raises(RunError, match=r"w: tensor 'W_dec' holds NaN or infinite values"):
        read_tensors(tmp_path / "w", FIX)


@given(keep=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_named(tmp_path_factory, keep):
    path = tmp_path_factory.mktemp("cut") / "w.safetensors"
    write_tensors(path, TENSORS)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    for read in (read_tensors, read_arrays, read_metadata, shapes_of):
        with pytest.raises(RunError, match=r"w\.safetensors: truncated or damaged .*train it again"):
            read(path, FIX)


@pytest.mark.parametrize("read", [read_tensors, read_arrays, read_metadata, shapes_of, read_pt])
def test_a_git_lfs_pointer_is_named_as_such(tmp_path, read):
    path = tmp_path / "w"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    with pytest.raises(RunError, match="w: a git-LFS pointer, not the file itself; run `git lfs pull`"):
        read(path, FIX)


@pytest.mark.parametrize("read", [read_tensors, read_arrays, shapes_of])
def test_a_missing_file_is_named(tmp_path, read):
    with pytest.raises(RunError, match="w: no such file; train it again"):
        read(tmp_path / "w", FIX)


def test_wrappers_of_training_are_not_part_of_a_name():
    names = ["module.a.b", "_orig_mod.c", "module._orig_mod.module.d", "my_module.e", "h.0._orig_mod.f"]
    assert list(without_wrappers(dict.fromkeys(names))) == ["a.b", "c", "d", "my_module.e", "h.0.f"]
