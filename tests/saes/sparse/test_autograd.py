"""The sparse path as autograd sees it, and the two kinds of `Active` side by side."""

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch.autograd import gradcheck

from boardgame_sae.saes.sparse import autograd as sparse
from boardgame_sae.saes.sparse.active_latents import (
    MAX_SPARSE_SHARE,
    Above,
    DenseActive,
    LargestOfBatch,
    LargestOfEach,
    SparseActive,
    activate,
)

N, D, F = 5, 3, 7


def numbers(*shape, seed=0, grad=True):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_(grad)


def some_entries(n=N, f=F, share=0.4, seed=0):
    """Entries of a random mask; one row and one column stay empty."""
    mask_NF = np.random.default_rng(seed).random((n, f)) < share
    if n > 1:
        mask_NF[1], mask_NF[:, 2] = False, False
    indptr_N1 = np.concatenate([[0], np.cumsum(mask_NF.sum(1))]).astype(np.int64)
    return sparse.Entries(indptr_N1, np.nonzero(mask_NF)[1].astype(np.int32), (n, f)), torch.from_numpy(mask_NF)


@pytest.mark.parametrize("shape", [(N, F), (1, 1), (0, F), (9, 33)])
def test_decode_and_its_gradients(shape):
    entries, mask_NF = some_entries(*shape)
    values_Z, W_dec, b_dec = numbers(len(entries.cols)), numbers(shape[1], D), numbers(D)
    dense_NF = torch.zeros(shape, dtype=torch.float64).masked_scatter(mask_NF, values_Z.detach())
    out_ND = sparse.decode(values_Z, W_dec, b_dec, entries)
    torch.testing.assert_close(out_ND, dense_NF @ W_dec + b_dec)
    if shape[0]:
        assert gradcheck(lambda *args: sparse.decode(*args, entries), (values_Z, W_dec, b_dec))
    for frozen in ((W_dec,), (b_dec,), (W_dec, b_dec)):  # a frozen decoder has a path of its own
        args = [x.detach() if any(x is other for other in frozen) else x for x in (values_Z, W_dec, b_dec)]
        grads = torch.autograd.grad(sparse.decode(*args, entries).pow(2).sum(), values_Z, allow_unused=True)
        expected = (2 * out_ND @ W_dec.T)[mask_NF]
        torch.testing.assert_close(grads[0], expected)


@pytest.mark.parametrize("ends", [(7,), (2, 7), (1, 3, 3, 7), (7, 7), (1, 2, 3, 4, 5, 6, 7)])
def test_decode_prefixes_and_its_gradients(ends):
    entries, mask_NF = some_entries()
    values_Z, W_dec, b_dec = numbers(len(entries.cols)), numbers(F, D), numbers(D)
    dense_NF = torch.zeros(N, F, dtype=torch.float64).masked_scatter(mask_NF, values_Z.detach())
    out_GND = sparse.decode_prefixes(values_Z, W_dec, b_dec, entries, ends)
    for end, out_ND in zip(ends, out_GND, strict=True):
        torch.testing.assert_close(out_ND, dense_NF[:, :end] @ W_dec[:end] + b_dec)
    assert gradcheck(lambda *args: sparse.decode_prefixes(*args, entries, ends), (values_Z, W_dec, b_dec))


def test_values_at_and_its_gradient():
    entries, mask_NF = some_entries()
    values_F = numbers(F)
    expected = values_F.expand(N, F)[mask_NF]
    assert torch.equal(sparse.values_at(values_F, entries), expected)
    assert gradcheck(lambda values: sparse.values_at(values, entries), (values_F,))


@pytest.mark.parametrize("shifted", [True, False])
def test_pre_activations_and_their_gradients(shifted):
    """Also with respect to x, which a training never asks for."""
    entries, mask_NF = some_entries()
    x_ND, W_enc, b_enc = numbers(N, D), numbers(F, D).detach().T.requires_grad_(), numbers(F)
    shift = numbers(D) if shifted else None

    def pre(x_ND, W_enc, b_enc, *rest):
        inputs = x_ND - rest[0] if rest else x_ND
        pre_Z = (inputs @ W_enc + b_enc).detach()[mask_NF]
        return sparse.pre_activations(x_ND, W_enc, b_enc, rest[0] if rest else None, entries, pre_Z)

    args = (x_ND, W_enc, b_enc, *([shift] if shifted else []))
    assert gradcheck(pre, args)
    for asked in range(len(args)):  # each alone
        some = [arg.detach().requires_grad_(place == asked) for place, arg in enumerate(args)]
        assert gradcheck(pre, tuple(some))


RULES = {
    "above zero": lambda: Above(0.0),
    "above a floor each": lambda: Above(torch.linspace(-0.5, 1, F)),
    "k of each": lambda: LargestOfEach(3),
    "all of each": lambda: LargestOfEach(F),
    "k of the batch": lambda: LargestOfBatch(2),
    "a broken k of the batch": lambda: LargestOfBatch(1.5),
    "all of the batch": lambda: LargestOfBatch(F),
    "none of the batch": lambda: LargestOfBatch(0.1),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("n", [0, 1, 5, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_kinds_of_active_say_the_same(rule, n, dtype):
    x_ND, W_enc, b_enc, shift = (numbers(*shape, grad=False).to(dtype) for shape in ((n, D), (F, D), (F,), (D,)))
    W_dec, b_dec = numbers(F, D, seed=5, grad=False).to(dtype), numbers(D, seed=5, grad=False).to(dtype)
    dense, sparse_ = (activate(x_ND, W_enc.T, b_enc, shift, rule(), way) for way in ("dense", "sparse"))
    assert (type(dense), type(sparse_)) == (DenseActive, SparseActive)
    assert dense.shape == sparse_.shape == (n, F)
    assert torch.equal(sparse_.to_dense(sparse_.pre), dense.to_dense(dense.pre))
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype is torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    pairs = [(active, active.inside(active.pre * active.at(W_dec[:, 0]))) for active in (dense, sparse_)]
    for what in (
        lambda active, values: active.to_dense(values),
        lambda active, values: active.row_sums(values),
        lambda active, values: active.decode(values, W_dec, b_dec),
        lambda active, values: active.decode_prefixes(values, W_dec, b_dec, (2, 2, 5, F)),
        lambda active, values: active.counts_F(values),
        lambda active, values: torch.tensor(active.l0(values)),
    ):
        expected, found = (what(*pair) for pair in pairs)
        torch.testing.assert_close(found, expected, **close)


@hypothesis.given(st.integers(1, 12), st.integers(1, 30), st.integers(0, 99), st.data())
def test_rules_by_mask_and_by_entries_agree_also_where_values_tie(n, f, seed, data):
    """Of equal values either way may keep any, so the kept values are compared."""
    pre_NF = torch.from_numpy(np.random.default_rng(seed).integers(-2, 4, (n, f)).astype(np.float32))
    k = data.draw(st.integers(1, f))
    offset_F = torch.from_numpy(np.random.default_rng(seed + 1).integers(-3, 4, f).astype(np.float32))
    for rule, by_row in ((LargestOfEach(k), True), (LargestOfBatch(k), False), (Above(1.0), True)):
        entries, values = rule.entries(pre_NF - offset_F, offset_F, 1.0)
        found = SparseActive(values, entries).to_dense(values)
        expected = torch.where(rule.mask(pre_NF), pre_NF, 0.0)
        if not by_row:
            found, expected = found.flatten(), expected.flatten()
        assert torch.equal(found.sort(-1).values, expected.sort(-1).values)
        assert ((SparseActive(values, entries).to_dense(values) == 0) | (pre_NF > 0)).all()


def test_the_faster_kind_is_taken():
    x_ND, W_enc, b_enc = torch.eye(50), torch.eye(50), torch.zeros(50)
    most = int(MAX_SPARSE_SHARE * 50)
    few, many = LargestOfEach(most), LargestOfEach(most + 1)
    assert isinstance(activate(x_ND, W_enc, b_enc, None, few), SparseActive)
    assert isinstance(activate(x_ND, W_enc, b_enc, None, many), DenseActive)
    assert isinstance(activate(x_ND, W_enc, b_enc, None, Above(0.0)), SparseActive)
    assert isinstance(activate(x_ND, W_enc, b_enc + 1, None, Above(0.0)), DenseActive)
    assert isinstance(activate(x_ND, W_enc, b_enc + 1, None, Above(0.0), "sparse"), SparseActive)
    assert isinstance(activate(x_ND, W_enc, b_enc, None, LargestOfBatch(most)), SparseActive)
    assert isinstance(activate(x_ND, W_enc, b_enc, None, LargestOfBatch(most + 1)), DenseActive)


def test_x_may_ask_for_a_gradient():
    """A metric may differentiate through an SAE."""
    W_enc, b_enc, W_dec = numbers(F, D).detach().T, numbers(F, grad=False), numbers(F, D, grad=False)
    grads = []
    for way in ("dense", "sparse"):
        x_ND = numbers(N, D)
        active = activate(x_ND, W_enc, b_enc, None, LargestOfEach(2), way)
        active.decode(active.pre, W_dec, W_dec[0]).pow(2).sum().backward()
        grads.append(x_ND.grad)
    torch.testing.assert_close(grads[1], grads[0])
    assert grads[0].abs().max() > 0


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_sparse_path_leaves_torchs_threads_as_they_were(n_threads):
    torch.set_num_threads(n_threads)
    x_ND = numbers(N, D)
    active = activate(x_ND, numbers(F, D).T, numbers(F), None, LargestOfEach(2), "sparse")
    active.decode(active.pre, numbers(F, D), numbers(D)).sum().backward()
    assert torch.get_num_threads() == n_threads


def test_some_of_the_entries():
    entries, mask_NF = some_entries()
    keep_Z = np.arange(len(entries.cols)) % 3 != 1
    kept = entries.keep(keep_Z)
    expected_NF = torch.zeros(N, F, dtype=torch.bool).masked_scatter(mask_NF, torch.from_numpy(keep_Z))
    found_NF = SparseActive(torch.ones(len(kept.cols)), kept).to_dense(torch.ones(len(kept.cols))) > 0
    assert torch.equal(found_NF, expected_NF)
    assert kept.rows_Z.tolist() == expected_NF.nonzero()[:, 0].tolist()
    assert kept.counts_N.tolist() == expected_NF.sum(1).tolist()
