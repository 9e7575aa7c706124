import by_hand
import pytest
import torch
from by_hand import batch, unsettled

from boardgame_sae.config import ConfigError
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.saes.training.train import adam, training_step

D, F, WIDTH = 4, 9, 0.8


def sae_of(**fields):
    """Thresholds of either side of half the bandwidth."""
    settings = {"sparsity_coefficient": 0.7, "sparsity_warmup": 0.0, "bandwidth": WIDTH, "target_l0": 2.0, **fields}
    sae = unsettled(make_sae("jumprelu", d_model=D, n_latents=F, **settings), amount=0.4)
    with torch.no_grad():
        sae.threshold.copy_(torch.linspace(0.0, 1.0, F, dtype=torch.float64))
    return sae


def definition_of(sparsity_loss, subtract=False, counts=None):
    """The loss with the estimators of the paper: a term worth nothing carries the gradient of the threshold."""

    def definition(x, w):
        z, steps = [], []
        for pre_F in by_hand.pre_activations(x, w, subtract):
            z_F, steps_F = [], []
            for pre, threshold in zip(pre_F, w["threshold"], strict=True):
                on, near = float(pre > threshold), float((pre - threshold).detach().abs() < WIDTH / 2)
                nothing = threshold - threshold.detach()
                z_F.append(pre * on - near * (threshold.detach() / WIDTH) * nothing)
                steps_F.append(on - near / WIDTH * nothing)
                if counts is not None:
                    counts.append((on, near))
            z.append(z_F)
            steps.append(steps_F)
        if sparsity_loss == "tanh":
            norms_F = [by_hand.norm(row) for row in w["W_dec"]]
            size = by_hand.mean_sum([[torch.tanh(4.0 * v * n) for v, n in zip(row, norms_F, strict=True)] for row in z])
        else:
            size = by_hand.mean_sum(steps)
            size = (size / 2.0 - 1) ** 2 if sparsity_loss == "l0_target" else size
        return by_hand.squared_error(x, by_hand.decoded(z, w)), 0.7 * size, 0.0, z

    return definition


@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize("sparsity_loss", ["l0_target", "l0", "tanh"])
def test_loss_and_gradients_equal_the_definition(sparsity_loss, subtract):
    sae, x_ND, counts = sae_of(sparsity_loss=sparsity_loss, subtract_b_dec=subtract), batch(9, D), []
    z_NF = by_hand.compare(sae, x_ND, 0, definition_of(sparsity_loss, subtract, counts))
    assert {(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)} == set(counts)  # both halves of the rectangle, and beyond
    assert sae.threshold.grad.any()
    torch.testing.assert_close(sae.encode(x_ND).detach(), z_NF)


def test_the_threshold_gradient_of_l0_counts_both_halves_of_the_rectangle():
    """One latent, pre-activations around its threshold of 1: of the written formula nothing but the count is left."""
    for way in ("dense", "sparse"):
        sae = make_sae("jumprelu", d_model=1, n_latents=1, bandwidth=0.5, sparsity_loss="l0", sparsity_warmup=0.0)
        sae = sae.double()
        sae.way = way
        with torch.no_grad():
            sae.W_enc.fill_(1.0)
            sae.threshold.fill_(1.0)
        x_ND = torch.tensor([[0.7], [0.8], [0.9], [1.1], [1.3]], dtype=torch.float64)
        sae.loss(x_ND).sparsity.backward()
        assert float(sae.threshold.grad) == pytest.approx(-3 / 0.5 / 5)
        sae.zero_grad()
        sae.loss(x_ND).z.sum().backward()
        assert float(sae.threshold.grad) == pytest.approx(-3 * 1.0 / 0.5)
        assert sae.loss(x_ND).active.l0(sae.loss(x_ND).z) == pytest.approx(2 / 5)


def test_l0s_gradient_moves_thresholds_alone():
    for way in ("dense", "sparse"):
        sae = sae_of(sparsity_loss="l0")
        sae.way = way
        sae.loss(batch(9, D)).sparsity.backward()
        assert all(weight.grad is None or not weight.grad.any() for weight in (sae.W_enc, sae.W_dec, sae.b_enc))
        assert sae.threshold.grad.max() <= 0
        assert sae.threshold.grad.min() < 0


def test_thresholds_do_not_fall_below_zero():
    sae, x_ND = sae_of(sparsity_coefficient=0.0, threshold_start=0.0), batch(64, D)
    with torch.no_grad():
        sae.threshold.fill_(0.01)
    optimizer, lowest = adam(sae, 0.5), 1.0
    sae.begin_training(30, x_ND)
    for step in range(30):
        training_step(sae, optimizer, x_ND, step, 0.5)
        assert sae.threshold.min() >= 0
        lowest = min(lowest, float(sae.threshold.detach().min()))
    assert lowest == 0


def test_the_target_is_reached():
    sae = make_sae("jumprelu", d_model=D, n_latents=40, target_l0=3.0, bandwidth=0.3, sparsity_coefficient=1.0)
    optimizer = adam(sae, 5e-3)
    sae.begin_training(400, batch(1, D).float())
    for step in range(400):
        loss = training_step(sae, optimizer, batch(128, D, seed=step).float(), step, 5e-3)
    assert loss.active.l0(loss.z) == pytest.approx(3.0, abs=0.5)


def test_jumprelu_starts_with_small_thresholds_and_the_decoders_transpose():
    sae = make_sae("jumprelu", d_model=D, n_latents=F, threshold_start=0.02)
    torch.testing.assert_close(sae.W_enc, sae.W_dec.T)
    torch.testing.assert_close(sae.threshold, torch.full((F,), 0.02))
    assert (sae.betas, sae.cfg.subtract_b_dec) == ((0.0, 0.999), False)


@pytest.mark.parametrize("fields", [{"target_l0": 0.0}, {"bandwidth": 0.0}, {"threshold_start": -1.0}])
def test_settings_that_cannot_be_are_an_error(fields):
    with pytest.raises(ConfigError, match=f"field '{next(iter(fields))}' is .* must be (above|at least) 0"):
        make_sae("jumprelu", d_model=D, n_latents=F, **fields)


@pytest.mark.parametrize(("fields", "fits"), [
    ({"target_l0": F + 1}, False), ({"target_l0": F}, True), ({"target_l0": F + 1, "sparsity_loss": "l0"}, True)
])  # fmt: skip
def test_a_target_above_n_latents_can_be_read_but_not_trained(fields, fits):
    cfg = make_sae("jumprelu", d_model=D, n_latents=F, **fields).cfg
    if fits:
        cfg.check_trainable()
    else:
        with pytest.raises(ValueError, match=rf"target_l0 must be at most n_latents \({F}\), not {F + 1}"):
            cfg.check_trainable()
