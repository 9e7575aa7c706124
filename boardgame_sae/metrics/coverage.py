"""Coverage: how well the best single latent, thresholded, predicts each property.

`coverage` picks and reports on the same positions, as the paper does; `held_out_coverage` picks on train and reports
on test, and is the headline; what the published code computes is in
`supervised.published_code`.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit, prange

from boardgame_sae.metrics.counting.f1 import above_chance, always_on_f1, f1, f1_of_counts
from boardgame_sae.metrics.counting.latent_columns import LabelsLike, Latents, LatentsLike, as_latents, threads_for
from boardgame_sae.metrics.counting.sample import Sample
from boardgame_sae.metrics.counts import (
    THRESHOLDS,
    Counts,
    CountTask,
    ThresholdsLike,
    as_max_activation,
    count_task,
    count_task_like,
    task_blocks,
)


class Coverage(NamedTuple):
    """The best latent and threshold of every property, chosen and scored on the same positions."""

    value: float
    """Mean of `f1_P`, 0 to 1."""
    f1_P: torch.Tensor
    """(P,) float64: the best F1 of any latent at any threshold."""
    latent_P: torch.Tensor
    """(P,) int64: that latent."""
    threshold_P: torch.Tensor
    """(P,) float64: that threshold, a share of the latent's largest activation."""
    max_activation_F: torch.Tensor
    """(F,) m_f as used."""


class HeldOutCoverage(NamedTuple):
    """The best latent and threshold of every property on train, scored on test."""

    value: float
    """Mean of `f1_P`, 0 to 1."""
    f1_P: torch.Tensor
    """(P,) float64: F1 on test."""
    latent_P: torch.Tensor
    """(P,) int64: the latent chosen on train."""
    threshold_P: torch.Tensor
    """(P,) float64: the threshold chosen on train."""
    max_activation_F: torch.Tensor
    """(F,) m_f as used, from train unless it was given."""
    train_f1_P: torch.Tensor
    """(P,) float64: F1 of the same choice on train."""
    in_sample: float
    """Mean of `train_f1_P`: the coverage of the train positions."""
    true_positive_P: torch.Tensor
    """(P,) int64: test positions where the chosen latent is on and the property true."""
    on_P: torch.Tensor
    """(P,) int64: test positions where the chosen latent is on."""
    positives_P: torch.Tensor
    """(P,) int64: test positions where the property is true."""
    always_on: float
    """Mean over properties of F1_always = 2p / (1 + p), what a latent that is always on scores; p: share true."""
    above_chance: float
    """Mean of (F1 - F1_always) / (1 - F1_always) over the properties that are false somewhere on test (else nan)."""


def coverage(
    latents_NF: LatentsLike,
    labels_NP: LabelsLike,
    *,
    max_activation_F: LabelsLike | None = None,
    thresholds: ThresholdsLike = THRESHOLDS,
    valid_N: LabelsLike | None = None,
) -> Coverage:
    """Mean over properties of the best F1 that any latent, at any threshold, reaches as its classifier.

    latents_NF: (N positions, F latents), dense or sparse (see `as_latents`).
    labels_NP: (N positions, P properties), bool or 0 and 1.
    max_activation_F: (F,) m_f; by default each latent's maximum over these (valid) positions. A latent is on where
        it exceeds, strictly, threshold times m_f.
    valid_N: (N,) bool: use only these positions.
    F1 = 2 TP / (on + positives), 0 where the latent is never on. Of equal F1 the smallest threshold is taken,
    then the smallest latent.
    Raises ValueError when the two disagree in length, a property is never true, or as `count_latents` does.
    Source: Karvonen et al. 2024 (arXiv 2408.00113), section 3.2.
    """
    sample = Sample.of(latents_NF, labels_NP, valid_N)
    return _coverage(count_task(sample, max_activation_F=max_activation_F, thresholds=thresholds))


def held_out_coverage(
    train_latents_NF: LatentsLike,
    train_labels_NP: LabelsLike,
    test_latents_NF: LatentsLike,
    test_labels_NP: LabelsLike,
    *,
    max_activation_F: LabelsLike | None = None,
    thresholds: ThresholdsLike = THRESHOLDS,
) -> HeldOutCoverage:
    """Held-out coverage: each property's latent and threshold are chosen on train, its F1 is measured on test.

    Arguments are those of `coverage`, for two sets of positions of the same F latents and P properties. m_f is each
    latent's maximum on train unless it is given.
    Raises ValueError as `coverage` does, for either set, and when the sets differ in latents or properties.
    Source: coverage as in Karvonen et al. 2024 (arXiv 2408.00113), section 3.2, which selects in sample.
    """
    sample = Sample.of(train_latents_NF, train_labels_NP)
    train = count_task(sample, max_activation_F=max_activation_F, thresholds=thresholds)
    test = count_task_like(train, Sample.of(test_latents_NF, test_labels_NP)).sample
    _check_ever_true(test.positives_P)
    chosen = _coverage(train)
    labels_NP, on_NP = test.labels_NP, predictions(chosen, test.parts[0].latents).numpy()
    true_positive_P = (on_NP & labels_NP).sum(axis=0)
    on_P, positives_P = on_NP.sum(axis=0), test.positives_P
    f1_P = f1(true_positive_P, on_P, positives_P)
    prevalence_P = positives_P / test.n_positions
    always_P = always_on_f1(prevalence_P)
    above_P = above_chance(f1_P, always_P)
    above_P = above_P[~np.isnan(above_P)]
    return HeldOutCoverage(
        value=float(f1_P.mean()),
        f1_P=torch.from_numpy(f1_P),
        latent_P=chosen.latent_P,
        threshold_P=chosen.threshold_P,
        max_activation_F=chosen.max_activation_F,
        train_f1_P=chosen.f1_P,
        in_sample=chosen.value,
        true_positive_P=torch.from_numpy(true_positive_P),
        on_P=torch.from_numpy(on_P),
        positives_P=torch.from_numpy(positives_P),
        always_on=float(always_P.mean()),
        above_chance=float(above_P.mean()) if len(above_P) else float("nan"),
    )


def predictions(coverage: Coverage | HeldOutCoverage, latents_NF: LatentsLike) -> torch.Tensor:
    """(N, P) bool: whether each property's chosen latent is on at its chosen threshold.

    latents_NF: (N positions, F latents), dense or sparse.
    Raises ValueError when there are not as many latents as the coverage was computed from.
    """
    latents = as_latents(latents_NF)
    max_F = as_max_activation(coverage.max_activation_F, latents)
    latent_P, threshold_P = coverage.latent_P.numpy(), coverage.threshold_P.numpy()
    return torch.from_numpy(on_above(latents, latent_P, threshold_P.astype(max_F.dtype) * max_F[latent_P]))


def on_above(latents: Latents, latent_P: np.ndarray, edge_P: np.ndarray) -> np.ndarray:
    """(N, P) bool: whether latent latent_P[p] exceeds edge_P[p] at each position."""
    on_PN = np.zeros((len(latent_P), latents.n_positions), np.bool_)
    for p, f in enumerate(latent_P):
        entries = slice(latents.indptr_F1[f], latents.indptr_F1[f + 1])
        on_PN[p, latents.rows_Z[entries]] = latents.values_Z[entries] > edge_P[p]
    return np.ascontiguousarray(on_PN.T)


class BestLatents:
    """The best F1 of any latent at each threshold for each property, gathered from blocks of counts."""

    def __init__(self, task: CountTask) -> None:
        """Raises ValueError when there is no latent."""
        if not task.sample.n_latents:
            raise ValueError("there are no latents")
        self.thresholds_T = task.thresholds_T
        shape = (len(task.thresholds_T), task.sample.n_properties)
        self.best_TP, self.latent_TP = np.full(shape, -1.0), np.zeros(shape, np.int64)

    def add(self, first: int, counts: Counts) -> None:
        """Add a block of counts, whose first latent is `first`."""
        on_TFP, n_on_TF = counts.on_TFP.numpy(), counts.n_on_TF.numpy()
        with threads_for(on_TFP.size):
            _keep_best(on_TFP, n_on_TF, counts.positives_P.numpy(), first, self.best_TP, self.latent_TP)

    def chosen(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each property the best F1, its latent and its threshold; of equal F1 the smallest threshold, latent."""
        t_P, p_P = self.best_TP.argmax(axis=0), np.arange(self.best_TP.shape[1])
        return self.best_TP[t_P, p_P], self.latent_TP[t_P, p_P], self.thresholds_T[t_P]


def _check_ever_true(positives_P: np.ndarray) -> None:
    if not len(positives_P):
        raise ValueError("there is no property to cover")
    never_true = np.flatnonzero(positives_P == 0)
    if len(never_true):
        more = f" (nor are {len(never_true) - 1} others)" if len(never_true) > 1 else ""
        raise ValueError(f"the property in column {never_true[0]} is never true{more}; leave out unsupported ones")


def _coverage(task: CountTask) -> Coverage:
    _check_ever_true(task.sample.positives_P)
    best = BestLatents(task)
    for first, counts in task_blocks(task):
        best.add(first, counts)
    f1_P, latent_P, threshold_P = best.chosen()
    return Coverage(
        value=float(f1_P.mean()),
        f1_P=torch.from_numpy(f1_P),
        latent_P=torch.from_numpy(latent_P),
        threshold_P=torch.from_numpy(threshold_P),
        max_activation_F=torch.from_numpy(task.max_activation_F),
    )


@njit(parallel=True, cache=True, nogil=True)
def _keep_best(on_TFP: Any, n_on_TF: Any, positives_P: Any, first: int, best_TP: Any, latent_TP: Any) -> None:
    n_thresholds, n_latents, n_properties = on_TFP.shape
    for t in prange(n_thresholds):
        for f in range(n_latents):
            if n_on_TF[t, f] == 0 and first + f > 0:
                continue
            for p in range(n_properties):
                value = f1_of_counts(on_TFP[t, f, p], n_on_TF[t, f], positives_P[p]) if on_TFP[t, f, p] > 0 else 0.0
                if value > best_TP[t, p]:
                    best_TP[t, p] = value
                    latent_TP[t, p] = first + f
