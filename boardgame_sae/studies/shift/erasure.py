"""The same without an SAE: a concept erased from activations by a linear map."""

from collections.abc import Callable

import numpy as np

Eraser = Callable[[np.ndarray], np.ndarray]
"""Activations (N, D) to activations in which a concept is not to be read."""


def eraser(x_ND: np.ndarray, true_N: np.ndarray) -> Eraser:
    """The smallest linear change after which no linear probe tells a concept.

    x becomes x - s (s' C^-1 (x - mean)) / (s' C^-1 s), with C the covariance of the activations, and s theirs with the
    concept. x_ND: activations of examples. true_N: bool (N,), their truths, both present.
    Source: LEACE, Belrose et al. 2023 (arXiv 2306.03819), for one binary concept.
    """
    mean_D, x_ND = x_ND.mean(0, dtype=np.float64), x_ND.astype(np.float64)
    shared_D = (x_ND - mean_D).T @ (true_N - true_N.mean()) / len(x_ND)
    reading_D = np.linalg.lstsq(np.cov(x_ND.T, bias=True), shared_D, rcond=None)[0]
    reading_D /= shared_D @ reading_D
    return lambda other_ND: other_ND - np.outer((other_ND - mean_D) @ reading_D, shared_D)
