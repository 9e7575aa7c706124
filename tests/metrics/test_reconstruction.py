import brute_force
import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from boardgame_sae.metrics import reconstruction as module
from boardgame_sae.metrics.counts import THRESHOLDS, task_blocks
from boardgame_sae.metrics.reconstruction import board_reconstruction, predict_boards
from boardgame_sae.metrics.supervised.published_code import board_reconstruction_reference


@st.composite
def examples(draw):
    """Three sets of positions whose labels are noisy functions of the latents, so that there are classifiers."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_latents, n_properties = draw(st.tuples(st.integers(1, 5), st.sampled_from([1, 3, 6, 65])))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    thresholds = draw(st.sampled_from([THRESHOLDS[:-1], (0.0, 0.5), (0.3,), (0.2, 0.9, 1.0)]))
    source_P, noise = rng.integers(n_latents, size=n_properties), draw(st.sampled_from([0.0, 0.05, 0.3]))
    sets = []
    for n_positions in draw(st.tuples(st.integers(1, 40), st.integers(1, 12), st.integers(1, 12))):
        steps_NF = rng.integers(-10, 11, size=(n_positions, n_latents))
        latents_NF = np.array(THRESHOLDS, dtype)[np.maximum(steps_NF, 0)] * dtype(rng.choice([0.6, 1.0]))
        labels_NP = (steps_NF > 3)[:, source_P] ^ (rng.random((n_positions, n_properties)) < noise)
        sets.append((latents_NF, labels_NP))
    options = {
        "thresholds": thresholds,
        "min_precision": draw(st.sampled_from([0.5, 0.75, 0.95, 1.0])),
        "min_count": draw(st.integers(1, 4)),
    }
    return sets, options, draw(st.booleans())


def dense_classifiers(found, shape):
    table_TFP = np.zeros(shape, bool)
    for index in found:
        table_TFP[index] = True
    return table_TFP


@hypothesis.given(examples())
@hypothesis.settings(max_examples=60, deadline=None)
def test_reconstruction_equals_the_definition(example):
    (train, test, validation), options, validated = example
    max_F, thresholds = brute_force.largest(train[0]), options["thresholds"]
    n_properties = train[1].shape[1]
    found = brute_force.classifiers(*train, max_F, **options)
    extra = {"validation_latents_NF": validation[0], "validation_labels_NP": validation[1]} if validated else {}
    test_csr = torch.from_numpy(test[0]).to_sparse_csr()
    ours = board_reconstruction(*train, test_csr, test[1], **options, **extra)
    expected_TFP = dense_classifiers(found, (len(thresholds), train[0].shape[1], n_properties))
    np.testing.assert_array_equal(ours.classifiers_TFP.to_dense(), expected_TFP)
    np.testing.assert_array_equal(ours.n_classifiers_T, expected_TFP.sum(axis=(1, 2)))

    choosing = validation if validated else train
    scores, chosen_f1 = [], []
    for t, threshold in enumerate(thresholds):
        board_NP = brute_force.boards(found, test[0], max_F, t, threshold, n_properties)
        np.testing.assert_array_equal(predict_boards(ours, test[0], threshold), board_NP)
        scores.append(brute_force.micro(board_NP, test[1]))
        board_NP = brute_force.boards(found, choosing[0], max_F, t, threshold, n_properties)
        chosen_f1.append(brute_force.micro(board_NP, choosing[1])[2])
    np.testing.assert_allclose(ours.f1_T, [f1 for _, _, f1 in scores], rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.validation_f1_T, chosen_f1, rtol=0, atol=1e-12)
    best = next(t for t, f1 in enumerate(chosen_f1) if f1 >= max(chosen_f1) - 1e-12)
    assert ours.threshold == thresholds[best]
    assert (ours.precision, ours.recall, ours.value) == pytest.approx(scores[best], abs=1e-12)
    assert ours.chosen_on == ("validation" if validated else "train")
    assert torch.equal(predict_boards(ours, test_csr), predict_boards(ours, test[0], ours.threshold))


@hypothesis.given(examples(), st.integers(1, 4))
@hypothesis.settings(max_examples=40, deadline=None)
def test_reference_equals_the_published_choice(example, n_squares):
    (train, test, _), options, _ = example
    max_F, n_properties = brute_force.largest(train[0]), train[1].shape[1]
    square_of_P = np.arange(n_properties) * 7 % n_squares - 1
    found = brute_force.classifiers(*train, max_F, **options)
    boards = [
        brute_force.boards(found, test[0], max_F, t, threshold, n_properties)
        for t, threshold in enumerate(options["thresholds"])
    ]
    squares = [brute_force.per_square(board_NP, test[1], square_of_P) for board_NP in boards]
    micro = [brute_force.micro(board_NP, test[1])[2] for board_NP in boards]
    ours = board_reconstruction_reference(*train, *test, square_of_P, **options)
    np.testing.assert_allclose(ours.square_f1_T, squares, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.f1_T, micro, rtol=0, atol=1e-12)
    best = next(t for t, f1 in enumerate(squares) if f1 >= max(squares) - 1e-12)
    assert ours.threshold == options["thresholds"][best]
    assert ours.value == pytest.approx(micro[best], abs=1e-12)


def test_the_published_choice_is_by_squares():
    train_NF = torch.eye(2).repeat_interleave(20, 0)
    # of 10 positions with property 0, its latent is strongly on in 7; in 4 the other latent says property 1 as well
    test_NF = torch.tensor([[1.0, 0.3]] * 4 + [[1.0, 0.0]] * 3 + [[0.3, 0.0]] * 3)
    truth_NP = torch.tensor([[True, False]]).repeat(10, 1)
    ours = board_reconstruction_reference(train_NF, train_NF > 0, test_NF, truth_NP, [5, 5], thresholds=(0.0, 0.5))
    assert ours.f1_T.tolist() == pytest.approx([20 / 24, 14 / 17])
    assert ours.square_f1_T.tolist() == pytest.approx([12 / 16, 14 / 17])
    assert (ours.threshold, ours.value) == (0.5, pytest.approx(14 / 17))


def test_blocks_of_latents_do_not_change_the_classifiers(monkeypatch):
    rng = np.random.default_rng(0)
    latents_NF = np.maximum(rng.standard_normal((300, 20)), 0)
    train = latents_NF, latents_NF[:, ::-1] > 0.2
    whole = board_reconstruction(*train, *train)
    monkeypatch.setattr(module, "task_blocks", lambda task, **_: task_blocks(task, max_bytes=1))
    pieces = board_reconstruction(*train, *train)
    assert whole.n_classifiers_T.sum() > 100
    assert torch.equal(pieces.classifiers_TFP.indices(), whole.classifiers_TFP.indices())
    assert torch.equal(pieces.f1_T, whole.f1_T)


def one_latent(n_true, n_false):
    """One latent on n_true times with its property and n_false times without."""
    return torch.ones(n_true + n_false, 1), torch.arange(n_true + n_false)[:, None] < n_true


@pytest.mark.parametrize(
    ("n_true", "n_false", "is_classifier"),
    [(19, 1, True), (18, 1, False), (10, 0, True), (9, 0, False), (95, 5, True), (94, 5, False), (190, 10, True)],
)
def test_precision_and_count_are_compared_inclusively(n_true, n_false, is_classifier):
    train = one_latent(n_true, n_false)
    ours = board_reconstruction(*train, *train, thresholds=(0.0,))
    assert ours.n_classifiers_T.tolist() == [int(is_classifier)]
    assert ours.value == (pytest.approx(2 * n_true / (2 * n_true + n_false)) if is_classifier else 0.0)


def test_the_threshold_is_never_chosen_on_test():
    strength_N = torch.arange(100).float() / 99
    latents_NF = strength_N[:, None]
    high, all_on = (strength_N > 0.5)[:, None], (strength_N > 0)[:, None]
    thresholds = (0.0, 0.5)
    train = (latents_NF, all_on)  # a classifier at both thresholds, better at 0
    assert board_reconstruction(*train, latents_NF, high, thresholds=thresholds).threshold == 0.0
    validated = board_reconstruction(
        *train, latents_NF, all_on, validation_latents_NF=latents_NF, validation_labels_NP=high, thresholds=thresholds
    )
    assert validated.threshold == 0.5
    assert validated.value < validated.f1_T.max()
    published = board_reconstruction_reference(*train, latents_NF, high, [0], thresholds=thresholds)
    assert (published.threshold, published.value) == (0.5, 1.0)


def test_the_largest_activation_comes_from_train():
    train = torch.tensor([[1.0], [0.0]]).repeat(20, 1)
    labels = train > 0
    tenfold = board_reconstruction(train, labels, train * 10, labels, thresholds=(1.0,))
    assert tenfold.n_classifiers_T.tolist() == [0]
    assert tenfold.max_activation_F.tolist() == [1.0]
    faint = board_reconstruction(train, labels, train * 0.4, labels, thresholds=(0.5,))
    assert (faint.n_classifiers_T.tolist(), faint.value) == ([1], 0.0)
    given = board_reconstruction(train, labels, train * 0.4, labels, thresholds=(0.5,), max_activation_F=[0.5])
    assert given.value == 1.0


def test_ties_take_the_smallest_threshold():
    train = torch.tensor([[1.0], [0.0]]).repeat(20, 1)
    ours = board_reconstruction(train, train > 0, train, train > 0)
    assert (ours.value, ours.precision, ours.recall, ours.threshold) == (1.0, 1.0, 1.0, 0.0)
    assert ours.f1_T.tolist() == [1.0] * 10 + [0.0]


def test_no_classifier_says_nothing():
    zeros, labels = torch.zeros(30, 2), torch.ones(30, 3, dtype=torch.bool)
    ours = board_reconstruction(zeros, labels, zeros, labels, min_count=0, min_precision=0.0)
    assert (ours.value, ours.precision, ours.recall, ours.threshold) == (0.0, 0.0, 0.0, 0.0)
    assert ours.classifiers_TFP.indices().shape == (3, 0)
    assert not predict_boards(ours, torch.rand(4, 2)).any()


def test_bad_input_is_named():
    train = one_latent(20, 0)
    with pytest.raises(ValueError, match="or neither"):
        board_reconstruction(*train, *train, validation_latents_NF=train[0])
    with pytest.raises(ValueError, match="1 latents, another set 2"):
        board_reconstruction(*train, torch.ones(20, 2), train[1])
    with pytest.raises(ValueError, match="1 properties, another set 2"):
        board_reconstruction(*train, train[0], train[1].repeat(1, 2))
    with pytest.raises(ValueError, match="20 positions, the labels 19"):
        board_reconstruction(*train, train[0], train[1][1:])
    with pytest.raises(ValueError, match="square_of_P"):
        board_reconstruction_reference(*train, *train, [0, 1])
    ours = board_reconstruction(*train, *train)
    with pytest.raises(ValueError, match="not one of the thresholds"):
        predict_boards(ours, train[0], 0.25)
    with pytest.raises(ValueError, match="largest activations"):
        predict_boards(ours, torch.ones(3, 2))
