"""Positions of one split with latents and labels, in parts, so that no step needs all of them in memory.

Labels are held as words: eight properties to a word, one to a byte, so that one addition counts eight of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from boardgame_sae.metrics.counting.latent_columns import (
    LabelsLike,
    Latents,
    LatentsLike,
    as_labels,
    as_latents,
    to_numpy,
)


@dataclass(frozen=True, eq=False, slots=True)
class Part:
    """Some positions of a sample."""

    latents: Latents
    """Their latents; the arrays may lie on disk."""
    read_labels: Callable[[], np.ndarray]
    """Computes their labels, bool (n, P)."""
    game_N: np.ndarray | None = None
    """(n,) int: the game of each position, from 0 to n_games - 1; None where nothing is counted by game."""
    n_games: int = 0
    """Games of this part; no game is in two parts."""

    def words(self) -> np.ndarray:
        """(n, W) uint64: byte p of a row is 1 where property p is true; zeros fill the last word."""
        return label_words(self.read_labels())


def label_words(labels_NP: np.ndarray) -> np.ndarray:
    """Labels, bool (N, P), as words (N, ceil(P / 8)) uint64."""
    n_positions, n_properties = labels_NP.shape
    padded = np.zeros((n_positions, (n_properties + 7) // 8 * 8), np.uint8)
    padded[:, :n_properties] = labels_NP
    return padded.view(np.uint64)


class Sample:
    """N positions by F latents and P properties."""

    def __init__(self, parts: Sequence[Part], n_properties: int) -> None:
        """parts: in the order of the positions. Raises ValueError when there is none."""
        if not parts:
            raise ValueError("a sample without any part; give positions")
        self.parts, self.n_properties = tuple(parts), n_properties
        self.n_latents = parts[0].latents.n_latents
        self.n_positions = sum(part.latents.n_positions for part in parts)

    @classmethod
    def of(cls, latents_NF: LatentsLike, labels_NP: LabelsLike, valid_N: LabelsLike | None = None) -> "Sample":
        """A sample in one part.

        latents_NF: (N, F), dense or sparse (see `as_latents`). labels_NP: (N, P), bool or 0 and 1. valid_N: (N,) bool:
        use only these positions. Raises ValueError when they disagree in length, or as `as_latents` and `as_labels` do.
        """
        latents, labels_NP = as_latents(latents_NF), as_labels(labels_NP)
        if len(labels_NP) != latents.n_positions:
            raise ValueError(f"the latents have {latents.n_positions} positions, the labels {len(labels_NP)}")
        if valid_N is not None:
            latents = latents.select_rows(valid_N)
            labels_NP = np.ascontiguousarray(labels_NP[to_numpy(valid_N)])
        return cls([Part(latents, lambda: labels_NP)], labels_NP.shape[1])

    @cached_property
    def positives_P(self) -> np.ndarray:
        """(P,) int64: at how many positions each property is true."""
        return np.sum([part.read_labels().sum(axis=0, dtype=np.int64) for part in self.parts], axis=0)

    def max_F(self) -> np.ndarray:
        """(F,) in the dtype of the latents: each latent's largest activation, 0 where it is never on."""
        return np.max([part.latents.max_F() for part in self.parts], axis=0)

    @property
    def labels_NP(self) -> np.ndarray:
        """bool (N, P): the labels of all parts."""
        return np.concatenate([part.read_labels() for part in self.parts])
