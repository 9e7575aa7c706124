"""How often each latent, on at each threshold, meets each property: the table under all supervised scores.

Latent f is on at threshold t where its activation exceeds, strictly, t times m_f, its largest activation. One pass
serves every threshold: each latent's active positions are walked once, a position's label row is added to the bin of
the highest threshold it passes, and the bins are cumulated from the top. The counts are those of Karvonen et al. 2024
(arXiv 2408.00113), section 3.2, exactly, without their (thresholds, latents, positions, properties) tensor.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numba import njit, prange

from boardgame_sae.metrics.latents import LabelsLike, Latents, LatentsLike, as_labels, as_latents, threads_for, to_numpy

THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""The published grid, as shares of each latent's largest activation. At 1.0 only a larger one than seen is on."""

ThresholdsLike: TypeAlias = Sequence[float] | np.ndarray | torch.Tensor
"""Ascending numbers from 0 up."""


class Counts(NamedTuple):
    """Of N positions, how many hold what. False positives are n_on - on, false negatives positives - on."""

    on_TFP: torch.Tensor
    """(T, F, P) int32: positions where the latent is on and the property true (the true positives)."""
    n_on_TF: torch.Tensor
    """(T, F) int32: positions where the latent is on."""
    positives_P: torch.Tensor
    """(P,) int64: positions where the property is true."""
    n_positions: int
    """N, of the valid positions."""


class CountTask(NamedTuple):
    """Checked input of a count: the valid positions only, and the activation each latent must exceed."""

    latents: Latents
    """N positions by F latents."""
    labels_NP: np.ndarray
    """(N, P) bool."""
    max_activation_F: np.ndarray
    """(F,) m_f, in the dtype of the latents."""
    thresholds_T: np.ndarray
    """(T,) float64."""
    edges_TF: np.ndarray
    """(T, F) thresholds times m_f, in the dtype of the latents."""


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
    task = count_task(latents_NF, labels_NP, max_activation_F=max_activation_F, thresholds=thresholds, valid_N=valid_N)
    bins_Z = activation_bins(task.latents, task.edges_TF)
    return _count_columns(task, bins_Z, 0, task.latents.n_latents)


def count_blocks(
    latents_NF: LatentsLike,
    labels_NP: LabelsLike,
    *,
    max_activation_F: LabelsLike | None = None,
    thresholds: ThresholdsLike = THRESHOLDS,
    valid_N: LabelsLike | None = None,
    max_bytes: int = 2**28,
) -> Iterator[tuple[int, Counts]]:
    """`count_latents` a few latents at a time: yields (first latent, the counts of that block), latents ascending.

    max_bytes: the largest `on_TFP` to hold at once, in bytes (a block has at least one latent).
    Arguments and errors are those of `count_latents`; errors come at the call, not at the first block.
    """
    task = count_task(latents_NF, labels_NP, max_activation_F=max_activation_F, thresholds=thresholds, valid_N=valid_N)
    return task_blocks(task, max_bytes)


def task_blocks(task: CountTask, max_bytes: int = 2**28) -> Iterator[tuple[int, Counts]]:
    """The blocks of `count_blocks`, of input that `count_task` has checked."""
    bins_Z = activation_bins(task.latents, task.edges_TF)
    per_latent = 4 * max(1, len(task.thresholds_T) * task.labels_NP.shape[1])
    width = max(1, max_bytes // per_latent)
    for first in range(0, task.latents.n_latents, width):
        yield first, _count_columns(task, bins_Z, first, min(first + width, task.latents.n_latents))


def count_task(
    latents_NF: LatentsLike,
    labels_NP: LabelsLike,
    *,
    max_activation_F: LabelsLike | None = None,
    thresholds: ThresholdsLike = THRESHOLDS,
    valid_N: LabelsLike | None = None,
) -> CountTask:
    """Check the input of `count_latents`, drop the positions that are not valid, and settle m_f."""
    latents, labels_NP = as_latents(latents_NF), as_labels(labels_NP)
    if len(labels_NP) != latents.n_positions:
        raise ValueError(f"the latents have {latents.n_positions} positions, the labels {len(labels_NP)}")
    thresholds_T = as_thresholds(thresholds)
    if valid_N is not None:
        latents = latents.select_rows(valid_N)
        labels_NP = np.ascontiguousarray(labels_NP[to_numpy(valid_N)])
    max_F = latents.max_F() if max_activation_F is None else as_max_activation(max_activation_F, latents)
    return CountTask(latents, labels_NP, max_F, thresholds_T, activation_edges(thresholds_T, max_F))


def count_task_like(train: CountTask, latents_NF: LatentsLike, labels_NP: LabelsLike) -> CountTask:
    """Another set of positions with the thresholds and m_f of train: nothing about them decides what is on.

    Raises ValueError when it has another number of latents or properties than train, or as `count_task` does.
    """
    latents, labels = as_latents(latents_NF), as_labels(labels_NP)
    for what, here, there in (
        ("latents", train.latents.n_latents, latents.n_latents),
        ("properties", train.labels_NP.shape[1], labels.shape[1]),
    ):
        if here != there:
            raise ValueError(f"train has {here} {what}, another set {there}")
    return count_task(latents, labels, max_activation_F=train.max_activation_F, thresholds=train.thresholds_T)


def as_thresholds(thresholds: ThresholdsLike) -> np.ndarray:
    """Thresholds as (T,) float64. Raises ValueError unless there is one, none is negative and they ascend strictly."""
    thresholds_T = to_numpy(thresholds).astype(np.float64)
    if thresholds_T.ndim != 1 or not thresholds_T.size or len(thresholds_T) > np.iinfo(np.uint16).max:
        raise ValueError(f"thresholds are a list of one or more numbers, not of shape {thresholds_T.shape}")
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
    """(Z,) uint16: how many thresholds each entry of the latents passes. It is on at the thresholds before that."""
    bins_Z = np.empty(len(latents.values_Z), np.uint16)
    _bin_activations(latents.indptr_F1, latents.values_Z, np.ascontiguousarray(edges_TF.T), bins_Z)
    return bins_Z


def _count_columns(task: CountTask, bins_Z: np.ndarray, first: int, last: int) -> Counts:
    n_thresholds, n_properties = len(task.thresholds_T), task.labels_NP.shape[1]
    on_TFP = np.empty((n_thresholds, last - first, n_properties), np.int32)
    n_on_TF = np.empty((n_thresholds, last - first), np.int32)
    indptr_F1 = task.latents.indptr_F1[first : last + 1]
    n_entries = int(indptr_F1[-1] - indptr_F1[0])
    with threads_for((n_entries + n_on_TF.size) * n_properties):
        _count_bins(indptr_F1, task.latents.rows_Z, bins_Z, task.labels_NP.view(np.uint8), on_TFP, n_on_TF)
    return Counts(
        torch.from_numpy(on_TFP),
        torch.from_numpy(n_on_TF),
        torch.from_numpy(task.labels_NP.sum(axis=0, dtype=np.int64)),
        len(task.labels_NP),
    )


@njit(cache=True, nogil=True)
def _bin_activations(indptr_F1: Any, values_Z: Any, edges_FT: Any, bins_Z: Any) -> None:
    """The number of edges below each value; edges ascend, so a value passes all those before the first it fails."""
    n_thresholds = edges_FT.shape[1]
    for f in range(len(indptr_F1) - 1):
        for z in range(indptr_F1[f], indptr_F1[f + 1]):
            passed = 0
            while passed < n_thresholds and values_Z[z] > edges_FT[f, passed]:
                passed += 1
            bins_Z[z] = passed


@njit(parallel=True, cache=True, nogil=True)
def _count_bins(indptr_F1: Any, rows_Z: Any, bins_Z: Any, labels_NP: Any, on_TFP: Any, n_on_TF: Any) -> None:
    """Fill on_TFP and n_on_TF; each latent's (T, P) table stays in the first-level cache while it is built."""
    n_thresholds, n_properties = on_TFP.shape[0], on_TFP.shape[2]
    for f in prange(len(indptr_F1) - 1):
        table_TP = np.zeros((n_thresholds, n_properties), np.int32)
        n_T = np.zeros(n_thresholds, np.int32)
        for z in range(indptr_F1[f], indptr_F1[f + 1]):
            if bins_Z[z] > 0:
                top, row = bins_Z[z] - 1, rows_Z[z]
                n_T[top] += 1
                for p in range(n_properties):
                    table_TP[top, p] += labels_NP[row, p]
        for t in range(n_thresholds - 1, -1, -1):
            if t + 1 < n_thresholds:
                n_T[t] += n_T[t + 1]
                for p in range(n_properties):
                    table_TP[t, p] += table_TP[t + 1, p]
            n_on_TF[t, f] = n_T[t]
            for p in range(n_properties):
                on_TFP[t, f, p] = table_TP[t, p]
