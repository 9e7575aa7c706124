"""The published code's coverage and board reconstruction, step by step, so that old tables can be compared.

Karvonen et al. 2024 (arXiv 2408.00113) published numbers that differ from the paper's own definitions and from ours:

1. *Alive and scale.* Half of the train games (500 of 1,000) run through the SAE at **all** their tokens. A latent that
   never fires there is left out of everything; m_f is its largest activation there. (Ours: m_f over the scored
   positions of all train games. On chess, where only dots are scored, a latent that peaks elsewhere hardly reaches
   its thresholds there.)
2. *Counts* are taken on the scored positions of all train games, at thresholds 0.0, 0.1, ..., 1.0 times m_f.
3. *Coverage*: for each threshold the mean over a property's classes of the best F1 of any latent; then the best
   threshold, one for all classes, **on the positions it is reported on**. The paper and we choose latent and threshold
   class by class; we choose on train and report on test.
4. *Denominators* are constants: 192 for Othello, although empty squares are left out and 128 classes remain (so it
   cannot exceed 0.667), and 768 for chess, of which some 200 never occur. Ours: the classes with enough examples.
5. *Board reconstruction*: a latent at a threshold is a classifier of a class when on train it has at least 10 true
   positives and 95% precision, as here. Boards are rebuilt on test; the reported number is the F1 over all squares and
   classes at the threshold, of 0.0 to 0.9, with the best *per-square* F1 **on test**. Per-square F1 takes a true
   positive away from every square that has exactly one true and one false positive. Ours: the threshold of best F1 on
   validation.
6. *The last slot*: in place of threshold 1.0 there is a reconstruction in which each latent predicts what it is a
   classifier of at the highest threshold that it passes (`last`; it is never the reported one).
7. A *group* (chess strategy) is the plain mean over its properties, each with its own threshold.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit

from boardgame_sae.metrics.counting.f1 import f1
from boardgame_sae.metrics.counting.latent_columns import LabelsLike, LatentsLike, to_numpy
from boardgame_sae.metrics.counting.sample import Sample
from boardgame_sae.metrics.counts import (
    THRESHOLDS,
    CountTask,
    ThresholdsLike,
    activation_bins,
    count_task,
    count_task_like,
    task_blocks,
)
from boardgame_sae.metrics.coverage import BestLatents
from boardgame_sae.metrics.reconstruction import (
    MIN_COUNT,
    MIN_PRECISION,
    agreement,
    classifiers,
    united,
    unpack,
)


class ReferenceReconstruction(NamedTuple):
    """Board reconstruction as published: the threshold is chosen on the positions that it is reported on."""

    value: float
    """Micro F1 ("per class") on test at `threshold`."""
    threshold: float
    """The threshold below 1 of best per-square F1 on test, the smallest where several are equal."""
    f1_T: torch.Tensor
    """(T,) float64: micro F1 on test at every threshold."""
    square_f1_T: torch.Tensor
    """(T,) float64: per-square F1 on test at every threshold."""
    last: float
    """Micro F1 when each latent predicts its classes at the highest threshold it passes."""


def reference_task(sample: Sample, max_activation_F: LabelsLike | None, thresholds: ThresholdsLike) -> CountTask:
    """The published count on train: latents whose m_f is 0 are never on. Raises ValueError as `count_task` does."""
    task = count_task(sample, max_activation_F=max_activation_F, thresholds=thresholds)
    task.edges_TF[:, task.max_activation_F == 0] = np.inf
    return task


def coverage_reference(
    latents_NF: LatentsLike,
    labels_NP: LabelsLike,
    *,
    denominator: int | None = None,
    max_activation_F: LabelsLike | None = None,
    thresholds: ThresholdsLike = THRESHOLDS,
    valid_N: LabelsLike | None = None,
) -> float:
    """The published code's coverage of one property's classes (steps 1 to 4 of this module).

    For each threshold, the sum over classes of the best F1 of any latent, divided by `denominator` (by default P; the
    published tables use 192 for Othello and 768 for chess); of these the maximum. A class that is never true counts as
    F1 0. max_activation_F: (F,) m_f of step 1; by default each latent's maximum here. Other arguments are those of
    `coverage.coverage`. Raises ValueError as that does, and when the denominator is not positive.
    """
    task = reference_task(Sample.of(latents_NF, labels_NP, valid_N), max_activation_F, thresholds)
    best = BestLatents(task)
    for first, counts in task_blocks(task):
        best.add(first, counts)
    return shared_threshold_coverage(best.best_TP, denominator)


def shared_threshold_coverage(best_TP: np.ndarray, denominator: int | None = None) -> float:
    """Steps 3 and 4, from the best F1 of any latent at each threshold for each class, (T, P).

    Raises ValueError when the denominator is not positive.
    """
    divisor = best_TP.shape[1] if denominator is None else denominator
    if divisor <= 0:
        raise ValueError(f"coverage is a mean over a positive number of properties, not {divisor}")
    return float((best_TP.sum(axis=1) / divisor).max())


def board_reconstruction_reference(
    train_latents_NF: LatentsLike,
    train_labels_NP: LabelsLike,
    test_latents_NF: LatentsLike,
    test_labels_NP: LabelsLike,
    square_of_P: LabelsLike,
    *,
    max_activation_F: LabelsLike | None = None,
    thresholds: ThresholdsLike = THRESHOLDS,
    min_precision: float = MIN_PRECISION,
    min_count: int = MIN_COUNT,
) -> ReferenceReconstruction:
    """The published board reconstruction of one property's classes (steps 1, 2, 5 and 6 of this module).

    square_of_P: (P,) int: the square that each class is about. max_activation_F: (F,) m_f of step 1; by default each
    latent's maximum on train. Other arguments are those of `reconstruction.board_reconstruction`.
    Raises ValueError as that does, and when square_of_P is not (P,) int or no threshold is below 1.
    """
    train = reference_task(Sample.of(train_latents_NF, train_labels_NP), max_activation_F, thresholds)
    test = count_task_like(train, Sample.of(test_latents_NF, test_labels_NP))
    square_P = to_numpy(square_of_P)
    if square_P.shape != (test.sample.n_properties,) or square_P.dtype.kind not in "iu":
        raise ValueError(f"square_of_P gives an int to each of {test.sample.n_properties} properties, not {square_P!r}")
    words_FTW = classifiers(train, min_precision, min_count).words_FTW
    return reference_boards(test, words_FTW, [square_P])[0]


def reference_boards(
    test: CountTask, words_FTW: np.ndarray, squares: list[np.ndarray]
) -> list[ReferenceReconstruction]:
    """Steps 5 and 6 for several properties, whose columns follow one another.

    words_FTW: the words of `Classifiers`. squares: for each property, the square of each of its classes.
    Raises ValueError when no threshold is below 1.
    """
    below = test.thresholds_T < 1
    if not below.any():
        raise ValueError(f"the published choice is among thresholds below 1; {test.thresholds_T.tolist()} has none")
    stops = np.cumsum([len(square_P) for square_P in squares])
    ranks, n_ranks = [], 0
    for square_P in squares:
        distinct, rank_P = np.unique(square_P, return_inverse=True)
        ranks.append(rank_P + n_ranks)
        n_ranks += len(distinct)
    owner_R = np.concatenate([np.full(len(np.unique(square_P)), i) for i, square_P in enumerate(squares)])
    mixed_TR, last_2P = _mixed_and_last(test, words_FTW, np.concatenate(ranks), n_ranks)
    true_positives_TP, predicted_positives_TP = agreement(test, words_FTW)
    reconstructions = []
    for i, (stop, square_P) in enumerate(zip(stops, squares, strict=True)):
        own = slice(stop - len(square_P), stop)
        true_positives_T, predicted_positives_T = (
            true_positives_TP[:, own].sum(1),
            predicted_positives_TP[:, own].sum(1),
        )
        positives = test.sample.positives_P[own].sum()
        mixed_T = mixed_TR[:, owner_R == i].sum(axis=1)
        last_true_positives, last_predicted_positives = last_2P[:, own].sum(axis=1)
        f1_T = f1(true_positives_T, predicted_positives_T, positives)
        last = f1(last_true_positives, last_predicted_positives, positives)
        square_f1_T = f1(true_positives_T - mixed_T, predicted_positives_T - mixed_T, positives - mixed_T)
        best = int(square_f1_T[below].argmax())
        reconstructions.append(
            ReferenceReconstruction(
                float(f1_T[best]),
                float(test.thresholds_T[best]),
                torch.from_numpy(f1_T),
                torch.from_numpy(square_f1_T),
                float(last),
            )
        )
    return reconstructions


def _mixed_and_last(
    test: CountTask, words_FTW: np.ndarray, rank_P: np.ndarray, n_ranks: int
) -> tuple[np.ndarray, np.ndarray]:
    """For each threshold and square, the positions with exactly one true and one false positive (T, R); and in
    the last slot, each class's true positives and predicted positives (2, P)."""
    n_properties = len(rank_P)
    mixed_TR, last_2P = np.zeros((len(test.thresholds_T), n_ranks), np.int64), np.zeros((2, n_properties), np.int64)
    for part in test.sample.parts:
        labels_NP, bins_Z = part.read_labels(), activation_bins(part.latents, test.edges_TF)
        for t in range(len(test.thresholds_T)):
            at_Z = (bins_Z > t).astype(np.uint8)
            predicted_NP = unpack(united(part.latents, at_Z, words_FTW[:, t : t + 1]), n_properties)
            _add_mixed(predicted_NP, labels_NP, rank_P, mixed_TR[t])
        predicted_NP = unpack(united(part.latents, bins_Z, words_FTW), n_properties)
        last_2P += np.stack([(predicted_NP & labels_NP).sum(axis=0), predicted_NP.sum(axis=0)])
    return mixed_TR, last_2P


@njit(cache=True, nogil=True)
def _add_mixed(predicted_NP: Any, labels_NP: Any, rank_P: Any, mixed_R: Any) -> None:
    true_positives_R, false_positives_R = np.zeros(len(mixed_R), np.int64), np.zeros(len(mixed_R), np.int64)
    for n in range(len(predicted_NP)):
        true_positives_R[:] = 0
        false_positives_R[:] = 0
        for p in range(len(rank_P)):
            if predicted_NP[n, p]:
                if labels_NP[n, p]:
                    true_positives_R[rank_P[p]] += 1
                else:
                    false_positives_R[rank_P[p]] += 1
        for r in range(len(mixed_R)):
            mixed_R[r] += np.int64(true_positives_R[r] == 1 and false_positives_R[r] == 1)
