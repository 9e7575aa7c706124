"""Board reconstruction: rebuild the whole board from latents that are precise about parts of it.

On train, a latent at a threshold becomes a classifier of every property that is nearly always true when it is on. A
board is then the union of what its on-classifiers say. Each (latent, threshold) holds its properties as packed bits,
so a position's board is the OR of a few words.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit, prange

from boardgame_sae.metrics.counts import (
    THRESHOLDS,
    CountTask,
    ThresholdsLike,
    activation_bins,
    activation_edges,
    as_max_activation,
    count_task,
    count_task_like,
    task_blocks,
)
from boardgame_sae.metrics.latents import LabelsLike, Latents, LatentsLike, as_latents, threads_for, to_numpy


class Reconstruction(NamedTuple):
    """How well boards are rebuilt on test; micro averages over all positions and properties."""

    value: float
    """F1 on test at `threshold`, 0 to 1."""
    precision: float
    """Precision on test at `threshold` (0 where nothing is predicted)."""
    recall: float
    """Recall on test at `threshold` (0 where nothing is true)."""
    threshold: float
    """The threshold of best F1 on `chosen_on`, the smallest of equal ones."""
    f1_T: torch.Tensor
    """(T,) float64: F1 on test at every threshold."""
    classifiers_TFP: torch.Tensor
    """(T, F, P) sparse COO bool, coalesced: true where the latent at the threshold is a classifier of the property."""
    n_classifiers_T: torch.Tensor
    """(T,) int64: (latent, property) pairs at each threshold."""
    validation_f1_T: torch.Tensor
    """(T,) float64: F1 at every threshold on the set that chose, named by `chosen_on`."""
    chosen_on: str
    """"validation", or "train" where no validation set was given."""
    thresholds_T: torch.Tensor
    """(T,) float64: the thresholds, shares of m_f."""
    max_activation_F: torch.Tensor
    """(F,) m_f as used, from train unless it was given."""


class ReferenceReconstruction(NamedTuple):
    """Board reconstruction as published: the threshold is chosen on the positions that it is reported on."""

    value: float
    """Micro F1 ("per class") on test at `threshold`."""
    threshold: float
    """The threshold of best per-square F1 on test, the smallest of equal ones."""
    f1_T: torch.Tensor
    """(T,) float64: micro F1 on test at every threshold."""
    square_f1_T: torch.Tensor
    """(T,) float64: per-square F1 on test at every threshold."""


def board_reconstruction(
    train_latents_NF: LatentsLike,
    train_labels_NP: LabelsLike,
    test_latents_NF: LatentsLike,
    test_labels_NP: LabelsLike,
    *,
    validation_latents_NF: LatentsLike | None = None,
    validation_labels_NP: LabelsLike | None = None,
    max_activation_F: LabelsLike | None = None,
    thresholds: ThresholdsLike = THRESHOLDS,
    min_precision: float = 0.95,
    min_count: int = 10,
) -> Reconstruction:
    """Micro F1 on test of boards rebuilt as the union of what their on-classifiers say.

    train_*, test_*, validation_*: latents (positions, F), dense or sparse, and labels (positions, P), bool or 0 and 1.
    max_activation_F: (F,) m_f; by default each latent's maximum on train.
    A latent at a threshold is a classifier of a property when, on train, on >= min_precision * n_on and
    on >= min_count, on being the positions where it is on and the property true, n_on those where it is on.
    The threshold is that of best F1 on validation, or on train where there is none: never on test.
    Raises ValueError when lengths or axes disagree, only one half of validation is given, or as `count_latents` does.
    Source: Karvonen et al. 2024 (arXiv 2408.00113), section 3.3, which chooses the threshold on test.
    """
    train = count_task(train_latents_NF, train_labels_NP, max_activation_F=max_activation_F, thresholds=thresholds)
    test = count_task_like(train, test_latents_NF, test_labels_NP)
    if (validation_latents_NF is None) != (validation_labels_NP is None):
        raise ValueError("give latents and labels of the validation positions, or neither")
    choosing = train
    if validation_latents_NF is not None and validation_labels_NP is not None:
        choosing = count_task_like(train, validation_latents_NF, validation_labels_NP)
    classifiers_TFP = _classifiers(train, min_precision, min_count)
    words_FTW = _classifier_words(classifiers_TFP)
    choosing_f1_T = _f1(*_agreement(choosing, words_FTW))
    true_positive_T, predicted_T, positives = _agreement(test, words_FTW)
    f1_T = _f1(true_positive_T, predicted_T, positives)
    best = int(choosing_f1_T.argmax())  # the first of equal ones
    return Reconstruction(
        value=float(f1_T[best]),
        precision=float(true_positive_T[best] / max(1, predicted_T[best])),
        recall=float(true_positive_T[best] / max(1, positives)),
        threshold=float(train.thresholds_T[best]),
        f1_T=torch.from_numpy(f1_T),
        classifiers_TFP=classifiers_TFP,
        n_classifiers_T=torch.bincount(classifiers_TFP.indices()[0], minlength=len(f1_T)),
        validation_f1_T=torch.from_numpy(choosing_f1_T),
        chosen_on="train" if choosing is train else "validation",
        thresholds_T=torch.from_numpy(train.thresholds_T),
        max_activation_F=torch.from_numpy(train.max_activation_F),
    )


def predict_boards(
    reconstruction: Reconstruction, latents_NF: LatentsLike, threshold: float | None = None
) -> torch.Tensor:
    """(N, P) bool: the properties that the classifiers on at each position say are true.

    latents_NF: (N positions, F latents), dense or sparse.
    threshold: one of `reconstruction.thresholds_T`; by default the chosen one.
    Raises ValueError on another threshold or another number of latents.
    """
    threshold = reconstruction.threshold if threshold is None else threshold
    at = np.flatnonzero(reconstruction.thresholds_T.numpy() == threshold)
    if not len(at):
        raise ValueError(f"{threshold} is not one of the thresholds {reconstruction.thresholds_T.tolist()}")
    latents = as_latents(latents_NF)
    max_F = as_max_activation(reconstruction.max_activation_F, latents)
    words_FTW = _classifier_words(reconstruction.classifiers_TFP)
    on_NP = _predict(latents, max_F, threshold, words_FTW[:, at[0]], reconstruction.classifiers_TFP.shape[2])
    return torch.from_numpy(on_NP)


def board_reconstruction_reference(
    train_latents_NF: LatentsLike,
    train_labels_NP: LabelsLike,
    test_latents_NF: LatentsLike,
    test_labels_NP: LabelsLike,
    square_of_P: LabelsLike,
    *,
    max_activation_F: LabelsLike | None = None,
    thresholds: ThresholdsLike = THRESHOLDS[:-1],
    min_precision: float = 0.95,
    min_count: int = 10,
) -> ReferenceReconstruction:
    """The published board reconstruction: the threshold of best per-square F1 on test, and its micro F1 on test.

    square_of_P: (P,) int: the square that each property is about.
    Per-square F1 takes the micro counts, less a true positive for every (position, square) that has exactly one true
    and exactly one false positive, as the published code has it. Thresholds default to 0.0 to 0.9, those it compares.
    Other arguments and errors are those of `board_reconstruction`; also ValueError when square_of_P is not (P,) int.
    Source: Karvonen et al. 2024 (arXiv 2408.00113), section 3.3, and the code published with it.
    """
    train = count_task(train_latents_NF, train_labels_NP, max_activation_F=max_activation_F, thresholds=thresholds)
    test = count_task_like(train, test_latents_NF, test_labels_NP)
    square_P = to_numpy(square_of_P)
    if square_P.shape != (test.labels_NP.shape[1],) or square_P.dtype.kind not in "iu":
        raise ValueError(f"square_of_P gives an int to each of {test.labels_NP.shape[1]} properties, not {square_P!r}")
    squares_S, rank_P = np.unique(square_P, return_inverse=True)
    words_FTW = _classifier_words(_classifiers(train, min_precision, min_count))
    true_positive_T, predicted_T, positives = _agreement(test, words_FTW)
    lost_T = np.zeros_like(true_positive_T)
    for t, threshold in enumerate(train.thresholds_T):
        on_NP = _predict(test.latents, test.max_activation_F, threshold, words_FTW[:, t], len(square_P))
        lost_T[t] = _mixed_squares(on_NP, test.labels_NP, rank_P, len(squares_S))
    f1_T = _f1(true_positive_T, predicted_T, positives)
    square_f1_T = _f1(true_positive_T - lost_T, predicted_T - lost_T, positives - lost_T)
    best = int(square_f1_T.argmax())
    return ReferenceReconstruction(
        float(f1_T[best]), float(train.thresholds_T[best]), torch.from_numpy(f1_T), torch.from_numpy(square_f1_T)
    )


def _classifiers(train: CountTask, min_precision: float, min_count: int) -> torch.Tensor:
    """(T, F, P) sparse bool: precise and frequent enough on train."""
    found = [np.zeros((3, 0), np.int64)]
    for first, counts in task_blocks(train, max_bytes=2**26):
        n_on_TF = counts.n_on_TF.numpy().astype(np.float64)
        least_TF = np.where(n_on_TF > 0, np.maximum(min_precision * n_on_TF, min_count), np.inf)
        t_Z, f_Z, p_Z = np.nonzero(counts.on_TFP.numpy() >= least_TF[:, :, None])
        found.append(np.stack([t_Z, f_Z + first, p_Z]))
    index_3Z = np.concatenate(found, axis=1)
    index_3Z = index_3Z[:, np.lexsort(index_3Z[::-1])]
    shape = (len(train.thresholds_T), train.latents.n_latents, train.labels_NP.shape[1])
    true_Z = torch.ones(index_3Z.shape[1], dtype=torch.bool)
    return torch.sparse_coo_tensor(torch.from_numpy(index_3Z), true_Z, shape, is_coalesced=True, check_invariants=False)


def _classifier_words(classifiers_TFP: torch.Tensor) -> np.ndarray:
    """(F, T, W) uint64: bit p % 64 of word p // 64 is set where (t, f) is a classifier of property p."""
    n_thresholds, n_latents, n_properties = classifiers_TFP.shape
    words_FTW = np.zeros((n_latents, n_thresholds, (n_properties + 63) // 64), np.uint64)
    t_Z, f_Z, p_Z = classifiers_TFP.indices().numpy()
    np.bitwise_or.at(words_FTW, (f_Z, t_Z, p_Z // 64), np.uint64(1) << (p_Z % 64).astype(np.uint64))
    return words_FTW


def _pack(labels_NP: np.ndarray) -> np.ndarray:
    """(N, W) uint64 of (N, P) bool, bit p % 64 of word p // 64."""
    n_positions, n_properties = labels_NP.shape
    bytes_NX = np.zeros((n_positions, (n_properties + 63) // 64 * 8), np.uint8)
    bytes_NX[:, : (n_properties + 7) // 8] = np.packbits(labels_NP, axis=1, bitorder="little")
    return bytes_NX.view("<u8").astype(np.uint64, copy=False)


def _agreement(task: CountTask, words_FTW: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Over all positions and properties at each threshold: true positives (T,), predicted (T,); and the positives."""
    bins_Z = activation_bins(task.latents, task.edges_TF)
    silent_F = ~words_FTW.any(axis=(1, 2))
    bins_Z[np.repeat(silent_F, np.diff(task.latents.indptr_F1))] = 0
    indptr_N1, latent_Z, order_Z = task.latents.by_rows()
    starts_K1 = np.linspace(0, len(task.labels_NP), min(64, 1 + len(task.labels_NP) // 256) + 1).astype(np.int64)
    with threads_for(len(bins_Z) * words_FTW[0].size if len(words_FTW) else 0):
        counts_K2T = _agree(indptr_N1, latent_Z, bins_Z[order_Z], words_FTW, _pack(task.labels_NP), starts_K1)
    true_positive_T, predicted_T = counts_K2T.sum(axis=0)
    return true_positive_T, predicted_T, int(task.labels_NP.sum())


def _predict(
    latents: Latents, max_F: np.ndarray, threshold: float, words_FW: np.ndarray, n_properties: int
) -> np.ndarray:
    """(N, P) bool: boards at one threshold."""
    bins_Z = activation_bins(latents, activation_edges(np.array([threshold]), max_F))
    indptr_N1, latent_Z, order_Z = latents.by_rows()
    words_F1W = np.ascontiguousarray(words_FW[:, None])
    predicted_NW = np.zeros((latents.n_positions, words_FW.shape[1]), np.uint64)
    _unite(indptr_N1, latent_Z, bins_Z[order_Z], words_F1W, predicted_NW)
    bytes_NX = predicted_NW.astype("<u8", copy=False).view(np.uint8)
    return np.unpackbits(bytes_NX, axis=1, count=n_properties, bitorder="little").view(np.bool_)


def _f1(true_positive_T: np.ndarray, predicted_T: np.ndarray, positives: int | np.ndarray) -> np.ndarray:
    """(T,) float64: 2 TP / (predicted + positives), 0 where both are 0."""
    return 2.0 * true_positive_T / np.maximum(1, predicted_T + positives)


@njit(cache=True, nogil=True)
def _popcount(x: Any) -> Any:
    """Bits set in a uint64 (Warren, Hacker's Delight, 5-1)."""
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(parallel=True, cache=True, nogil=True)
def _agree(indptr_N1: Any, latent_Z: Any, bins_Z: Any, words_FTW: Any, labels_NW: Any, starts_K1: Any) -> Any:
    """(K, 2, T): true positives and predicted properties of each chunk of positions at each threshold."""
    n_thresholds, n_words = words_FTW.shape[1], words_FTW.shape[2]
    counts_K2T = np.zeros((len(starts_K1) - 1, 2, n_thresholds), np.int64)
    for k in prange(len(starts_K1) - 1):
        board_TW = np.zeros((n_thresholds, n_words), np.uint64)
        for n in range(starts_K1[k], starts_K1[k + 1]):
            board_TW[:] = 0
            for z in range(indptr_N1[n], indptr_N1[n + 1]):
                for t in range(bins_Z[z]):
                    for w in range(n_words):
                        board_TW[t, w] |= words_FTW[latent_Z[z], t, w]
            for t in range(n_thresholds):
                for w in range(n_words):
                    counts_K2T[k, 0, t] += _popcount(board_TW[t, w] & labels_NW[n, w])
                    counts_K2T[k, 1, t] += _popcount(board_TW[t, w])
    return counts_K2T


@njit(cache=True, nogil=True)
def _unite(indptr_N1: Any, latent_Z: Any, bins_Z: Any, words_F1W: Any, predicted_NW: Any) -> None:
    """OR the words of each position's on latents."""
    for n in range(len(indptr_N1) - 1):
        for z in range(indptr_N1[n], indptr_N1[n + 1]):
            if bins_Z[z] > 0:
                for w in range(predicted_NW.shape[1]):
                    predicted_NW[n, w] |= words_F1W[latent_Z[z], 0, w]


@njit(cache=True, nogil=True)
def _mixed_squares(on_NP: Any, labels_NP: Any, rank_P: Any, n_squares: int) -> int:
    """The (position, square) pairs with exactly one true positive and exactly one false positive."""
    true_S, false_S = np.zeros(n_squares, np.int64), np.zeros(n_squares, np.int64)
    mixed = 0
    for n in range(len(on_NP)):
        true_S[:] = 0
        false_S[:] = 0
        for p in range(len(rank_P)):
            if on_NP[n, p] and labels_NP[n, p]:
                true_S[rank_P[p]] += 1
            elif on_NP[n, p]:
                false_S[rank_P[p]] += 1
        for s in range(n_squares):
            mixed += true_S[s] == 1 and false_S[s] == 1
    return mixed
