import by_hand
import pytest
import torch
from by_hand import batch, unsettled

from boardgame_sae.saes.registry import make_sae

D, F = 4, 8


def sae_of(name, **fields):
    sae = make_sae(name, d_model=D, n_latents=F, sparsity_coefficient=0.3, sparsity_warmup=0.0, **fields)
    return unsettled(sae, amount=0.4)


def gates_and_latents(x, w):
    """pi and z of equations 5 to 8, and which latents are on."""
    pi, z = [], []
    for u_F in by_hand.products(x, w):
        gate_F = [u + b for u, b in zip(u_F, w["b_enc"], strict=True)]
        magnitude_F = [r.exp() * u + b for r, u, b in zip(w["r_mag"], u_F, w["b_mag"], strict=True)]
        pi.append([gate if gate > 0 else gate * 0 for gate in gate_F])
        z.append([m if g > 0 and m > 0 else m * 0 for g, m in zip(gate_F, magnitude_F, strict=True)])
    return pi, z


def auxiliary(x, pi, w):
    """How badly the gate reconstructs x through a decoder that it may not change."""
    still = {name: by_hand.frozen(w[name]) for name in ("W_dec", "b_dec")}
    return by_hand.squared_error(x, by_hand.decoded(pi, still))


def test_gated_loss_and_gradients_equal_the_definition():
    sae, x_ND = sae_of("gated"), batch(7, D)

    def definition(x, w):
        pi, z = gates_and_latents(x, w)
        return by_hand.squared_error(x, by_hand.decoded(z, w)), 0.3 * by_hand.mean_sum(pi), auxiliary(x, pi, w), z

    z_NF = by_hand.compare(sae, x_ND, 0, definition)
    torch.testing.assert_close(sae.encode(x_ND).detach(), z_NF)


def test_a_latent_needs_an_open_gate_and_a_positive_magnitude():
    sae, x_ND = sae_of("gated"), batch(400, D)
    u_NF = (x_ND - sae.b_dec) @ sae.W_enc
    open_NF, magnitude_NF = u_NF + sae.b_gate > 0, sae.r_mag.exp() * u_NF + sae.b_mag
    assert (open_NF & (magnitude_NF <= 0)).any()
    assert (~open_NF & (magnitude_NF > 0)).any()
    expected = torch.where(open_NF & (magnitude_NF > 0), magnitude_NF, 0.0)
    for way in ("dense", "sparse"):
        sae.way = way
        torch.testing.assert_close(sae.encode(x_ND), expected)


def test_the_auxiliary_task_moves_neither_decoder_nor_magnitudes():
    for way in ("dense", "sparse"):
        sae = sae_of("gated")
        sae.way = way
        sae.loss(batch(7, D)).auxiliary.backward()
        for name in ("W_dec", "r_mag", "b_mag"):
            grad = getattr(sae, name).grad
            assert grad is None or not grad.any(), name
        assert sae.b_enc.grad.any() and sae.W_enc.grad.any()


def test_the_reconstruction_does_not_move_the_gates_bias():
    for way in ("dense", "sparse"):
        sae = sae_of("gated")
        sae.way = way
        sae.loss(batch(7, D)).reconstruction.backward()
        torch.testing.assert_close(sae.b_enc.grad, torch.zeros(F, dtype=torch.float64), rtol=0, atol=1e-12)
        assert sae.b_mag.grad.any() and sae.r_mag.grad.any()


@pytest.mark.parametrize("norm", ["lp_p", "lp"])
@pytest.mark.parametrize("stage", [-1, 0, 1, 2])
def test_gated_p_anneal_loss_and_gradients_equal_the_definition(norm, stage):
    sae, x_ND = sae_of("gated_p_anneal", penalty_norm=norm, exponents=(1.0, 0.7, 0.3)), batch(7, D)
    sae.begin_training(100, x_ND)
    sae.stage.fill_(stage)
    sae.coefficient.fill_(0.11)
    p = (1.0, 1.0, 0.7, 0.3)[stage + 1]

    def definition(x, w):
        pi, z = gates_and_latents(x, w)
        error = by_hand.squared_error(x, by_hand.decoded(z, w))
        return error, 0.11 * by_hand.power_penalty(pi, p, norm), auxiliary(x, pi, w), z

    by_hand.compare(sae, x_ND, 50, definition)


def test_gated_p_anneal_rescales_its_coefficient_by_the_gates_penalties():
    sae, x_ND = sae_of("gated_p_anneal", exponents=(1.0, 0.5), anneal_start=0.2, anneal_end=0.6), batch(30, D)
    sae.begin_training(10, x_ND)
    pi_NF = torch.relu((x_ND - sae.b_dec) @ sae.W_enc + sae.b_gate).detach()
    for step in range(10):
        sae.after_step(step, sae.loss(x_ND, step))
        assert sae.p == (1.0 if step < 6 else 0.5)
    power = pi_NF[pi_NF > 0].pow(0.5).sum()
    assert float(sae.coefficient) == pytest.approx(0.3 * float(pi_NF.sum() / power), rel=1e-6)


def test_gated_starts_with_the_decoders_transpose_and_nothing_else():
    sae = make_sae("gated", d_model=D, n_latents=F)
    torch.testing.assert_close(sae.W_enc, sae.W_dec.T)
    for name in ("b_enc", "b_dec", "r_mag", "b_mag"):
        assert not getattr(sae, name).any()
    assert sae.betas == (0.0, 0.999)
