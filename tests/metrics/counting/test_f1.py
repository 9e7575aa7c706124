from fractions import Fraction

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from boardgame_sae.metrics.counting.f1 import above_chance, always_on_f1, f1, f1_of_counts


def exact_f1(true_positives, predicted_positives, positives):
    """The harmonic mean of precision and recall as a fraction; 0 where there is no true positive."""
    if true_positives == 0:
        return Fraction(0)
    precision, recall = Fraction(true_positives, predicted_positives), Fraction(true_positives, positives)
    return 2 * precision * recall / (precision + recall)


def exact_above_chance(counts, n_positions):
    """How far F1 lies between that of a latent that is always on and 1; None where that is 1 already."""
    always = exact_f1(counts[2], n_positions, counts[2])
    return None if always == 1 else (exact_f1(*counts) - always) / (1 - always)


@st.composite
def counts_of_positions(draw):
    """(true positives, predicted positives, positives), and the number of positions they were counted at."""
    n_positions = draw(st.integers(1, 10) | st.integers(1, 2**31 - 1))
    predicted, positives = (draw(st.integers(0, n_positions) | st.sampled_from([0, n_positions])) for _ in range(2))
    hit = draw(st.integers(max(0, predicted + positives - n_positions), min(predicted, positives)))
    return (hit, predicted, positives), n_positions


@given(st.lists(counts_of_positions(), min_size=1, max_size=6))
def test_f1_equals_the_harmonic_mean_of_precision_and_recall(cases):
    counts = np.array([case[0] for case in cases])
    expected = [float(exact_f1(*case[0])) for case in cases]
    for given_as in (counts, counts.astype(np.float64), counts.reshape(1, -1, 3)):
        found = f1(*np.moveaxis(given_as, -1, 0))
        assert found.shape == given_as.shape[:-1]
        np.testing.assert_allclose(found.ravel(), expected, rtol=1e-15)
    assert f1(*cases[0][0]) == pytest.approx(expected[0], rel=1e-15)


@given(st.lists(counts_of_positions(), min_size=1, max_size=6))
def test_above_chance_is_0_as_good_as_always_on_1_perfect_and_nan_where_the_property_is_never_false(cases):
    counts, n_positions = np.array([case[0] for case in cases]), np.array([case[1] for case in cases])
    always = always_on_f1(counts[:, 2] / n_positions)
    exact_always = [exact_f1(case[0][2], case[1], case[0][2]) for case in cases]
    np.testing.assert_allclose(always, [float(share) for share in exact_always], rtol=1e-15)
    found = above_chance(f1(*counts.T), always)
    for number, case, chance in zip(found, cases, exact_always, strict=True):
        expected = exact_above_chance(*case)
        assert np.isnan(number) == (expected is None)
        if expected is not None:  # rounding grows by what is divided by
            assert number == pytest.approx(float(expected), rel=1e-14, abs=float(1e-15 / (1 - chance)))


@given(counts_of_positions().filter(lambda case: case[0][1] + case[0][2] > 0))
def test_f1_in_compiled_loops_is_the_same_to_the_last_bit(case):
    counts = case[0]
    assert f1_of_counts(*counts) == f1(*counts) == f1(*np.array(counts))
    assert f1_of_counts(*np.array(counts, np.int32)) == f1(*np.array(counts, np.float64))


def test_edges():
    assert f1(0, 0, 0) == f1(0, 5, 0) == f1(0, 0, 5) == 0
    assert f1(5, 5, 5) == 1
    assert always_on_f1(0) == 0 and always_on_f1(1) == 1
    assert above_chance(1.0, 0.5) == 1 and above_chance(0.5, 0.5) == 0 and above_chance(0.0, 0.5) == -1
    with np.errstate(all="raise"):
        assert np.isnan(above_chance(np.array([1.0, 0.0]), np.array([1.0, 1.0]))).all()
