import brute_force
import hypothesis
import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from boardgame_sae.metrics.counting.latent_columns import as_latents
from boardgame_sae.metrics.counts import THRESHOLDS, count_blocks, count_latents

grids = st.sets(st.integers(0, 10), min_size=1).map(lambda s: tuple(THRESHOLDS[i] for i in sorted(s)))


@st.composite
def examples(draw):
    """Latents whose values lie exactly on thresholds, off (often) or below zero; labels; m_f or none; a grid."""
    n_positions, n_latents, n_properties = draw(st.tuples(st.integers(1, 25), st.integers(1, 5), st.integers(1, 4)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    steps_NF = draw(hnp.arrays(np.int64, (n_positions, n_latents), elements=st.integers(-8, 10)))
    scale_F = draw(hnp.arrays(np.int64, n_latents, elements=st.integers(1, 40))).astype(dtype) / dtype(7)
    latents_NF = np.array(THRESHOLDS, dtype)[np.maximum(steps_NF, 0)] * scale_F - (steps_NF == -1)
    labels_NP = draw(hnp.arrays(np.bool_, (n_positions, n_properties)))
    factor = draw(st.sampled_from([None, 0.0, 0.5, 1.0, 1.5]))
    max_F = None if factor is None else (scale_F * dtype(factor)).astype(dtype)
    return latents_NF.astype(dtype), labels_NP, max_F, draw(grids)


def assert_counts(counts, expected):
    on_TFP, n_on_TF, positives_P = expected
    assert counts.on_TFP.dtype == counts.n_on_TF.dtype == torch.int32
    np.testing.assert_array_equal(counts.on_TFP, on_TFP)
    np.testing.assert_array_equal(counts.n_on_TF, n_on_TF)
    np.testing.assert_array_equal(counts.positives_P, positives_P)


@hypothesis.given(examples())
@hypothesis.settings(max_examples=80, deadline=None)
def test_counts_equal_the_definition_for_every_input_kind(example):
    latents_NF, labels_NP, max_F, thresholds = example
    expected = brute_force.counts(latents_NF, labels_NP, max_F, thresholds)
    for x in (
        latents_NF,
        torch.from_numpy(latents_NF),
        torch.from_numpy(latents_NF).to_sparse_csr(),
        scipy.sparse.csc_matrix(latents_NF),
        as_latents(latents_NF),
    ):
        counts = count_latents(x, torch.from_numpy(labels_NP), max_activation_F=max_F, thresholds=thresholds)
        assert counts.n_positions == len(labels_NP)
        assert_counts(counts, expected)


@hypothesis.given(examples(), st.data())
@hypothesis.settings(max_examples=40, deadline=None)
def test_only_valid_positions_count_and_they_alone_set_the_maximum(example, data):
    latents_NF, labels_NP, max_F, thresholds = example
    valid_N = data.draw(hnp.arrays(np.bool_, len(labels_NP)))
    counts = count_latents(latents_NF, labels_NP, max_activation_F=max_F, thresholds=thresholds, valid_N=valid_N)
    assert counts.n_positions == valid_N.sum()
    assert_counts(counts, brute_force.counts(latents_NF[valid_N], labels_NP[valid_N], max_F, thresholds))


@hypothesis.given(examples(), st.integers(1, 400))
@hypothesis.settings(max_examples=40, deadline=None)
def test_blocks_are_the_table_in_pieces(example, max_bytes):
    latents_NF, labels_NP, max_F, thresholds = example
    whole = count_latents(latents_NF, labels_NP, max_activation_F=max_F, thresholds=thresholds)
    nxt = 0
    for first, part in count_blocks(
        latents_NF, labels_NP, max_activation_F=max_F, thresholds=thresholds, max_bytes=max_bytes
    ):
        width = part.on_TFP.shape[1]
        assert first == nxt
        assert width == 1 or part.on_TFP.numel() * 4 <= max_bytes
        assert torch.equal(part.on_TFP, whole.on_TFP[:, first : first + width])
        assert torch.equal(part.n_on_TF, whole.n_on_TF[:, first : first + width])
        assert torch.equal(part.positives_P, whole.positives_P)
        nxt += width
    assert nxt == latents_NF.shape[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_activation_at_its_threshold_is_off(dtype):
    latents_NF = np.array(THRESHOLDS, dtype)[:, None] * dtype(0.7)
    counts = count_latents(latents_NF, np.ones((11, 1), bool))
    assert counts.n_on_TF[:, 0].tolist() == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_larger_sizes_equal_dense_products():
    rng = np.random.default_rng(0)
    latents_NF = (rng.exponential(size=(700, 60)) * (rng.random((700, 60)) < 0.1)).astype(np.float32)
    labels_NP = rng.random((700, 33)) < 0.3
    counts = count_latents(latents_NF, labels_NP)
    max_F = latents_NF.max(axis=0)
    for t, threshold in enumerate(THRESHOLDS):
        on_NF = latents_NF > np.float32(threshold) * max_F
        np.testing.assert_array_equal(counts.on_TFP[t], on_NF.T.astype(int) @ labels_NP.astype(int))
        np.testing.assert_array_equal(counts.n_on_TF[t], on_NF.sum(axis=0))


def test_latents_that_are_never_on_count_nothing():
    counts = count_latents(torch.zeros(4, 3), torch.ones(4, 2, dtype=torch.bool))
    assert not counts.on_TFP.any()
    assert not counts.n_on_TF.any()
    assert counts.positives_P.tolist() == [4, 4]


def test_bad_input_is_named():
    latents_NF, labels_NP = torch.ones(5, 2), torch.ones(5, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="5 positions, the labels 4"):
        count_latents(latents_NF, labels_NP[:4])
    with pytest.raises(ValueError, match=r"5 positions.*3"):
        count_latents(latents_NF, labels_NP, valid_N=torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="NaN"):
        count_latents(latents_NF.clone().fill_(float("nan")), labels_NP)
    for thresholds in ((), (0.5, 0.1), (0.1, 0.1), (-0.1, 0.5), (float("nan"),)):
        with pytest.raises(ValueError, match="thresholds"):
            count_latents(latents_NF, labels_NP, thresholds=thresholds)
    for max_F in (torch.ones(3), -torch.ones(2), torch.full((2,), float("nan"))):
        with pytest.raises(ValueError, match="largest activations"):
            count_blocks(latents_NF, labels_NP, max_activation_F=max_F)
