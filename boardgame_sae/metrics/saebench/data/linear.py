"""Linear classifiers of one concept: logistic regression whose penalty is chosen on validation games."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import issparse
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
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

    Fits of few positions may stop at MAX_ITERATIONS: that is the classifier, of which no warning is given.
    x_ND: (N, D), dense or sparse. true_N: bool (N,), both values present. strength: scikit-learn's C.
    """
    scale_D = _deviation(x_ND)
    # products are too small for a second thread, which would wait for the first
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS).fit(_scaled(x_ND, scale_D), true_N)
    return Classifier(np.asarray(model.coef_)[0] / scale_D, float(np.asarray(model.intercept_)[0]))


def fit_chosen(
    x_ND: Any, true_N: np.ndarray, x_validation_ND: Any, true_validation_N: np.ndarray, strengths: Sequence[float]
) -> Classifier:
    """The fit, of several strengths, that is right most often on validation; the strongest penalty on a tie."""
    fits = [fit(x_ND, true_N, strength) for strength in sorted(strengths)]
    right = [int(((one.logits(x_validation_ND) > 0) == true_validation_N).sum()) for one in fits]
    return fits[int(np.argmax(right))]


def fit_lasso(x_ND: np.ndarray, true_N: np.ndarray, strength: float = 1.0) -> Classifier:
    """L1-penalised logistic regression on a few inputs, divided by their standard deviations; the bias is free.

    Exact: with w = u - v, where u and v are not negative, the penalty sum(u + v) / strength is smooth (L-BFGS-B).
    x_ND: (N, D), dense. true_N: bool (N,), both values present.
    """
    scale_D, mean_D, sign_N = _deviation(x_ND), x_ND.mean(0, dtype=np.float64), np.where(true_N, 1.0, -1.0)
    scaled_ND, n_inputs = (x_ND - mean_D) / scale_D, x_ND.shape[1]

    def penalised(uvb: np.ndarray) -> tuple[float, np.ndarray]:
        u_D, v_D, bias = uvb[:n_inputs], uvb[n_inputs:-1], uvb[-1]
        margin_N = sign_N * (scaled_ND @ (u_D - v_D) + bias)
        pull_N = -sign_N * expit(-margin_N)
        gradient_D = pull_N @ scaled_ND
        loss = np.logaddexp(0, -margin_N).sum() + (u_D + v_D).sum() / strength
        return loss, np.concatenate([gradient_D + 1 / strength, 1 / strength - gradient_D, [pull_N.sum()]])

    bounds = [*[(0, None)] * (2 * n_inputs), (None, None)]
    found = minimize(penalised, np.zeros(2 * n_inputs + 1), jac=True, method="L-BFGS-B", bounds=bounds).x
    weight_D = (found[:n_inputs] - found[n_inputs:-1]) / scale_D
    return Classifier(weight_D, float(found[-1] - weight_D @ mean_D))


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
