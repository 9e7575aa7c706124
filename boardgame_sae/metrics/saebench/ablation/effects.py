"""Which latents matter to a probe, and what it reads without them.

The effect of a latent on a probe is, as published, its mean at true minus its mean at false train examples, times its
alignment with the probe, weight . decoder row.

Ablating latents S with the error term kept changes an activation by exactly -sum over S of f_j d_j, so a linear probe's
logit by -sum over S of f_j (w . d_j): no activation has to be rebuilt.

Published, positions that are masked are rows of zeros, found again by their sum; latents that are on at zero leak into
the others (three padded positions moved a pooled activation by 3.6). Here a position is an example, and nothing is
pooled or padded.
"""

import numpy as np
from scipy.sparse import csr_array

from boardgame_sae.metrics.saebench.data.linear import Classifier
from boardgame_sae.metrics.subject import Subject

N_ABLATED = (2, 5, 10, 20, 50, 100, 500)
"""Numbers of latents that are ablated, as published."""


def mean_differences(latents_NF: csr_array, true_N: np.ndarray) -> np.ndarray:
    """(F,): each latent's mean at true examples minus its mean at false ones."""
    true_F, false_F = (np.asarray(latents_NF[rows_N].mean(0), np.float64).ravel() for rows_N in (true_N, ~true_N))
    return true_F - false_F


def alignment(subject: Subject, classifier: Classifier) -> np.ndarray:
    """(F,): how much one unit of each latent raises a probe's logit: probe weight . decoder row."""
    assert subject.source.W_dec is not None
    return subject.source.W_dec.detach().cpu().double().numpy() @ classifier.weight_D


def largest(effects_F: np.ndarray, n: int) -> np.ndarray:
    """The n latents of largest effect, in order, only those whose effect is above zero."""
    order = np.argsort(-effects_F, kind="stable")[:n]
    return order[effects_F[order] > 0]


def logits_without(
    logits_N: np.ndarray, latents_NF: csr_array, alignment_F: np.ndarray, ablated: np.ndarray
) -> np.ndarray:
    """(N,): a probe's logits after some latents are ablated. logits_N: those before."""
    return logits_N - latents_NF[:, ablated] @ alignment_F[ablated]
