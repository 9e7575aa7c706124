import numpy as np
import pytest
import torch
from by_hand import batch, decoded, k_largest, numbers, pre_activations, weights_of

from boardgame_sae.config import ConfigError
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.saes.sae import geometric_median


@pytest.mark.parametrize("way", ["dense", "sparse", "auto"])
def test_identity_reconstructs_exactly_by_the_signs_of_the_channels(way):
    sae, x_ND = make_sae("identity", d_model=5, n_latents=13), batch(50, 5).float()
    x_ND[3, 2] = x_ND[7] = 0
    sae.way = way
    assert torch.equal(sae(x_ND), x_ND)
    z_NF = sae.encode(x_ND).numpy()
    for n, f in np.ndindex(50, 13):
        expected = max(0.0, float(x_ND[n, f % 5]) * (1 if f < 5 else -1)) if f < 10 else 0.0
        assert z_NF[n, f] == expected


def test_identity_reconstructs_exactly_after_its_scale_is_folded_in_too():
    sae, x_ND = make_sae("identity", d_model=5, n_latents=10), batch(50, 5).float()
    sae.begin_training(10, x_ND)
    sae.fold_scale(7.3)
    assert torch.equal(sae(x_ND), x_ND)
    assert sae.loss(x_ND).total == 0


def test_identity_needs_two_latents_per_channel():
    with pytest.raises(ConfigError, match="two latents per channel need n_latents of at least 10"):
        make_sae("identity", d_model=5, n_latents=9)


def test_random_keeps_the_k_random_directions_that_x_points_along_most():
    sae, x_ND = make_sae("random", d_model=4, n_latents=12, k=3).double(), batch(9, 4) + 1
    sae.begin_training(10, x_ND)
    assert torch.equal(sae.b_dec, geometric_median(x_ND))
    w, _ = weights_of(sae)
    z = k_largest(pre_activations(numbers(x_ND), w), 3)
    for way in ("dense", "sparse"):
        sae.way = way
        found = sae.encode(x_ND)
        np.testing.assert_allclose(found, [[float(v.detach()) for v in row] for row in z], atol=1e-12)
        np.testing.assert_allclose(sae(x_ND), [[float(v.detach()) for v in row] for row in decoded(z, w)], atol=1e-12)
    assert (found > 0).sum(1).max() == 3


def test_random_directions_have_norm_one_and_the_encoder_is_the_decoders_transpose():
    sae = make_sae("random", d_model=6, n_latents=40)
    assert torch.equal(sae.W_enc, sae.W_dec.T)
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(40))
    assert (sae.W_dec @ sae.W_dec.T - torch.eye(40)).abs().max() < 0.999


@pytest.mark.parametrize("k", [0, 13])
def test_a_k_that_cannot_be_is_an_error(k):
    with pytest.raises(ConfigError, match=rf"k must lie between 1 and n_latents .12., not {k}|'k' is {k}: must be"):
        make_sae("random", d_model=4, n_latents=12, k=k)


@pytest.mark.parametrize("name", ["identity", "random"])
def test_nothing_is_to_be_trained(name):
    sae = make_sae(name, d_model=4, n_latents=40)
    assert not sae.trains
    assert not any(weight.requires_grad for weight in sae.parameters())
