import by_hand
import pytest
import torch
from by_hand import batch, unsettled

from boardgame_sae.config import ConfigError
from boardgame_sae.saes.registry import make_sae

D, F = 5, 9


def sae_of(name="relu", **fields):
    return unsettled(make_sae(name, d_model=D, n_latents=F, **fields))


@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (1, 0.05), (10, 0.5), (20, 1.0), (199, 1.0)])
def test_relu_loss_and_gradients_equal_the_definition(step, share, subtract):
    sae, x_ND = sae_of(sparsity_coefficient=0.3, sparsity_warmup=0.1, subtract_b_dec=subtract), batch(7, D)
    sae.begin_training(200, x_ND)

    def definition(x, w):
        z = by_hand.relu(by_hand.pre_activations(x, w, subtract))
        return by_hand.squared_error(x, by_hand.decoded(z, w)), 0.3 * share * by_hand.mean_sum(z), 0.0, z

    z_NF = by_hand.compare(sae, x_ND, step, definition)
    assert 0.1 < (z_NF > 0).float().mean() < 0.9
    torch.testing.assert_close(sae.encode(x_ND).detach(), z_NF)


def test_relu_april_charges_each_latent_times_the_norm_of_its_row():
    sae, x_ND = sae_of("relu_april", sparsity_coefficient=0.3, sparsity_warmup=0.0), batch(7, D)

    def definition(x, w):
        z = by_hand.relu(by_hand.pre_activations(x, w))
        charged = [[value * by_hand.norm(w["W_dec"][f]) for f, value in enumerate(row)] for row in z]
        return by_hand.squared_error(x, by_hand.decoded(z, w)), 0.3 * by_hand.mean_sum(charged), 0.0, z

    by_hand.compare(sae, x_ND, 0, definition)


def test_relu_april_gains_nothing_by_short_rows():
    sae, x_ND = sae_of("relu_april", sparsity_warmup=0.0), batch(7, D)
    before = sae.loss(x_ND)
    with torch.no_grad():
        sae.W_dec *= 0.5
        sae.W_enc *= 2
        sae.b_enc *= 2
    after = sae.loss(x_ND)
    for part in ("reconstruction", "sparsity"):
        torch.testing.assert_close(getattr(after, part), getattr(before, part))
    sae.constrain()
    assert sae.W_dec.norm(dim=1).max() < 1.5
    assert (sae.W_dec.norm(dim=1) - 1).abs().max() > 0.2


def test_relu_april_is_saved_as_relu_with_its_norms_folded_in():
    sae, x_ND = sae_of("relu_april"), batch(7, D)
    simple = sae.inference()
    assert simple.cfg.architecture == "relu"
    torch.testing.assert_close(simple(x_ND), sae(x_ND))
    torch.testing.assert_close(simple.encode(x_ND), sae.encode(x_ND) * sae.W_dec.norm(dim=1))


def test_without_a_warm_up_the_penalty_is_whole_from_the_first_step():
    sae, x_ND = sae_of(sparsity_warmup=0.0, sparsity_coefficient=0.5), batch(7, D)
    sae.begin_training(200, x_ND)
    torch.testing.assert_close(sae.loss(x_ND, 0).sparsity, 0.5 * sae.encode(x_ND).sum(1).mean())


def test_relus_encoder_starts_as_a_tenth_of_the_decoders_transpose():
    sae = make_sae("relu", d_model=D, n_latents=F)
    torch.testing.assert_close(sae.W_enc, 0.1 * sae.W_dec.T)
    assert sae.b_enc.abs().sum() == sae.b_dec.abs().sum() == 0


def test_relu_aprils_encoder_and_decoder_start_at_norm_a_tenth():
    sae = make_sae("relu_april", d_model=D, n_latents=F)
    torch.testing.assert_close(sae.W_enc, sae.W_dec.T)
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.full((F,), 0.1))


@pytest.mark.parametrize(
    "fields", [{"sparsity_coefficient": -0.1}, {"sparsity_warmup": 1.1}, {"sparsity_warmup": -0.1}]
)
def test_a_penalty_that_cannot_be_is_an_error(fields):
    with pytest.raises(ConfigError, match=f"field '{next(iter(fields))}' is .* must be at (least 0|most 1)"):
        make_sae("relu", d_model=D, n_latents=F, **fields)
    with pytest.raises(ConfigError, match="field 'resample_every' is -1: must be at least 0"):
        make_sae("relu", d_model=D, n_latents=F, resample_every=-1)
