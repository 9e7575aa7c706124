"""Sets of squares as 64-bit integers, for compiled code: one machine instruction each. And the games' generator."""

from typing import Any, TypeAlias

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

Squares: TypeAlias = np.uint64

ZERO, ONE = np.uint64(0), np.uint64(1)
GOLDEN, MIX_1, MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
S11, S27, S30, S31, S32 = np.uint64(11), np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)


@intrinsic
def count(typingctx: Any, bits: Any) -> Any:  # noqa: ARG001 - numba gives it
    """Squares in a set: int64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.ctpop(args[0])

    return types.int64(types.uint64), generate


@intrinsic
def lowest(typingctx: Any, bits: Any) -> Any:  # noqa: ARG001
    """Index of the first square of a set, 64 of an empty one: int64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.cttz(args[0], context.get_constant(types.boolean, False))

    return types.int64(types.uint64), generate


@intrinsic
def _leading_zeros(typingctx: Any, bits: Any) -> Any:  # noqa: ARG001

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.ctlz(args[0], context.get_constant(types.boolean, False))

    return types.int64(types.uint64), generate


@njit(cache=True, inline="always")
def highest(bits: Squares) -> int:
    """Index of the last square of a set, -1 of an empty one."""
    return 63 - _leading_zeros(bits)


@njit(cache=True, forceinline=True)
def bit(square: int) -> Squares:
    """The set of one square."""
    return ONE << np.uint64(square)


@njit(cache=True, forceinline=True)
def mix(bits: np.uint64) -> np.uint64:
    """The finaliser of SplitMix64: every bit in moves every bit out."""
    bits = (bits ^ (bits >> S30)) * MIX_1
    bits = (bits ^ (bits >> S27)) * MIX_2
    return bits ^ (bits >> S31)


@njit(cache=True, forceinline=True)
def draw(word: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Next word and random bits of SplitMix64."""
    word = word + GOLDEN
    return word, mix(word)


@njit(cache=True, forceinline=True)
def below(bits: np.uint64, n: int) -> int:
    """A number 0..n-1 from random bits."""
    return np.int64(((bits >> S32) * np.uint64(n)) >> S32)


@njit(cache=True, forceinline=True)
def fraction(bits: np.uint64) -> float:
    """A number in [0, 1) from random bits."""
    return np.float64(bits >> S11) * 2.0**-53
