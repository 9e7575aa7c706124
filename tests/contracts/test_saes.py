"""One suite for every registered SAE architecture, each with the settings that it declares or has by default."""

import copy
import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from boardgame_sae.activations.store import ActivationStore
from boardgame_sae.config import ConfigError, seed_for, to_mapping
from boardgame_sae.files import RunError, file_hash
from boardgame_sae.saes.architectures import relu
from boardgame_sae.saes.exchange.own import read_sae
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.registry import (
    architectures,
    config_class,
    look,
    make_sae,
    sae_class,
    sae_config,
    sparsity_field,
    summary,
)
from boardgame_sae.saes.sparse.active_latents import LargestOfBatch
from boardgame_sae.saes.training import train as training
from boardgame_sae.saes.training.train import TrainSAEConfig, adam, train_saes_run, training_step

D, F = 12, 40
SIZES = {"d_model": D, "n_latents": F}
TRAINED = tuple(name for name in architectures() if make_sae(name, **SIZES).trains)
LIVELY = {
    "sparsity_coefficient": 20.0, "sparsity_warmup": 0.0, "resample_every": 5, "n_updates": 4, "anneal_start": 0.1,
    "queue_length": 3, "bandwidth": 0.5, "k": 3, "k_start": 7, "k_anneal": 0.5, "dead_after": 64,
    "auxiliary_coefficient": 0.5,
}  # fmt: skip
"""Fields with which much goes on in few steps."""
LONG = TrainSAEConfig(n_activations=128 * 500, batch_size=128, lr=1e-2, log_every=25, n_calibration=4096)
SHORT = TrainSAEConfig(n_activations=64 * 24, batch_size=64, lr=1e-2, log_every=7, n_calibration=512)
WAYS = ("dense", "sparse")
RESAMPLED: dict[str, int] = {}
"""How many latents of each were resampled in the short training beside the others."""

each = pytest.mark.parametrize("name", architectures())
each_trained = pytest.mark.parametrize("name", TRAINED)


def fields_of(name, fields):
    """Those of some fields that an architecture has."""
    own = {field.name for field in dataclasses.fields(config_class(name))}
    return {key: value for key, value in fields.items() if key in own}


def example_config(name):
    """The small SAE with which an architecture says it finds a dictionary of 20 atoms, 2 of them on."""
    return sae_config(name, **SIZES, **sae_class(name).example)


def batch(n=50, seed=0, d_model=D):
    return torch.randn(n, d_model, generator=torch.Generator().manual_seed(seed))


def unsettled(name, *, amount=0.1, **fields):
    """An SAE whose every parameter is away from its start, the biases too."""
    sae = make_sae(name, **{**SIZES, **fields})
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in sae.parameters():
            weight += amount * torch.randn(weight.shape, generator=generator)
    sae.constrain()
    return sae


def planted(n_rows=20_000, n_atoms=20, n_on=2, seed=0):
    """Activations (N, D) that are sums of a few atoms, and the atoms."""
    rng = np.random.default_rng(5)
    atoms_FD = rng.normal(size=(n_atoms, D))
    atoms_FD /= np.linalg.norm(atoms_FD, axis=1, keepdims=True)
    rng = np.random.default_rng(seed)
    on_NF = rng.random((n_rows, n_atoms)).argsort(axis=1).argsort(axis=1) < n_on
    return ((on_NF * rng.uniform(0.5, 1.5, on_NF.shape)) @ atoms_FD).astype(np.float32), atoms_FD


def memory_store(acts_ND):
    return ActivationStore(Path("memory"), {"made": "here"}, acts_ND)


def train_all(configs, outs, cfg, **options):
    """Train SAEs, given by name, into folders of the same names."""
    store = memory_store(3 * planted()[0])
    folders = train_saes_run(store, list(configs.values()), cfg, outs=outs, device="cpu", **options)
    return dict(zip(configs, folders, strict=True))


def lively_config(name):
    return sae_config(name, **SIZES, **fields_of(name, LIVELY))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Every architecture after a training that suffices to find the planted dictionary, by name."""
    root = tmp_path_factory.mktemp("trained")
    configs = {name: example_config(name) for name in architectures()}
    return train_all(configs, [root / name for name in configs], LONG, metadata={"hook_name": "made.up"})


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Every architecture after a short and eventful training beside all the others, by name."""
    root, real = tmp_path_factory.mktemp("together"), relu.resample_dead
    configs = {name: lively_config(name) for name in architectures()}

    def counted(sae, *args, **options):
        n = real(sae, *args, **options)
        RESAMPLED[sae.cfg.architecture] = RESAMPLED.get(sae.cfg.architecture, 0) + n
        return n

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relu, "resample_dead", counted)
        return train_all(configs, [root / name for name in configs], SHORT)


@pytest.fixture
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda file: None)


def equal(a, b):
    return torch.equal(a.nan_to_num(nan=-7.5), b.nan_to_num(nan=-7.5)) and torch.equal(a.isnan(), b.isnan())


def same_state(sae, state):
    assert sae.state_dict().keys() == state.keys()
    for key, tensor in sae.state_dict().items():
        assert equal(tensor, state[key]), key


def dense_z(loss):
    return loss.active.to_dense(loss.z).detach()


@each
def test_an_architecture_says_in_a_line_what_it_is_and_has_a_look_of_its_own(name):
    assert summary(name) and len(summary(name)) <= 110
    assert look(name) not in [look(other) for other in architectures() if other != name]


@each
def test_the_field_that_sets_its_sparsity_is_one_of_its_fields(name):
    assert sparsity_field(name) is None or fields_of(name, {sparsity_field(name): 1})


@each
@torch.no_grad()
def test_encode_and_decode_keep_leading_axes(name):
    sae = unsettled(name)
    for shape in ((), (5,), (5, 7), (2, 3, 4), (0,), (3, 0)):
        x = torch.randn(*shape, D, generator=torch.Generator().manual_seed(1))
        z = sae.encode(x)
        assert z.shape == (*shape, F)
        assert sae.decode(z).shape == x.shape
        assert torch.equal(sae(x), sae.decode(z))


@each
@torch.no_grad()
def test_games_by_tokens_are_encoded_as_their_flattened_rows(name):
    sae, x_BLD = unsettled(name), batch(35).view(5, 7, D)
    torch.testing.assert_close(sae.encode(x_BLD).flatten(0, 1), sae.encode(x_BLD.flatten(0, 1)))


@each
@torch.no_grad()
def test_latents_are_never_negative_and_some_are_on(name):
    z_NF = unsettled(name).encode(batch())
    assert z_NF.min() == 0
    assert (z_NF > 0).any()


@each
@torch.no_grad()
def test_decode_is_the_decoder_rows_weighted_by_latents_plus_the_bias(name):
    sae = unsettled(name)
    z_F = torch.zeros(F)
    z_F[3], z_F[8] = 2.0, 0.5
    torch.testing.assert_close(sae.decode(z_F), 2 * sae.W_dec[3] + 0.5 * sae.W_dec[8] + sae.b_dec)
    torch.testing.assert_close(sae.decode(torch.zeros(F)), sae.b_dec.detach())


@each
def test_an_sae_carries_what_saebench_reads(name):
    sae = make_sae(name, **SIZES)
    assert (sae.cfg.d_in, sae.cfg.d_sae, sae.cfg.architecture) == (D, F, name)
    assert (sae.W_enc.shape, sae.W_dec.shape, sae.b_enc.shape, sae.b_dec.shape) == ((D, F), (F, D), (F,), (D,))
    assert (sae.device, sae.dtype) == (torch.device("cpu"), torch.float32)


@each
def test_in_float64_everything_is_float64_and_as_in_float32(name):
    single, double, x_ND = unsettled(name), unsettled(name).to(torch.float64), batch()
    for sae in (single, double):
        sae.begin_training(100, x_ND.to(sae.dtype))
    found = double.loss(x_ND.double(), 50)
    assert {tensor.dtype for tensor in (*found[:4], found.z, found.x_hat_ND, double(x_ND.double()))} == {torch.float64}
    expected = single.loss(x_ND, 50)
    for one, other in zip(found[:4], expected[:4], strict=True):
        torch.testing.assert_close(one.float(), other, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(double.encode(x_ND.double()).float(), single.encode(x_ND), rtol=1e-4, atol=1e-4)
    if double.trains:
        found.total.backward()
        assert {weight.grad.dtype for weight in double.parameters() if weight.grad is not None} == {torch.float64}


@each
@torch.no_grad()
def test_in_half_precision_the_dense_path_serves_and_the_sparse_one_is_an_error_that_says_why(name):
    sae, x_ND = unsettled(name).to(torch.bfloat16), batch().bfloat16()
    z_NF = sae.encode(x_ND)
    assert (z_NF.dtype, sae(x_ND).dtype) == (torch.bfloat16, torch.bfloat16)
    assert (z_NF > 0).any()
    sae.way = "sparse"
    with pytest.raises(ValueError, match=r"float32 or float64 on the CPU, not torch.bfloat16 on cpu"):
        sae.encode(x_ND)


@each
@torch.no_grad()
def test_on_another_device_shapes_and_kinds_stay(name):
    """The meta device computes shapes alone, but would refuse a tensor that was left behind on the CPU."""
    sae = unsettled(name, **fields_of(name, {"k": 2}))
    sae.calibrate([batch()])
    sae = sae.inference().to("meta")
    z_NF = sae.encode(torch.zeros(5, D, device="meta"))
    assert (z_NF.device.type, z_NF.shape, sae.decode(z_NF).shape) == ("meta", (5, F), (5, D))
    assert sae.device.type == "meta"


@each
def test_decoder_rows_have_norm_one_after_training(name, trained):
    sae = load_sae(trained[name])
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(F), rtol=0, atol=1e-5)


@each
def test_where_the_decoder_is_held_its_rows_have_norm_one_from_the_start_and_after_every_step(name):
    sae = make_sae(name, **SIZES)
    if not (sae.trains and sae.unit_decoder):
        return
    optimizer = adam(sae, 1e-2)
    sae.begin_training(3, batch())
    for step in range(3):
        torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(F), rtol=0, atol=1e-5)
        training_step(sae, optimizer, batch(seed=step), step, 1e-2)
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(F), rtol=0, atol=1e-5)


@each_trained
def test_training_moves_every_parameter(name):
    sae = make_sae(name, **SIZES, **fields_of(name, LIVELY))
    before = {key: weight.detach().clone() for key, weight in sae.named_parameters()}
    optimizer = adam(sae, 1e-2)
    sae.begin_training(4, batch())
    for step in range(4):
        training_step(sae, optimizer, batch(seed=step), step, 1e-2)
    for key, weight in sae.named_parameters():
        moved_F = (weight.detach() - before[key]).reshape(-1).abs()
        assert (moved_F > 1e-4).float().mean() > 0.2, key


@each_trained
@pytest.mark.parametrize("way", WAYS)
def test_the_decoders_gradient_does_not_change_the_norm_of_its_rows(name, way):
    sae = unsettled(name)
    sae.way = way
    sae.loss(batch(), step=0).total.backward()
    raw_FD = sae.W_dec.grad.clone()
    sae.constrain_gradient()
    if not sae.unit_decoder:
        assert torch.equal(sae.W_dec.grad, raw_FD)
        return
    along_F = (sae.W_dec.grad * sae.W_dec).sum(1)
    torch.testing.assert_close(along_F, torch.zeros(F), rtol=0, atol=1e-4)
    across_FD = raw_FD - (raw_FD * sae.W_dec).sum(1, keepdim=True) * sae.W_dec
    assert across_FD.norm() > 0
    torch.testing.assert_close(sae.W_dec.grad, across_FD.detach())


@each
@pytest.mark.parametrize("way", WAYS)
def test_the_parts_of_the_loss_add_up_and_its_reconstruction_is_the_squared_error(name, way):
    sae, x_ND = unsettled(name), batch()
    sae.way = way
    sae.begin_training(100, x_ND)
    loss = sae.loss(x_ND, step=50)
    torch.testing.assert_close(loss.total, loss.reconstruction + loss.sparsity + loss.auxiliary)
    z_NF = dense_z(loss).double().numpy()
    W_dec, b_dec = sae.W_dec.detach().double().numpy(), sae.b_dec.detach().double().numpy()
    np.testing.assert_allclose(loss.x_hat_ND.detach(), z_NF @ W_dec + b_dec, rtol=1e-4, atol=1e-5)
    errors = []
    for end in getattr(sae.cfg, "ends", (F,)):
        error_ND = x_ND.double().numpy() - z_NF[:, :end] @ W_dec[:end] - b_dec
        errors.append((error_ND**2).sum() / len(x_ND))
    assert float(loss.reconstruction.detach()) == pytest.approx(np.mean(errors), rel=1e-5)
    for part in loss[:4]:
        assert part.shape == ()


@each
def test_loss_changes_nothing_and_repeats_itself(name):
    sae, x_ND = unsettled(name), batch()
    sae.begin_training(100, x_ND)
    before = {key: tensor.clone() for key, tensor in sae.state_dict().items()}
    first, again = sae.loss(x_ND, step=50), sae.loss(x_ND, step=50)
    assert all(torch.equal(a, b) for a, b in zip(first[:4], again[:4], strict=True))
    assert torch.equal(dense_z(first), dense_z(again))
    assert torch.equal(first.x_hat_ND, again.x_hat_ND)
    same_state(sae, before)


@each
def test_an_empty_batch_costs_nothing(name):
    for way in WAYS:
        sae = unsettled(name)
        sae.way = way
        sae.begin_training(100, batch())
        sae.tokens_since_fired_F += 10**12
        loss = sae.loss(batch(0), step=50)
        if sae.trains:
            loss.total.backward()
            assert all(weight.grad is None or torch.isfinite(weight.grad).all() for weight in sae.parameters())
        assert float(loss.reconstruction.detach()) == 0
        assert torch.isfinite(loss.total)
        assert loss.x_hat_ND.shape == (0, D)


INPUTS = {
    "ordinary": lambda: batch(),
    "zero": lambda: torch.zeros(50, D),
    "constant": lambda: batch(1).expand(50, D).contiguous(),
    "one row": lambda: batch(1),
    "huge": lambda: 1e4 * batch(),
    "tiny": lambda: 1e-4 * batch(),
}
"""Batches at which a careless gradient is not finite."""


@each
@pytest.mark.parametrize("bias", [0.0, -1e6, 1e4], ids=["some on", "none on", "all on"])
@pytest.mark.parametrize("inputs", INPUTS)
def test_loss_and_every_gradient_are_finite(name, bias, inputs):
    """On both paths, at the beginning, in the middle and at the end of a training, with and without dead latents."""
    x_ND = INPUTS[inputs]()
    for way, step in ((way, step) for way in WAYS for step in (0, 50, 99)):
        sae = unsettled(name, **fields_of(name, {"penalty_norm": "lp" if step == 50 else "lp_p"}))
        sae.way = way
        sae.begin_training(100, x_ND)
        with torch.no_grad():
            sae.b_enc += bias
            if hasattr(sae, "stage"):
                sae.stage.fill_((-1, 4, 9)[step // 49])
        if step:
            sae.tokens_since_fired_F += 10**12  # whatever can be dead is
        loss = sae.loss(x_ND, step=step)
        if bias < 0:
            assert not (loss.z > 0).any()
        elif bias > 0:
            assert (loss.z > 0).any()
        assert all(torch.isfinite(part) for part in loss[:4])
        if not sae.trains:
            continue
        loss.total.backward()
        for key, weight in sae.named_parameters():
            assert weight.grad is None or torch.isfinite(weight.grad).all(), key
        sae.constrain_gradient()
        assert torch.isfinite(sae.W_dec.grad).all()


@each_trained
@pytest.mark.parametrize("way", WAYS)
def test_where_no_latent_is_on_the_decoders_bias_still_learns(name, way):
    sae = unsettled(name)
    sae.way = way
    with torch.no_grad():
        sae.b_enc -= 1e6
    x_ND = batch()
    sae.loss(x_ND).total.backward()
    torch.testing.assert_close(sae.b_dec.grad, 2 * (sae.b_dec - x_ND).mean(0).detach())


@each
def test_a_wrong_width_is_an_error_that_names_both(name):
    sae = make_sae(name, **SIZES)
    for use in (sae.encode, sae.loss, sae.forward, lambda x: sae.begin_training(10, x)):
        with pytest.raises(ValueError, match=f"width {D}, these have width 9"):
            use(torch.zeros(4, 9))


@each
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({**SIZES, "n_latens": 3}, "unknown field 'n_latens'; did you mean 'n_latents'"),
        ({**SIZES, "n_latents": "40"}, "field 'n_latents' is '40'"),
        ({**SIZES, "d_model": 12.5}, "field 'd_model' is 12.5"),
        ({**SIZES, "n_latents": 0}, "must be at least 1"),
        ({"n_latents": F}, "field 'd_model' is required"),
    ],
)
def test_a_bad_field_is_an_error_that_names_it(name, fields, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make_sae(name, **fields)
    assert name in str(caught.value)


@each
def test_the_seed_alone_decides_the_first_weights(name):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = make_sae(name, **SIZES, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    same_state(make_sae(name, **SIZES, seed=5), first.state_dict())
    assert not torch.equal(first.W_dec, make_sae(name, **SIZES, seed=6).W_dec)


@each
@torch.no_grad()
def test_a_trained_sae_saves_its_inference_form_with_the_same_bits(name, tmp_path):
    """Trained here, step by step, so that the SAE itself is at hand."""
    sae = make_sae(name, **SIZES, **fields_of(name, LIVELY))
    optimizer, x_ND = adam(sae, 1e-2), batch(200, seed=3)
    sae.begin_training(6, x_ND)
    with torch.enable_grad():
        for step in range(6 if sae.trains else 0):
            training_step(sae, optimizer, batch(seed=step), step, 1e-2)
    sae.calibrate([x_ND])
    sae.metadata = {"hook_name": "blocks.0.hook_resid_post", "nested": {"a": [1, 2.5, None]}}
    simple = sae.inference()
    sae.save(tmp_path)
    again = load_sae(tmp_path)
    assert type(again) is type(simple)
    assert (again.cfg, again.training) == (simple.cfg, False)
    assert again.metadata == {**sae.metadata, "trained_as": to_mapping(sae.cfg)}
    assert again.trained_as == simple.trained_as == to_mapping(sae.cfg)
    same_state(again, simple.state_dict())
    z_NF = simple.encode(x_ND)
    assert (z_NF > 0).any()
    assert torch.equal(again.encode(x_ND), z_NF)
    assert torch.equal(again(x_ND), simple(x_ND))
    assert torch.equal(again.decode(z_NF), simple.decode(z_NF))
    torch.testing.assert_close(again(x_ND), sae(x_ND), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(again.W_dec.norm(dim=1), torch.ones(F), rtol=0, atol=1e-5)
    assert json.loads((tmp_path / "cfg.json").read_text())["architecture"] == simple.cfg.architecture
    again.save(tmp_path / "again")
    for file in ("sae.safetensors", "cfg.json"):
        assert file_hash(tmp_path / "again" / file) == file_hash(tmp_path / file)


@each
def test_a_saved_sae_remembers_how_it_was_trained(name, trained):
    sae = load_sae(trained[name])
    assert sae.trained_as == to_mapping(example_config(name))
    assert sae.metadata["hook_name"] == "made.up"
    assert sae.metadata["training"] == to_mapping(LONG)
    assert type(sae.inference()) is type(sae)


@each
def test_the_inference_form_has_weights_of_its_own(name):
    sae = unsettled(name)
    sae.calibrate([batch()])
    simple = sae.inference()
    if simple is sae:
        return
    before = {key: tensor.clone() for key, tensor in sae.state_dict().items()}
    with torch.no_grad():
        for weight in simple.parameters():
            weight += 1
    same_state(sae, before)


@each
@torch.no_grad()
@pytest.mark.parametrize("scale", [0.25, 7.0])
def test_folding_a_scale_in_turns_an_sae_of_scaled_activations_into_one_of_raw_ones(name, trained, scale):
    raw_ND = torch.from_numpy(planted(60, seed=4)[0]) * 3 * scale

    def calibrated():
        sae = unsettled(name)
        sae.calibrate([batch()])
        return sae

    for make in (lambda: load_sae(trained[name]), lambda: unsettled(name), calibrated):
        sae, folded = make(), make()
        folded.fold_scale(scale)
        z_NF = sae.encode(raw_ND / scale)
        assert (z_NF > 0).any()
        torch.testing.assert_close(folded.encode(raw_ND), scale * z_NF, rtol=1e-4, atol=1e-4 * scale)
        torch.testing.assert_close(folded(raw_ND), scale * sae(raw_ND / scale), rtol=1e-4, atol=1e-4 * scale)


@each
@torch.no_grad()
def test_folding_norms_in_keeps_the_reconstruction_and_makes_the_rows_unit(name, trained):
    """Where latents compete (TopK), rows of different norms would change who wins: there all norms are alike."""
    x_ND = 3 * torch.from_numpy(planted(100, seed=4)[0])
    for sae in (load_sae(trained[name]).double(), unsettled(name).double()):
        norms_F = 0.3 + torch.rand(F, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        if "k" in to_mapping(sae.cfg):
            norms_F[:] = 0.4
        sae.W_dec *= norms_F[:, None]
        before_ND, z_NF, row_norms_F = sae(x_ND.double()), sae.encode(x_ND.double()), sae.W_dec.norm(dim=1)
        sae.fold_norms()
        torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(F, dtype=torch.float64))
        torch.testing.assert_close(sae.encode(x_ND.double()), z_NF * row_norms_F)
        torch.testing.assert_close(sae(x_ND.double()), before_ND)


@each_trained
def test_training_lowers_the_loss(name, trained):
    rows = [json.loads(line) for line in (trained[name] / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["step"] == 25  # where the penalty's warm-up ends
    losses = [row["loss"] for row in rows]
    assert losses[-1] < 0.6 * losses[0]
    assert np.mean(losses[-5:]) < np.mean(losses[5:10]) < np.mean(losses[:3])
    assert rows[-1]["explained_variance"] > 0.85


@each_trained
@torch.no_grad()
def test_a_trained_sae_explains_fresh_raw_activations(name, trained):
    """The error on raw activations is compared, so the scale must have been folded in too."""
    fresh_ND = 3 * torch.from_numpy(planted(2000, seed=1)[0])
    spread = float((fresh_ND - fresh_ND.mean(0)).pow(2).sum(1).mean())

    def unexplained(sae):
        return float((fresh_ND - sae(fresh_ND)).pow(2).sum(1).mean()) / spread

    assert unexplained(load_sae(trained[name])) < 0.15
    assert unexplained(load_sae(trained[name])) < 0.5 * unexplained(make_sae(name, **SIZES))
    assert 1 - unexplained(load_sae(trained[name])) == pytest.approx(
        load_sae(trained[name]).metadata["inference"]["explained_variance"], abs=0.02
    )


@each_trained
def test_training_finds_the_planted_dictionary(name, trained):
    """Each atom is given a decoder row of its own, as well as can be."""
    atoms_FD = planted(10)[1]

    def recovered(sae):
        cosines_FF = sae.W_dec.detach().double().numpy() @ atoms_FD.T
        return cosines_FF[linear_sum_assignment(cosines_FF, maximize=True)].mean()

    assert recovered(load_sae(trained[name])) > 0.9
    assert recovered(make_sae(name, **SIZES)) < 0.75


@each
@torch.no_grad()
def test_l0_and_the_living_at_inference_are_measured_on_the_calibration_data(name, trained):
    sae = load_sae(trained[name])
    stream = memory_store(3 * planted()[0]).stream(LONG.batch_size, seed_for(LONG.seed, "calibration"))
    x_ND = torch.cat([stream.batch(number) for number in range(LONG.n_calibration // LONG.batch_size)])
    z_NF = sae.encode(x_ND)
    told = sae.metadata["inference"]
    assert told["l0"] == pytest.approx(float((z_NF > 0).sum(1).double().mean()), abs=1e-3)
    assert told["alive"] == pytest.approx(float((z_NF > 0).any(0).float().mean()))
    unexplained = (x_ND - sae(x_ND)).double().pow(2).sum() / (x_ND - x_ND.mean(0)).double().pow(2).sum()
    assert told["explained_variance"] == pytest.approx(1 - float(unexplained), abs=1e-4)
    if sparsity_field(name) == "k" and sae_class(name).trains:
        k = sae.trained_as["k"]
        assert k - 0.002 <= told["l0"] < k + 0.002  # a few values move in their last digit with the scale
    summary = json.loads((trained[name] / "DONE").read_text())["summary"]
    assert {key: summary[key] for key in told} == told
    assert summary["n_steps"] == LONG.n_steps


@each
def test_latents_that_do_not_fire_are_counted_in_tokens(name):
    for way in WAYS:
        sae, x_ND = unsettled(name), batch(30)
        sae.way = way
        sae.begin_training(100, x_ND)
        since_F = np.zeros(F, dtype=int)
        for step, n in enumerate((30, 10, 25)):
            loss = sae.loss(x_ND[:n], step)
            sae.after_step(step, loss)
            fired_F = (dense_z(loss) > 0).any(0).numpy()
            since_F = np.where(fired_F, 0, since_F + n)
            assert sae.tokens_since_fired_F.tolist() == since_F.tolist()
        assert sae.dead_F(25).tolist() == (since_F >= 25).tolist()


@each
def test_an_sae_trained_alone_has_the_bytes_of_one_trained_beside_all_others(name, together, tmp_path):
    alone = train_all({name: lively_config(name)}, [tmp_path / name], SHORT)[name]
    for file in ("sae.safetensors", "cfg.json", *(["metrics.jsonl"] if name in TRAINED else [])):
        assert file_hash(alone / file) == file_hash(together[name] / file), file


@each_trained
def test_in_the_short_training_much_goes_on(name, together):
    """What makes the tests of equal bytes bite: latents are resampled, or die and get a gradient by AuxK."""
    rows = [json.loads(line) for line in (together[name] / "metrics.jsonl").read_text().splitlines()]
    if fields_of(name, {"resample_every": 5}):
        assert RESAMPLED[name] > 0
    if fields_of(name, {"dead_after": 64}):
        assert rows[0]["auxiliary"] == 0
        assert rows[-1]["auxiliary"] > 0
        assert rows[0]["l0"] > rows[-1]["l0"] == 3
    if fields_of(name, {"n_updates": 4}):
        assert rows[0]["sparsity"] > 0


class StopError(Exception):
    pass


@each_trained
@pytest.mark.parametrize("stop_at", [8, 14])
def test_a_stopped_training_resumes_to_the_same_bytes(
    name, stop_at, together, tmp_path, monkeypatch, no_waiting_for_the_disk
):
    """Stopped amid its schedules: exponents and k have moved, dead latents were resampled, some are dead again."""
    real, steps = training._Trainee.advance, []

    def advance(self, x_ND):
        if len(steps) == stop_at:
            raise StopError
        steps.append(self.step)
        return real(self, x_ND)

    configs, outs = {name: lively_config(name)}, [tmp_path / name]
    with monkeypatch.context() as patch:
        patch.setattr(training._Trainee, "advance", advance)
        with pytest.raises(StopError):
            train_all(configs, outs, SHORT, checkpoint_seconds=0)
    assert steps == list(range(stop_at))
    assert not (outs[0] / "DONE").exists()
    resumed = []
    with monkeypatch.context() as patch:
        patch.setattr(training._Trainee, "advance", lambda self, x: (resumed.append(self.step), real(self, x))[1])
        train_all(configs, outs, SHORT)
    assert resumed == list(range(stop_at, SHORT.n_steps))
    for file in ("sae.safetensors", "cfg.json", "metrics.jsonl"):
        assert file_hash(outs[0] / file) == file_hash(together[name] / file), file


def test_training_twice_gives_the_same_bytes(together, tmp_path):
    again = train_all({name: lively_config(name) for name in TRAINED}, [tmp_path / name for name in TRAINED], SHORT)
    for name, folder in again.items():
        assert file_hash(folder / "sae.safetensors") == file_hash(together[name] / "sae.safetensors"), name


@each
def test_the_encoder_is_stored_latent_by_latent_whatever_is_done_to_it(name, together, tmp_path):
    sae = make_sae(name, **SIZES)
    loaded = make_sae(name, **SIZES)
    loaded.load_state_dict({key: tensor.contiguous() for key, tensor in sae.state_dict().items()})
    sae.save(tmp_path)
    for each_sae in (
        sae, copy.deepcopy(sae), loaded, make_sae(name, **SIZES).double(), load_sae(tmp_path, uncalibrated=True),
        load_sae(together[name]), make_sae(name, **SIZES).inference(),
        copy.deepcopy(load_sae(tmp_path, uncalibrated=True)).double(),
    ):  # fmt: skip
        assert each_sae.W_enc.stride() == (1, D)
        assert each_sae.W_dec.stride() == (D, 1)


@each_trained
@pytest.mark.parametrize("way", WAYS)
def test_the_fused_optimiser_does_what_the_plain_one_does_also_after_a_resume(name, way):
    """One fused pass runs over memory, so weight, gradient and moments must lie in the same order there."""
    fused, plain = (make_sae(name, **SIZES, **fields_of(name, LIVELY)).double() for _ in range(2))
    optimizers = [adam(fused, 1e-2), torch.optim.Adam(plain.parameters(), lr=1e-2, betas=plain.betas, foreach=False)]
    for sae in (fused, plain):
        sae.way = way
        sae.begin_training(8, batch().double())
    for step in range(8):
        if step == 4:
            state = {
                "state": {
                    place: {key: kept.contiguous() for key, kept in moments.items()}
                    for place, moments in optimizers[0].state_dict()["state"].items()
                },
                "param_groups": optimizers[0].state_dict()["param_groups"],
            }
            optimizers[0] = adam(fused, 1e-2)
            optimizers[0].load_state_dict(state)
        for sae, optimizer in zip((fused, plain), optimizers, strict=True):
            training_step(sae, optimizer, batch(seed=step).double(), step, 1e-2)
    for (key, weight), other in zip(fused.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(weight, other, rtol=1e-7, atol=1e-9, msg=lambda text, key=key: f"{key}: {text}")


@st.composite
def cases(draw):
    """Sizes, settings and a moment of training."""
    d_model, n_latents = draw(st.integers(1, 20)), draw(st.integers(1, 70))
    k = draw(st.integers(1, n_latents))
    return SimpleNamespace(
        d_model=d_model,
        n_latents=n_latents,
        n=draw(st.integers(1, 60)),
        k=k,
        k_start=draw(st.integers(k, n_latents)),
        step=draw(st.sampled_from([0, 3, 30, 60, 99])),
        stage=draw(st.integers(-1, 3)),
        dead_share=draw(st.sampled_from([0.0, 0.3, 1.0])),
        bias=draw(st.sampled_from([-2.0, -0.5, 0.0, 0.5])),
        subtract_b_dec=draw(st.booleans()),
        penalty_norm=draw(st.sampled_from(["lp", "lp_p"])),
        sparsity_loss=draw(st.sampled_from(["l0", "l0_target", "tanh"])),
        seed=draw(st.integers(0, 999)),
        dtype=draw(st.sampled_from([torch.float32, torch.float64])),
        copies=draw(st.booleans()),
    )


def sae_of(name, case):
    """An SAE away from its start in a moment of its training, and a batch; sizes that it refuses are left out."""
    n_latents = case.n_latents
    fields = fields_of(
        name,
        {
            "k": case.k, "k_start": case.k_start, "k_anneal": 0.5, "dead_after": 100, "auxiliary_coefficient": 0.5,
            "sparsity_coefficient": 0.3, "n_updates": 4, "penalty_norm": case.penalty_norm,
            "sparsity_loss": case.sparsity_loss, "bandwidth": 0.5, "threshold_start": 0.3, "target_l0": 3.0,
            "tanh_scale": 1.5, "group_fractions": (0.25, 0.01, 0.24, 0.5) if n_latents >= 4 else (1.0,),
        },
    )  # fmt: skip
    fields |= {"d_model": case.d_model, "n_latents": n_latents, "subtract_b_dec": case.subtract_b_dec}
    try:
        sae = unsettled(name, amount=0.3, **fields).to(case.dtype)
    except ConfigError:
        hypothesis.reject()
    x_ND = batch(case.n, case.seed, case.d_model).to(case.dtype)
    if case.copies:
        x_ND[::3] = x_ND[0].clone()
    sae.begin_training(100, x_ND)
    generator = torch.Generator().manual_seed(case.seed)
    with torch.no_grad():
        sae.b_enc += case.bias
        sae.tokens_since_fired_F += 100 * (torch.rand(n_latents, generator=generator) < case.dead_share)
        if hasattr(sae, "stage"):
            sae.stage.fill_(case.stage)
    return sae, x_ND


def outcome(sae, way, x_ND, step):
    """Loss and gradients one way."""
    sae.way = way
    loss = sae.loss(x_ND, step)
    sae.zero_grad()
    if sae.trains:
        loss.total.backward()
    return loss, {key: weight.grad for key, weight in sae.named_parameters()}


@each
@hypothesis.settings(max_examples=40)
@hypothesis.given(case=cases())
def test_the_sparse_path_equals_the_dense_one(name, case):
    """Loss, its parts and all gradients, in every moment of training. Random values have no ties within a position."""
    sae, x_ND = sae_of(name, case)
    dense, dense_grads = outcome(sae, "dense", x_ND, case.step)
    sparse, sparse_grads = outcome(sae, "sparse", x_ND, case.step)
    assert type(dense.active).__name__ == "DenseActive"
    assert type(sparse.active).__name__ == "SparseActive"
    close = 1e-5 if case.dtype is torch.float32 else 1e-10
    for part in ("total", "reconstruction", "sparsity", "auxiliary"):
        expected = float(getattr(dense, part).detach())
        assert float(getattr(sparse, part).detach()) == pytest.approx(expected, rel=close, abs=close), part
    if case.copies and isinstance(sae.training_rule(case.step), LargestOfBatch):  # of equal values any may stay
        values = [torch.sort(dense_z(loss).flatten()).values for loss in (dense, sparse)]
        torch.testing.assert_close(*values, rtol=close, atol=close)
    else:
        torch.testing.assert_close(dense_z(sparse), dense_z(dense), rtol=close, atol=close)
        torch.testing.assert_close(sparse.x_hat_ND, dense.x_hat_ND, rtol=10 * close, atol=10 * close)
    assert dense.active.counts_F(dense.z).sum() == sparse.active.counts_F(sparse.z).sum()
    assert dense.active.l0(dense.z) == sparse.active.l0(sparse.z)
    whole = max([1e-3, *(float(grad.norm()) for grad in dense_grads.values() if grad is not None)])
    for key, expected in dense_grads.items():
        found = sparse_grads[key]
        if expected is None or found is None:
            assert (expected is None or not expected.any()) and (found is None or not found.any()), key
            continue
        assert float((found - expected).norm()) <= close * (float(expected.norm()) + 0.1 * whole), key


@each
@torch.no_grad()
def test_the_sparse_path_encodes_as_the_dense_one(name, trained):
    sae, x_BLD = load_sae(trained[name]), 3 * torch.from_numpy(planted(600, seed=8)[0]).view(20, 30, D)
    found = {}
    for way in ("auto", *WAYS):
        sae.way = way
        found[way] = sae.encode(x_BLD)
    assert (found["dense"] > 0).any()
    torch.testing.assert_close(found["sparse"], found["dense"], rtol=1e-6, atol=1e-6)
    assert torch.equal(found["auto"], found["dense"]) or torch.equal(found["auto"], found["sparse"])


@each_trained
def test_where_latents_tie_the_paths_keep_the_same_values(name):
    """Every latent stands twice, with all its weights: whichever of the two is kept, the loss is the same."""
    sae, x_ND = unsettled(name, **fields_of(name, {"k": 5, "group_fractions": (1.0,)})), batch()
    with torch.no_grad():
        for key, weight in sae.named_parameters():
            if key == "W_enc":
                weight[:, 1::2] = weight[:, ::2]
            elif key != "b_dec":
                weight[1::2] = weight[::2]
    (dense, _), (sparse, _) = (outcome(sae, way, x_ND, 0) for way in WAYS)
    assert float(sparse.total.detach()) == pytest.approx(float(dense.total.detach()), rel=1e-5)
    torch.testing.assert_close(dense_z(sparse).sort(1).values, dense_z(dense).sort(1).values)


@each_trained
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_do_not_depend_on_the_number_of_threads(name, dtype):
    x_ND = batch(261, d_model=33).to(dtype)
    found = []
    for threads in (1, 2, 1):
        torch.set_num_threads(threads)
        sae = unsettled(name, d_model=33, n_latents=151, **fields_of(name, {"k": 9, "bandwidth": 0.5})).to(dtype)
        sae.begin_training(100, x_ND)
        sae.tokens_since_fired_F[::3] += 10**12
        loss, grads = outcome(sae, "sparse", x_ND, 60)
        assert torch.get_num_threads() == threads
        found.append((float(loss.total.detach()), {key: grad for key, grad in grads.items() if grad is not None}))
    for total, grads in found[1:]:
        assert total == pytest.approx(found[0][0], rel=1e-6)
        assert [key for key in grads if not torch.equal(grads[key], found[0][1][key])] == []


@each
def test_a_missing_or_damaged_file_is_an_error_that_names_it(name, tmp_path):
    with pytest.raises(RunError, match=r"nowhere: no such folder, and no SAE"):
        load_sae(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=r"empty: no SAE; looked for sae\.safetensors \(ours\)"):
        load_sae(tmp_path / "empty")
    with pytest.raises(RunError, match=r"cfg\.json: no such file"):
        read_sae(tmp_path / "nowhere")
    make_sae(name, **SIZES).save(tmp_path)
    weights, card = tmp_path / "sae.safetensors", tmp_path / "cfg.json"
    whole, text = weights.read_bytes(), card.read_text()
    for data in (whole[:-100], whole[:4], b""):
        weights.write_bytes(data)
        with pytest.raises(RunError, match=r"sae\.safetensors: truncated or damaged"):
            load_sae(tmp_path)
    weights.unlink()
    with pytest.raises(RunError, match=r"sae\.safetensors: no such file"):
        load_sae(tmp_path)
    weights.write_bytes(whole)
    card.write_text(json.dumps({**json.loads(text), "n_latents": F + 1}))
    with pytest.raises(RunError, match=rf"sae\.safetensors: W_enc is \({D}, {F}\), not \({D}, {F + 1}\)"):
        load_sae(tmp_path)
    card.write_text(text[:20])
    with pytest.raises(RunError, match=r"cfg\.json: damaged"):
        load_sae(tmp_path)


@each
def test_a_foreign_config_is_an_error_that_names_its_file(name, tmp_path):
    sae = make_sae(name, **SIZES)
    sae.save(tmp_path)
    card = tmp_path / "cfg.json"
    for value in ([1], {"d_in": 12}):
        card.write_text(json.dumps(value))
        with pytest.raises(RunError, match=r"cfg\.json: not an SAE's config"):
            load_sae(tmp_path)
    for change, message in (
        ({"architecture": name + "x"}, f"unknown SAE architecture '{name}x'; did you mean '{name}'"),
        ({"extra": 1}, "unknown field 'extra'"),
    ):
        card.write_text(json.dumps({**to_mapping(sae.cfg), **change}))
        with pytest.raises(ConfigError, match=message) as caught:
            load_sae(tmp_path)
        assert str(card) in str(caught.value)


@each
@pytest.mark.parametrize("way", WAYS)
def test_the_matrix_of_latents_is_the_same_whichever_way_it_is_made(name, way):
    sae, x_ND = unsettled(name, **fields_of(name, {"k": 3})), batch()
    sae.way = way
    found = sae.encode_sparse(x_ND)
    dense_NF = found if isinstance(found, torch.Tensor) else torch.from_numpy(found.toarray())
    assert isinstance(found, torch.Tensor) == (way == "dense")
    torch.testing.assert_close(dense_NF, sae.encode(x_ND).detach())
