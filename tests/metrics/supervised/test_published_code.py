import brute_force
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from boardgame_sae.metrics.counting.sample import Sample
from boardgame_sae.metrics.counts import THRESHOLDS, count_task_like
from boardgame_sae.metrics.reconstruction import classifiers
from boardgame_sae.metrics.supervised.published_code import (
    board_reconstruction_reference,
    coverage_reference,
    reference_boards,
    reference_task,
)

CLOSE = {"rtol": 0, "atol": 1e-12}


@st.composite
def examples(draw):
    """Train and test whose labels are noisy functions of the latents; m_f from elsewhere, some of them 0; a grid."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_latents, n_properties = draw(st.tuples(st.integers(1, 4), st.sampled_from([1, 3, 6, 9])))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    thresholds = draw(st.sampled_from([THRESHOLDS, (0.0, 0.5, 1.0), (0.3,), (0.2, 0.9)]))
    source_P, noise = rng.integers(n_latents, size=n_properties), draw(st.sampled_from([0.0, 0.05, 0.3]))
    sets = []
    for n_positions in (rng.integers(1, 30), rng.integers(1, 12)):
        steps_NF = rng.integers(-10, 11, size=(n_positions, n_latents))
        latents_NF = np.array(THRESHOLDS, dtype)[np.maximum(steps_NF, 0)]
        labels_NP = (steps_NF > 3)[:, source_P] ^ (rng.random((n_positions, n_properties)) < noise)
        sets.append((latents_NF, labels_NP))
    max_F = rng.choice([0.0, 0.5, 1.0, 1.6], n_latents, p=[0.3, 0.2, 0.3, 0.2]).astype(dtype)
    square_P = rng.integers(0, draw(st.integers(1, 4)), n_properties)
    least = {"min_precision": draw(st.sampled_from([0.5, 0.75, 1.0])), "min_count": draw(st.integers(1, 3))}
    return sets, max_F, square_P, thresholds, least


def assert_equal(found, expected):
    value, threshold, f1_T, square_f1_T, last = expected
    assert found.value == pytest.approx(value, abs=1e-12)
    assert found.threshold == threshold
    np.testing.assert_allclose(found.f1_T, f1_T, **CLOSE)
    np.testing.assert_allclose(found.square_f1_T, square_f1_T, **CLOSE)
    assert found.last == pytest.approx(last, abs=1e-12)


@hypothesis.given(examples())
@hypothesis.settings(max_examples=80)
def test_the_published_reconstruction_equals_loops_with_a_scale_from_elsewhere(example):
    (train, test), max_F, square_P, thresholds, least = example
    expected = brute_force.published(train, test, square_P.tolist(), max_F, thresholds, **least)
    found = board_reconstruction_reference(
        *train, *test, square_P, max_activation_F=max_F, thresholds=thresholds, **least
    )
    assert_equal(found, expected)
    own_F = brute_force.largest(train[0])
    assert_equal(
        board_reconstruction_reference(*train, *test, square_P, thresholds=thresholds, **least),
        brute_force.published(train, test, square_P.tolist(), own_F, thresholds, **least),
    )


@hypothesis.given(examples(), st.data())
@hypothesis.settings(max_examples=50)
def test_properties_side_by_side_are_rebuilt_as_each_alone(example, data):
    (train, test), max_F, square_P, thresholds, least = example
    cut = data.draw(st.integers(1, len(square_P)))
    pieces = [slice(cut), slice(cut, None)] if cut < len(square_P) else [slice(None)]
    task = reference_task(Sample.of(*train), max_F, thresholds)
    words_FTW = classifiers(task, least["min_precision"], least["min_count"]).words_FTW
    both = reference_boards(count_task_like(task, Sample.of(*test)), words_FTW, [square_P[piece] for piece in pieces])
    assert len(both) == len(pieces)
    for found, piece in zip(both, pieces, strict=True):
        sets = [(latents_NF, labels_NP[:, piece]) for latents_NF, labels_NP in (train, test)]
        assert_equal(found, brute_force.published(*sets, square_P[piece].tolist(), max_F, thresholds, **least))


@hypothesis.given(examples(), st.sampled_from([None, 1, 192]))
@hypothesis.settings(max_examples=50)
def test_the_published_coverage_leaves_dead_latents_out_and_divides_by_a_constant(example, denominator):
    ((latents_NF, labels_NP), _), max_F, _, thresholds, _ = example
    expected = brute_force.coverage_reference(latents_NF * (max_F > 0), labels_NP, denominator, max_F, thresholds)
    options = {"max_activation_F": max_F, "thresholds": thresholds, "denominator": denominator}
    assert coverage_reference(latents_NF, labels_NP, **options) == pytest.approx(expected, abs=1e-12)


def test_a_latent_that_never_fires_where_the_scale_is_taken_is_never_on():
    truth_N1 = np.arange(20)[:, None] % 2 == 0
    latents_NF = np.concatenate([truth_N1, np.ones((20, 1))], axis=1).astype(np.float32)
    sets = (latents_NF, truth_N1, latents_NF, truth_N1, np.array([0]))
    alive, dead = np.array([1, 1], np.float32), np.array([0, 1], np.float32)
    assert coverage_reference(latents_NF, truth_N1, max_activation_F=alive) == 1
    assert coverage_reference(latents_NF, truth_N1, max_activation_F=dead) == pytest.approx(2 / 3)
    assert board_reconstruction_reference(*sets, max_activation_F=alive).value == 1
    found = board_reconstruction_reference(*sets, max_activation_F=dead)
    assert (found.value, found.last) == (0, 0)


def test_the_last_slot_takes_each_latent_at_the_highest_threshold_it_passes_only():
    """A strong latent tells the class, a weak one does not: at the highest threshold passed nothing false is said."""
    strength_N = np.array([1.0] * 20 + [0.4] * 20, np.float32)
    truth_N1 = (strength_N == 1)[:, None]
    found = board_reconstruction_reference(
        strength_N[:, None], truth_N1, strength_N[:, None], truth_N1, np.array([0]), thresholds=(0.0, 0.5, 1.0)
    )
    assert (found.value, found.threshold, found.last) == (1, 0.5, 1)
    assert found.f1_T.tolist() == [0, 1, 0]  # at 0 it is right half the time; nothing exceeds its largest activation


def test_a_threshold_of_one_is_never_the_one_reported():
    truth_N1 = np.arange(24)[:, None] < 12
    train_NF = np.where(truth_N1, np.float32(2), np.float32(0.5))
    options = {"max_activation_F": np.array([1], np.float32), "thresholds": (0.0, 1.0)}
    found = board_reconstruction_reference(train_NF, truth_N1, train_NF, truth_N1, np.array([0]), **options)
    assert found.f1_T.tolist() == [0, 1]
    assert (found.value, found.threshold) == (0, 0)
    with pytest.raises(ValueError, match="thresholds below 1"):
        board_reconstruction_reference(
            train_NF, truth_N1, train_NF, truth_N1, np.array([0]), thresholds=(1.0,), max_activation_F=np.ones(1)
        )


def test_bad_input_is_named():
    latents_NF, labels_NP = np.ones((5, 2)), np.ones((5, 3), bool)
    for square_P in (np.zeros(2, int), np.zeros(3)):
        with pytest.raises(ValueError, match="square_of_P gives an int to each of 3"):
            board_reconstruction_reference(latents_NF, labels_NP, latents_NF, labels_NP, square_P)
