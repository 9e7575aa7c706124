"""Random bits that are the same on every machine, one word of state for each game, and what is drawn with them.

Steele, Lea and Flood's SplitMix64, in Python for games played move by move and compiled for games played in bulk.
"""

import math
from typing import Any

import numpy as np
from numba import njit

from boardgame_sae.games.bits import Int

GOLDEN, MIX_1, MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
S11, S27, S30, S31, S32 = np.uint64(11), np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
_MASK = 0xFFFFFFFFFFFFFFFF


class SplitMix64:
    """The generator of one game: a seed and nothing else says what it draws."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def draw(self) -> int:
        """The next 64 random bits."""
        self.state = (self.state + int(GOLDEN)) & _MASK
        bits = ((self.state ^ (self.state >> 30)) * int(MIX_1)) & _MASK
        bits = ((bits ^ (bits >> 27)) * int(MIX_2)) & _MASK
        return bits ^ (bits >> 31)

    def below(self, n: int) -> int:
        """A number 0..n-1, by one draw."""
        return ((self.draw() >> 32) * n) >> 32

    def fraction(self) -> float:
        """A number in [0, 1), by one draw."""
        return (self.draw() >> 11) * 2.0**-53


def mix_words(words: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 on uint64 words: every bit in moves every bit out."""
    words = (words ^ (words >> S30)) * MIX_1
    words = (words ^ (words >> S27)) * MIX_2
    return words ^ (words >> S31)


mix: Any = njit(cache=True, forceinline=True)(mix_words)
"""The same for one word in compiled code."""


@njit(cache=True, forceinline=True)
def draw(word: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Next word and random bits of SplitMix64."""
    word = word + GOLDEN
    return word, mix(word)


@njit(cache=True, forceinline=True)
def below(bits: np.uint64, n: Int) -> Int:
    """A number 0..n-1 from random bits."""
    return np.int64(((bits >> S32) * np.uint64(n)) >> S32)


@njit(cache=True, forceinline=True)
def fraction(bits: np.uint64) -> np.float64:
    """A number in [0, 1) from random bits."""
    return np.float64(bits >> S11) * 2.0**-53


@njit(cache=True)
def soft_pick(scores: np.ndarray, n: Int, temperature: float, u: float) -> Int:
    """The index of one of n scores (centipawns), drawn from their softmax at a temperature in pawns by a uniform u."""
    best, total = scores[0], 0.0
    for i in range(n):
        best = max(best, scores[i])
    for i in range(n):
        total += math.exp((scores[i] - best) / (100.0 * temperature))
    left = u * total
    for i in range(n):
        left -= math.exp((scores[i] - best) / (100.0 * temperature))
        if left < 0:
            return i
    return n - 1
