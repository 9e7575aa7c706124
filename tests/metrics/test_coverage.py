import brute_force
import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from boardgame_sae.metrics import coverage as module
from boardgame_sae.metrics.counts import THRESHOLDS, count_latents, task_blocks
from boardgame_sae.metrics.coverage import coverage, held_out_coverage, predictions
from boardgame_sae.metrics.supervised.published_code import coverage_reference

CLOSE = {"rtol": 0, "atol": 1e-12}


def random_set(draw, n_positions, n_latents, n_properties, dtype):
    """Latents on a coarse grid, so that ties and values at thresholds abound; every property somewhere true."""
    steps_NF = draw(hnp.arrays(np.int64, (n_positions, n_latents), elements=st.integers(-8, 10)))
    latents_NF = np.array(THRESHOLDS, dtype)[np.maximum(steps_NF, 0)] * dtype(draw(st.sampled_from([0.3, 1.0, 1.7])))
    labels_NP = draw(hnp.arrays(np.bool_, (n_positions, n_properties)))
    labels_NP[draw(st.integers(0, n_positions - 1))] = True
    return latents_NF, labels_NP


@st.composite
def splits(draw):
    n_latents, n_properties = draw(st.tuples(st.integers(1, 5), st.integers(1, 4)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    train, test = (random_set(draw, draw(st.integers(1, 20)), n_latents, n_properties, dtype) for _ in range(2))
    factor = draw(st.sampled_from([None, 0.5, 1.0, 2.0]))
    max_F = None if factor is None else np.full(n_latents, factor, dtype)
    grid = draw(st.sets(st.integers(0, 10), min_size=1).map(lambda s: tuple(THRESHOLDS[i] for i in sorted(s))))
    return train, test, {"max_activation_F": max_F, "thresholds": grid}


def plain(options):
    return {"max_F": options["max_activation_F"], "thresholds": options["thresholds"]}


@hypothesis.given(splits())
@hypothesis.settings(max_examples=80, deadline=None)
def test_coverage_equals_the_definition(example):
    (latents_NF, labels_NP), _, options = example
    expected = brute_force.best_classifiers(latents_NF, labels_NP, **plain(options))
    for x in (latents_NF, torch.from_numpy(latents_NF).to_sparse_csr()):
        ours = coverage(x, labels_NP, **options)
        np.testing.assert_allclose(ours.f1_P, [f1 for f1, _, _ in expected], **CLOSE)
        assert ours.latent_P.tolist() == [f for _, f, _ in expected]
        assert ours.threshold_P.tolist() == [t for _, _, t in expected]
        assert ours.value == pytest.approx(np.mean([f1 for f1, _, _ in expected]), abs=1e-12)
        assert coverage_reference(x, labels_NP, **options) <= ours.value + 1e-12
    for denominator in (None, 7):
        assert coverage_reference(latents_NF, labels_NP, denominator=denominator, **options) == pytest.approx(
            brute_force.coverage_reference(latents_NF, labels_NP, denominator, **plain(options)), abs=1e-12
        )


@hypothesis.given(splits())
@hypothesis.settings(max_examples=80, deadline=None)
def test_held_out_coverage_equals_the_definition(example):
    train, test, options = example
    expected = np.array(brute_force.held_out(*train, *test, **plain(options)))
    ours = held_out_coverage(*train, *map(torch.from_numpy, test), **options)
    columns = (
        ours.train_f1_P,
        ours.latent_P,
        ours.threshold_P,
        ours.true_positive_P,
        ours.on_P,
        ours.positives_P,
        ours.f1_P,
    )
    for column, values in zip(columns, expected.T[:7], strict=True):
        np.testing.assert_allclose(column, values, **CLOSE)
    f1_P, always_P = expected[:, 6], expected[:, 7]
    assert ours.value == pytest.approx(f1_P.mean(), abs=1e-12)
    assert ours.in_sample == pytest.approx(expected[:, 0].mean(), abs=1e-12)
    assert ours.always_on == pytest.approx(always_P.mean(), abs=1e-12)
    varies_P = ~test[1].all(axis=0)
    if varies_P.any():
        above_P = (f1_P - always_P)[varies_P] / (1 - always_P[varies_P])
        assert ours.above_chance == pytest.approx(above_P.mean(), abs=1e-12)
    else:
        assert np.isnan(ours.above_chance)
    on_NP = predictions(ours, test[0]).numpy()
    np.testing.assert_array_equal((on_NP & test[1]).sum(axis=0), ours.true_positive_P)
    for p, row in enumerate(expected):
        on_NF = brute_force.is_on(test[0], ours.max_activation_F.numpy(), row[2])
        np.testing.assert_array_equal(on_NP[:, p], on_NF[:, int(row[1])])


@hypothesis.given(splits(), st.randoms(use_true_random=False))
@hypothesis.settings(max_examples=40, deadline=None)
def test_scale_and_order_of_latents_do_not_matter(example, random):
    (latents_NF, labels_NP), _, options = example
    options = {"thresholds": options["thresholds"]}
    base = coverage(latents_NF, labels_NP, **options)
    doubled = coverage(latents_NF * latents_NF.dtype.type(2), labels_NP, **options)
    assert torch.equal(base.f1_P, doubled.f1_P)
    assert torch.equal(base.latent_P, doubled.latent_P)
    order = list(range(latents_NF.shape[1]))
    random.shuffle(order)
    permuted = coverage(latents_NF[:, order], labels_NP, **options)
    assert torch.equal(base.f1_P, permuted.f1_P)
    assert torch.equal(base.threshold_P, permuted.threshold_P)


def test_valid_positions_alone_are_used():
    rng = np.random.default_rng(0)
    latents_NF, labels_NP, valid_N = rng.random((40, 4)), rng.random((40, 3)) < 0.5, rng.random(40) < 0.6
    masked, cut = (
        coverage(latents_NF, labels_NP, valid_N=torch.from_numpy(valid_N)),
        coverage(latents_NF[valid_N], labels_NP[valid_N]),
    )
    assert all(torch.equal(a, b) for a, b in zip(masked[1:], cut[1:], strict=True))
    assert coverage_reference(latents_NF, labels_NP, valid_N=valid_N) == coverage_reference(
        latents_NF[valid_N], labels_NP[valid_N]
    )


def test_selection_and_scale_come_from_train():
    truth_N = np.arange(20) % 2 == 0
    train_NF = np.stack([truth_N, ~truth_N], axis=1).astype(np.float32)
    test_NF = train_NF[:, ::-1] * 8  # on test the other latent is the good one, and both reach higher
    ours = held_out_coverage(train_NF, truth_N[:, None], test_NF, truth_N[:, None])
    assert ours.latent_P.tolist() == [0]
    assert (ours.value, ours.in_sample) == (0.0, 1.0)
    assert ours.max_activation_F.tolist() == [1.0, 1.0]
    # a weaker activation on test than on train is off at a high threshold, however large it is among test's own
    faint = held_out_coverage(train_NF, truth_N[:, None], train_NF * 0.4, truth_N[:, None], thresholds=(0.5,))
    assert faint.on_P.tolist() == [0]


def test_blocks_of_latents_do_not_change_the_choice(monkeypatch):
    monkeypatch.setattr(module, "task_blocks", lambda task: task_blocks(task, max_bytes=4 * 11 * 30 * 7))
    rng = np.random.default_rng(1)
    latents_NF = np.maximum(rng.standard_normal((60, 40)), 0).round(1)
    labels_NP = rng.random((60, 30)) < 0.4
    counts, ours = count_latents(latents_NF, labels_NP), coverage(latents_NF, labels_NP)
    f1_TFP = 2 * counts.on_TFP.double() / (counts.n_on_TF[:, :, None] + counts.positives_P).double()
    best = f1_TFP.permute(2, 0, 1).reshape(30, -1).numpy()
    np.testing.assert_array_equal(ours.latent_P, best.argmax(axis=1) % 40)
    np.testing.assert_array_equal(ours.threshold_P, np.array(THRESHOLDS)[best.argmax(axis=1) // 40])


def test_all_latents_off_score_zero():
    ours = coverage(torch.zeros(5, 3), torch.ones(5, 2, dtype=torch.bool))
    assert (ours.value, ours.latent_P.tolist(), ours.threshold_P.tolist()) == (0.0, [0, 0], [0.0, 0.0])


def test_bad_input_is_named():
    latents_NF, labels_NP = torch.rand(5, 2), torch.ones(5, 3, dtype=torch.bool)
    never_NP = labels_NP.clone()
    never_NP[:, 1] = False
    good, never = (latents_NF, labels_NP), (latents_NF, never_NP)
    for call in (lambda: coverage(*never), lambda: held_out_coverage(*never, *good)):
        with pytest.raises(ValueError, match="column 1 is never true"):
            call()
    with pytest.raises(ValueError, match="column 1 is never true"):
        held_out_coverage(*good, *never)
    assert coverage_reference(*never) == pytest.approx(coverage_reference(*good) * 2 / 3)
    with pytest.raises(ValueError, match="5 positions, the labels 4"):
        coverage(latents_NF, labels_NP[:4])
    with pytest.raises(ValueError, match="2 latents, another set 3"):
        held_out_coverage(*good, torch.rand(5, 3), labels_NP)
    with pytest.raises(ValueError, match="3 properties, another set 2"):
        held_out_coverage(*good, latents_NF, labels_NP[:, :2])
    with pytest.raises(ValueError, match="largest activations"):
        predictions(coverage(*good), torch.rand(5, 3))
    with pytest.raises(ValueError, match="no latents"):
        coverage(torch.zeros(5, 0), labels_NP)
    with pytest.raises(ValueError, match="no property"):
        coverage(latents_NF, labels_NP[:, :0])
    with pytest.raises(ValueError, match="positive number"):
        coverage_reference(*good, denominator=0)
