"""How a result, or its gradient, differs from the right one, in words that help whoever made it."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def difference(given: Any, right: Any, tolerance: float) -> str | None:
    """What is wrong with a result, by its type, shape and values; None where nothing is.

    Numbers, texts, and lists, tuples, dicts, arrays and tensors of them are compared by value, other things by
    equality. tolerance: relative to the largest magnitude of the right values.
    """
    if given is None and right is not None:
        return "it returns None: is there a `return`?"
    if isinstance(right, Tensor | np.ndarray):
        return _of_arrays(given, right, tolerance)
    if isinstance(right, bool | int | float | np.number):
        return _of_numbers(given, right, tolerance)
    if isinstance(right, list | tuple):
        return _of_lists(given, right, tolerance)
    same = given == right
    return None if same is True or same is np.True_ else f"it gives {_shown(given)}, right is {_shown(right)}"


def gradient_difference(
    answer: Callable[..., Any], solution: Callable[..., Any], case: Sequence[Any], tolerance: float
) -> str | None:
    """What is wrong with how an answer's result depends on its inputs; None where nothing is.

    case: the inputs. Raises whatever the answer does.
    """
    given, right = _gradients(answer, case), _gradients(solution, case)
    if given is None:
        return (
            "its values are right, but no gradient flows through it, so nothing would be learned: do without "
            "`detach`, `no_grad`, `torch.tensor(...)` and rounding"
        )
    if any(difference(one, other, tolerance) for one, other in zip(given, right or [], strict=True)):
        return "its values are right, but not its gradient: is a part of it detached, or a new tensor?"
    return None


def _gradients(function: Callable[..., Any], case: Sequence[Any]) -> list[Tensor] | None:
    """Of the sum of what a function gives, each number with a weight of its own; None where it depends on nothing."""
    inputs = [value.detach().clone().requires_grad_() if isinstance(value, Tensor) else value for value in case]
    given = function(*(value.clone() if isinstance(value, Tensor) else value for value in inputs))
    if not given.requires_grad:
        return None
    total = (given * torch.arange(1, given.numel() + 1).view_as(given)).sum()
    tensors = [value for value in inputs if isinstance(value, Tensor)]
    return list(torch.autograd.grad(total, tensors, allow_unused=True, materialize_grads=True))


def _of_numbers(given: Any, right: Any, tolerance: float) -> str | None:
    if isinstance(given, Tensor | np.ndarray | np.generic) and given.ndim == 0:
        given = _values(given).item()
    if isinstance(given, Tensor | np.ndarray):
        return f"it gives an array of shape {tuple(given.shape)}, right is one number: average or sum over all axes"
    if isinstance(right, bool):
        return None if given is right else f"it gives {_shown(given)}, right is {right}; only True or False will do"
    if isinstance(given, bool) or not isinstance(given, int | float):
        return f"it gives {type(given).__name__}, right is a number"
    given, right = _as_float(given), _as_float(right)
    if math.isnan(given) and math.isnan(right):
        return None
    if not math.isfinite(given) and math.isfinite(right):
        return f"it gives {given}: is something divided by zero, or a logarithm taken of zero?"
    if abs(given - right) <= tolerance * max(abs(right), tolerance):
        return None
    if right and abs(given + right) <= tolerance * abs(right):
        return f"the sign is wrong: it gives {given:.5g}, right is {right:.5g}"
    return f"it gives {given:.5g}, right is {right:.5g}"


def _of_lists(given: Any, right: Any, tolerance: float) -> str | None:
    if isinstance(given, np.ndarray | Tensor) and given.ndim == 1 and not any(hasattr(x, "shape") for x in right):
        given = type(right)(_values(given).tolist())
    if not isinstance(given, list | tuple):
        return f"it gives {type(given).__name__}, right is a {type(right).__name__} of {len(right)}"
    if len(given) != len(right):
        return f"it gives {len(given)} entries, right are {len(right)}{_missing_end(given, right, tolerance)}"
    parts = [difference(one, other, tolerance) for one, other in zip(given, right, strict=True)]
    place, what = next(((place, what) for place, what in enumerate(parts) if what), (0, None))
    if what is None:
        return None
    if len(right) > 2 and _shifted(given, right, tolerance):
        return "every entry stands one place too early or too late: is it off by one ply?"
    return f"entry {place}: {what}"


def _missing_end(given: Any, right: Any, tolerance: float) -> str:
    if len(given) == len(right) - 1:
        if difference(list(given), list(right[1:]), tolerance) is None:
            return ": the first is missing (the start counts as a position)"
        if difference(list(given), list(right[:-1]), tolerance) is None:
            return ": the last is missing"
    return ""


def _shifted(given: Any, right: Any, tolerance: float) -> bool:
    pairs = ((given[1:], right[:-1]), (given[:-1], right[1:]))
    return any(
        all(difference(one, other, tolerance) is None for one, other in zip(*pair, strict=True)) for pair in pairs
    )


def _of_arrays(given: Any, right: Any, tolerance: float) -> str | None:
    kind = "tensor" if isinstance(right, Tensor) else "numpy array"
    if not isinstance(given, type(right)):
        return f"it gives {type(given).__name__}, right is a {kind} of shape {tuple(right.shape)}"
    one, other = _values(given), _values(right)
    if one.ndim == other.ndim == 0:
        return _of_numbers(one.item(), other.item(), tolerance)
    if one.shape != other.shape:
        return _of_shapes(one, other, tolerance)
    if one.dtype.kind != other.dtype.kind or (other.dtype.kind == "i" and one.dtype != other.dtype):
        return f"it gives {one.dtype}, right is {other.dtype}"
    if _close(one, other, tolerance):
        return None
    return _of_values(one.astype(float), other.astype(float), tolerance)


def _of_shapes(given: np.ndarray, right: np.ndarray, tolerance: float) -> str:
    wrong = f"wrong shape: it gives {given.shape}, right is {right.shape}"
    if given.ndim == right.ndim and _transposed(given, right, tolerance):
        return f"{wrong}: the axes are swapped"
    if given.ndim == right.ndim and given.shape[1:] == right.shape[1:] and abs(len(given) - len(right)) == 1:
        return f"{wrong}: off by one along the first axis"
    if given.ndim < right.ndim:
        return f"{wrong}: an axis is missing; did you average or index over one too many?"
    return wrong


def _transposed(given: np.ndarray, right: np.ndarray, tolerance: float) -> bool:
    """Whether the result is right but for the order of two axes."""
    pairs = itertools.combinations(range(given.ndim), 2)
    return any(_close(given.swapaxes(*pair), right, tolerance) for pair in pairs)


def _of_values(given: np.ndarray, right: np.ndarray, tolerance: float) -> str:
    if not np.isfinite(given).all() and np.isfinite(right).all():
        return "some values are not finite: is something divided by zero, or a logarithm taken of zero?"
    if _transposed(given, right, tolerance):
        return "right shape, but the axes are swapped"
    if len(given) > 2 and any(
        _close(one, other, tolerance) for one, other in ((given[1:], right[:-1]), (given[:-1], right[1:]))
    ):
        return "every row stands one place too early or too late: is it off by one ply?"
    if _close(-given, right, tolerance):
        return "right but for the sign"
    scale = (given * right).sum() / max((right * right).sum(), 1e-30)
    if abs(scale) > 1e-6 and _close(given / scale, right, tolerance):
        return f"right but for the scale: everything is {scale:.4g} times what it should be"
    place = tuple(int(i) for i in np.unravel_index(np.abs(given - right).argmax(), given.shape))
    wrong = (np.abs(given - right) > tolerance * max(1e-12, np.abs(right).max())).mean()
    at = ", ".join(map(str, place))
    return (
        f"right shape, but {wrong:.0%} of the values are wrong: [{at}] is {given[place]:.5g}, right {right[place]:.5g}"
    )


def _close(given: np.ndarray, right: np.ndarray, tolerance: float) -> bool:
    if given.shape != right.shape:
        return False
    if given.dtype.kind in "US" or right.dtype.kind in "US":
        return bool(np.array_equal(given, right))
    bound = tolerance * float(np.abs(right[np.isfinite(right)].astype(float)).max(initial=0.0))
    return bool(np.allclose(given.astype(float), right.astype(float), rtol=0.0, atol=max(bound, 0.0), equal_nan=True))


def _values(array: Any) -> np.ndarray:
    """An array's or a tensor's values; nan where a tensor has none (on `meta`)."""
    if not isinstance(array, Tensor):
        return np.asarray(array)
    if array.is_meta:
        return np.full(tuple(array.shape), np.nan)
    dense = array.detach().to_dense() if array.layout != torch.strided else array.detach()
    return (dense.float() if dense.dtype == torch.bfloat16 else dense).cpu().resolve_conj().resolve_neg().numpy()


def _as_float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
