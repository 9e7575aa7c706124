"""A device of torch's own kind, `small`, that computes on the CPU and refuses float64, as Apple's MPS does.

Importing this module makes it: torch's PrivateUse1 backend, each operation of which runs on tensors of the CPU. Nothing
on it is numpy's to read, it mixes with no tensors of the CPU, and no float64 can be made on it or moved there.
Its limits: it computes what the CPU computes, and knows every operation that the CPU knows. Which operations MPS lacks,
or computes otherwise, only a Mac can say.
"""

from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "small"
_setup_privateuseone_for_python_backend(NAME)
_HERE, _aten = torch.device("cpu"), torch.ops.aten
_COPIES = {_aten.copy_.default, _aten._to_copy.default}
_MAY_MIX = {*_COPIES, _aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default}
"""Operations that take tensors of two devices: copies, and places given on the CPU."""


class Small(torch.Tensor):
    """A tensor on the device: it holds one of the CPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "Small":
        if held.dtype == torch.float64:
            raise TypeError(f"Cannot convert a {NAME} Tensor to float64: the framework doesn't support float64")
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset()}
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, **layout, dtype=held.dtype, device=torch.device(NAME, 0)
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(operation, *args, **(kwargs or {}))

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def new_tensor(self, data: Any) -> torch.Tensor:
        return torch.tensor(data, dtype=self.dtype).to(self.device)

    def __repr__(self, **_: Any) -> str:
        return f"{self.held} on {NAME}"


def _computed(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """What an operation gives: on this device, unless it writes into a tensor of the CPU or is asked to go there."""
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
    small = [tensor for tensor in tensors if isinstance(tensor, Small)]
    if operation not in _MAY_MIX and any(tensor.dim() and not isinstance(tensor, Small) for tensor in tensors if small):
        raise RuntimeError(f"{operation}: expected all tensors to be on one device, found {NAME} and cpu")
    result = operation(*tree_map(_held, args), **tree_map(_held, kwargs))
    if operation is _aten.copy_.default and not isinstance(args[0], Small):
        return args[0]
    if kwargs.get("device") == _HERE:
        return tree_map(lambda value: value.clone() if isinstance(value, torch.Tensor) else value, result)
    if torch.Tag.inplace_view in operation.tags:
        args[0].data = Small(result)  # its shape too has changed
        return args[0]
    same = {id(tensor.held): tensor for tensor in small}
    return tree_map(lambda value: same[id(value)] if id(value) in same else _small(value), result)


def _held(value: Any) -> Any:
    """An argument as the CPU takes it."""
    if isinstance(value, Small):
        return value.held
    return _HERE if isinstance(value, torch.device) else value


def _small(value: Any) -> Any:
    return Small(value) if isinstance(value, torch.Tensor) else value


_LIBRARY = torch.library.Library("_", "IMPL")  # operations without a tensor to go by, such as torch.zeros
_LIBRARY.fallback(_computed, "PrivateUse1")


def _made_here_first(make: Any) -> Any:
    """torch.tensor builds on the device past Python's reach: build on the CPU, then move."""

    def made(data: Any, *, device: Any = None, **how: Any) -> torch.Tensor:
        tensor = make(data, **how)
        return tensor if device is None else tensor.to(device)

    return made


torch.tensor, torch.as_tensor = _made_here_first(torch.tensor), _made_here_first(torch.as_tensor)
