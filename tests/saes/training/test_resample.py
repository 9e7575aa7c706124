import by_hand
import numpy as np
import pytest
import torch
from by_hand import batch

from boardgame_sae.saes.registry import make_sae
from boardgame_sae.saes.training.resample import ENCODER_SHARE, resample_dead
from boardgame_sae.saes.training.train import adam, training_step

D, F, DEAD = 6, 16, [1, 4, 9, 15]
NAMES = ("relu", "relu_april", "p_anneal", "gated", "gated_p_anneal", "matryoshka")


def trained(name="relu", dead=DEAD, n_steps=5, **fields):
    """An SAE with some latents that never fire, its optimiser and a batch, after some steps."""
    if name == "matryoshka":
        fields["group_fractions"] = (0.5, 0.5)
    sae = by_hand.unsettled(make_sae(name, d_model=D, n_latents=F, **fields))
    sae.constrain()
    optimizer, x_ND = adam(sae, 1e-2), batch(40, D) + 1
    sae.begin_training(100, x_ND)
    for step in range(n_steps):
        training_step(sae, optimizer, x_ND + 0.01 * step, step, 1e-2)
    with torch.no_grad():
        sae.b_enc[dead] = -100
    for weight in sae.parameters():
        for moment in optimizer.moments(weight):
            moment += 0.25
    sae.tokens_since_fired_F[:] = 3
    sae.tokens_since_fired_F[dead] = 1000
    return sae, optimizer, x_ND


def copies(sae, optimizer):
    weights = {name: weight.detach().clone() for name, weight in sae.named_parameters()}
    moments = {
        (name, key): moment.clone()
        for name, weight in sae.named_parameters()
        for key, moment in enumerate(optimizer.moments(weight))
    }
    assert len(moments) == 2 * len(weights)
    return weights, moments


def by_latent(name, tensor):
    return tensor.T if name == "W_enc" else tensor


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("subtract", [True, False])
def test_dead_latents_get_new_weights_and_no_moments_and_the_living_keep_theirs(name, subtract):
    sae, optimizer, x_ND = trained(name, subtract_b_dec=subtract)
    weights, moments = copies(sae, optimizer)
    assert resample_dead(sae, sae.dead_F(1000), x_ND, optimizer, seed=(0, 1)) == len(DEAD)
    alive = [f for f in range(F) if f not in DEAD]
    now, now_moments = copies(sae, optimizer)
    shifted_ND = x_ND - weights["b_dec"] if subtract else x_ND
    directions_ND = shifted_ND / shifted_ND.norm(dim=1, keepdim=True)
    chosen = [int((directions_ND @ now["W_dec"][f]).argmax()) for f in DEAD]
    assert len(set(chosen)) == len(DEAD)  # drawn without repeat
    norm = ENCODER_SHARE * weights["W_enc"][:, alive].norm(dim=0).mean()
    torch.testing.assert_close(now["W_dec"][DEAD], directions_ND[chosen])
    torch.testing.assert_close(now["W_enc"][:, DEAD], norm * directions_ND[chosen].T)
    for key in weights:
        if key == "b_dec":
            assert torch.equal(now[key], weights[key])
            continue
        assert torch.equal(by_latent(key, now[key])[alive], by_latent(key, weights[key])[alive]), key
        if key not in ("W_dec", "W_enc"):
            assert not now[key][DEAD].any(), key
    for (key, moment), before in moments.items():
        after = now_moments[key, moment]
        if key == "b_dec":
            assert torch.equal(after, before)
        else:
            assert not by_latent(key, after)[DEAD].any(), (key, moment)
            assert torch.equal(by_latent(key, after)[alive], by_latent(key, before)[alive])
            assert before.any()
    assert sae.tokens_since_fired_F.tolist() == [0 if f in DEAD else 3 for f in range(F)]
    assert sae.W_enc.stride() == (1, D)
    assert (sae.encode(x_ND)[:, DEAD] > 0).any(0).all()


def test_activations_are_drawn_in_proportion_to_their_squared_error():
    sae, optimizer, x_ND = trained(dead=[4])
    x_ND[:10] *= 4
    error_N = (x_ND - sae(x_ND)).pow(2).sum(1).detach().numpy()
    counts_N, n_draws = np.zeros(40), 800
    unit_ND = (x_ND - sae.b_dec) / (x_ND - sae.b_dec).norm(dim=1, keepdim=True)
    for draw in range(n_draws):
        dead_F = torch.arange(F) == 4
        with torch.no_grad():
            sae.b_enc[4] = -100  # so that the error is that of before
        resample_dead(sae, dead_F, x_ND, optimizer, seed=(0, draw))
        counts_N[int((unit_ND @ sae.W_dec[4]).argmax())] += 1
    expected_N = n_draws * error_N / error_N.sum()
    assert ((counts_N - expected_N) ** 2 / expected_N).sum() < 80  # chi-squared, 39 degrees: p < 1e-4
    norm_N = n_draws * np.sqrt(error_N) / np.sqrt(error_N).sum()
    assert ((counts_N - norm_N) ** 2 / norm_N).sum() > 100  # nor in proportion to its root


def test_the_draw_depends_on_the_seed_alone():
    found = []
    for seed in ((0, 1), (0, 1), (0, 2), (1, 1)):
        sae, optimizer, x_ND = trained()
        resample_dead(sae, sae.dead_F(1000), x_ND, optimizer, seed=seed)
        found.append(sae.W_dec.detach())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[3])


def test_where_no_latent_is_dead_or_no_activation_misses_anything_nothing_changes():
    sae, optimizer, x_ND = trained()
    weights, moments = copies(sae, optimizer)
    assert resample_dead(sae, sae.dead_F(2000), x_ND, optimizer, seed=(0, 1)) == 0
    exact_ND = sae.b_dec.detach().expand(5, D)
    with torch.no_grad():
        sae.b_enc -= 1000
    assert resample_dead(sae, sae.dead_F(1000), exact_ND, optimizer, seed=(0, 1)) == 0
    weights["b_enc"] -= 1000
    now, now_moments = copies(sae, optimizer)
    assert all(torch.equal(now[key], weights[key]) for key in weights)
    assert all(torch.equal(now_moments[key], moments[key]) for key in moments)


def test_of_more_dead_latents_than_activations_as_many_as_there_are_activations_are_resampled():
    sae, optimizer, x_ND = trained()
    assert resample_dead(sae, sae.dead_F(1000), x_ND[:3], optimizer, seed=(0, 1)) == 3
    assert (sae.tokens_since_fired_F == 0).sum() == 3
    assert (sae.tokens_since_fired_F == 1000).sum() == 1


def test_where_all_are_dead_the_norm_is_that_of_all():
    sae, optimizer, x_ND = trained()
    norm = ENCODER_SHARE * sae.W_enc.detach().norm(dim=0).mean()
    assert resample_dead(sae, torch.ones(F, dtype=torch.bool), x_ND, optimizer, seed=(0, 1)) == F
    torch.testing.assert_close(sae.W_enc.norm(dim=0), norm.expand(F))


def test_before_the_first_step_there_are_no_moments_to_forget():
    sae, x_ND = by_hand.unsettled(make_sae("relu", d_model=D, n_latents=F)), batch(40, D)
    assert resample_dead(sae, torch.arange(F) < 3, x_ND, adam(sae, 1e-2), seed=(0, 1)) == 3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("every", [0, 6])
def test_in_a_training_resampling_revives_latents_that_would_stay_dead(name, every):
    fields = {"group_fractions": (0.5, 0.5)} if name == "matryoshka" else {}
    sae = make_sae(name, d_model=D, n_latents=F, resample_every=every, sparsity_coefficient=0.02, **fields)
    with torch.no_grad():
        sae.b_enc[DEAD] = -100
        if hasattr(sae, "b_mag"):
            sae.b_mag[DEAD] = -100
    optimizer, alive = adam(sae, 1e-3), []
    sae.begin_training(20, batch(40, D).float())
    for step in range(20):
        before = sae.W_dec.detach().clone()
        loss = training_step(sae, optimizer, batch(40, D, seed=step).float(), step, 1e-3)
        alive.append(bool((loss.active.to_dense(loss.z)[:, DEAD] > 0).any(0).all()))
        jumped_F = (sae.W_dec - before).norm(dim=1) > 0.1
        # due at 6, 12, 18: latents silent for 3 steps
        assert jumped_F.any() == (step == 6 and every == 6) or step in (12, 18)
    assert not any(alive[:7])
    assert all(alive[7:]) if every else not any(alive)


def test_a_latent_is_resampled_after_half_the_time_between_two_resamplings():
    sae, x_ND = by_hand.unsettled(make_sae("relu", d_model=D, n_latents=F, resample_every=6)), batch(40, D)
    optimizer = adam(sae, 1e-2)
    sae.begin_training(100, x_ND)
    sae.tokens_since_fired_F[:] = 119  # one token less than three batches
    sae.tokens_since_fired_F[2] = 120
    for step in (0, 5, 7):
        sae.refresh(step, x_ND, optimizer)
        assert sae.tokens_since_fired_F[2] == 120
    sae.refresh(6, x_ND, optimizer)
    assert sae.tokens_since_fired_F.tolist() == [0 if f == 2 else 119 for f in range(F)]
