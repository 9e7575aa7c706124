import by_hand
import pytest
import torch
from by_hand import batch, unsettled

from boardgame_sae.config import ConfigError
from boardgame_sae.saes.registry import make_sae

D, F = 4, 11
FRACTIONS = {
    (0.2, 0.3, 0.5): (2, 5, 11),
    (1.0,): (11,),
    (0.5, 0.05, 0.45): (5, 5, 11),  # a prefix that adds nothing
    (0.1,) * 10: (*range(1, 10), 11),
}


def mean_over_prefixes(x, z, w, ends):
    return sum(by_hand.squared_error(x, by_hand.decoded(z, w, end)) for end in ends) / len(ends)


@pytest.mark.parametrize(("fractions", "ends"), FRACTIONS.items())
def test_matryoshka_loss_and_gradients_equal_the_definition(fractions, ends):
    fields = {"group_fractions": fractions, "sparsity_coefficient": 0.3, "sparsity_warmup": 0.0}
    sae, x_ND = unsettled(make_sae("matryoshka", d_model=D, n_latents=F, **fields)), batch(7, D)
    assert sae.cfg.ends == ends

    def definition(x, w):
        z = by_hand.relu(by_hand.pre_activations(x, w))
        return mean_over_prefixes(x, z, w, ends), 0.3 * by_hand.mean_sum(z), 0.0, z

    by_hand.compare(sae, x_ND, 0, definition)
    torch.testing.assert_close(sae.loss(x_ND).x_hat_ND, sae(x_ND))


@pytest.mark.parametrize(("fractions", "ends"), FRACTIONS.items())
def test_matryoshka_batch_topk_loss_and_gradients_equal_the_definition(fractions, ends):
    fields = {"group_fractions": fractions, "k": 3, "dead_after": 100, "auxiliary_coefficient": 0.5}
    sae, x_ND = unsettled(make_sae("matryoshka_batch_topk", d_model=D, n_latents=F, **fields)), batch(7, D)
    dead = [1, 6, 8, 10]
    sae.tokens_since_fired_F[dead] = 100
    by_hand.weaken(sae, dead[1:])

    def definition(x, w):
        pre = by_hand.pre_activations(x, w)
        z = by_hand.batch_largest(pre, 3 * 7)
        aux = by_hand.aux_k(x, by_hand.decoded(z, w), pre, w, by_hand.asleep(dead, z), D // 2)
        return mean_over_prefixes(x, z, w, ends), 0.0, 0.5 * aux, z

    by_hand.compare(sae, x_ND, 0, definition)


def test_an_early_latent_gets_gradient_from_every_prefix_and_a_late_one_from_the_last():
    for way in ("dense", "sparse"):
        sae = unsettled(make_sae("matryoshka", d_model=D, n_latents=F, group_fractions=(0.2, 0.3, 0.5)))
        sae.way = way
        with torch.no_grad():
            sae.W_dec[2:] = 0  # so that all prefixes reconstruct alike
        loss = sae.loss(batch(7, D))
        loss.reconstruction.backward()
        x_ND, z_NF = batch(7, D), loss.active.to_dense(loss.z).detach()
        per_prefix_FD = 2 / 7 * z_NF.T @ (loss.x_hat_ND.detach() - x_ND) / 3
        expected = torch.cat([3 * per_prefix_FD[:2], 2 * per_prefix_FD[2:5], per_prefix_FD[5:]])
        torch.testing.assert_close(sae.W_dec.grad, expected)


@pytest.mark.parametrize("fractions", [(), (0.5, 0.4), (1.2, -0.2), (0.5, 0.5, 0.1)])
def test_fractions_that_are_no_shares_are_an_error(fractions):
    with pytest.raises(ConfigError, match=r"group_fractions.* (sum to 1|must be above 0)"):
        make_sae("matryoshka", d_model=D, n_latents=F, group_fractions=fractions)


def test_a_first_prefix_without_a_latent_is_an_error():
    with pytest.raises(ConfigError, match="with 11 latents the first prefix would have none; give larger fractions"):
        make_sae("matryoshka_batch_topk", d_model=D, n_latents=F, k=2)


def test_matryoshka_is_saved_as_relu_and_its_batch_form_as_jumprelu():
    sae = unsettled(make_sae("matryoshka", d_model=D, n_latents=F, group_fractions=(0.5, 0.5)))
    assert sae.inference().cfg.architecture == "relu"
    x_ND = batch(7, D)
    torch.testing.assert_close(sae.inference()(x_ND), sae(x_ND))
    sae = unsettled(make_sae("matryoshka_batch_topk", d_model=D, n_latents=F, k=2, group_fractions=(0.5, 0.5)))
    assert sae.inference() is sae
    sae.calibrate([x_ND])
    assert sae.inference().cfg.architecture == "jumprelu"
    torch.testing.assert_close(sae.inference()(x_ND), sae(x_ND))


@pytest.mark.parametrize(("name", "start"), [("matryoshka_batch_topk", "geometric_median"), ("matryoshka", "zeros")])
def test_a_nested_sae_keeps_the_settings_of_the_one_that_is_nested(name, start):
    assert make_sae(name, d_model=4, n_latents=64).cfg.b_dec_start == start
