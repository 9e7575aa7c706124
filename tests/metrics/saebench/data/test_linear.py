"""Logistic regressions: scikit-learn's on standardised inputs, dense and sparse alike, chosen on validation."""

import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from boardgame_sae.metrics.saebench.data import linear
from boardgame_sae.metrics.saebench.data.linear import area_under_curve, fit, fit_chosen


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x_ND = rng.normal(size=(300, 6)) * [1, 50, 0.01, 1, 1, 0] * (rng.random((300, 6)) < 0.5)
    return x_ND, x_ND[:, 0] + x_ND[:, 1] / 50 + rng.normal(size=300) * 0.3 > 0.1


@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_a_fit_is_scikit_learns_on_inputs_of_variance_one(data, strength):
    x_ND, true_N = data
    oracle = make_pipeline(StandardScaler(with_mean=False), LogisticRegression(C=strength, max_iter=5000, tol=1e-9))
    expected_N = oracle.fit(x_ND, true_N).decision_function(x_ND)
    np.testing.assert_allclose(fit(x_ND, true_N, strength).logits(x_ND), expected_N, atol=2e-2)


def test_a_fit_that_stops_early_prints_nothing(data, monkeypatch):
    monkeypatch.setattr(linear, "MAX_ITERATIONS", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(*data)


def test_sparse_inputs_give_the_fit_of_dense_ones(data):
    x_ND, true_N = data
    dense, sparse = fit(x_ND, true_N), fit(csr_array(x_ND), true_N)
    np.testing.assert_allclose(dense.logits(x_ND), sparse.logits(csr_array(x_ND)), atol=1e-3)


def test_the_scale_of_an_input_does_not_matter(data):
    x_ND, true_N = data
    scaled_ND = x_ND * 1000.0
    np.testing.assert_allclose(fit(x_ND, true_N).logits(x_ND), fit(scaled_ND, true_N).logits(scaled_ND), atol=1e-3)


def test_the_penalty_is_the_one_that_is_right_most_often_on_validation(data):
    x_ND, true_N = data
    noisy_ND = np.concatenate([x_ND, np.random.default_rng(1).normal(size=(300, 200))], axis=1)
    train, validation = slice(0, 100), slice(100, 300)
    right = {
        strength: (
            (fit(noisy_ND[train], true_N[train], strength).logits(noisy_ND[validation]) > 0) == true_N[100:]
        ).sum()
        for strength in (1e-4, 1e-2, 10.0)
    }
    chosen = fit_chosen(noisy_ND[train], true_N[train], noisy_ND[validation], true_N[validation], list(right))
    assert ((chosen.logits(noisy_ND[validation]) > 0) == true_N[validation]).sum() == max(right.values())
    assert len(set(right.values())) > 1


def test_the_area_is_the_share_of_pairs_in_order():
    true_N, logits_N = np.array([1, 1, 0, 0, 0], bool), np.array([0.9, 0.2, 0.2, 0.1, 0.5])
    assert area_under_curve(logits_N, true_N) == pytest.approx((3 + 1 + 0.5) / 6)
