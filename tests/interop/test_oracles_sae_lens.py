"""Losses, gradients and optimiser steps of SAELens 6.54's training SAEs beside ours, and how far we part.

Everything runs in float64; only JumpReLU's threshold, which SAELens keeps in float32 always, is less exact.
"""

import copy

import pytest
import torch
from side_by_side import (
    D,
    F,
    K,
    assert_near,
    assert_same_gradients,
    assert_same_weights,
    batch,
    give_weights,
    gradients,
    part,
    unsettled,
)

from boardgame_sae.saes.registry import make_sae
from boardgame_sae.saes.sparse.autograd import drop_parallel
from boardgame_sae.saes.training.train import adam, measure, training_step

pytestmark = pytest.mark.interop
pytest.importorskip("sae_lens")

from sae_lens.config import SAETrainerConfig  # noqa: E402
from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig  # noqa: E402
from sae_lens.saes.gated_sae import GatedTrainingSAE, GatedTrainingSAEConfig  # noqa: E402
from sae_lens.saes.jumprelu_sae import JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig  # noqa: E402
from sae_lens.saes.matryoshka_batchtopk_sae import (  # noqa: E402
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
)
from sae_lens.saes.sae import TrainStepInput  # noqa: E402
from sae_lens.saes.standard_sae import StandardTrainingSAE, StandardTrainingSAEConfig  # noqa: E402
from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig  # noqa: E402
from sae_lens.training.sae_trainer import SAETrainer  # noqa: E402

PLAIN = {name: name for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
GATED = {**PLAIN, "b_enc": "b_gate", "r_mag": "r_mag", "b_mag": "b_mag"}
JUMPRELU = {**PLAIN, "threshold": "threshold"}
ENDS = (5, 15, 40)
FRACTIONS = (0.125, 0.25, 0.625)
SAE_CLASSES = {
    StandardTrainingSAEConfig: StandardTrainingSAE,
    GatedTrainingSAEConfig: GatedTrainingSAE,
    JumpReLUTrainingSAEConfig: JumpReLUTrainingSAE,
    TopKTrainingSAEConfig: TopKTrainingSAE,
    BatchTopKTrainingSAEConfig: BatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig: MatryoshkaBatchTopKTrainingSAE,
}
WAYS = pytest.mark.parametrize("way", ["dense", "sparse"])


def twin(ours, config_class, layout=PLAIN, **fields):
    """Their training SAE with our weights."""
    theirs = SAE_CLASSES[config_class](config_class(d_in=D, d_sae=F, dtype="float64", **fields))
    give_weights(ours, theirs, layout)
    return theirs


def forward(theirs, x_ND, dead_F=None, **coefficients):
    """Their training loss and its parts."""
    given = TrainStepInput(
        sae_in=x_ND, coefficients=coefficients, dead_neuron_mask=dead_F, n_training_steps=0, is_logging_step=False
    )
    return theirs.training_forward_pass(given)


def both(ours, theirs, x_ND, dead_F=None, **coefficients):
    """Our loss and their output, the gradients left in place."""
    loss, out = ours.loss(x_ND, 5), forward(theirs, x_ND, dead_F, **coefficients)
    loss.total.backward()
    out.loss.backward()
    return loss, out


def assert_same_loss(loss, out, tolerance, **parts):
    """Total, error and the named parts: ours = their name."""
    assert_near(out.loss.detach(), loss.total.detach(), tolerance, "total")
    assert_near(out.losses["mse_loss"].detach(), loss.reconstruction.detach(), tolerance, "error")
    assert_near(out.sae_out.detach(), loss.x_hat_ND.detach(), tolerance, "reconstruction")
    for own, their in parts.items():
        wanted = getattr(loss, own).detach()
        assert wanted > 0
        assert_near(out.losses[their].detach(), wanted, tolerance, own)


@WAYS
def test_their_standard_sae_is_our_april_update(way):
    """With l1_coefficient and lp_norm 1; rows of any norm."""
    ours = unsettled("relu_april", unit=False, way=way, sparsity_coefficient=0.3, sparsity_warmup=0.0)
    theirs = twin(ours, StandardTrainingSAEConfig)
    loss, out = both(ours, theirs, batch(), l1=0.3)
    assert_same_loss(loss, out, 1e-9, sparsity="l1_loss")
    assert_same_gradients(ours, theirs, PLAIN, 1e-9)


@WAYS
@pytest.mark.parametrize(("architecture", "lp_norm"), [("relu", 1.0), ("p_anneal", 0.5)])
def test_with_decoder_rows_of_norm_1_their_standard_sae_is_ours_and_its_lp_norm_is_p_annealings(
    architecture, lp_norm, way
):
    """Their penalty weighs latents by row norms, which adds to the decoder's gradient along its rows alone."""
    fields = {"p_start": lp_norm, "p_end": lp_norm, "penalty_norm": "lp"} if architecture == "p_anneal" else {}
    ours = unsettled(architecture, way=way, sparsity_coefficient=0.25, sparsity_warmup=0.0, **fields)
    theirs = twin(ours, StandardTrainingSAEConfig, lp_norm=lp_norm)
    loss, out = both(ours, theirs, batch(), l1=0.25)
    assert_same_loss(loss, out, 1e-9, sparsity="l1_loss")
    assert_same_gradients(ours, theirs, PLAIN, 1e-9, but=("W_dec",))
    own_FD, their_FD, unit_FD = gradients(ours)["W_dec"], theirs.W_dec.grad, ours.W_dec.detach()
    assert (own_FD - their_FD).abs().max() > 1e-2
    for gradient_FD in (own_FD, their_FD):
        drop_parallel(gradient_FD, unit_FD)
    assert_near(their_FD, own_FD, 1e-9)


def test_five_steps_of_their_trainer_are_five_of_ours():
    """The April update again, which neither of us constrains: Adam, clipping at 1, and their sparsity warm-up."""
    steps, n = 10, len(batch())
    ours = unsettled("relu_april", unit=False, steps=steps, sparsity_coefficient=0.3, sparsity_warmup=0.2)
    theirs = twin(ours, StandardTrainingSAEConfig, l1_coefficient=0.3, l1_warm_up_steps=2)
    cfg = SAETrainerConfig(total_training_samples=steps * n, train_batch_size_samples=n, lr=1e-3, lr_end=1e-3)
    trainer, optimizer = SAETrainer(cfg, theirs, iter(())), adam(ours, 1e-3)
    begin = {name: weight.detach().clone() for name, weight in ours.named_parameters()}
    for step in range(5):
        assert trainer.get_coefficients()["l1"] == pytest.approx(0.3 * ours.warmup(step))
        trainer.step(batch(step))
        training_step(ours, optimizer, batch(step), step, 1e-3)
        assert_same_weights(ours, theirs, PLAIN, 1e-9)
    assert all((weight.detach() - begin[name]).abs().max() > 1e-3 for name, weight in ours.named_parameters())


@WAYS
def test_their_gated_sae_lets_the_auxiliary_task_move_the_decoder(way):
    """The losses are the same; their decoder and its bias get the auxiliary task's gradient too, and the penalty's."""
    ours = unsettled("gated", way=way, sparsity_coefficient=0.3, sparsity_warmup=0.0)
    theirs, x_ND = twin(ours, GatedTrainingSAEConfig, GATED), batch()
    loss, out = both(ours, theirs, x_ND, l1=0.3)
    assert_same_loss(loss, out, 1e-9, sparsity="l1_loss", auxiliary="auxiliary_reconstruction_loss")
    assert_same_gradients(ours, theirs, GATED, 1e-9, but=("W_dec", "b_dec"))
    with torch.no_grad():
        pi_NF = torch.relu((x_ND - ours.b_dec) @ ours.W_enc + ours.b_gate)
        missed_ND = pi_NF @ ours.W_dec + ours.b_dec - x_ND
        by_penalty_FD = 0.3 * pi_NF.mean(0)[:, None] * ours.W_dec  # the rows have norm 1
    more_FD, more_D = 2 * pi_NF.T @ missed_ND / len(x_ND) + by_penalty_FD, 2 * missed_ND.mean(0)
    assert min(more_FD.abs().max(), more_D.abs().max()) > 0.1
    assert_near(theirs.W_dec.grad - gradients(ours)["W_dec"], more_FD, 1e-9)
    assert_near(theirs.b_dec.grad - gradients(ours)["b_dec"], more_D, 1e-9)


def test_their_gated_penalty_weighs_latents_by_the_norms_of_their_rows():
    ours = unsettled("gated", unit=False, sparsity_coefficient=0.3, sparsity_warmup=0.0)
    theirs, x_ND = twin(ours, GatedTrainingSAEConfig, GATED), batch()
    loss, out = both(ours, theirs, x_ND, l1=0.3)
    pi_F = torch.relu((x_ND - ours.b_dec) @ ours.W_enc + ours.b_gate).mean(0)
    assert_near(out.losses["l1_loss"].detach(), (0.3 * pi_F @ ours.W_dec.norm(dim=1)).detach(), 1e-9)
    assert_near(loss.sparsity.detach(), 0.3 * pi_F.sum().detach(), 1e-9)
    assert_near(out.losses["mse_loss"].detach(), loss.reconstruction.detach(), 1e-9)


@WAYS
@pytest.mark.parametrize(
    ("rescale", "sparse_activations"), [(False, False), (True, False), (False, True), (True, True)]
)
def test_topk_is_the_same(way, rescale, sparse_activations):
    """With rows of norm 1, where rescaling by decoder norms cancels out of value and gradient.

    Sparse activations and rescaling together, which is what they do unless told otherwise, have no gradient on a CPU.
    """
    ours = unsettled("topk", way=way, k=K)
    fields = {"rescale_acts_by_decoder_norm": rescale, "use_sparse_activations": sparse_activations}
    theirs = twin(ours, TopKTrainingSAEConfig, k=K, **fields)
    if rescale and sparse_activations:
        assert_same_loss(ours.loss(batch()), forward(theirs, batch()), 1e-9)
        return
    loss, out = both(ours, theirs, batch())
    assert_same_loss(loss, out, 1e-9)
    assert_same_gradients(ours, theirs, PLAIN, 1e-9)


@pytest.mark.parametrize(
    ("architecture", "config_class"), [("topk", TopKTrainingSAEConfig), ("batch_topk", BatchTopKTrainingSAEConfig)]
)
def test_with_rescaling_they_are_ours_after_folding_the_norms(architecture, config_class):
    """With rows of any norm: they choose by pre |W_dec|, and so do we once the norms are folded in."""
    ours, x_ND = unsettled(architecture, unit=False, k=K), batch()
    theirs = twin(ours, config_class, k=K, rescale_acts_by_decoder_norm=True)
    plain = ours.loss(x_ND)
    ours.fold_norms()
    loss, out = ours.loss(x_ND), forward(theirs, x_ND)
    assert_same_loss(loss, out, 1e-9)
    assert_near(out.feature_acts.detach(), loss.active.to_dense(loss.z).detach(), 1e-9)
    assert abs(plain.reconstruction - loss.reconstruction) > 0.1


@WAYS
@pytest.mark.parametrize("k", [K, 3.3])
def test_batch_topk_is_the_same(way, k):
    """Also with a k that is not whole, which they allow: ours has it in its rule, not in its config."""
    ours = unsettled("batch_topk", way=way, k=K)
    ours.k_at = lambda step: k
    theirs = twin(ours, BatchTopKTrainingSAEConfig, k=k)
    loss, out = both(ours, theirs, batch())
    assert loss.active.l0(loss.z) == int(k * len(batch())) / len(batch())
    assert_same_loss(loss, out, 1e-9)
    assert_same_gradients(ours, theirs, PLAIN, 1e-9)


def test_their_threshold_begins_at_zero_and_is_one_percent_there_after_a_step():
    """An average from 0 at a rate of 0.01, without bias correction; ours is set on data, after training."""
    ours, x_ND = unsettled("batch_topk", k=K), batch(n=2000)
    theirs = twin(ours, BatchTopKTrainingSAEConfig, k=float(K))
    least = float(min(value for value in forward(theirs, x_ND).feature_acts.detach().flatten() if value > 0))
    for n in (1, 2, 3):
        assert float(theirs.topk_threshold) == pytest.approx((1 - 0.99**n) * least)
        forward(theirs, x_ND)
    pre_NF = (x_ND - theirs.b_dec) @ theirs.W_enc + theirs.b_enc
    assert float((pre_NF > theirs.topk_threshold).sum()) / len(x_ND) > 3 * K
    ours.calibrate([x_ND])
    assert ours.threshold.tolist() == pytest.approx([least] * len(ours.threshold), rel=0.01)
    assert measure(ours.inference(), [x_ND])["l0"] == pytest.approx(K, rel=0.01)


def with_dead(ours, dead_F, least):
    """Dead latents weaker than all that are kept; every pre-activation of theirs at least `least` or so."""
    with torch.no_grad():
        ours.W_enc[:, dead_F] *= 0.01
        ours.b_enc[dead_F] = least + 0.1
        ours.b_enc[~dead_F] += 1.5
        ours.tokens_since_fired_F[dead_F] = ours.dead_after


@WAYS
@pytest.mark.parametrize("n_dead", [3, 15])
def test_their_auxk_is_ours_without_its_normalisation_and_less_where_few_are_dead(way, n_dead):
    """Theirs is E|e - e_hat|^2 min(1, dead / (d_model / 2)); ours that over E|e - mean e|^2, for any number of dead.

    Gradients part by the same factor.
    """
    ours, x_ND = unsettled("topk", way=way, k=K, auxiliary_coefficient=1.0), batch()
    dead_F = torch.arange(F) >= F - n_dead
    with_dead(ours, dead_F, least=0.1)
    theirs = twin(ours, TopKTrainingSAEConfig, k=K, rescale_acts_by_decoder_norm=False)
    loss, out = ours.loss(x_ND), forward(theirs, x_ND, dead_F)
    assert not loss.active.counts_F(loss.z)[dead_F].any()
    error_ND = (x_ND - loss.x_hat_ND).detach()
    spread = (error_ND - error_ND.mean(0)).pow(2).sum() / len(x_ND)
    factor = spread * min(1, n_dead / (D // 2))
    assert factor > 1
    assert_near(out.losses["auxiliary_reconstruction_loss"].detach(), factor * loss.auxiliary.detach(), 1e-9)
    (loss.reconstruction + factor * loss.auxiliary).backward()
    out.loss.backward()
    assert_same_gradients(ours, theirs, PLAIN, 1e-9)
    assert gradients(ours)["W_dec"][dead_F].abs().max() > 1e-3


def test_their_auxk_takes_negative_pre_activations_where_ours_takes_none():
    """With fewer dead than d_model / 2, all of them enter theirs, whatever their sign: ours of these is 0."""
    ours, x_ND = unsettled("topk", k=K, auxiliary_coefficient=1.0), batch()
    dead_F = torch.arange(F) >= F - 3
    with_dead(ours, dead_F, least=-1.0)
    theirs = twin(ours, TopKTrainingSAEConfig, k=K, rescale_acts_by_decoder_norm=False)
    loss, out = ours.loss(x_ND), forward(theirs, x_ND, dead_F)
    with torch.no_grad():
        error_ND = x_ND - loss.x_hat_ND
        pre_NF = (x_ND - ours.b_dec) @ ours.W_enc[:, dead_F] + ours.b_enc[dead_F]
        assert pre_NF.max() < 0
        missed = (error_ND - pre_NF @ ours.W_dec[dead_F]).pow(2).sum() / len(x_ND)
        nothing = error_ND.pow(2).sum() / (error_ND - error_ND.mean(0)).pow(2).sum()
    assert_near(out.losses["auxiliary_reconstruction_loss"].detach(), 3 / (D // 2) * missed, 1e-9)
    assert_near(loss.auxiliary.detach(), nothing, 1e-9)


@WAYS
@pytest.mark.parametrize(("own_loss", "their_mode"), [("l0", "step"), ("tanh", "tanh")])
@pytest.mark.parametrize("subtract", [False, True])
def test_jumprelu_is_the_same(way, own_loss, their_mode, subtract):
    """Both halves of the kernel count, as in the paper."""
    ours = jumprelu(own_loss, way=way, unit=their_mode == "step", subtract_b_dec=subtract)
    theirs = twin(
        ours, JumpReLUTrainingSAEConfig, JUMPRELU, **their_jumprelu(their_mode), apply_b_dec_to_input=subtract
    )
    loss, out = both(ours, theirs, batch(), l0=0.4)
    assert_same_loss(loss, out, 1e-9, sparsity="l0_loss")
    assert_same_gradients(ours, theirs, JUMPRELU, 1e-9, but=("threshold",))
    assert_near(theirs.threshold.grad, gradients(ours)["threshold"], 1e-6)
    assert gradients(ours)["threshold"].abs().max() > 0.1


def jumprelu(sparsity_loss, **fields):
    """Ours, its thresholds numbers of float32."""
    fields = {"bandwidth": 0.125, "target_l0": 5.0, "sparsity_coefficient": 0.4, "sparsity_warmup": 0.0, **fields}
    ours = unsettled("jumprelu", sparsity_loss=sparsity_loss, tanh_scale=3.0, **fields)
    with torch.no_grad():
        ours.threshold.copy_(ours.threshold.float())
    return ours


def their_jumprelu(mode):
    """The fields that make theirs the same."""
    return {
        "jumprelu_bandwidth": 0.125, "jumprelu_tanh_scale": 3.0, "jumprelu_sparsity_loss_mode": mode, "target_l0": 5.0
    }  # fmt: skip


def test_their_quadratic_loss_is_of_each_position_and_ours_of_the_mean():
    """2/t E(l0 - t)^2 = 2t (E l0 / t - 1)^2 + 2/t Var l0: theirs wants the target at every position."""
    ours, x_ND = jumprelu("l0_target", subtract_b_dec=False), batch()
    theirs = twin(ours, JumpReLUTrainingSAEConfig, JUMPRELU, **their_jumprelu("quadratic"), apply_b_dec_to_input=False)
    loss, out = both(ours, theirs, x_ND, l0=0.4)
    spread = (out.feature_acts > 0).sum(1).double().var(correction=0)
    assert spread > 1
    assert_near(out.losses["l0_loss"].detach(), 2 * 5.0 * loss.sparsity.detach() + 0.4 * 2 / 5.0 * spread, 1e-9)
    assert_near(out.losses["mse_loss"].detach(), loss.reconstruction.detach(), 1e-9)


@WAYS
def test_their_matryoshka_is_the_sum_over_prefixes_and_ours_the_mean(way):
    """So that loss and gradients are as many times ours as there are prefixes."""
    ours = unsettled("matryoshka_batch_topk", way=way, k=K, group_fractions=FRACTIONS)
    assert ours.cfg.ends == ENDS
    theirs = twin(ours, MatryoshkaBatchTopKTrainingSAEConfig, k=float(K), matryoshka_widths=list(ENDS))
    loss, out = ours.loss(batch()), forward(theirs, batch())
    assert_near(out.loss.detach(), len(ENDS) * loss.reconstruction.detach(), 1e-9)
    assert_near(out.sae_out.detach(), loss.x_hat_ND.detach(), 1e-9)
    (len(ENDS) * loss.reconstruction).backward()
    out.loss.backward()
    assert_same_gradients(ours, theirs, PLAIN, 1e-9)


def test_nothing_holds_their_decoder_at_norm_1():
    """What five TopK steps do to norms: with rescaling theirs drift, ours do not."""
    ours, n = unsettled("topk", k=K), len(batch())
    theirs = twin(ours, TopKTrainingSAEConfig, k=K)
    own = copy.deepcopy(ours)
    cfg = SAETrainerConfig(total_training_samples=10 * n, train_batch_size_samples=n, lr=1e-2, lr_end=1e-2)
    trainer, optimizer = SAETrainer(cfg, theirs, iter(())), adam(own, 1e-2)
    for step in range(5):
        trainer.step(batch(step))
        training_step(own, optimizer, batch(step), step, 1e-2)
    assert (theirs.W_dec.norm(dim=1) - 1).abs().max() > 1e-3
    torch.testing.assert_close(own.W_dec.norm(dim=1), torch.ones(F, dtype=torch.float64))


@pytest.mark.parametrize(("architecture", "config_class", "fields"), [
    ("relu_april", StandardTrainingSAEConfig, {}),
    ("topk", TopKTrainingSAEConfig, {"k": K}),
    ("jumprelu", JumpReLUTrainingSAEConfig, {}),
])  # fmt: skip
def test_their_decoder_begins_at_a_tenth(architecture, config_class, fields):
    """As our April update's; our TopK and JumpReLU begin at 1, as dictionary_learning's."""
    theirs = SAE_CLASSES[config_class](config_class(d_in=D, d_sae=F, **fields))
    own = make_sae(architecture, d_model=D, n_latents=F, **fields).W_dec.norm(dim=1)
    torch.testing.assert_close(theirs.W_dec.norm(dim=1), torch.full((F,), 0.1))
    torch.testing.assert_close(own, torch.full((F,), 0.1 if architecture == "relu_april" else 1.0))
    torch.testing.assert_close(part(theirs, "W_enc"), part(theirs, "W_dec").T)
