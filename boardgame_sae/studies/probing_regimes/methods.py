"""What reads a property: five baselines on activations, and the probe on an SAE's latents.

All are scikit-learn's or look like it: `fit(inputs, truths)`, then `decision_function` or `predict_proba`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.sparse import csr_array
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from boardgame_sae.metrics.saebench.data.linear import area_under_curve, fit_lasso
from boardgame_sae.metrics.saebench.sae_probes import normalised_ranking

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Inverse L2 penalties to choose from, on inputs of variance 1."""
LASSO_STRENGTHS = (0.1, 1.0, 10.0)
"""Inverse L1 penalties to choose from."""
COMPONENTS = (2, 5, 10, 20, 50)
NEIGHBOURS = (1, 3, 9, 27)
DEPTHS = (1, 3)
"""Of boosted trees."""
DECAYS = (0.1, 1.0)
"""L2 penalties of the MLP's weights."""
KS = (1, 8, 64)
"""Numbers of latents to choose from."""
ENOUGH_STEPS = 3000
"""More than any fit here takes to converge."""


class TopLatents:
    """L1 logistic regression on the k latents whose normalised means differ most between true and false examples.

    Source: Kantamneni et al. 2025 (arXiv 2502.16681), section 3.
    """

    def __init__(self, k: int, strength: float) -> None:
        self.k, self.strength = k, strength

    def fit(self, latents_NF: csr_array, true_N: np.ndarray) -> Self:
        """Choose the latents, and fit their weights."""
        self.latents_ = normalised_ranking(latents_NF, true_N)[: self.k]
        self.classifier_ = fit_lasso(latents_NF[:, self.latents_].toarray(), true_N, self.strength)
        return self

    def decision_function(self, latents_NF: csr_array) -> np.ndarray:
        """(N,): above zero where it says true."""
        return self.classifier_.logits(latents_NF[:, self.latents_])


def baselines(n: int, width: int) -> dict[str, list[Any]]:
    """Estimators on activations, by method: each in the settings that n training examples allow."""
    return {
        "logistic regression": [_scaled(_logistic(strength)) for strength in STRENGTHS],
        "PCA": [_scaled(PCA(k), _logistic(1.0)) for k in COMPONENTS if k < min(n, width)],
        "k-NN": [_scaled(KNeighborsClassifier(k)) for k in NEIGHBOURS if k < n],
        "boosted trees": [
            GradientBoostingClassifier(max_depth=depth, n_estimators=50, max_features="sqrt", random_state=0)
            for depth in DEPTHS
        ],
        "MLP": [
            _scaled(MLPClassifier((32,), solver="lbfgs", alpha=decay, tol=1e-3, max_iter=ENOUGH_STEPS, random_state=0))
            for decay in DECAYS
        ],
    }


def sae_probes() -> list[TopLatents]:
    """The probe on latents in all its settings."""
    return [TopLatents(k, strength) for k in KS for strength in LASSO_STRENGTHS]


def _scaled(*steps: Any) -> Any:
    return make_pipeline(StandardScaler(), *steps)


def _logistic(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=ENOUGH_STEPS)


class Reading(NamedTuple):
    """How well a method reads a property: areas under the ROC curve."""

    on_validation: float
    on_test: float


def read(estimators: Sequence[Any], inputs: Mapping[str, Any], truths: Mapping[str, np.ndarray]) -> Reading:
    """The reading of the estimator, of several settings of a method, that is best on validation; of equals the first.

    inputs: rows by split, dense or sparse. truths: bool by split, both values present in each.
    """
    with threadpool_limits(1):  # fits too small for a second thread, which would wait for the first
        on_validation = []
        for estimator in estimators:
            estimator.fit(inputs["train"], truths["train"])
            on_validation.append(area_under_curve(_says(estimator, inputs["validation"]), truths["validation"]))
        best = int(np.argmax(on_validation))
        on_test = area_under_curve(_says(estimators[best], inputs["test"]), truths["test"])
    return Reading(on_validation[best], on_test)


def _says(estimator: Any, inputs: Any) -> np.ndarray:
    """(N,): the larger the surer that it is true."""
    if hasattr(estimator, "decision_function"):
        return estimator.decision_function(inputs)
    return estimator.predict_proba(inputs)[:, 1]
