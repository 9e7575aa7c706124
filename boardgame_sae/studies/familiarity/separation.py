"""Latents that tell two kinds of openings apart, ranked as published.

The separation score of a latent is how much more often it is on at one kind than at the other, at its lowest over the
numbers of plies, each of which is looked at apart: so that a latent which reads the ply has 0. A latent for either
kind is the one with the highest score.
Source: Ferrando et al. 2024 (arXiv 2411.14257), section 3: there the lowest is over players, films, songs and cities.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array


class Frequencies(NamedTuple):
    """How often each of F latents is on, by plies (P, F)."""

    first_PF: np.ndarray
    """At openings of the first kind."""
    second_PF: np.ndarray
    """At those of the second."""

    def separation(self, *, first: bool) -> np.ndarray:
        """(F,): the separation score for one of the kinds."""
        more_PF = self.first_PF - self.second_PF
        return (more_PF if first else -more_PF).min(0)

    def best(self, *, first: bool) -> int:
        """The latent with the highest score."""
        return int(self.separation(first=first).argmax())


def frequencies(latents_NF: csr_array, first_N: np.ndarray, ply_N: np.ndarray) -> Frequencies:
    """Count where latents are on. first_N: bool, whether an opening is of the first kind."""
    on_NF = latents_NF.copy()
    on_NF.data = (on_NF.data > 0).astype(np.float64)
    shares = [
        np.stack([np.asarray(on_NF[rows_N].mean(0)).ravel() for rows_N in _by_ply(kind_N, ply_N)])
        for kind_N in (first_N, ~first_N)
    ]
    return Frequencies(*shares)


def _by_ply(kind_N: np.ndarray, ply_N: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(kind_N & (ply_N == ply)) for ply in np.unique(ply_N)]
