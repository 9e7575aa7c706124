import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from boardgame_sae.config import ConfigError
from boardgame_sae.saes.sae import make_sae
from boardgame_sae.saes.topk import geometric_median, keep_largest

D, F, K = 6, 14, 4


def unsettled(**fields):
    """A float64 SAE with every parameter away from its start."""
    sae = make_sae("topk", d_model=D, n_latents=F, **{"k": K, **fields}).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in sae.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    return sae


def batch(n=11, seed=0):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights(sae):
    return tuple(getattr(sae, name).detach().numpy() for name in ("W_enc", "W_dec", "b_enc", "b_dec"))


def largest_by_hand(values_F, k):
    """All but the k largest set to zero."""
    kept_F = np.zeros_like(values_F)
    for place in sorted(range(len(values_F)), key=lambda f: -values_F[f])[:k]:
        kept_F[place] = values_F[place]
    return kept_F


def latents_by_hand(sae, x_ND):
    W_enc, _, b_enc, b_dec = weights(sae)
    all_NF = np.maximum((x_ND.numpy() - b_dec) @ W_enc + b_enc, 0)
    return all_NF, np.stack([largest_by_hand(all_F, sae.cfg.k) for all_F in all_NF])


def test_encode_equals_keeping_the_k_largest_by_hand():
    sae, x_ND = unsettled(), batch(200)
    all_NF, kept_NF = latents_by_hand(sae, x_ND)
    z_NF = sae.encode(x_ND).detach().numpy()
    np.testing.assert_allclose(z_NF, kept_NF, atol=1e-12)
    assert (z_NF > 0).sum(1).max() == K
    assert ((z_NF > 0).sum(1) < (all_NF > 0).sum(1)).any()


def test_where_fewer_than_k_are_positive_no_more_are_on():
    sae = unsettled()
    with torch.no_grad():
        sae.b_enc[2:] = -100
    assert (sae.encode(batch(100)) > 0).sum(1).max() <= 2


@hypothesis.given(hnp.arrays(np.float32, (5, 7), elements=st.integers(-3, 3)), st.integers(1, 7))
def test_keep_largest_keeps_k_values_none_smaller_than_one_dropped(values, k):
    kept = keep_largest(torch.from_numpy(values), k).numpy()
    for given, row in zip(values, kept, strict=True):
        expected = largest_by_hand(given, k)
        assert sorted(row.tolist()) == sorted(expected.tolist())  # of equal values any may stay
        assert ((row == given) | (row == 0)).all()


def test_the_loss_is_the_squared_error_of_the_kept_latents():
    sae, x_ND = unsettled(), batch()
    _, W_dec, _, b_dec = weights(sae)
    error_ND = x_ND.numpy() - (latents_by_hand(sae, x_ND)[1] @ W_dec + b_dec)
    loss = sae.loss(x_ND)
    assert loss.total.item() == pytest.approx((error_ND**2).sum() / len(x_ND), rel=1e-12)
    assert loss.auxiliary.item() == loss.sparsity.item() == 0


def auxiliary_by_hand(sae, x_ND, dead):
    """The dead latents' largest d_model / 2 activations against the error that is left, over the error's variance."""
    _, W_dec, _, b_dec = weights(sae)
    all_NF, kept_NF = latents_by_hand(sae, x_ND)
    error_ND = x_ND.numpy() - (kept_NF @ W_dec + b_dec)
    n_kept = min(D // 2, len(dead))
    missed = 0.0
    for error_D, all_F in zip(error_ND, all_NF, strict=True):
        only_dead_F = np.array([value if f in dead else 0.0 for f, value in enumerate(all_F)])
        missed += ((error_D - largest_by_hand(only_dead_F, n_kept) @ W_dec) ** 2).sum()
    spread = sum(((error_D - error_ND.mean(0)) ** 2).sum() for error_D in error_ND)
    return missed / spread


@pytest.mark.parametrize("dead", [[5], [0, 7], [1, 2, 3, 8, 9, 10, 13]], ids=["one", "two", "more than d_model / 2"])
def test_auxk_equals_a_computation_by_hand(dead):
    sae, x_ND = unsettled(auxiliary_coefficient=0.5, dead_after=1000), batch()
    sae.tokens_since_fired_F[dead] = 1000
    loss = sae.loss(x_ND)
    assert loss.auxiliary.item() == pytest.approx(0.5 * auxiliary_by_hand(sae, x_ND, dead), rel=1e-10)
    assert loss.total.item() == pytest.approx(loss.reconstruction.item() + loss.auxiliary.item(), rel=1e-12)


def test_auxks_gradient_reaches_the_dead_latents_and_no_other():
    sae, x_ND, dead = unsettled(dead_after=1000), batch(), [1, 2, 8]
    sae.tokens_since_fired_F[dead] = 1000
    sae.loss(x_ND).auxiliary.backward()
    alive = [f for f in range(F) if f not in dead]
    assert (sae.W_enc.grad[:, dead].norm(dim=0) > 0).all()
    assert (sae.W_dec.grad[dead].norm(dim=1) > 0).all()
    assert (sae.b_enc.grad[dead] != 0).all()
    assert sae.W_enc.grad[:, alive].abs().max() == 0
    assert sae.W_dec.grad[alive].abs().max() == 0
    assert sae.b_enc.grad[alive].abs().max() == 0


def test_a_latent_is_dead_after_so_many_tokens_and_not_one_before():
    sae, x_ND = unsettled(dead_after=30, auxiliary_coefficient=1.0), batch(10)
    with torch.no_grad():
        sae.b_enc[4] = -1000  # never fires
    sae.begin_training(100, x_ND)
    for step in range(3):
        loss = sae.loss(x_ND, step)
        assert loss.auxiliary.item() == 0
        sae.after_step(step, loss)
    assert sae.tokens_since_fired_F[4] == 30
    assert sae.loss(x_ND, 3).auxiliary.item() > 0


def test_auxk_brings_a_dead_latent_back_to_life():
    """A latent whose encoder is too weak to be chosen: without AuxK it has no gradient at all."""
    sae, x_ND = unsettled(dead_after=1, auxiliary_coefficient=1.0), batch(64)
    with torch.no_grad():
        sae.W_enc[:, 0] *= 0.01
        sae.b_enc[0] = 0.001
    assert not (sae.encode(x_ND)[:, 0] > 0).any()
    sae.loss(x_ND).reconstruction.backward()
    assert sae.W_enc.grad[:, 0].abs().max() == 0
    sae.tokens_since_fired_F[0] = 1
    optimizer = torch.optim.Adam(sae.parameters(), lr=0.02)
    for step in range(200):
        loss = sae.loss(x_ND, step)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        if (loss.latents_NF[:, 0] > 0).any():
            return
    pytest.fail("the latent stayed dead")


@pytest.mark.parametrize("k", [0, F + 1, -1])
def test_a_k_that_cannot_be_is_an_error(k):
    with pytest.raises(ConfigError, match=f"k must lie between 1 and n_latents .{F}., not {k}"):
        make_sae("topk", d_model=D, n_latents=F, k=k)


@pytest.mark.parametrize("skew", [0.0, 50.0])
def test_the_geometric_median_equals_a_slow_iteration_and_resists_outliers(skew):
    x_ND = batch(40)
    x_ND[:6] += skew
    point = x_ND.numpy().mean(0)
    for _ in range(20_000):
        weight_N = 1 / np.linalg.norm(x_ND.numpy() - point, axis=1)
        point = (x_ND.numpy() * weight_N[:, None]).sum(0) / weight_N.sum()
    found = geometric_median(x_ND)
    np.testing.assert_allclose(found, point, atol=2e-4)
    if skew:
        assert np.linalg.norm(x_ND.numpy().mean(0) - point) > 5


def test_the_geometric_median_is_a_point_of_the_set_when_most_points_sit_there():
    x_ND = torch.zeros(9, 2)
    x_ND[0] = torch.tensor([3.0, 4.0])
    torch.testing.assert_close(geometric_median(x_ND), torch.zeros(2), atol=1e-4, rtol=0)


def test_the_decoders_bias_starts_at_the_geometric_median_of_the_first_batch():
    sae, x_ND = make_sae("topk", d_model=D, n_latents=F, k=K), batch().float() + 5
    sae.begin_training(10, x_ND)
    assert torch.equal(sae.b_dec, geometric_median(x_ND))
    assert (sae.b_dec - 5).norm() < 2
