"""Sets of squares as 64-bit integers: one machine instruction each, in compiled code or over an array."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numba import njit, types, vectorize
from numba.extending import intrinsic

Squares: TypeAlias = np.uint64
Int: TypeAlias = int | np.signedinteger[Any]
Bool: TypeAlias = bool | np.bool_
"""What compiled code takes for numbers and truths: Python's or numpy's."""

ZERO, ONE = np.uint64(0), np.uint64(1)


def _instruction(emit: Callable[[Any, Any, Any], Any]) -> Any:
    """A function of compiled code that is one instruction: uint64 to int64."""

    @intrinsic
    def instruction(typingctx: Any, bits: Any) -> Any:  # noqa: ARG001 - numba gives them
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
            return emit(context, builder, args[0])

        return types.int64(types.uint64), generate

    return instruction


_ones = _instruction(lambda _, builder, bits: builder.ctpop(bits))
_zeros_below = _instruction(
    lambda context, builder, bits: builder.cttz(bits, context.get_constant(types.boolean, False))
)
_zeros_above = _instruction(
    lambda context, builder, bits: builder.ctlz(bits, context.get_constant(types.boolean, False))
)


@njit(cache=True, forceinline=True)
def count(bits: Squares) -> int:
    """Squares in a set."""
    return _ones(bits)


@vectorize(cache=True)
def _counts(bits: Any) -> Any:
    return np.uint8(count(bits))


def counts(sets: np.ndarray) -> np.ndarray:
    """Squares in each set of an array, uint8: as fast as numpy 2's bitwise_count, which numpy 1.26 does not have."""
    return _counts(sets)


@njit(cache=True, forceinline=True)
def lowest(bits: Squares) -> int:
    """Index of the first square of a set, 64 of an empty one."""
    return _zeros_below(bits)


@njit(cache=True, forceinline=True)
def highest(bits: Squares) -> int:
    """Index of the last square of a set, -1 of an empty one."""
    return 63 - _zeros_above(bits)


@njit(cache=True, forceinline=True)
def bit(square: Int) -> Squares:
    """The set of one square."""
    return ONE << np.uint64(square)
