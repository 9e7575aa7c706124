"""Ways to spoil files of tensors: safetensors, whose header is JSON, and torch's own, which are pickles in a zip."""

import io
import json
import os
import struct
from random import Random
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from robustness.entry import Mutation
from robustness.mutations.plain import VALUES, change
from robustness.mutations.raw import RAW, header, several

DTYPES = (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int8, torch.bool, torch.complex64)


def change_header(random: Random, data: bytes) -> bytes:
    """Spoil what a safetensors file says of its tensors. Raises ValueError for one that is spoilt already."""
    try:
        size = struct.unpack("<Q", data[:8])[0]
    except struct.error as error:
        raise ValueError(str(error)) from error
    text = json.dumps(change(random, json.loads(data[8 : 8 + size])))
    return header(text.encode("utf-8", "surrogatepass")) + data[8 + size :]


def change_tensors(random: Random, tensors: dict[str, Any]) -> None:
    """Spoil one to three tensors of a dict: gone, renamed, of another type, shape or value."""
    for _ in range(random.choice((1, 1, 2, 3))):
        name = random.choice(list(tensors)) if tensors else "new"
        tensor = tensors.pop(name, torch.zeros(3))
        how = random.randrange(7)
        if how == 1:
            name = random.choice((f"module.{name}", f"_orig_mod.{name}", "", name.upper(), f"{name}.weight", "../x"))
        if how > 0:
            tensors[name] = _changed(random, tensor, how)


def _changed(random: Random, tensor: torch.Tensor, how: int) -> torch.Tensor:
    if how == 2:
        return tensor.to(random.choice(DTYPES))
    if how == 3:
        shapes = ((), (0,), tuple(tensor.shape[::-1]), (*tensor.shape, 1), (1, *tensor.shape), (7,), (3, 5))
        return torch.zeros(random.choice(shapes), dtype=tensor.dtype)
    tensor = tensor.contiguous().clone()
    if how in (4, 5) and tensor.numel() and tensor.is_floating_point():
        spot = tensor.view(-1) if how == 4 else tensor.view(-1)[:1]
        spot.fill_(random.choice((float("nan"), float("inf"), -1e30, 1e30, 0.0, -1.0)))
    return tensor if how < 6 else tensor.flip(0) if tensor.ndim else -tensor


def change_safetensors(random: Random, data: bytes) -> bytes:
    """Spoil the tensors of a safetensors file. Raises ValueError for one that is spoilt already."""
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    size = struct.unpack("<Q", data[:8])[0]
    change_tensors(random, tensors)
    try:
        return save(
            {name: each.contiguous() for name, each in tensors.items()},
            json.loads(data[8 : 8 + size]).get("__metadata__"),
        )
    except SafetensorError as error:
        raise ValueError(str(error)) from error


class Program:
    """An object whose pickle runs a program when it is read as Python reads pickles."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("escaped",)


def change_pt(random: Random, data: bytes) -> bytes:
    """Spoil the state dict in a torch file. Raises ValueError for one that is spoilt already."""
    try:
        whole = torch.load(io.BytesIO(data), weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        raise ValueError(str(error)) from error
    dicts = [part for part in (whole, *whole.values()) if isinstance(part, dict)]
    chosen = random.choice(dicts)
    if all(isinstance(value, torch.Tensor) for value in chosen.values()) and random.random() < 0.8:
        change_tensors(random, chosen)
    elif random.random() < 0.1:
        chosen[random.choice(list(chosen) or ["x"])] = Program()
    elif random.random() < 0.5:
        chosen[random.choice(list(chosen) or ["x"])] = random.choice(VALUES)
    else:
        whole = random.choice(({"state_dict": whole}, {"model": whole}, [whole], whole.popitem()[1], {3: whole}))
    packed = io.BytesIO()
    torch.save(whole, packed, _use_new_zipfile_serialization=random.random() < 0.9)
    return packed.getvalue()


SAFETENSORS: tuple[Mutation, ...] = (change_header, change_safetensors, change_safetensors, several(RAW))
PT: tuple[Mutation, ...] = (*(change_pt,) * 3, several(RAW))
