import by_hand
import numpy as np
import pytest
import torch
from by_hand import batch
from scipy.optimize import minimize

from boardgame_sae.config import ConfigError
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.saes.sae import geometric_median

D, F, K = 6, 14, 4


def unsettled(name="topk", **fields):
    return by_hand.unsettled(make_sae(name, d_model=D, n_latents=F, **{"k": K, **fields}))


def kept_by_hand(name, pre, k):
    return by_hand.k_largest(pre, k) if name == "topk" else by_hand.batch_largest(pre, k * len(pre))


DEAD = {"none": [], "one": [5], "two": [0, 7], "more than d_model / 2": [1, 2, 3, 8, 9, 10, 13], "all": list(range(F))}


@pytest.mark.parametrize("name", ["topk", "batch_topk"])
@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize("dead", DEAD.values(), ids=DEAD)
def test_loss_and_gradients_equal_the_definition(name, dead, subtract):
    sae = unsettled(name, auxiliary_coefficient=0.5, dead_after=1000, subtract_b_dec=subtract)
    x_ND = batch(11, D)
    sae.tokens_since_fired_F[dead] = 1000
    by_hand.weaken(sae, dead[::2])

    def definition(x, w):
        pre = by_hand.pre_activations(x, w, subtract)
        z = kept_by_hand(name, pre, K)
        x_hat, still = by_hand.decoded(z, w), by_hand.asleep(dead, z)  # who fires now is not dead
        assert bool(still) == bool(dead)
        aux = by_hand.aux_k(x, x_hat, pre, w, still, min(D // 2, len(still))) if dead else 0.0
        return by_hand.squared_error(x, x_hat), 0.0, 0.5 * aux, z

    z_NF = by_hand.compare(sae, x_ND, 0, definition)
    assert (z_NF > 0).sum() <= K * 11
    assert ((z_NF > 0).sum(1) >= K).any()
    torch.testing.assert_close(sae.encode(x_ND).detach(), z_NF)


@pytest.mark.parametrize("name", ["topk", "batch_topk"])
def test_where_fewer_than_k_are_positive_no_more_are_on(name):
    for way in ("dense", "sparse"):
        sae = unsettled(name)
        sae.way = way
        with torch.no_grad():
            sae.b_enc[2:] = -100
        assert (sae.encode(batch(100, D)) > 0).sum(1).max() <= 2


def test_batch_topk_gives_more_latents_to_positions_that_need_more():
    sae, x_ND = unsettled("batch_topk"), batch(40, D)
    x_ND[:20] *= 5
    for way in ("dense", "sparse"):
        sae.way = way
        n_on_N = (sae.encode(x_ND) > 0).sum(1)
        assert n_on_N.sum() == 40 * K
        assert n_on_N[:20].sum() > 1.5 * n_on_N[20:].sum()


@pytest.mark.parametrize("name", ["topk", "batch_topk"])
def test_k_comes_down_from_k_start_over_its_share_of_training(name):
    sae, x_ND = unsettled(name, k_start=12, k_anneal=0.4, k=2), batch(30, D)
    with torch.no_grad():
        sae.b_enc += 10  # all positive
    sae.begin_training(50, x_ND)
    for step in range(50):
        k = round(2 + max(0, 1 - step / 20) * 10)
        for way in ("dense", "sparse"):
            sae.way = way
            loss = sae.loss(x_ND, step)
            assert loss.active.l0(loss.z) == k
        w, _ = by_hand.weights_of(sae)
    x = by_hand.numbers(x_ND)
    for step, k in ((0, 12), (10, 7), (18, 3), (20, 2), (49, 2)):
        z = kept_by_hand(name, by_hand.pre_activations(x, w), k)
        error = by_hand.squared_error(x, by_hand.decoded(z, w))
        assert float(sae.loss(x_ND, step).total.detach()) == pytest.approx(float(error.detach()), rel=1e-9)


@pytest.mark.parametrize("fields", [{}, {"k_start": 9}, {"k_anneal": 0.5}])
def test_without_annealing_k_is_k(fields):
    sae = make_sae("topk", d_model=D, n_latents=F, k=K, **fields)
    sae.begin_training(100, batch(3, D).float())
    assert {sae.k_at(step) for step in range(100)} == {K}


def test_auxks_gradient_reaches_the_dead_latents_and_no_other():
    for way in ("dense", "sparse"):
        sae, x_ND, dead = unsettled(dead_after=1000), batch(11, D), [1, 2, 8]
        sae.way = way
        sae.tokens_since_fired_F[[*dead, 3]] = 1000
        by_hand.weaken(sae, dead)
        assert (sae.encode(x_ND)[:, 3] > 0).any()  # and so it is not dead
        sae.loss(x_ND).auxiliary.backward()
        alive = [f for f in range(F) if f not in dead]
        assert (sae.W_enc.grad[:, dead].norm(dim=0) > 0).all()
        assert (sae.W_dec.grad[dead].norm(dim=1) > 0).all()
        assert (sae.b_enc.grad[dead] != 0).all()
        assert sae.W_enc.grad[:, alive].abs().max() == 0
        assert sae.W_dec.grad[alive].abs().max() == 0
        assert sae.b_enc.grad[alive].abs().max() == 0


def test_a_latent_is_dead_after_so_many_tokens_and_not_one_before():
    sae, x_ND = unsettled(dead_after=30, auxiliary_coefficient=1.0), batch(10, D)
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
    sae, x_ND = unsettled(dead_after=1, auxiliary_coefficient=1.0), batch(64, D)
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
        if (loss.active.to_dense(loss.z)[:, 0] > 0).any():
            return
    pytest.fail("the latent stayed dead")


@pytest.mark.parametrize("name", ["topk", "batch_topk"])
@pytest.mark.parametrize("k", [0, F + 1, -1])
def test_a_k_that_cannot_be_is_an_error(k, name):
    with pytest.raises(ConfigError, match=rf"k must lie between 1 and n_latents .{F}., not {k}|'k' is {k}: must be"):
        make_sae(name, d_model=D, n_latents=F, k=k)


@pytest.mark.parametrize("k_start", [3, F + 1])
def test_a_first_k_that_cannot_be_is_an_error(k_start):
    with pytest.raises(ConfigError, match=f"k_start must lie between k and n_latents .{F}., not {k_start}"):
        make_sae("topk", d_model=D, n_latents=F, k=K, k_start=k_start)


@pytest.mark.parametrize("fields", [{"k_anneal": 1.1}, {"auxiliary_coefficient": -1.0}, {"dead_after": -1}])
def test_other_settings_that_cannot_be_are_an_error(fields):
    with pytest.raises(ConfigError, match=f"field '{next(iter(fields))}' is .* must be at (least|most)"):
        make_sae("topk", d_model=D, n_latents=F, k=K, **fields)


@pytest.mark.parametrize("skew", [0.0, 50.0])
def test_the_geometric_median_has_the_least_summed_distance_and_resists_outliers(skew):
    x_ND = batch(40, D)
    x_ND[:6] += skew
    points = x_ND.numpy()
    options = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 50_000, "maxfev": 50_000}
    best = minimize(
        lambda p: np.linalg.norm(points - p, axis=1).sum(), points[8], method="Nelder-Mead", options=options
    )
    found = geometric_median(x_ND).numpy()
    assert np.linalg.norm(points - found, axis=1).sum() == pytest.approx(best.fun, rel=1e-7)
    np.testing.assert_allclose(found, best.x, atol=5e-4)
    if skew:
        assert np.linalg.norm(points.mean(0) - best.x) > 5


def test_the_geometric_median_is_a_point_of_the_set_when_most_points_sit_there():
    x_ND = torch.zeros(9, 2)
    x_ND[0] = torch.tensor([3.0, 4.0])
    torch.testing.assert_close(geometric_median(x_ND), torch.zeros(2), atol=1e-4, rtol=0)


def test_the_geometric_median_of_one_point_is_that_point():
    torch.testing.assert_close(geometric_median(torch.tensor([[3.0, 4.0]])), torch.tensor([3.0, 4.0]))


@pytest.mark.parametrize("name", ["topk", "batch_topk"])
def test_the_decoders_bias_starts_at_the_geometric_median_of_the_first_batch(name):
    sae, x_ND = make_sae(name, d_model=D, n_latents=F, k=K), batch(11, D).float() + 5
    sae.begin_training(10, x_ND)
    assert torch.equal(sae.b_dec, geometric_median(x_ND))
    assert (sae.b_dec - 5).norm() < 2


@torch.no_grad()
def test_folding_norms_into_a_calibrated_batch_topk_keeps_what_it_reconstructs():
    sae = make_sae("batch_topk", d_model=D, n_latents=F, k=K).double()
    x_ND = batch(200, D)
    sae.W_dec *= torch.linspace(0.5, 2, F, dtype=torch.float64)[:, None]
    sae.calibrate([x_ND])
    before_ND, threshold_F, norms_F = sae(x_ND), sae.threshold.clone(), sae.W_dec.norm(dim=1)
    assert (before_ND - sae.b_dec).abs().max() > 0.1
    sae.fold_norms()
    torch.testing.assert_close(sae.threshold, threshold_F * norms_F)
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(F, dtype=torch.float64))
    torch.testing.assert_close(sae(x_ND), before_ND)
    torch.testing.assert_close(sae.inference()(x_ND), before_ND)
