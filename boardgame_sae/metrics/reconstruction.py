"""Board reconstruction: rebuild the whole board from latents that are precise about parts of it.

On train, a latent at a threshold becomes a classifier of every property that is nearly always true when it is on. A
board is then the union of what the classifiers that are on predict. Each (latent, threshold) holds its properties as
packed bits, so a position's board is the OR of a few words. What the published code computes is in
`supervised.published_code`.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit, prange

from boardgame_sae.metrics.counting.f1 import f1
from boardgame_sae.metrics.counting.latent_columns import LabelsLike, Latents, LatentsLike, as_latents, threads_for
from boardgame_sae.metrics.counting.sample import Sample
from boardgame_sae.metrics.counts import (
    THRESHOLDS,
    Counts,
    CountTask,
    ThresholdsLike,
    activation_bins,
    activation_edges,
    as_max_activation,
    count_task,
    count_task_like,
    task_blocks,
)

MIN_PRECISION, MIN_COUNT = 0.95, 10
"""A latent is a classifier of a property when it has at least this precision and this many true positives on train."""


class Reconstruction(NamedTuple):
    """How well boards are rebuilt on test; micro averages over all positions and properties."""

    value: float
    """F1 on test at `threshold`, 0 to 1."""
    precision: float
    """Precision on test at `threshold` (0 where nothing is predicted)."""
    recall: float
    """Recall on test at `threshold` (0 where nothing is true)."""
    threshold: float
    """The threshold of best F1 on `chosen_on`, the smallest where several are equal."""
    f1_T: torch.Tensor
    """(T,) float64: F1 on test at every threshold."""
    classifiers_TFP: torch.Tensor
    """(T, F, P) sparse COO bool, coalesced: true where the latent at the threshold is a classifier of the property."""
    n_classifiers_T: torch.Tensor
    """(T,) int64: (latent, property) pairs at each threshold."""
    validation_f1_T: torch.Tensor
    """(T,) float64: F1 at every threshold on the set that it is chosen on, `chosen_on`."""
    chosen_on: str
    """"validation", or "train" where no validation set was given."""
    thresholds_T: torch.Tensor
    """(T,) float64: the thresholds, shares of m_f."""
    max_activation_F: torch.Tensor
    """(F,) m_f as used, from train unless it was given."""


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
    min_precision: float = MIN_PRECISION,
    min_count: int = MIN_COUNT,
) -> Reconstruction:
    """Micro F1 on test of boards rebuilt as the union of what the classifiers that are on predict.

    train_*, test_*, validation_*: latents (positions, F), dense or sparse, and labels (positions, P), bool or 0 and 1.
    max_activation_F: (F,) m_f; by default each latent's maximum on train.
    A latent at a threshold is a classifier of a property when, on train, on >= min_precision * n_on and
    on >= min_count, on being the positions where it is on and the property true, n_on those where it is on.
    The threshold is that of best F1 on validation, or on train where there is none: never on test.
    Raises ValueError when lengths or axes disagree, only one half of validation is given, or as `count_latents` does.
    Source: Karvonen et al. 2024 (arXiv 2408.00113), section 3.3, which chooses the threshold on test.
    """
    sample = Sample.of(train_latents_NF, train_labels_NP)
    train = count_task(sample, max_activation_F=max_activation_F, thresholds=thresholds)
    test = count_task_like(train, Sample.of(test_latents_NF, test_labels_NP))
    if (validation_latents_NF is None) != (validation_labels_NP is None):
        raise ValueError("give latents and labels of the validation positions, or neither")
    choosing = train
    if validation_latents_NF is not None and validation_labels_NP is not None:
        choosing = count_task_like(train, Sample.of(validation_latents_NF, validation_labels_NP))
    classifiers_TFP = classifiers(train, min_precision, min_count).sparse()
    words_FTW = classifier_words(classifiers_TFP)
    choosing_f1_T = _total_f1(choosing, words_FTW)
    true_positives_T, predicted_positives_T = agreement(test, words_FTW).sum(axis=2)
    positives = test.sample.positives_P.sum()
    f1_T = f1(true_positives_T, predicted_positives_T, positives)
    best = int(choosing_f1_T.argmax())  # the first where several are equal
    return Reconstruction(
        value=float(f1_T[best]),
        precision=float(true_positives_T[best] / max(1, predicted_positives_T[best])),
        recall=float(true_positives_T[best] / max(1, positives)),
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
    """(N, P) bool: the properties that the classifiers that are on at each position predict.

    latents_NF: (N positions, F latents), dense or sparse.
    threshold: one of `reconstruction.thresholds_T`; by default the one that was chosen.
    Raises ValueError on another threshold or another number of latents.
    """
    threshold = reconstruction.threshold if threshold is None else threshold
    t_1 = np.flatnonzero(reconstruction.thresholds_T.numpy() == threshold)
    if not len(t_1):
        raise ValueError(f"{threshold} is not one of the thresholds {reconstruction.thresholds_T.tolist()}")
    latents = as_latents(latents_NF)
    max_F = as_max_activation(reconstruction.max_activation_F, latents)
    words_FTW = classifier_words(reconstruction.classifiers_TFP)
    bins_Z = activation_bins(latents, activation_edges(np.array([threshold]), max_F))
    words_NW = united(latents, bins_Z, words_FTW[:, t_1])
    return torch.from_numpy(unpack(words_NW, reconstruction.classifiers_TFP.shape[2]))


class Classifiers:
    """What every latent at every threshold is a classifier of, gathered from blocks of counts."""

    def __init__(
        self, task: CountTask, min_precision: float, min_count: int, wanted_P: np.ndarray | None = None
    ) -> None:
        """wanted_P: bool (P,): the properties that may be predicted (default all)."""
        self.min_precision, self.min_count = min_precision, min_count
        self.n_properties = task.sample.n_properties
        self.wanted_P = np.ones(self.n_properties, np.bool_) if wanted_P is None else wanted_P
        shape = (task.sample.n_latents, len(task.thresholds_T), (self.n_properties + 63) // 64)
        self.words_FTW = np.zeros(shape, np.uint64)
        """Bit p % 64 of word p // 64 is set where latent f at threshold t is a classifier of property p."""

    def add(self, first: int, counts: Counts) -> None:
        """Add a block of counts, whose first latent is `first`."""
        on_TFP, n_on_TF = counts.on_TFP.numpy(), counts.n_on_TF.numpy()
        needed_TF = np.maximum(self.min_precision * n_on_TF.astype(np.float64), self.min_count)
        needed_TF[n_on_TF == 0] = np.inf
        with threads_for(on_TFP.size):
            _set_bits(on_TFP, needed_TF, self.wanted_P, self.words_FTW[first : first + on_TFP.shape[1]])

    def sparse(self) -> torch.Tensor:
        """(T, F, P) sparse COO bool, coalesced."""
        n_latents, n_thresholds, _ = self.words_FTW.shape
        used_FT = np.argwhere(self.words_FTW.any(axis=2))
        bits_UP = unpack(self.words_FTW[used_FT[:, 0], used_FT[:, 1]], self.n_properties)
        u_Z, p_Z = np.nonzero(bits_UP)
        index_3Z = np.stack([used_FT[u_Z, 1], used_FT[u_Z, 0], p_Z])
        index_3Z = torch.from_numpy(index_3Z[:, np.lexsort(index_3Z[::-1])])
        shape, true_Z = (n_thresholds, n_latents, self.n_properties), torch.ones(index_3Z.shape[1], dtype=torch.bool)
        return torch.sparse_coo_tensor(index_3Z, true_Z, shape, is_coalesced=True, check_invariants=False)


def classifiers(task: CountTask, min_precision: float, min_count: int) -> Classifiers:
    """The classifiers that the counts on train give: precise and frequent enough."""
    gathered = Classifiers(task, min_precision, min_count)
    for first, counts in task_blocks(task):
        gathered.add(first, counts)
    return gathered


def classifier_words(classifiers_TFP: torch.Tensor) -> np.ndarray:
    """(F, T, W) uint64: the words of `Classifiers`, from its sparse table."""
    n_thresholds, n_latents, n_properties = classifiers_TFP.shape
    words_FTW = np.zeros((n_latents, n_thresholds, (n_properties + 63) // 64), np.uint64)
    t_Z, f_Z, p_Z = classifiers_TFP.indices().numpy()
    np.bitwise_or.at(words_FTW, (f_Z, t_Z, p_Z // 64), np.uint64(1) << (p_Z % 64).astype(np.uint64))
    return words_FTW


def pack(labels_NP: np.ndarray) -> np.ndarray:
    """(N, W) uint64 of (N, P) bool, bit p % 64 of word p // 64."""
    n_positions, n_properties = labels_NP.shape
    bytes_NX = np.zeros((n_positions, (n_properties + 63) // 64 * 8), np.uint8)
    bytes_NX[:, : (n_properties + 7) // 8] = np.packbits(labels_NP, axis=1, bitorder="little")
    return bytes_NX.view("<u8").astype(np.uint64, copy=False)


def unpack(words_NW: np.ndarray, n_properties: int) -> np.ndarray:
    """(N, P) bool of packed words."""
    bytes_NX = np.ascontiguousarray(words_NW).astype("<u8", copy=False).view(np.uint8)
    return np.unpackbits(bytes_NX, axis=1, count=n_properties, bitorder="little").view(np.bool_)


def agreement(task: CountTask, words_FTW: np.ndarray) -> np.ndarray:
    """(2, T, P) int64: true positives, and predicted positives, of each property at each threshold."""
    n_properties = task.sample.n_properties
    counts_2TP = np.zeros((2, words_FTW.shape[1], n_properties), np.int64)
    no_classifier_F = ~words_FTW.any(axis=(1, 2))
    for part in task.sample.parts:
        bins_Z = activation_bins(part.latents, task.edges_TF)
        bins_Z[np.repeat(no_classifier_F, np.diff(part.latents.indptr_F1))] = 0
        indptr_N1, latent_Z, order_Z = part.latents.by_rows()
        labels_NW = pack(part.read_labels())
        starts_K1 = np.linspace(0, len(labels_NW), min(16, 1 + len(labels_NW) // 256) + 1).astype(np.int64)
        with threads_for(len(bins_Z) * words_FTW[0].size if len(words_FTW) else 0):
            counts_K2TP = _agree(indptr_N1, latent_Z, bins_Z[order_Z], words_FTW, labels_NW, starts_K1)
        counts_2TP += counts_K2TP.sum(axis=0)[:, :, :n_properties]
    return counts_2TP


def united(latents: Latents, bins_Z: np.ndarray, words_FTW: np.ndarray) -> np.ndarray:
    """(N, W) uint64: the union of what every latent predicts at the highest threshold it passes.

    bins_Z: how many thresholds each entry passes. With a single threshold, that is the boards at it.
    """
    indptr_N1, latent_Z, order_Z = latents.by_rows()
    board_NW = np.zeros((latents.n_positions, words_FTW.shape[2]), np.uint64)
    _unite(indptr_N1, latent_Z, bins_Z[order_Z], np.ascontiguousarray(words_FTW), board_NW)
    return board_NW


def _total_f1(task: CountTask, words_FTW: np.ndarray) -> np.ndarray:
    true_positives_T, predicted_positives_T = agreement(task, words_FTW).sum(axis=2)
    return f1(true_positives_T, predicted_positives_T, task.sample.positives_P.sum())


@njit(parallel=True, cache=True, nogil=True)
def _set_bits(on_TFP: Any, needed_TF: Any, wanted_P: Any, words_FTW: Any) -> None:
    for f in prange(on_TFP.shape[1]):
        for t in range(on_TFP.shape[0]):
            if needed_TF[t, f] < np.inf:
                for p in range(on_TFP.shape[2]):
                    if wanted_P[p] and on_TFP[t, f, p] >= needed_TF[t, f]:
                        words_FTW[f, t, p // 64] |= np.uint64(1) << np.uint64(p % 64)


@njit(parallel=True, cache=True, nogil=True)
def _agree(indptr_N1: Any, latent_Z: Any, bins_Z: Any, words_FTW: Any, labels_NW: Any, starts_K1: Any) -> Any:
    """(K, 2, T, 64 W): true and predicted positives of each property at each threshold, in K chunks of positions."""
    n_thresholds, n_words = words_FTW.shape[1], words_FTW.shape[2]
    counts_K2TP = np.zeros((len(starts_K1) - 1, 2, n_thresholds, 64 * n_words), np.int32)
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
                    _add_bits(board_TW[t, w] & labels_NW[n, w], counts_K2TP[k, 0, t, 64 * w : 64 * w + 64])
                    _add_bits(board_TW[t, w], counts_K2TP[k, 1, t, 64 * w : 64 * w + 64])
    return counts_K2TP


@njit(cache=True, nogil=True)
def _add_bits(word: Any, counts: Any) -> None:
    """Add one to the count of every bit that is set."""
    while word != np.uint64(0):
        lowest = word & (~word + np.uint64(1))
        counts[_bit_index(lowest)] += 1
        word ^= lowest


@njit(cache=True, nogil=True)
def _bit_index(bit: Any) -> Any:
    """The index of a word's only bit."""
    return _popcount(bit - np.uint64(1))


@njit(cache=True, nogil=True)
def _popcount(x: Any) -> Any:
    """Bits set in a uint64 (Warren, Hacker's Delight, 5-1)."""
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True, nogil=True)
def _unite(indptr_N1: Any, latent_Z: Any, bins_Z: Any, words_FTW: Any, board_NW: Any) -> None:
    """OR the words of each position's latents, taken at the highest threshold that each passes."""
    for n in range(len(indptr_N1) - 1):
        for z in range(indptr_N1[n], indptr_N1[n + 1]):
            if bins_Z[z] > 0:
                for w in range(board_NW.shape[1]):
                    board_NW[n, w] |= words_FTW[latent_Z[z], bins_Z[z] - 1, w]
