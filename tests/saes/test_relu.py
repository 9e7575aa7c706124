import numpy as np
import pytest
import torch

from boardgame_sae.saes.sae import make_sae


def unsettled(**fields):
    sae = make_sae("relu", d_model=5, n_latents=9, **fields)
    with torch.no_grad():
        for weight in sae.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
    return sae


def by_hand(sae, x_ND):
    """Latents, reconstructions, squared error and L1 in float64, one number at a time."""
    W_enc, W_dec, b_enc, b_dec = (
        getattr(sae, name).detach().double().numpy() for name in ("W_enc", "W_dec", "b_enc", "b_dec")
    )
    x = x_ND.double().numpy()
    z, x_hat = np.zeros((len(x), len(b_enc))), np.zeros(x.shape)
    for n, f in np.ndindex(*z.shape):
        z[n, f] = max(0.0, sum((x[n, d] - b_dec[d]) * W_enc[d, f] for d in range(len(b_dec))) + b_enc[f])
    for n, d in np.ndindex(*x.shape):
        x_hat[n, d] = sum(z[n, f] * W_dec[f, d] for f in range(len(b_enc))) + b_dec[d]
    return z, x_hat, ((x - x_hat) ** 2).sum() / len(x), z.sum() / len(x)


def test_encode_decode_and_loss_equal_a_computation_by_hand():
    sae, x_ND = unsettled(sparsity_coefficient=0.3), torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    z, x_hat, error, l1 = by_hand(sae, x_ND)
    loss = sae.loss(x_ND)
    assert 0.1 < (z > 0).mean() < 0.9
    np.testing.assert_allclose(sae.encode(x_ND).detach(), z, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(sae(x_ND).detach(), x_hat, rtol=1e-5, atol=1e-6)
    assert loss.reconstruction.item() == pytest.approx(error, rel=1e-5)
    assert loss.sparsity.item() == pytest.approx(0.3 * l1, rel=1e-5)
    assert loss.total.item() == pytest.approx(error + 0.3 * l1, rel=1e-5)
    assert loss.auxiliary.item() == 0


def test_the_penalty_rises_over_its_share_of_training_and_then_stays():
    sae, x_ND = unsettled(sparsity_coefficient=0.3, sparsity_warmup=0.1), torch.randn(7, 5)
    sae.begin_training(200, x_ND)
    full = 0.3 * sae.encode(x_ND).sum(1).mean().item()
    for step, share in ((0, 0.0), (1, 0.05), (10, 0.5), (20, 1.0), (199, 1.0)):
        loss = sae.loss(x_ND, step)
        assert loss.sparsity.item() == pytest.approx(share * full, rel=1e-5)
        assert loss.total.item() == pytest.approx(loss.reconstruction.item() + share * full, rel=1e-5)


def test_without_a_warm_up_the_penalty_is_whole_from_the_first_step():
    sae, x_ND = unsettled(sparsity_warmup=0.0), torch.randn(7, 5)
    sae.begin_training(200, x_ND)
    assert sae.warmup(0) == 1.0


def test_the_encoder_starts_as_a_tenth_of_the_decoders_transpose():
    sae = make_sae("relu", d_model=5, n_latents=9)
    torch.testing.assert_close(sae.W_enc, 0.1 * sae.W_dec.T)
    assert sae.b_enc.abs().sum() == sae.b_dec.abs().sum() == 0
