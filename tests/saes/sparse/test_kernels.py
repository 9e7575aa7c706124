"""Each compiled loop against numpy."""

import itertools

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from boardgame_sae.saes.sparse import autograd as sparse
from boardgame_sae.saes.sparse import kernels

FLOATS = (np.float32, np.float64)


def csr(mask_NF):
    """Compressed rows of a mask."""
    indptr_N1 = np.concatenate([[0], np.cumsum(mask_NF.sum(1))]).astype(np.int64)
    return indptr_N1, np.nonzero(mask_NF)[1].astype(np.int32)


def dense_of(entries, values):
    """(N, F) the values at the entries, and zeros; the columns of each row must ascend."""
    dense_NF = np.zeros(entries.shape, np.asarray(values).dtype)
    for n in range(entries.shape[0]):
        cols = entries.cols[entries.indptr_N1[n] : entries.indptr_N1[n + 1]]
        assert (np.diff(cols) > 0).all()
        dense_NF[n, cols] = np.asarray(values)[entries.indptr_N1[n] : entries.indptr_N1[n + 1]]
    assert len(entries.cols) == len(values) == entries.indptr_N1[-1]
    return dense_NF


def row_largest_by_hand(pre_NF, k):
    """Of equal values the first."""
    kept_NF = np.zeros_like(pre_NF)
    for n, row in enumerate(pre_NF):
        columns = sorted(range(len(row)), key=lambda f, row=row: (-row[f], f))[:k]
        for f in columns:
            kept_NF[n, f] = max(row[f], 0)
    return kept_NF


def batch_largest_by_hand(pre_NF, n):
    flat = pre_NF.ravel()
    kept = np.zeros_like(flat)
    largest = np.lexsort((np.arange(len(flat)), -flat))[:n]
    kept[largest] = np.maximum(flat[largest], 0)
    return kept.reshape(pre_NF.shape)


@st.composite
def pre_activations(draw, dtype):
    """A product and an offset: small integers, so that ties are many, or numbers of all sizes; and their sum."""
    shape = draw(st.tuples(st.integers(0, 9), st.integers(1, 70)))
    few, many = st.integers(-3, 3).map(float), st.floats(-1e6, 1e6, width=32 if dtype is np.float32 else 64)
    elements = draw(st.sampled_from([few, many]))
    product_NF = draw(hnp.arrays(dtype, shape, elements=elements))
    offset_F = draw(hnp.arrays(dtype, shape[1], elements=elements))
    return torch.from_numpy(product_NF), torch.from_numpy(offset_F), product_NF + offset_F


def split(pre_NF):
    """Pre-activations as product and offset."""
    return torch.from_numpy(pre_NF), torch.zeros(pre_NF.shape[1])


@pytest.mark.parametrize("dtype", FLOATS)
def test_row_largest_keeps_the_k_largest_and_of_equal_ones_the_first(dtype):
    @hypothesis.given(pre_activations(dtype), st.data())
    def check(case, data):
        *parts, pre_NF = case
        k = data.draw(st.integers(1, pre_NF.shape[1]))
        entries, values = sparse.largest_of_rows(*parts, k)
        np.testing.assert_array_equal(dense_of(entries, values.numpy()), row_largest_by_hand(pre_NF, k))
        assert (values > 0).all()
        assert values.numpy().dtype == dtype

    check()


@pytest.mark.parametrize("k", [1, 2, 3, 8, 63, 64])
@pytest.mark.parametrize("n_cols", [64, 65, 96, 1024])
def test_row_largest_where_columns_are_dealt_into_groups(k, n_cols):
    """Large values side by side, or all in one group, must not hide one another."""
    rng = np.random.default_rng(0)
    pre_NF = rng.normal(size=(12, n_cols)).astype(np.float32)
    pre_NF[0] = 1  # all equal
    pre_NF[1] = -1  # none
    pre_NF[2, 5:] = -1  # few positive
    pre_NF[3, ::16] += 100  # all in one group
    pre_NF[4, :40] += 100
    pre_NF[5] = np.arange(n_cols)
    pre_NF[6] = np.arange(n_cols)[::-1]
    pre_NF[7] = 0
    pre_NF[8, -1] = 1e30
    pre_NF[9] = np.repeat([3.0, -1.0, 2.0, 5.0], n_cols // 4 + 1)[:n_cols]
    entries, values = sparse.largest_of_rows(*split(pre_NF), k)
    np.testing.assert_array_equal(dense_of(entries, values.numpy()), row_largest_by_hand(pre_NF, k))


def test_kth_largest_equals_sorting():
    @hypothesis.given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.integers(-4, 4).map(float)), st.data())
    def check(values, data):
        n = data.draw(st.integers(1, len(values)))
        k = data.draw(st.integers(1, n))
        assert kernels._kth_largest(values.copy(), n, k) == np.sort(values[:n])[::-1][k - 1]

    check()


def test_row_largest_ends_when_values_are_not_numbers():
    """A training that diverged must end in an error of its own, not in an endless search."""
    pre_NF = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    pre_NF[0] = np.nan
    pre_NF[1, ::3] = np.nan
    pre_NF[2] = np.inf
    entries, values = sparse.largest_of_rows(*split(pre_NF), 5)
    np.testing.assert_array_equal(dense_of(entries, values.numpy())[3], row_largest_by_hand(pre_NF[3:], 5)[0])
    assert np.diff(entries.indptr_N1).max() <= 5


@pytest.mark.parametrize("dtype", FLOATS)
def test_entries_above_equals_a_comparison(dtype):
    @hypothesis.given(pre_activations(dtype), st.sampled_from([0.0, 1.0, -2.0, None]), st.floats(0, 1))
    def check(case, floor, most):
        *parts, pre_NF = case
        floor_F = np.full(pre_NF.shape[1], floor or 0, dtype)
        if floor is None:
            floor_F[:] = np.arange(pre_NF.shape[1]) % 4 - 1
        mask_NF = pre_NF > floor_F
        found = sparse.entries_above(*parts, torch.from_numpy(floor_F), most)
        if mask_NF.sum() > most * mask_NF.size:
            assert found is None
            return
        entries, values = found
        assert (entries.indptr_N1.tolist(), entries.cols.tolist()) == tuple(part.tolist() for part in csr(mask_NF))
        np.testing.assert_array_equal(values, pre_NF[mask_NF])

    check()


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_largest_of_a_batch_are_found_exactly(dtype):
    @hypothesis.given(pre_activations(dtype), st.data())
    def check(case, data):
        *parts, pre_NF = case
        n = data.draw(st.integers(0, pre_NF.size))
        entries, values = sparse.largest_of_batch(*parts, n)
        np.testing.assert_array_equal(dense_of(entries, values.numpy()), batch_largest_by_hand(pre_NF, n))

    check()


def adversarial(kind, shape=(200, 1500)):
    """Batches that are larger than the sample by which the search begins, and unlike it."""
    rng = np.random.default_rng(1)
    pre_NF = rng.normal(size=shape).astype(np.float32)
    flat = pre_NF.ravel()
    stride = (len(flat) // sparse._SAMPLE) | 1
    sampled = np.zeros(len(flat), bool)
    sampled[::stride] = True
    if kind == "the sample sees the large ones alone":
        flat[sampled] += 100
    elif kind == "the sample misses the large ones":
        flat[~sampled] += 100
    elif kind == "the sample sees giants, the others are tiny":
        flat[sampled] = 1e30
        flat[~sampled] = np.abs(flat[~sampled]) * 1e-30
    elif kind == "all equal":
        flat[:] = 2
    elif kind == "few positive":
        flat[:] = -np.abs(flat)
        flat[rng.choice(len(flat), 77, replace=False)] *= -1
    elif kind == "none positive":
        flat[:] = -np.abs(flat)
    elif kind == "a few values":
        flat[:] = rng.integers(-2, 4, len(flat))
    elif kind == "denormal":
        flat *= 1e-40
    return pre_NF


@pytest.mark.parametrize("n", [0, 1, 76, 77, 78, 3000, 30_000, 299_999, 300_000])
@pytest.mark.parametrize(
    "kind",
    [
        "ordinary", "the sample sees the large ones alone", "the sample misses the large ones",
        "the sample sees giants, the others are tiny", "all equal", "few positive", "none positive", "a few values",
        "denormal",
    ],
)  # fmt: skip
def test_the_largest_of_a_batch_are_found_even_where_the_sample_misleads(kind, n):
    pre_NF = adversarial(kind)
    assert pre_NF.size > 4 * sparse._SAMPLE
    entries, values = sparse.largest_of_batch(*split(pre_NF), n)
    np.testing.assert_array_equal(dense_of(entries, values.numpy()), batch_largest_by_hand(pre_NF, n))


def masks():
    return hnp.arrays(bool, st.tuples(st.integers(0, 9), st.integers(1, 40)))


@hypothesis.given(masks())
def test_transpose_lists_the_entries_latent_by_latent_positions_ascending(mask_NF):
    indptr_N1, cols_Z = csr(mask_NF)
    ptr_F1, row_Z, entry_Z = kernels.transpose(indptr_N1, cols_Z, mask_NF.shape[1])[:3]
    assert ptr_F1.tolist() == [0, *np.cumsum(mask_NF.sum(0))]
    assert row_Z.tolist() == np.nonzero(mask_NF.T)[1].tolist()
    assert cols_Z[entry_Z].tolist() == np.nonzero(mask_NF.T)[0].tolist()
    rows_Z = np.nonzero(mask_NF)[0]
    assert rows_Z[entry_Z].tolist() == row_Z.tolist()
    assert sorted(entry_Z.tolist()) == list(range(len(cols_Z)))


@hypothesis.given(st.lists(st.integers(0, 50), min_size=0, max_size=40), st.integers(1, 9), st.integers(0, 30))
def test_even_shares_cover_every_latent_once_and_are_even(counts, n_shares, first):
    ptr_F1 = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64) + first
    bounds = kernels.even_shares(ptr_F1, n_shares)
    assert len(bounds) == n_shares + 1
    assert (bounds[0], bounds[-1]) == (0, len(counts))
    assert (np.diff(bounds) >= 0).all()
    if counts:
        work = [sum(counts[a:b]) for a, b in itertools.pairwise(bounds)]
        assert max(work) <= sum(counts) / n_shares + max(counts)


@st.composite
def problems(draw):
    """A mask, values at its entries and matrices to multiply them with, all whole numbers, so that sums are exact."""
    mask_NF = draw(masks())
    d_model, rng = draw(st.integers(1, 21)), np.random.default_rng(draw(st.integers(0, 99)))

    def whole(*shape):
        return rng.integers(-5, 6, shape).astype(draw_dtype)

    draw_dtype = draw(st.sampled_from(FLOATS))
    n, f = mask_NF.shape
    return mask_NF, whole(int(mask_NF.sum())), whole(n, d_model), whole(f, d_model), whole(d_model)


def spread(mask_NF, values_Z):
    dense_NF = np.zeros(mask_NF.shape, values_Z.dtype)
    dense_NF[mask_NF] = values_Z
    return dense_NF


@hypothesis.given(problems())
def test_sums_and_products_over_entries_equal_the_dense_ones(problem):
    mask_NF, values_Z, x_ND, rows_FD, shift_D = problem
    indptr_N1, cols_Z = csr(mask_NF)
    dense_NF = spread(mask_NF, values_Z)
    out_ND = x_ND.copy()
    kernels.weighted_rows(indptr_N1, cols_Z, values_Z, rows_FD, out_ND)
    np.testing.assert_array_equal(out_ND, x_ND + dense_NF @ rows_FD)
    out_Z = np.full(len(values_Z), np.nan, values_Z.dtype)
    kernels.products_at(indptr_N1, cols_Z, x_ND, rows_FD, out_Z)
    np.testing.assert_array_equal(out_Z, (x_ND @ rows_FD.T)[mask_NF])
    order = kernels.transpose(indptr_N1, cols_Z, mask_NF.shape[1])[:3]
    for n_shares in (1, 4):
        bounds = kernels.even_shares(order[0], n_shares)
        grad_values_Z, grad_FD = np.full_like(values_Z, np.nan), np.full_like(rows_FD, np.nan)
        kernels.decode_gradients(*order, bounds, values_Z, x_ND, rows_FD, grad_values_Z, grad_FD)
        np.testing.assert_array_equal(grad_values_Z, out_Z)
        np.testing.assert_array_equal(grad_FD, dense_NF.T @ x_ND)
        grad_FD[:], grad_F = np.nan, np.full(len(rows_FD), np.nan, values_Z.dtype)
        kernels.encode_gradients(*order, bounds, values_Z, x_ND, shift_D, grad_FD, grad_F)
        np.testing.assert_array_equal(grad_FD, dense_NF.T @ (x_ND - shift_D))
        np.testing.assert_array_equal(grad_F, dense_NF.sum(0))
    np.testing.assert_array_equal(kernels.sums_by_latent(order[0], order[2], values_Z), dense_NF.sum(0))


@hypothesis.given(problems(), st.data())
def test_weighted_prefixes_equal_the_dense_products_of_prefixes(problem, data):
    mask_NF, values_Z, _, rows_FD, first_D = problem
    n, f = mask_NF.shape
    ends = np.array([*sorted(data.draw(st.lists(st.integers(1, f), max_size=4))), f])
    out_GND = np.full((len(ends), n, rows_FD.shape[1]), np.nan, values_Z.dtype)
    kernels.weighted_prefixes(*csr(mask_NF), values_Z, rows_FD, first_D, ends, out_GND)
    dense_NF = spread(mask_NF, values_Z)
    for end, out_ND in zip(ends, out_GND, strict=True):
        np.testing.assert_array_equal(out_ND, dense_NF[:, :end] @ rows_FD[:end] + first_D)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (33, 17), (0, 4)])
def test_rows_are_normalised_and_gradients_freed_of_their_part_along_them(shape, dtype):
    """In compiled loops where memory is in order, else by torch: alike."""
    generator = torch.Generator().manual_seed(0)
    rows_FD, grad_FD = (torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))
    if shape[0]:
        rows_FD[0] = 0
    expected_FD = rows_FD / rows_FD.norm(dim=1, keepdim=True).clamp(min=1e-8)
    for layout in (lambda x: x.clone(), lambda x: x.T.contiguous().T):
        unit_FD, freed_FD = layout(rows_FD), layout(grad_FD)
        sparse.normalize_rows(unit_FD)
        torch.testing.assert_close(unit_FD, expected_FD)
        sparse.drop_parallel(freed_FD, unit_FD)
        torch.testing.assert_close(freed_FD, grad_FD - (grad_FD * expected_FD).sum(1, keepdim=True) * expected_FD)
        torch.testing.assert_close((freed_FD * unit_FD).sum(1), torch.zeros(shape[0], dtype=dtype), atol=1e-5, rtol=0)


def test_normalising_keeps_infinity_and_nan_visible():
    rows_FD = torch.ones(3, 4)
    rows_FD[0, 1], rows_FD[1, 2] = torch.nan, torch.inf
    sparse.normalize_rows(rows_FD)
    assert rows_FD[0].isnan().all()
    assert rows_FD[1].isnan().any()
    torch.testing.assert_close(rows_FD[2], torch.full((4,), 0.5))


@hypothesis.given(masks(), st.sampled_from(FLOATS))
def test_latents_are_counted_where_their_value_is_above_zero(mask_NF, dtype):
    _, cols_Z = csr(mask_NF)
    values_Z = np.random.default_rng(mask_NF.sum()).integers(-2, 3, len(cols_Z)).astype(dtype)
    counts_F = kernels.counts_by_latent(cols_Z, values_Z, mask_NF.shape[1])
    assert counts_F.tolist() == (spread(mask_NF, values_Z) > 0).sum(0).tolist()


def test_a_large_offset_is_part_of_what_is_searched():
    """Also of what the search for a batch's largest is begun by."""
    rng = np.random.default_rng(2)
    product_NF, offset_F = rng.normal(size=(300, 1001)).astype(np.float32), np.zeros(1001, np.float32)
    offset_F[::7], offset_F[3::7] = 50, -50
    pre_NF = product_NF + offset_F
    parts = torch.from_numpy(product_NF), torch.from_numpy(offset_F)
    for n in (5, 300 * 143, 300 * 400):
        entries, values = sparse.largest_of_batch(*parts, n)
        np.testing.assert_array_equal(dense_of(entries, values.numpy()), batch_largest_by_hand(pre_NF, n))
    entries, values = sparse.largest_of_rows(*parts, 150)
    np.testing.assert_array_equal(dense_of(entries, values.numpy()), row_largest_by_hand(pre_NF, 150))
