"""How often each property is true where each latent is on, at each threshold: the table behind all supervised scores.

Latent f is on at threshold t where its activation exceeds, strictly, t times m_f, its largest activation. One pass
serves every threshold: each latent's active positions are walked once, a position's label row is added to the bin of
the highest threshold it passes, and the bins are cumulated from the top. Rows are added eight properties at a time, as
the bytes of a word, and moved to whole numbers before a byte can overflow. The counts are those of Karvonen et al. 2024
(arXiv 2408.00113), section 3.2, exactly, without their (thresholds, latents, positions, properties) tensor.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numba import njit, prange

from boardgame_sae.metrics.counting.latent_columns import LabelsLike, Latents, LatentsLike, threads_for, to_numpy
from boardgame_sae.metrics.counting.sample import Sample

THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""The published grid, as shares of each latent's largest activation m_f. At 1.0 only an activation above m_f is on."""
BLOCK_BYTES = 2**28
"""Default size of the largest table of counts to hold at once."""

ThresholdsLike: TypeAlias = Sequence[float] | np.ndarray | torch.Tensor
"""Ascending numbers from 0 up."""


class Counts(NamedTuple):
    """Numbers of positions, out of N. False positives are n_on - on, false negatives positives - on."""

    on_TFP: torch.Tensor
    """(T, F, P) int32: positions where the latent is on and the property true (the true positives)."""
    n_on_TF: torch.Tensor
    """(T, F) int32: positions where the latent is on."""
    positives_P: torch.Tensor
    """(P,) int64: positions where the property is true."""
    n_positions: int
    """N, of the valid positions."""


class CountTask(NamedTuple):
    """Checked input of a count: positions, and the activation each latent must exceed."""

    sample: Sample
    """N positions by F latents and P properties."""
    max_activation_F: np.ndarray
    """(F,) m_f, in the dtype of the latents."""
    thresholds_T: np.ndarray
    """(T,) float64."""
    edges_TF: np.ndarray
    """(T, F) thresholds times m_f, in the dtype of the latents; infinite for a latent that is left out."""


def count_latents(
    latents_NF: LatentsLike,
    labels_NP: LabelsLike,
    *,
    max_activation_F: LabelsLike | None = None,
    thresholds: ThresholdsLike = THRESHOLDS,
    valid_N: LabelsLike | None = None,
) -> Counts:
    """Count, for every threshold, latent and property, the positions where the latent is on and the property true.

    latents_NF: (N positions, F latents), dense or sparse (see `as_latents`); all arithmetic is in its dtype.
    labels_NP: (N positions, P properties), bool or 0 and 1.
    max_activation_F: (F,) m_f; by default each latent's maximum over these (valid) positions.
    thresholds: T ascending shares of m_f, none negative.
    valid_N: (N,) bool: count only these positions.
    Raises ValueError when lengths disagree, activations are not finite, m_f is negative or not finite, or the
    thresholds do not ascend from 0 or above.
    Source: Karvonen et al. 2024 (arXiv 2408.00113), section 3.2.
    """
    sample = Sample.of(latents_NF, labels_NP, valid_N)
    task = count_task(sample, max_activation_F=max_activation_F, thresholds=thresholds)
    return _count_columns(task, 0, sample.n_latents)


def count_blocks(
    latents_NF: LatentsLike,
    labels_NP: LabelsLike,
    *,
    max_activation_F: LabelsLike | None = None,
    thresholds: ThresholdsLike = THRESHOLDS,
    valid_N: LabelsLike | None = None,
    max_bytes: int = BLOCK_BYTES,
) -> Iterator[tuple[int, Counts]]:
    """`count_latents` a few latents at a time: yields (first latent, the counts of that block), latents ascending.

    max_bytes: the largest `on_TFP` to hold at once, in bytes (a block has at least one latent).
    Arguments and errors are those of `count_latents`; errors come at the call, not at the first block.
    """
    sample = Sample.of(latents_NF, labels_NP, valid_N)
    return task_blocks(count_task(sample, max_activation_F=max_activation_F, thresholds=thresholds), max_bytes)


def task_blocks(task: CountTask, max_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, Counts]]:
    """The blocks of `count_blocks`, of input that `count_task` has checked."""
    per_latent = 4 * max(1, len(task.thresholds_T) * task.sample.n_properties)
    width = max(1, max_bytes // per_latent)
    for first in range(0, task.sample.n_latents, width):
        yield first, _count_columns(task, first, min(first + width, task.sample.n_latents))


def count_task(
    sample: Sample, *, max_activation_F: LabelsLike | None = None, thresholds: ThresholdsLike = THRESHOLDS
) -> CountTask:
    """Check the rest of the input of `count_latents` and determine m_f. Raises ValueError as `count_latents` does."""
    thresholds_T = as_thresholds(thresholds)
    max_F = sample.max_F() if max_activation_F is None else as_max_activation(max_activation_F, sample.parts[0].latents)
    return CountTask(sample, max_F, thresholds_T, activation_edges(thresholds_T, max_F))


def count_task_like(train: CountTask, sample: Sample) -> CountTask:
    """Another set of positions with the thresholds and m_f of train, so that nothing is chosen on that set.

    Raises ValueError when it has another number of latents or properties than train, or as `count_task` does.
    """
    for axis, n_train, n_other in (
        ("latents", train.sample.n_latents, sample.n_latents),
        ("properties", train.sample.n_properties, sample.n_properties),
    ):
        if n_train != n_other:
            raise ValueError(f"train has {n_train} {axis}, another set {n_other}")
    task = count_task(sample, max_activation_F=train.max_activation_F, thresholds=train.thresholds_T)
    task.edges_TF[~np.isfinite(train.edges_TF)] = np.inf
    return task


def as_thresholds(thresholds: ThresholdsLike) -> np.ndarray:
    """Thresholds as (T,) float64. Raises ValueError unless there are 1 to 255, ascending from 0 or above."""
    thresholds_T = to_numpy(thresholds).astype(np.float64)
    if thresholds_T.ndim != 1 or not thresholds_T.size or len(thresholds_T) > np.iinfo(np.uint8).max:
        raise ValueError(f"thresholds are a list of 1 to 255 numbers, not of shape {thresholds_T.shape}")
    if not (np.isfinite(thresholds_T).all() and thresholds_T[0] >= 0 and (np.diff(thresholds_T) > 0).all()):
        raise ValueError(f"thresholds must ascend from 0 or above: {thresholds_T.tolist()}")
    return thresholds_T


def as_max_activation(max_activation_F: LabelsLike, latents: Latents) -> np.ndarray:
    """m_f as (F,) in the dtype of the latents. Raises ValueError on another length, or unless finite and >= 0."""
    max_F = to_numpy(max_activation_F).astype(latents.values_Z.dtype)
    if max_F.shape != (latents.n_latents,):
        raise ValueError(f"there are {latents.n_latents} latents, the largest activations have shape {max_F.shape}")
    if not (np.isfinite(max_F) & (max_F >= 0)).all():
        raise ValueError("largest activations must be finite and not negative")
    return max_F


def activation_edges(thresholds_T: np.ndarray, max_F: np.ndarray) -> np.ndarray:
    """(T, F) what an activation must exceed: the thresholds in the dtype of m_f, times m_f."""
    return thresholds_T.astype(max_F.dtype)[:, None] * max_F[None, :]


def activation_bins(latents: Latents, edges_TF: np.ndarray) -> np.ndarray:
    """(Z,) uint8: how many thresholds each entry of the latents passes. It is on at the thresholds before that."""
    bins_Z = np.empty(len(latents.values_Z), np.uint8)
    _bin_activations(latents.indptr_F1, latents.values_Z, np.ascontiguousarray(edges_TF.T), bins_Z)
    return bins_Z


def _count_columns(task: CountTask, first: int, last: int) -> Counts:
    sample, n_thresholds = task.sample, len(task.thresholds_T)
    on_TFP = np.zeros((n_thresholds, last - first, sample.n_properties), np.int32)
    n_on_TF = np.zeros((n_thresholds, last - first), np.int32)
    for part in sample.parts:
        columns, words_NW = part.latents.columns(first, last), part.words()
        bins_Z = activation_bins(columns, task.edges_TF[:, first:last])
        with threads_for(len(bins_Z) * words_NW.shape[1]):
            _add_bins(columns.indptr_F1, columns.rows_Z, bins_Z, words_NW, on_TFP, n_on_TF)
    with threads_for(on_TFP.size):
        _cumulate(on_TFP, n_on_TF)
    return Counts(
        torch.from_numpy(on_TFP), torch.from_numpy(n_on_TF), torch.from_numpy(sample.positives_P), sample.n_positions
    )


@njit(cache=True, nogil=True)
def _bin_activations(indptr_F1: Any, values_Z: Any, edges_FT: Any, bins_Z: Any) -> None:
    """Count the edges below each value, without a branch: as edges ascend, those are the first ones."""
    for f in range(len(indptr_F1) - 1):
        for z in range(indptr_F1[f], indptr_F1[f + 1]):
            passed = np.int32(0)
            for t in range(edges_FT.shape[1]):
                passed += np.int32(values_Z[z] > edges_FT[f, t])
            bins_Z[z] = passed


_FULL = 255
"""The largest count that a byte can hold."""


@njit(parallel=True, cache=True, nogil=True)
def _add_bins(indptr_F1: Any, rows_Z: Any, bins_Z: Any, words_NW: Any, on_TFP: Any, n_on_TF: Any) -> None:
    """Add each entry's label row to the highest threshold it passes."""
    n_thresholds, n_words = on_TFP.shape[0], words_NW.shape[1]
    for f in prange(len(indptr_F1) - 1):
        table_TW, n_T = np.zeros((n_thresholds, n_words), np.uint64), np.zeros(n_thresholds, np.int64)
        for z in range(indptr_F1[f], indptr_F1[f + 1]):
            if bins_Z[z] > 0:
                top, row = bins_Z[z] - 1, rows_Z[z]
                for w in range(n_words):
                    table_TW[top, w] += words_NW[row, w]
                n_T[top] += 1
                if n_T[top] == _FULL:
                    _move(table_TW[top], n_T, top, on_TFP[top, f], n_on_TF[:, f])
        for top in range(n_thresholds):
            if n_T[top] > 0:
                _move(table_TW[top], n_T, top, on_TFP[top, f], n_on_TF[:, f])


@njit(cache=True, nogil=True)
def _move(words_W: Any, n_T: Any, top: int, on_P: Any, n_on_T: Any) -> None:
    """Add the bytes of words to the counts of their properties, and set them to zero again."""
    bytes_P = words_W.view(np.uint8)
    for p in range(len(on_P)):
        on_P[p] += bytes_P[p]
    words_W[:] = 0
    n_on_T[top] += n_T[top]
    n_T[top] = 0


@njit(parallel=True, cache=True, nogil=True)
def _cumulate(on_TFP: Any, n_on_TF: Any) -> None:
    """Add to each threshold the counts of those above it: what passes them passes it too."""
    for f in prange(on_TFP.shape[1]):
        for t in range(on_TFP.shape[0] - 2, -1, -1):
            n_on_TF[t, f] += n_on_TF[t + 1, f]
            for p in range(on_TFP.shape[2]):
                on_TFP[t, f, p] += on_TFP[t + 1, f, p]
