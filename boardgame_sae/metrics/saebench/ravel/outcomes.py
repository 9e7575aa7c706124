"""What comes of a swap: what the probes read of every square, and which moves the model goes for."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.metrics.saebench.data.above import chunks
from boardgame_sae.metrics.saebench.ravel.masks import Swaps
from boardgame_sae.metrics.saebench.ravel.pairs import Pairs
from boardgame_sae.metrics.saebench.ravel.reading import Reading, Readings
from boardgame_sae.model.float64 import exact


class Outcome(NamedTuple):
    """What is read of N pairs after a swap."""

    attribute_N: np.ndarray
    cause_N: np.ndarray
    """bool: whether the square is read as in the source."""
    n_kept_N: np.ndarray
    """How many of the squares to be kept are read as in the base."""
    n_asked_N: np.ndarray
    """How many there are."""
    source_share_N: np.ndarray
    """Of the probability on moves legal in one position only, the share on the source's; 0 where there is none."""


@torch.no_grad()
def measure(of: Readings, swaps: Swaps, pairs: Pairs, masks_AF: Tensor, *, error: bool = True) -> Outcome:
    """Swap the latents of each pair's mask and read what comes of it."""
    reading, parts = swaps.reading, []
    for row_N in chunks(np.arange(len(pairs.base_N))):
        part = pairs.rows(row_N)
        acts_ND = swaps.swapped(part, masks_AF, error=error)
        read = reading.above.read(part.base_N, acts_ND, logits=True)
        state_NS = of.probe.logits(read.acts_ND).argmax(-1).cpu().numpy()
        classes_NS = reading.classes_NS
        cause_N = state_NS[np.arange(len(state_NS)), part.square_N] == classes_NS[part.source_N, part.square_N]
        n_kept_N = ((state_NS == classes_NS[part.base_N]) & part.kept_NS).sum(1)
        assert read.logits_NV is not None
        share_N = source_share(read.logits_NV, reading, part)
        parts.append(Outcome(part.attribute_N, cause_N, n_kept_N, part.kept_NS.sum(1), share_N))
    return Outcome(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def source_share(logits_NV: Tensor, reading: Reading, pairs: Pairs) -> np.ndarray:
    """(N,): of the probability on moves that are legal in base or source alone, the share on the source's."""
    legal_NV = reading.above.legal_NV
    if legal_NV is None:
        return np.zeros(len(pairs.base_N))
    base_NV, source_NV = legal_NV[pairs.base_N], legal_NV[pairs.source_N]
    chances_NV = exact(logits_NV).softmax(-1).cpu().numpy()
    source_N, base_N = ((chances_NV * own_NV).sum(1) for own_NV in (source_NV & ~base_NV, base_NV & ~source_NV))
    return source_N / np.maximum(source_N + base_N, 1e-300)


def moves_differ(reading: Reading, pairs: Pairs) -> np.ndarray:
    """bool (N,): whether a move is legal in one position of a pair and not in the other."""
    legal_NV = reading.above.legal_NV
    if legal_NV is None:
        return np.zeros(len(pairs.base_N), bool)
    return (legal_NV[pairs.base_N] != legal_NV[pairs.source_N]).any(1)


def disentanglement(read: Outcome) -> float:
    """The mean over squares of cause and isolation."""
    own = [read.attribute_N == number for number in np.unique(read.attribute_N)]
    cause = np.mean([read.cause_N[rows].mean() for rows in own])
    isolation = np.mean([read.n_kept_N[rows].sum() / max(read.n_asked_N[rows].sum(), 1) for rows in own])
    return float(cause + isolation) / 2
