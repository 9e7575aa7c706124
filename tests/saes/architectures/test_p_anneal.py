import inspect
import itertools

import by_hand
import numpy as np
import pytest
import torch
from by_hand import batch, unsettled

from boardgame_sae.config import ConfigError
from boardgame_sae.saes.architectures.p_anneal import power_sum, powers
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.registry import make_sae

D, F = 8, 20


def power_sum_by_hand(z_NF, p):
    return sum(float(value) ** p for row in z_NF for value in row if value > 0) / len(z_NF)


def trained(n_steps, lr=2e-3, **fields):
    """A short training by hand: for each step latents, exponent and coefficient before and after it."""
    sae = make_sae("p_anneal", d_model=D, n_latents=F, **{"sparsity_coefficient": 0.05, **fields})
    with torch.no_grad():
        sae.W_enc *= 5
    optimizer = torch.optim.Adam(sae.parameters(), lr=lr)
    history = []
    generator = torch.Generator().manual_seed(0)
    for step in range(n_steps):
        x_ND = torch.randn(32, D, generator=generator)
        if step == 0:
            sae.begin_training(n_steps, x_ND)
        loss = sae.loss(x_ND, step)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        sae.constrain()
        before = (sae.p, float(sae.coefficient))
        sae.after_step(step, loss)
        history.append(
            (loss.active.to_dense(loss.z).detach().double().numpy(), before, (sae.p, float(sae.coefficient)), loss)
        )
    return sae, history


def schedule(n_steps, start, end, n_updates, p_start=1.0, p_end=0.2):
    """[(step, p)] from the definition."""
    steps = [int((start + (end - start) * c / (n_updates - 1)) * n_steps + 1e-9) for c in range(n_updates)]
    return list(zip(steps, np.linspace(p_start, p_end, n_updates).tolist(), strict=True))


SETTINGS = [
    {"n_steps": 120, "anneal_start": 0.2, "anneal_end": 0.9, "n_updates": 5, "queue_length": 10},
    {"n_steps": 120, "anneal_start": 0.2, "anneal_end": 0.9, "n_updates": 5, "queue_length": 1},
    {"n_steps": 60, "anneal_start": 0.0, "anneal_end": 0.95, "n_updates": 4, "queue_length": 7},
    {"n_steps": 100, "anneal_start": 0.25, "anneal_end": 0.75, "n_updates": 11, "queue_length": 10},  # shorter gaps
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_exponent_takes_its_values_at_the_update_steps_and_ends_at_p_end(settings):
    settings = dict(settings)
    n_steps = settings.pop("n_steps")
    sae, history = trained(n_steps, **settings)
    updates = schedule(n_steps, settings["anneal_start"], settings["anneal_end"], settings["n_updates"])
    assert sae.update_steps == [step for step, _ in updates]
    for step, (_, _, (p, _), _) in enumerate(history):
        assert p == pytest.approx([1.0, *(p for at, p in updates if at <= step)][-1], abs=1e-12), step
    assert sae.p == 0.2
    assert history[updates[-1][0] - 1][2][0] > 0.2


@pytest.mark.parametrize("settings", SETTINGS)
def test_at_every_update_the_coefficient_is_rescaled_by_the_mean_penalties_of_the_last_batches(settings):
    settings = dict(settings)
    n_steps, queue_length = settings.pop("n_steps"), settings["queue_length"]
    _, history = trained(n_steps, **settings)
    updates = schedule(n_steps, settings["anneal_start"], settings["anneal_end"], settings["n_updates"])
    factors = {updates[0][0]: 1.0}  # the first update only sets out
    for (before, p), (at, next_p) in itertools.pairwise(updates):
        batches = [history[step][0] for step in range(max(before + 1, at - queue_length + 1), at + 1)]
        now = np.mean([power_sum_by_hand(z_NF, p) for z_NF in batches])
        then = np.mean([power_sum_by_hand(z_NF, next_p) for z_NF in batches])
        factors[at] = now / then
    assert max(abs(np.log(factor)) for factor in factors.values()) > 0.05
    for step, (_, (_, old), (_, new), _) in enumerate(history):
        assert new == pytest.approx(old * factors.get(step, 1.0), rel=1e-4), step


def test_the_penalty_does_not_jump_where_the_exponent_changes():
    """Without the rescale it would: by the ratio of the two power sums, which is far from 1."""
    _, history = trained(150, anneal_start=0.3, anneal_end=0.9, n_updates=4)
    changes = 0
    for z_NF, (p, coefficient), (next_p, next_coefficient), _ in history:
        if p != next_p:
            changes += 1
            before, after = power_sum_by_hand(z_NF, p), power_sum_by_hand(z_NF, next_p)
            assert abs(np.log(after / before)) > 0.1
            assert next_coefficient * after == pytest.approx(coefficient * before, rel=0.03)
    assert changes == 3


def test_the_penalty_in_the_loss_is_the_coefficient_in_force_times_the_power_sum():
    _, history = trained(100, anneal_start=0.2, anneal_end=0.8, n_updates=3, sparsity_warmup=0.0)
    for z_NF, (p, coefficient), _, loss in history:
        assert loss.sparsity.item() == pytest.approx(coefficient * power_sum_by_hand(z_NF, p), rel=1e-4)


def test_updates_that_fall_on_one_step_are_each_rescaled():
    sae, history = trained(6, anneal_start=0.3, anneal_end=0.9, n_updates=9)
    assert len(set(sae.update_steps)) < len(sae.update_steps)
    assert sae.p == 0.2
    for z_NF, (p, coefficient), (next_p, next_coefficient), _ in history:
        kept = next_coefficient * power_sum_by_hand(z_NF, next_p) / (coefficient * power_sum_by_hand(z_NF, p))
        assert kept == pytest.approx(1, rel=0.1)


def test_the_defaults_reach_p_end_in_any_number_of_steps():
    for n_steps in (1, 2, 7, 50):
        assert trained(n_steps)[0].p == 0.2


def test_batches_without_any_latent_on_leave_the_coefficient_as_it_is():
    sae = make_sae("p_anneal", d_model=D, n_latents=F)
    with torch.no_grad():
        sae.b_enc -= 100
    x_ND = torch.randn(4, D)
    sae.begin_training(20, x_ND)
    for step in range(20):
        sae.after_step(step, sae.loss(x_ND, step))
    assert sae.p == 0.2
    assert float(sae.coefficient) == pytest.approx(sae.cfg.sparsity_coefficient)


@pytest.mark.parametrize("p", [1.0, 0.9, 0.5, 0.2, 2.0])
def test_power_sum_and_its_gradient_equal_the_definition_in_float64(p):
    z_NF = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    z_NF[torch.rand(6, 5, generator=torch.Generator().manual_seed(1)) < 0.4] = 0
    z_NF[2] = 0
    z_NF.requires_grad_(True)
    total = power_sum(z_NF, p)
    expected = 6 * power_sum_by_hand(z_NF.detach().double().numpy(), p)
    assert total.item() == pytest.approx(expected, rel=1e-5)
    assert powers(z_NF, p).sum().item() == pytest.approx(expected, rel=1e-5)
    total.backward()
    for n, f in np.ndindex(6, 5):
        value = float(z_NF.detach()[n, f])
        if value > 0:
            assert float(z_NF.grad[n, f]) == pytest.approx(p * value ** (p - 1), rel=1e-4)
        elif p != 1:
            assert z_NF.grad[n, f] == 0


def test_the_power_sum_of_nothing_is_zero_with_zero_gradient():
    z_NF = torch.zeros(3, 4, requires_grad=True)
    power_sum(z_NF, 0.2).backward()
    assert power_sum(z_NF, 0.2).item() == 0
    assert z_NF.grad.abs().sum() == 0


def test_where_an_sae_stands_in_its_annealing_is_in_its_state():
    sae, _ = trained(60, anneal_start=0.2, anneal_end=0.9, n_updates=8)
    again = make_sae("p_anneal", d_model=D, n_latents=F, n_updates=8)
    again.load_state_dict(sae.state_dict())
    assert (again.p, float(again.coefficient)) == (sae.p, float(sae.coefficient))
    assert torch.equal(again.queue_2Q, sae.queue_2Q)
    assert float(sae.coefficient) != pytest.approx(0.05)


def test_an_annealed_sae_is_saved_as_relu_and_says_how_it_was_trained(tmp_path):
    sae, _ = trained(20, n_updates=8)
    sae.save(tmp_path)
    again, x_ND = load_sae(tmp_path), torch.randn(9, D)
    assert again.cfg.architecture == "relu"
    assert (again.trained_as["architecture"], again.trained_as["n_updates"]) == ("p_anneal", 8)
    assert torch.equal(again.encode(x_ND), sae.encode(x_ND))


@pytest.mark.parametrize("norm", ["lp_p", "lp"])
@pytest.mark.parametrize("stage", [-1, 0, 1, 2, 3])
def test_loss_and_gradients_equal_the_definition_at_every_stage(norm, stage):
    """One position has no latent on: nothing may come of its root."""
    fields = {"penalty_norm": norm, "exponents": (2.0, 1.0, 0.5, 0.2), "sparsity_warmup": 0.2}
    sae, x_ND = unsettled(make_sae("p_anneal", d_model=4, n_latents=8, **fields)), batch(7, 4)
    with torch.no_grad():
        sae.W_enc[:, 0] = sae.W_enc[0] = 0
        sae.W_enc[0] = -1
        sae.b_enc.fill_(0.1)
        x_ND[2] = sae.b_dec + torch.tensor([9.0, 0, 0, 0])
    sae.begin_training(100, x_ND)
    sae.stage.fill_(stage)
    sae.coefficient.fill_(0.07)
    p = (2.0, 2.0, 1.0, 0.5, 0.2)[stage + 1]

    def definition(x, w):
        z = by_hand.relu(by_hand.pre_activations(x, w))
        error = by_hand.squared_error(x, by_hand.decoded(z, w))
        return error, 0.5 * 0.07 * by_hand.power_penalty(z, p, norm), 0.0, z

    z_NF = by_hand.compare(sae, x_ND, 10, definition)
    assert not z_NF[2].any()
    assert z_NF.any(1).sum() > 3


def test_exponents_may_be_given_one_by_one():
    sae, history = trained(100, exponents=(1.0, 0.8, 0.25), anneal_start=0.2, anneal_end=0.6)
    assert sae.update_steps == [20, 40, 60]
    ps = [after[0] for _, _, after, _ in history]
    assert ps == [1.0] * 40 + [0.8] * 20 + [0.25] * 40
    for step in (40, 60):
        batches = [z_NF for z_NF, *_ in history[step - 9 : step + 1]]
        p, next_p = history[step][1][0], history[step][2][0]
        factor = np.mean([power_sum_by_hand(z, p) for z in batches])
        factor /= np.mean([power_sum_by_hand(z, next_p) for z in batches])
        assert history[step][2][1] == pytest.approx(history[step][1][1] * factor, rel=1e-4)
    assert [step for step, (_, a, b, _) in enumerate(history) if a[1] != b[1]] == [40, 60]


def test_with_the_root_the_coefficient_is_rescaled_by_means_of_roots():
    _, history = trained(60, penalty_norm="lp", exponents=(1.0, 0.5), anneal_start=0.2, anneal_end=0.5, queue_length=4)

    def root(z_NF, p):
        return np.mean([sum(value**p for value in row if value > 0) ** (1 / p) for row in z_NF])

    batches = [z_NF for z_NF, *_ in history[27:31]]
    factor = np.mean([root(z, 1.0) for z in batches]) / np.mean([root(z, 0.5) for z in batches])
    assert history[30][2][1] == pytest.approx(0.05 * factor, rel=1e-4)
    assert factor < 0.5


@pytest.mark.parametrize("exponents", [(1.0,), (1.0, 0.0), (2.5, 1.0), (1.0, -0.5)])
def test_exponents_that_cannot_be_are_an_error(exponents):
    with pytest.raises(ConfigError, match=r"exponents.* (each above 0 and at most 2|must be above 0)"):
        make_sae("p_anneal", d_model=D, n_latents=F, exponents=exponents)


@pytest.mark.parametrize(
    "fields",
    [
        {"p_end": 0.0},
        {"p_end": 1.5},
        {"anneal_start": 0.9, "anneal_end": 0.3},
        {"anneal_end": 1.1},
        {"n_updates": 1},
        {"queue_length": 0},
    ],
)
def test_a_schedule_that_cannot_be_is_an_error(fields):
    with pytest.raises(ConfigError, match=r"must (obey|be) "):
        make_sae("p_anneal", d_model=D, n_latents=F, **fields)


@pytest.mark.interop
def test_the_coefficient_follows_dictionary_learnings():
    peer = pytest.importorskip("dictionary_learning.trainers.p_anneal")
    n_steps, n_updates = 80, 5
    settings = {
        "activation_dim": D,
        "dict_size": F,
        "layer": 0,
        "lm_name": "none",
        "steps": n_steps,
        "lr": 1e-3,
        "warmup_steps": 1,
        "sparsity_warmup_steps": None,
        "decay_start": None,
        "anneal_start": 16,
        "anneal_end": 64,
        "sparsity_function": "Lp^p",
        "initial_sparsity_penalty": 0.05,
        "p_start": 1,
        "p_end": 0.2,
        "n_sparsity_updates": n_updates,
        "sparsity_queue_length": 10,
        "device": "cpu",
    }
    taken = inspect.signature(peer.PAnnealTrainer).parameters
    theirs = peer.PAnnealTrainer(**{name: value for name, value in settings.items() if name in taken})
    ours = make_sae(
        "p_anneal",
        d_model=D,
        n_latents=F,
        sparsity_coefficient=0.05,
        anneal_start=0.2,
        anneal_end=0.8,
        n_updates=n_updates,
        sparsity_warmup=0.0,
    )
    x_ND = torch.randn(32, D, generator=torch.Generator().manual_seed(0))
    ours.begin_training(n_steps, x_ND)
    with torch.no_grad():
        ours.W_enc.copy_(theirs.ae.encoder.weight.T)
        ours.W_dec.copy_(theirs.ae.decoder.weight.T)
        ours.b_enc.copy_(theirs.ae.encoder.bias)
    for step in range(n_steps):
        x_ND = torch.randn(32, D, generator=torch.Generator().manual_seed(step))
        with torch.no_grad():
            theirs.loss(x_ND, step)
            ours.after_step(step, ours.loss(x_ND, step))
        assert ours.p == pytest.approx(float(theirs.p), abs=1e-6)
        assert float(ours.coefficient) == pytest.approx(float(theirs.sparsity_coeff), rel=1e-4)
