"""Linear classifiers of one concept: logistic regression whose penalty is chosen on validation games."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

STRENGTHS = (0.01, 0.1, 1.0)
"""Inverse penalties to choose from, on inputs of variance 1."""
MAX_ITERATIONS = 300


class Classifier(NamedTuple):
    """A linear classifier of one concept."""

    weight_D: np.ndarray
    bias: float

    def logits(self, x_ND: Any) -> np.ndarray:
        """(N,): above zero where it says true. x_ND: dense or sparse."""
        return np.asarray(x_ND @ self.weight_D).ravel() + self.bias


def fit(x_ND: Any, true_N: np.ndarray, strength: float = 1.0) -> Classifier:
    """L2-penalised logistic regression on inputs divided by their standard deviations.

    x_ND: (N, D), dense or sparse. true_N: bool (N,), both values present. strength: scikit-learn's C.
    """
    scale_D = _deviation(x_ND)
    with threadpool_limits(1):  # products too small for a second thread, which would wait for the first
        model = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS).fit(_scaled(x_ND, scale_D), true_N)
    return Classifier(np.asarray(model.coef_)[0] / scale_D, float(np.asarray(model.intercept_)[0]))


def fit_chosen(
    x_ND: Any, true_N: np.ndarray, x_validation_ND: Any, true_validation_N: np.ndarray, strengths: Sequence[float]
) -> Classifier:
    """The fit, of several strengths, that is right most often on validation; the strongest penalty on a tie."""
    fits = [fit(x_ND, true_N, strength) for strength in sorted(strengths)]
    right = [int(((one.logits(x_validation_ND) > 0) == true_validation_N).sum()) for one in fits]
    return fits[int(np.argmax(right))]


def area_under_curve(logits_N: np.ndarray, true_N: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a true example has the larger logit, ties counted half."""
    return float(roc_auc_score(true_N, logits_N))


def _deviation(x_ND: Any) -> np.ndarray:
    """(D,): standard deviations; 1 for an input that never varies."""
    mean_D = np.asarray(x_ND.mean(0), np.float64).ravel()
    square_D = np.asarray((x_ND.multiply(x_ND) if issparse(x_ND) else np.square(x_ND, dtype=np.float64)).mean(0))
    deviation_D = np.sqrt(np.maximum(square_D.ravel() - mean_D**2, 0))
    return np.where(deviation_D > 1e-6 * np.sqrt(square_D.ravel()), deviation_D, 1.0)


def _scaled(x_ND: Any, scale_D: np.ndarray) -> Any:
    return x_ND.multiply(1 / scale_D).tocsr() if issparse(x_ND) else x_ND / scale_D
