"""What each latent is a classifier of: for every latent the class it predicts best, and how well.

Coverage looks from the classes at the latents; this looks from the latents at the classes. Of all classes and
thresholds a latent gets those of best F1 above chance on train, (F1 - F1_always) / (1 - F1_always): by plain F1,
classes that are nearly always true would win.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange

from boardgame_sae.metrics.counting.f1 import always_on_f1, f1_of_counts
from boardgame_sae.metrics.counting.latent_columns import threads_for
from boardgame_sae.metrics.counting.sample import Sample
from boardgame_sae.metrics.counts import Counts, CountTask


class BestProperties:
    """The class and threshold of best train F1 above chance for every latent, gathered from blocks of counts."""

    def __init__(self, task: CountTask, wanted_P: np.ndarray) -> None:
        """wanted_P: bool (P,): the classes that may be chosen."""
        self.task, self.wanted_P = task, wanted_P
        n_latents = task.sample.n_latents
        self.above_F = np.full(n_latents, -np.inf)
        """(F,) F1 above chance on train; -inf for a latent that is never on."""
        self.f1_F = np.zeros(n_latents)
        """(F,) F1 on train."""
        self.property_F = np.full(n_latents, -1)
        """(F,) column of the class; -1 for a latent that is never on."""
        self.t_F = np.zeros(n_latents, np.int64)
        """(F,) index of the threshold."""

    def add(self, first: int, counts: Counts) -> None:
        """Add a block of counts, whose first latent is `first`.

        Of equal F1 the smallest threshold is kept, then the first class.
        """
        on_TFP, n_on_TF, positives_P = counts.on_TFP.numpy(), counts.n_on_TF.numpy(), counts.positives_P.numpy()
        always_P = always_on_f1(positives_P / max(1, counts.n_positions))
        here = slice(first, first + on_TFP.shape[1])
        out = self.above_F[here], self.f1_F[here], self.property_F[here], self.t_F[here]
        with threads_for(on_TFP.size):
            _keep_best(on_TFP, n_on_TF, positives_P, always_P, self.wanted_P & (always_P < 1), *out)

    def edges_F(self) -> np.ndarray:
        """(F,) the activation that each latent must exceed."""
        return self.task.edges_TF[self.t_F, np.arange(len(self.t_F))]


class ClassifierCounts(NamedTuple):
    """Counts of each latent's classifier on a sample."""

    true_positives_F: np.ndarray
    """(F,) int64: positions where it is on and the class true."""
    predicted_positives_F: np.ndarray
    """(F,) int64: positions where it is on."""


def count_classifiers(sample: Sample, edge_F: np.ndarray, property_F: np.ndarray) -> ClassifierCounts:
    """How often each latent exceeds its edge, and how often its class is true there; 0 for one without a class (-1)."""
    true_positives_F, predicted_positives_F = np.zeros((2, sample.n_latents), np.int64)
    for part in sample.parts:
        latents, labels_NB = part.latents, part.words().view(np.uint8)
        entries = latents.indptr_F1, latents.rows_Z, latents.values_Z
        with threads_for(len(latents.rows_Z)):
            _count_classifiers(*entries, edge_F, property_F, labels_NB, true_positives_F, predicted_positives_F)
    return ClassifierCounts(true_positives_F, predicted_positives_F)


@njit(parallel=True, cache=True, nogil=True)
def _keep_best(
    on_TFP: Any, n_on_TF: Any, positives_P: Any, always_P: Any, wanted_P: Any, above_F: Any, f1_F: Any, property_F: Any,
    t_F: Any,
) -> None:  # fmt: skip
    for f in prange(on_TFP.shape[1]):
        for t in range(on_TFP.shape[0]):
            if n_on_TF[t, f] == 0:
                break  # nor is it on at higher thresholds
            for p in range(on_TFP.shape[2]):
                if wanted_P[p]:
                    f1 = f1_of_counts(on_TFP[t, f, p], n_on_TF[t, f], positives_P[p])
                    above = (f1 - always_P[p]) / (1.0 - always_P[p])
                    if above > above_F[f]:
                        above_F[f], f1_F[f], property_F[f], t_F[f] = above, f1, p, t


@njit(parallel=True, cache=True, nogil=True)
def _count_classifiers(
    indptr_F1: Any, rows_Z: Any, values_Z: Any, edge_F: Any, property_F: Any, labels_NB: Any,
    true_positives_F: Any, predicted_positives_F: Any,
) -> None:  # fmt: skip
    for f in prange(len(indptr_F1) - 1):
        if property_F[f] >= 0:
            true_positives, predicted_positives = 0, 0
            for z in range(indptr_F1[f], indptr_F1[f + 1]):
                if values_Z[z] > edge_F[f]:
                    predicted_positives += 1
                    true_positives += labels_NB[rows_Z[z], property_F[f]]
            true_positives_F[f] += true_positives
            predicted_positives_F[f] += predicted_positives
