import hypothesis
import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from boardgame_sae.metrics.counting.latent_columns import Latents, as_labels, as_latents


def dense(latents):
    """Back to a dense array, entry by entry."""
    out_NF = np.zeros(latents.shape, latents.values_Z.dtype)
    for f in range(latents.n_latents):
        for z in range(latents.indptr_F1[f], latents.indptr_F1[f + 1]):
            assert out_NF[latents.rows_Z[z], f] == 0
            out_NF[latents.rows_Z[z], f] = latents.values_Z[z]
    return out_NF


def same(a, b):
    return (
        a.shape == b.shape
        and a.values_Z.dtype == b.values_Z.dtype
        and all(np.array_equal(x, y) for x, y in ((a.indptr_F1, b.indptr_F1), (a.rows_Z, b.rows_Z)))
        and np.array_equal(a.values_Z, b.values_Z)
    )


tables = st.tuples(st.sampled_from([np.float32, np.float64]), st.integers(0, 30), st.integers(0, 6)).flatmap(
    lambda s: hnp.arrays(s[0], (s[1], s[2]), elements=st.sampled_from([0.0, 0.0, 0.0, -1.0, 0.25, 1.5, 3.0]))
)


@hypothesis.given(tables)
@hypothesis.settings(max_examples=60, deadline=None)
def test_every_input_kind_gives_the_same_columns(x_NF):
    latents = as_latents(x_NF)
    assert np.array_equal(dense(latents), np.maximum(x_NF, 0))
    assert (latents.indptr_F1.dtype, latents.rows_Z.dtype, latents.values_Z.dtype) == (np.int64, np.int32, x_NF.dtype)
    tensor = torch.from_numpy(x_NF)
    for other in (
        tensor,
        torch.from_numpy(np.ascontiguousarray(x_NF.T)).T,
        tensor.requires_grad_(),
        torch.from_numpy(np.repeat(x_NF, 2, axis=0))[::2],
        tensor.detach().to_sparse_csr(),
        tensor.detach().to_sparse_coo(),
        scipy.sparse.csr_matrix(x_NF),
        scipy.sparse.csc_matrix(x_NF),
        scipy.sparse.csr_array(x_NF),
        latents,
    ):
        assert same(as_latents(other), latents)


@hypothesis.given(tables, st.data())
@hypothesis.settings(max_examples=60, deadline=None)
def test_methods_are_those_of_the_dense_table(x_NF, data):
    n_positions, n_latents = x_NF.shape
    latents, positive_NF = as_latents(x_NF), np.maximum(x_NF, 0)
    assert np.array_equal(latents.max_F(), positive_NF.max(axis=0, initial=0))
    assert np.allclose(latents.density_F(), (positive_NF > 0).sum(axis=0) / max(1, n_positions))
    mask_N = np.array(data.draw(st.lists(st.booleans(), min_size=n_positions, max_size=n_positions)), bool)
    assert same(latents.select_rows(torch.from_numpy(mask_N)), as_latents(x_NF[mask_N]))
    a = data.draw(st.integers(0, n_latents))
    b = data.draw(st.integers(a, n_latents))
    assert same(latents.columns(a, b), as_latents(x_NF[:, a:b]))
    cut = data.draw(st.integers(0, n_positions))
    assert same(Latents.concatenate([as_latents(x_NF[:cut]), as_latents(x_NF[cut:])]), latents)
    indptr_N1, latent_Z, order_Z = latents.by_rows()
    csr = scipy.sparse.csr_matrix(positive_NF)
    assert np.array_equal(indptr_N1, csr.indptr)
    assert np.array_equal(latent_Z, csr.indices)
    assert np.array_equal(latents.values_Z[order_Z], csr.data)


def test_many_rows_cross_the_chunks_of_the_compression():
    x_NF = np.random.default_rng(0).standard_normal((3001, 5)).astype(np.float32)
    assert np.array_equal(dense(as_latents(x_NF)), np.maximum(x_NF, 0))


def test_dtypes_are_kept_or_widened_exactly():
    x_NF = torch.tensor([[0.1, 0.0], [0.0, 2.0]])
    assert as_latents(x_NF.half()).values_Z.dtype == np.float32
    assert same(as_latents(x_NF.bfloat16()), as_latents(x_NF.bfloat16().float()))
    assert as_latents(torch.tensor([[1, 0], [0, 2]])).values_Z.dtype == np.float64
    assert same(as_latents(np.array([[-np.inf, 1.0]])), as_latents(np.array([[0.0, 1.0]])))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(bad):
    x_NF = torch.tensor([[1.0, 0.0], [0.0, bad]])
    for x in (x_NF, x_NF.double().numpy(), x_NF.to_sparse_csr(), scipy.sparse.csr_matrix(x_NF.numpy())):
        with pytest.raises(ValueError, match="NaN or infinity"):
            as_latents(x)


def test_malformed_latents_are_refused():
    with pytest.raises(ValueError, match="matrix"):
        as_latents(torch.zeros(3))
    with pytest.raises(ValueError, match="complex"):
        as_latents(np.zeros((2, 2), complex))
    index, two = torch.tensor([0, 2]), torch.ones(2)
    repeated = torch.sparse_csr_tensor(index, torch.tensor([1, 1]), two, (1, 3), check_invariants=False)
    with pytest.raises(ValueError, match="twice"):
        as_latents(repeated)
    outside = torch.sparse_csr_tensor(index, torch.tensor([1, 7]), two, (1, 3), check_invariants=False)
    with pytest.raises(ValueError, match="names latent"):
        as_latents(outside)
    twice = scipy.sparse.csr_matrix((np.ones(2), np.array([1, 1]), np.array([0, 2])), shape=(1, 3))
    assert np.array_equal(dense(as_latents(twice)), [[0, 2, 0]])
    latents = as_latents(torch.ones(3, 2))
    with pytest.raises(ValueError, match=r"3 positions.*2"):
        latents.select_rows(np.array([True, False]))
    with pytest.raises(ValueError, match="bool"):
        latents.select_rows(np.array([0, 1, 2]))
    with pytest.raises(ValueError, match="columns"):
        latents.columns(1, 3)
    for parts in ([], [latents, as_latents(torch.ones(1, 3))], [latents, as_latents(torch.ones(1, 2).double())]):
        with pytest.raises(ValueError, match="batch"):
            Latents.concatenate(parts)


def test_labels_are_bool_or_zero_and_one():
    truth_NP = np.array([[True, False], [False, False]])
    for x in (truth_NP, truth_NP.astype(int), torch.from_numpy(truth_NP), torch.from_numpy(truth_NP).byte()):
        assert as_labels(x).dtype == np.bool_
        assert np.array_equal(as_labels(x), truth_NP)
    assert as_labels(torch.from_numpy(truth_NP).T).flags.c_contiguous
    for bad in (truth_NP.astype(float), np.array([[2]]), np.array([[-1]]), truth_NP[0]):
        with pytest.raises(ValueError, match="labels are"):
            as_labels(bad)
