"""Losses, gradients and optimiser steps of dictionary_learning 0.1.0's trainers beside ours, and how far we part.

Everything runs in float64. dictionary_learning computes AuxK and L0 in float32, rescales p-annealing's coefficient in
float32 and adds 1e-6 to a norm where it projects gradients; tolerances above 1e-9 stand for these.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import torch
from side_by_side import (
    STEPS,
    D,
    F,
    K,
    N,
    assert_near,
    assert_same_gradients,
    assert_same_weights,
    batch,
    give_weights,
    gradients,
    part,
    unsettled,
)

from boardgame_sae.config import ConfigError
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.saes.sae import geometric_median
from boardgame_sae.saes.training.resample import ENCODER_SHARE, resample_dead
from boardgame_sae.saes.training.train import TrainSAEConfig, adam, lr_factor, measure, training_step

pytestmark = pytest.mark.interop
pytest.importorskip("dictionary_learning")

from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer  # noqa: E402
from dictionary_learning.trainers.gated_anneal import GatedAnnealTrainer  # noqa: E402
from dictionary_learning.trainers.gdm import GatedSAETrainer  # noqa: E402
from dictionary_learning.trainers.jumprelu import JumpReluTrainer  # noqa: E402
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer  # noqa: E402
from dictionary_learning.trainers.p_anneal import PAnnealTrainer  # noqa: E402
from dictionary_learning.trainers.standard import StandardTrainer, StandardTrainerAprilUpdate  # noqa: E402
from dictionary_learning.trainers.top_k import TopKTrainer  # noqa: E402
from dictionary_learning.trainers.top_k import geometric_median as their_geometric_median  # noqa: E402
from dictionary_learning.trainers.trainer import get_lr_schedule  # noqa: E402

TOPK = {"W_enc": "encoder.weight.T", "b_enc": "encoder.bias", "W_dec": "decoder.weight.T", "b_dec": "b_dec"}
STANDARD = {**TOPK, "b_dec": "bias"}
PLAIN = {name: name for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
JUMPRELU = {**PLAIN, "threshold": "threshold"}
GATED = {
    "W_enc": "encoder.weight.T",
    "W_dec": "decoder.weight.T",
    "b_dec": "decoder_bias",
    "b_enc": "gate_bias",
    "r_mag": "r_mag",
    "b_mag": "mag_bias",
}
GROUPS = (0.125, 0.25, 0.625)
WARMUP, THEIR_WARMUP = {"sparsity_warmup": 0.2}, {"sparsity_warmup_steps": 2}
LINEAR = {"sparsity_coefficient": 0.3, **WARMUP}
THEIR_LINEAR = {"l1_penalty": 0.3, **THEIR_WARMUP}
POWERS = {"sparsity_coefficient": 0.25, "p_start": 0.5, "p_end": 0.25, "n_updates": 2, **WARMUP}
POWERS.update(anneal_start=0.6, anneal_end=0.9)
THEIR_POWERS = {
    "initial_sparsity_penalty": 0.25,
    "p_start": 0.5,
    "p_end": 0.25,
    "n_sparsity_updates": 2,
    **THEIR_WARMUP,
}
THEIR_POWERS.update(anneal_start=6, anneal_end=9)
JUMP = {"bandwidth": 0.125, "target_l0": 5.0, "sparsity_coefficient": 2.0, **WARMUP}
THEIR_JUMP = {"bandwidth": 0.125, "target_l0": 5.0, "sparsity_penalty": 2.0, **THEIR_WARMUP}
NESTED = {"k": K, "group_fractions": GROUPS}
THEIR_NESTED = {"k": K, "group_fractions": list(GROUPS), "group_weights": [1.0] * len(GROUPS)}
"""Weights under which their Matryoshka loss is the mean over prefixes, not that divided once more."""


class Case(NamedTuple):
    """An architecture in both packages."""

    architecture: str
    own: dict[str, Any]
    """Our config's fields."""
    trainer: type
    their: dict[str, Any]
    """Their trainer's arguments."""
    layout: dict[str, str]
    """Where they keep our weights."""
    tolerance: float = 1e-9


CASES = {
    "relu": Case("relu", LINEAR, StandardTrainer, THEIR_LINEAR, STANDARD),
    "relu_april": Case("relu_april", LINEAR, StandardTrainerAprilUpdate, THEIR_LINEAR, STANDARD),
    "p_anneal, lp_p": Case("p_anneal", POWERS, PAnnealTrainer, {"sparsity_function": "Lp^p", **THEIR_POWERS}, STANDARD),
    "p_anneal, lp": Case(
        "p_anneal",
        {"penalty_norm": "lp", **POWERS},
        PAnnealTrainer,
        {"sparsity_function": "Lp", **THEIR_POWERS},
        STANDARD,
    ),
    "gated": Case("gated", LINEAR, GatedSAETrainer, THEIR_LINEAR, GATED),
    "gated_p_anneal": Case("gated_p_anneal", POWERS, GatedAnnealTrainer, THEIR_POWERS, GATED),
    "topk": Case("topk", {"k": K}, TopKTrainer, {"k": K}, TOPK),
    "batch_topk": Case("batch_topk", {"k": K}, BatchTopKTrainer, {"k": K}, TOPK),
    "matryoshka_batch_topk": Case("matryoshka_batch_topk", NESTED, MatryoshkaBatchTopKTrainer, THEIR_NESTED, PLAIN),
    "jumprelu": Case("jumprelu", JUMP, JumpReluTrainer, THEIR_JUMP, JUMPRELU, tolerance=1e-6),
}
AUXK = ("topk", "batch_topk", "matryoshka_batch_topk")


def their_trainer(case, **fields):
    """Their trainer of a case."""
    fields = {"steps": STEPS, "warmup_steps": 0, **CASES[case].their, **fields}
    return CASES[case].trainer(activation_dim=D, dict_size=F, layer=0, lm_name="none", device="cpu", **fields)


def pair(case, *, way="auto", steps=STEPS, ours_too=None, **fields):
    """Ours, their trainer with our weights, where it keeps them, and the tolerance of a case."""
    architecture, own, _, _, layout, tolerance = CASES[case]
    ours = unsettled(
        architecture, unit=architecture != "relu_april", way=way, steps=steps, **{**own, **(ours_too or {})}
    )
    trainer = their_trainer(case, **{"steps": steps, "lr": 1e-3, **fields})
    trainer.ae.double()
    give_weights(ours, trainer.ae, layout)
    return ours, trainer, layout, tolerance


def losses(ours, trainer, x_ND, step):
    """Both total losses, their gradients left in place."""
    loss, theirs = ours.loss(x_ND, step), trainer.loss(x_ND, step=step)
    loss.total.backward()
    theirs.backward()
    return loss, float(theirs.detach())


def run(ours, trainer, batches):
    """Train both, step by step at the rates that their scheduler gives; after each, its number."""
    ours.begin_training(ours.n_steps, batches[0])
    optimizer = adam(ours, trainer.lr)
    for step, x_ND in enumerate(batches):
        lr = trainer.optimizer.param_groups[0]["lr"]
        trainer.update(step, x_ND.clone())
        training_step(ours, optimizer, x_ND, step, lr)
        yield step


@pytest.mark.parametrize("way", ["dense", "sparse"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("step", [1, 5])
def test_the_loss_and_its_gradients_are_the_same(case, way, step):
    """Half way through the sparsity warm-up, and after it; JumpReLU's threshold has tests of its own."""
    ours, trainer, layout, tolerance = pair(case, way=way)
    loss, their_total = losses(ours, trainer, batch(), step)
    assert_near(their_total, loss.total.detach(), tolerance)
    assert_same_gradients(ours, trainer.ae, layout, tolerance, but=("threshold",))


@pytest.mark.parametrize("case", CASES)
def test_latents_reconstruction_and_the_parts_of_the_loss_are_the_same(case):
    ours, trainer, _, tolerance = pair(case)
    x_ND, step = batch(), 1
    loss = ours.loss(x_ND, step)
    _, x_hat_ND, z_NF, parts = trainer.loss(x_ND, step=step, logging=True)
    z_own_NF = loss.active.to_dense(loss.z)
    assert (z_own_NF > 0).any()
    assert_near(z_NF.detach(), z_own_NF.detach(), tolerance, "latents")
    assert_near(x_hat_ND.detach(), loss.x_hat_ND.detach(), tolerance, "reconstruction")
    if "mse_loss" in parts:
        assert_near(parts["mse_loss"], loss.reconstruction.detach(), tolerance, "error")
    if "aux_loss" in parts:
        assert_near(parts["aux_loss"], loss.auxiliary.detach(), tolerance, "auxiliary")
    if "scaled_lp_loss" in parts or "sparsity_coeff" in parts:
        penalty = parts.get("scaled_lp_loss", parts.get("sparsity_loss"))
        assert_near(penalty, loss.sparsity.detach(), tolerance, "sparsity")
    elif "sparsity_loss" in parts:
        assert_near(0.3 * 0.5 * parts["sparsity_loss"], loss.sparsity.detach(), tolerance, "sparsity")


@pytest.mark.parametrize("case", CASES)
def test_the_weights_are_the_same_after_one_step_and_after_five(case):
    """Projection, clipping, Adam, its betas and the decoder's norms; the rate falls from step 3 on.

    JumpReLU without its penalty, whose gradient differs.
    """
    muted = {"ours_too": {"sparsity_coefficient": 0.0}, "sparsity_penalty": 0.0} if case == "jumprelu" else {}
    ours, trainer, layout, tolerance = pair(case, decay_start=3, **muted)
    begin = {name: weight.detach().clone() for name, weight in ours.named_parameters()}
    projected_otherwise = case in (*AUXK, "jumprelu")
    for step in run(ours, trainer, [batch(seed) for seed in range(5)]):
        if step in (0, 4):
            assert_same_weights(ours, trainer.ae, layout, 2e-6 if projected_otherwise else tolerance)
    for name, weight in ours.named_parameters():
        assert (weight.detach() - begin[name]).abs().max() > 1e-3, name
    if case != "relu_april":
        torch.testing.assert_close(ours.W_dec.norm(dim=1), torch.ones(F, dtype=torch.float64))


def mark_dead(ours, trainer, dead_F):
    """Make the first latents tower, so that the dead ones, weak but mostly positive, are never among the kept."""
    with torch.no_grad():
        ours.W_enc[:, dead_F] *= 0.1
        ours.b_enc[dead_F] = 0.02
        ours.b_enc[~dead_F] += 1.0
        ours.tokens_since_fired_F[dead_F] = ours.dead_after
    trainer.num_tokens_since_fired[dead_F] = trainer.dead_feature_threshold


@pytest.mark.parametrize("n_dead", [3, 15])
@pytest.mark.parametrize("way", ["dense", "sparse"])
@pytest.mark.parametrize("case", AUXK)
def test_auxk_is_the_same(case, way, n_dead):
    """With fewer dead latents than d_model / 2, and with more. Theirs is computed in float32."""
    ours, trainer, layout, _ = pair(case, way=way, ours_too={"auxiliary_coefficient": 2.0}, auxk_alpha=2.0)
    dead_F = torch.zeros(F, dtype=torch.bool)
    dead_F[torch.arange(n_dead) * 2 + 3] = True
    mark_dead(ours, trainer, dead_F)
    give_weights(ours, trainer.ae, layout)
    x_ND = batch()
    loss, their_total = losses(ours, trainer, x_ND, 5)
    assert not loss.active.counts_F(loss.z)[dead_F].any()
    assert trainer.dead_features == n_dead and float(loss.auxiliary.detach()) > 0.01
    assert_near(their_total, loss.total.detach(), 1e-6)
    assert_near(their_total - float(loss.reconstruction.detach()), loss.auxiliary.detach(), 1e-5)
    assert_same_gradients(ours, trainer.ae, layout, 1e-6)
    own_FD, their_FD = gradients(ours)["W_dec"], part(trainer.ae, layout["W_dec"], gradient=True)
    assert own_FD[dead_F].abs().max() > 1e-3  # which the loss without AuxK would leave at zero
    assert_near(their_FD[dead_F], own_FD[dead_F], 1e-5)


@pytest.mark.parametrize("case", AUXK)
def test_a_dead_latent_that_fires_is_no_longer_dead_in_that_batch(case):
    ours, trainer, _, _ = pair(case)
    x_ND = batch()
    loss = ours.loss(x_ND)
    fired_F = loss.active.counts_F(loss.z) > 0
    ours.tokens_since_fired_F[fired_F] = ours.dead_after
    trainer.num_tokens_since_fired[fired_F] = trainer.dead_feature_threshold
    their_total = float(trainer.loss(x_ND, step=0).detach())
    assert trainer.dead_features == 0 and float(ours.loss(x_ND).auxiliary.detach()) == 0
    assert_near(their_total, ours.loss(x_ND).reconstruction.detach(), 1e-9)


def test_their_topk_calls_a_latent_alive_that_is_kept_at_zero():
    """Where fewer than k are positive the rest of the k are zeros; ours fire only above zero."""
    ours, trainer, layout, _ = pair("topk")
    with torch.no_grad():
        ours.b_enc.fill_(-100.0)
    give_weights(ours, trainer.ae, layout)
    trainer.loss(batch(), step=0)
    training_step(ours, adam(ours, 0.0), batch(), 0, 0.0)
    assert (ours.tokens_since_fired_F == N).all()
    assert K <= int((trainer.num_tokens_since_fired == 0).sum()) < F


@pytest.mark.parametrize("queue", [1, 4])
@pytest.mark.parametrize("architecture", ["p_anneal", "gated_p_anneal"])
@pytest.mark.parametrize("norm", ["lp_p", "lp"])
def test_the_exponent_falls_and_the_coefficient_follows_as_theirs(architecture, norm, queue):
    """Exponents 1, 3/4, 1/2, 1/4 at steps 4, 8, 12 and 16 of 20; weights, exponent and coefficient after each step."""
    exponents = {"p_start": 1.0, "p_end": 0.25}
    own = {**exponents, "n_updates": 4, "anneal_start": 0.2, "anneal_end": 0.8, "queue_length": queue}
    own.update(penalty_norm=norm, sparsity_coefficient=0.0625, sparsity_warmup=0.0)
    their = {**exponents, "n_sparsity_updates": 4, "anneal_start": 4, "anneal_end": 16, "sparsity_queue_length": queue}
    their.update(sparsity_function={"lp_p": "Lp^p", "lp": "Lp"}[norm], initial_sparsity_penalty=0.0625)
    case = "p_anneal, lp_p" if architecture == "p_anneal" else "gated_p_anneal"
    ours, trainer, layout, _ = pair(case, steps=20, ours_too=own, **their, sparsity_warmup_steps=0)
    assert ours.update_steps == trainer.sparsity_update_steps.tolist() == [4, 8, 12, 16]
    seen = []
    for _ in run(ours, trainer, [batch(seed) for seed in range(20)]):
        seen.append((ours.p, float(ours.coefficient)))
        assert ours.p == trainer.p
        assert_near(trainer.sparsity_coeff, ours.coefficient, 1e-6)
        assert_same_weights(ours, trainer.ae, layout, 1e-6)
    assert [p for p, _ in seen] == [1.0] * 8 + [0.75] * 4 + [0.5] * 4 + [0.25] * 4
    changes = [step + 1 for step, (a, b) in enumerate(pairwise(seen)) if a[1] != b[1]]
    assert changes == [8, 12, 16]


def test_where_the_queue_is_longer_than_a_stage_theirs_mixes_exponents_into_the_coefficient():
    """Stages of 4 steps, a queue of 10: pairs under exponents that are past stay in theirs; ours starts afresh."""
    own = {"p_start": 1.0, "p_end": 0.25, "n_updates": 4, "anneal_start": 0.2, "anneal_end": 0.8, "queue_length": 10}
    their = {"p_start": 1.0, "p_end": 0.25, "n_sparsity_updates": 4, "anneal_start": 4, "anneal_end": 16}
    own["sparsity_warmup"] = their["sparsity_warmup_steps"] = 0
    ours, trainer, _, _ = pair("p_anneal, lp_p", steps=20, ours_too=own, **their, sparsity_queue_length=10)
    before = 0.25
    for step in run(ours, trainer, [batch(seed) for seed in range(13)]):
        if step in (8, 12):
            pairs = torch.tensor(trainer.sparsity_queue, dtype=torch.float64)
            assert len(pairs) == {8: 4, 12: 8}[step]
            all_of_it, last = (rows.mean(0)[0] / rows.mean(0)[1] for rows in (pairs, pairs[-4:]))
            assert_near(trainer.sparsity_coeff, before * all_of_it, 1e-6)
            assert_near(ours.coefficient, before * last, 1e-6)
            before = float(ours.coefficient)
    assert abs(trainer.sparsity_coeff / before - 1) > 0.02


def test_where_annealing_ends_with_training_the_last_exponent_is_never_reached():
    """The reason why ours ends at 0.9: theirs stops at the last exponent but one; so does ours, if told to end at 1."""
    their = {"p_start": 1.0, "p_end": 0.25, "n_sparsity_updates": 4, "anneal_start": 2, "anneal_end": None}
    own = {"p_start": 1.0, "p_end": 0.25, "n_updates": 4, "anneal_start": 0.1}
    ours, trainer, _, _ = pair("p_anneal, lp_p", steps=20, ours_too={**own, "anneal_end": 1.0}, **their)
    settled, _, _, _ = pair("p_anneal, lp_p", steps=20, ours_too=own)
    optimizer = adam(settled, 1e-3)
    for step in run(ours, trainer, [batch(seed) for seed in range(20)]):
        training_step(settled, optimizer, batch(step), step, 1e-3)
    assert trainer.p == ours.p == 0.5
    assert settled.p == 0.25


def test_their_p_annealing_divides_by_zero_as_it_comes_and_ours_refuses_to_begin():
    _, trainer, _, _ = pair("p_anneal, lp", p_start=1.0, p_end=0.0, n_sparsity_updates=2, anneal_start=0, anneal_end=5)
    trainer.update(0, batch(0))
    with pytest.raises(ZeroDivisionError):
        trainer.update(1, batch(1))
    with pytest.raises(ConfigError, match="p_end"):
        make_sae("p_anneal", d_model=D, n_latents=F, p_end=0.0)


def near_threshold(ours, x_ND):
    """int (F,), (F,), (F,): pre-activations up to half a bandwidth below, and above, their threshold; and all below."""
    distance_NF = x_ND @ ours.W_enc + ours.b_enc - ours.threshold
    half = ours.cfg.bandwidth / 2
    off_NF = distance_NF <= 0
    return ((distance_NF > -half) & off_NF).sum(0), ((distance_NF < half) & ~off_NF).sum(0), off_NF.sum(0)


@pytest.mark.parametrize("way", ["dense", "sparse"])
def test_their_jumprelu_thresholds_get_half_of_ours_from_l0(way):
    """They step the latents after the jump, where those below their threshold are 0: the kernel's lower half is gone.

    But where the threshold itself is less than half a bandwidth from 0, every latent that is off counts as near it.
    """
    x_ND = batch(n=4096)
    at_threshold = {}
    for coefficient in (0.0, 2.0):
        muted = {"ours_too": {"sparsity_coefficient": coefficient}, "sparsity_penalty": coefficient}
        ours, trainer, layout, _ = pair("jumprelu", way=way, **muted)
        loss, their_total = losses(ours, trainer, x_ND, 5)
        assert_near(their_total, loss.total.detach(), 1e-6)
        assert_same_gradients(ours, trainer.ae, layout, 1e-6, but=("threshold",) if coefficient else ())
        at_threshold[coefficient] = gradients(ours)["threshold"], part(trainer.ae, "threshold", gradient=True)
    own_F, their_F = (at_threshold[2.0][who] - at_threshold[0.0][who] for who in (0, 1))
    below_F, above_F, off_F = near_threshold(ours, x_ND)
    each = -2.0 * 2 * (loss.active.l0(loss.z) / 5.0 - 1) / 5.0 / len(x_ND) / 0.125
    low_F = ours.threshold.detach() < 0.125 / 2
    assert 1 < low_F.sum() < F / 2 and below_F.sum() > 1000
    assert_near(own_F, each * (below_F + above_F), 1e-5)
    assert_near(their_F, each * (above_F + torch.where(low_F, off_F, 0)), 1e-5)
    assert float(their_F[~low_F].sum() / own_F[~low_F].sum()) == pytest.approx(0.5, abs=0.02)
    assert float(their_F[low_F].sum() / own_F[low_F].sum()) > 10


def test_their_jumprelu_thresholds_go_below_zero_and_ours_do_not():
    ours, trainer, layout, _ = pair("jumprelu", lr=0.05, ours_too={"target_l0": 40.0}, target_l0=40.0)
    with torch.no_grad():
        ours.threshold.fill_(0.001)
    give_weights(ours, trainer.ae, layout)
    for _ in run(ours, trainer, [batch(seed) for seed in range(5)]):
        assert ours.threshold.min() >= 0
    assert trainer.ae.threshold.min() < -0.01
    _, _, z_NF, _ = trainer.loss(batch(), step=5, logging=True)
    assert z_NF.min() < 0  # and negative latents with them


@pytest.mark.parametrize("n_dead", [0, 15])
def test_their_matryoshka_divides_twice_by_the_number_of_prefixes(n_dead):
    """Their error is the n-th part of the mean that it is called; AuxK, not divided, weighs n times as much in it."""
    ours, trainer, layout, _ = pair("matryoshka_batch_topk", group_weights=None)
    dead_F = torch.arange(F) >= F - n_dead
    mark_dead(ours, trainer, dead_F)
    give_weights(ours, trainer.ae, layout)
    x_ND, n = batch(), len(GROUPS)
    loss = ours.loss(x_ND)
    their = trainer.loss(x_ND, step=0)
    assert (float(loss.auxiliary.detach()) > 0) == (n_dead > 0)
    assert_near(their.detach(), (loss.reconstruction / n + loss.auxiliary).detach(), 1e-9 if not n_dead else 1e-6)
    (loss.reconstruction / n + loss.auxiliary).backward()
    their.backward()
    assert_same_gradients(ours, trainer.ae, layout, 1e-9 if not n_dead else 1e-6)


@pytest.mark.parametrize("case", ["relu", "p_anneal, lp_p"])
def test_where_resampling_parts(case):
    """One dead latent and one activation, so that there is no choice: directions are the same, lengths are not.

    Their standard trainer gives the encoder a column as long as the activation (times a fifth of the living ones'
    norm); their p-annealing trainer changes no weight at all.
    """
    ours, trainer, layout, _ = pair(case, resample_steps=4, warmup_steps=1)
    optimizer = adam(ours, 1e-3)
    with torch.no_grad():
        ours.b_dec.zero_()  # from which we count, and they do not
    give_weights(ours, trainer.ae, layout)
    training_step(ours, optimizer, batch(), 0, 1e-3)
    with torch.no_grad():
        ours.b_dec.zero_()
    give_weights(ours, trainer.ae, layout)
    before = {name: part(trainer.ae, path).clone() for name, path in layout.items()}
    dead_F, x_1D = torch.arange(F) == 7, batch(1, n=1)
    trainer.update(1, batch())  # Adam's state comes into being
    give_weights(ours, trainer.ae, layout)
    trainer.resample_neurons(dead_F.clone(), x_1D)
    if case == "p_anneal, lp_p":
        assert all((part(trainer.ae, path) == before[name]).all() for name, path in layout.items())
    assert resample_dead(ours, dead_F, x_1D, optimizer, seed=(0, 0)) == 1
    own_D, length = ours.W_enc[:, 7].detach(), float(x_1D.norm())
    living = float(before["W_enc"].norm(dim=0)[~dead_F].mean())
    assert float(own_D.norm()) == pytest.approx(ENCODER_SHARE * living)
    if case == "relu":
        assert length > 1.5
        assert_near(part(trainer.ae, layout["W_enc"])[:, 7], length * own_D, 1e-9)
        assert_near(part(trainer.ae, layout["W_dec"])[7], ours.W_dec[7].detach(), 1e-9)
        assert part(trainer.ae, layout["b_enc"])[7] == ours.b_enc[7] == 0
        their_moment_DF = trainer.optimizer.state[trainer.ae.encoder.weight]["exp_avg"].T
        for moment_DF in (their_moment_DF, optimizer.moments(ours.W_enc)[0]):
            assert not moment_DF[:, 7].any() and moment_DF[:, 6].any()


def test_the_rate_is_theirs_but_for_a_first_step_at_rate_zero():
    """20 steps, 4 of warm-up, 5 of decay: their warm-up is a step behind."""
    cfg = TrainSAEConfig(n_activations=20 * N, batch_size=N, lr_warmup=0.2, lr_decay=0.25)
    own = [lr_factor(step, cfg) for step in range(20)]
    their = [get_lr_schedule(20, warmup_steps=4, decay_start=15)(step) for step in range(20)]
    assert own[4:] == pytest.approx(their[4:])
    assert own[:4] == pytest.approx(their[1:5]) == [0.25, 0.5, 0.75, 1.0]
    assert their[0] == 0 and own[15:] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])


def test_the_geometric_median_is_the_same():
    points_ND = batch(4, n=200).exp()
    assert_near(geometric_median(points_ND), their_geometric_median(points_ND), 1e-9)
    assert (geometric_median(points_ND) - points_ND.mean(0)).norm() > 1


@pytest.mark.parametrize("case", CASES)
def test_training_begins_with_weights_of_the_same_lengths(case):
    """But for the standard SAE's decoder, whose first step brings it to norm 1, where ours begins; and its b_enc."""
    architecture, own_fields, layout = CASES[case].architecture, CASES[case].own, CASES[case].layout
    ours, trainer = make_sae(architecture, d_model=D, n_latents=F, **own_fields), their_trainer(case)
    for name, path in layout.items():
        their, own = part(trainer.ae, path), ours.get_parameter(name).detach()
        axis = {"W_enc": 0, "W_dec": 1}.get(name)
        if name == "b_enc" and layout is STANDARD:
            assert 0 < their.abs().max() <= D**-0.5 and not own.any()
        elif name == "W_dec" and architecture in ("relu", "p_anneal"):
            torch.testing.assert_close(their.norm(dim=1), own.norm(dim=1) * 0.1)
        elif axis is not None:
            torch.testing.assert_close(their.norm(dim=axis), own.norm(dim=axis))
        else:
            torch.testing.assert_close(their, own)
    torch.testing.assert_close(
        torch.nn.functional.cosine_similarity(part(trainer.ae, layout["W_enc"]).T, part(trainer.ae, layout["W_dec"])),
        torch.ones(F),
    )


@pytest.mark.parametrize("case", ["batch_topk", "matryoshka_batch_topk"])
def test_a_short_training_leaves_their_batch_wise_topk_dense_and_ours_calibrated(case):
    ours, trainer, layout, _ = pair(case)
    for _ in run(ours, trainer, [batch(seed) for seed in range(5)]):
        pass
    x_ND = batch(7, n=2000)
    assert float(trainer.ae.threshold) == -1
    dense = float((trainer.ae.encode(x_ND) > 0).sum()) / len(x_ND)
    assert dense > 3 * K
    ours.calibrate([x_ND])
    assert measure(ours.inference(), [x_ND])["l0"] == pytest.approx(K, rel=0.01)
    assert_same_weights(ours, trainer.ae, layout, 1e-5)


def test_a_short_training_of_topk_ends_where_theirs_does():
    """300 steps from one start on a hidden dictionary, in float32: the same explained variance and L0."""
    generator = torch.Generator().manual_seed(0)
    atoms_FD = torch.nn.functional.normalize(torch.randn(24, D, generator=generator), dim=1)

    def activations(n):
        on_NF = torch.rand(n, 24, generator=generator) < 0.1
        return (on_NF * (0.5 + torch.rand(n, 24, generator=generator))) @ atoms_FD

    batches = [activations(256) for _ in range(300)]
    held_ND = activations(4000)
    ours = make_sae("topk", d_model=D, n_latents=F, k=3)
    trainer = TopKTrainer(
        300, D, F, k=3, layer=0, lm_name="none", device="cpu", lr=3e-3, warmup_steps=10, decay_start=240
    )
    give_weights(ours, trainer.ae, TOPK)
    before = measure(ours, [held_ND])["explained_variance"]
    for _ in run(ours, trainer, batches):
        pass
    own = measure(ours, [held_ND])
    with torch.no_grad():
        x_hat_ND, z_NF = trainer.ae(held_ND, output_features=True)
    spread = (held_ND - held_ND.mean(0)).pow(2).sum()
    assert own["explained_variance"] == pytest.approx(float(1 - (held_ND - x_hat_ND).pow(2).sum() / spread), abs=0.01)
    assert own["l0"] == pytest.approx(float((z_NF > 0).sum()) / len(held_ND), abs=0.03)
    assert own["explained_variance"] > max(0.8, before + 0.2)
