"""One suite for every registered SAE architecture."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from boardgame_sae.activations.store import ActivationStore
from boardgame_sae.config import ConfigError, to_mapping
from boardgame_sae.runs import RunError
from boardgame_sae.saes.sae import architectures, load_sae, make_sae, sae_config
from boardgame_sae.saes.train import TrainSAEConfig, train_saes_run

D, F = 12, 40
SIZES = {"d_model": D, "n_latents": F}
FAST = TrainSAEConfig(n_activations=64 * 300, batch_size=64, lr=3e-3, log_every=100)

pytestmark = pytest.mark.parametrize("name", architectures())


def batch(n=50, seed=0):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed))


def unsettled(name, **fields):
    """An SAE whose every parameter is away from its start, the biases too."""
    sae = make_sae(name, **SIZES, **fields)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in sae.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    sae.normalize_decoder()
    return sae


def synthetic(n_rows=5000, n_atoms=20, n_on=2, seed=0):
    rng = np.random.default_rng(seed)
    atoms_FD = rng.normal(size=(n_atoms, D))
    atoms_FD /= np.linalg.norm(atoms_FD, axis=1, keepdims=True)
    on_NF = rng.random((n_rows, n_atoms)).argsort(axis=1) < n_on
    return ((on_NF * rng.uniform(0.5, 1.5, on_NF.shape)) @ atoms_FD).astype(np.float32)


def memory_store(acts_ND):
    return ActivationStore(Path("memory"), {"made": "here"}, acts_ND)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Every architecture with its defaults after a short training, by name."""
    outs = [tmp_path_factory.mktemp(name) / "sae" for name in architectures()]
    configs = [sae_config(name, **SIZES) for name in architectures()]
    train_saes_run(memory_store(synthetic()), configs, FAST, outs=outs, device="cpu")
    return dict(zip(architectures(), outs, strict=True))


@torch.no_grad()
def test_encode_and_decode_keep_leading_axes(name):
    sae = unsettled(name)
    for shape in ((5,), (5, 7), (0,)):
        x = torch.randn(*shape, D, generator=torch.Generator().manual_seed(1))
        z = sae.encode(x)
        assert z.shape == (*shape, F)
        assert sae.decode(z).shape == x.shape
        assert torch.equal(sae(x), sae.decode(z))


@torch.no_grad()
def test_games_by_tokens_are_encoded_as_their_flattened_rows(name):
    sae, x_BLD = unsettled(name), batch(35).view(5, 7, D)
    torch.testing.assert_close(sae.encode(x_BLD).flatten(0, 1), sae.encode(x_BLD.flatten(0, 1)))


@torch.no_grad()
def test_latents_are_never_negative_and_some_are_on(name):
    z_NF = unsettled(name).encode(batch())
    assert z_NF.min() == 0
    assert (z_NF > 0).any()


@torch.no_grad()
def test_decode_is_the_decoder_rows_weighted_by_latents_plus_the_bias(name):
    sae = unsettled(name)
    z_F = torch.zeros(F)
    z_F[3], z_F[8] = 2.0, 0.5
    torch.testing.assert_close(sae.decode(z_F), 2 * sae.W_dec[3] + 0.5 * sae.W_dec[8] + sae.b_dec)
    torch.testing.assert_close(sae.decode(torch.zeros(F)), sae.b_dec.detach())


def test_an_sae_carries_what_saebench_reads(name):
    sae = make_sae(name, **SIZES)
    assert (sae.cfg.d_in, sae.cfg.d_sae, sae.cfg.architecture) == (D, F, name)
    assert (sae.W_enc.shape, sae.W_dec.shape, sae.b_enc.shape, sae.b_dec.shape) == ((D, F), (F, D), (F,), (D,))
    assert (sae.device, sae.dtype) == (torch.device("cpu"), torch.float32)


def test_decoder_rows_have_norm_one_at_the_start_and_after_training(name, trained):
    start, end = make_sae(name, **SIZES), load_sae(trained[name])
    for sae in (start, end):
        torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(F), rtol=0, atol=1e-5)
    assert (start.W_dec - end.W_dec).norm(dim=1).median() > 0.01


def test_the_decoders_gradient_does_not_change_the_norm_of_its_rows(name):
    sae = unsettled(name)
    sae.loss(batch(), step=0).total.backward()
    raw_FD = sae.W_dec.grad.clone()
    sae.constrain_gradient()
    along_F = (sae.W_dec.grad * sae.W_dec).sum(1)
    torch.testing.assert_close(along_F, torch.zeros(F), rtol=0, atol=1e-4)
    across_FD = raw_FD - (raw_FD * sae.W_dec).sum(1, keepdim=True) * sae.W_dec
    assert across_FD.norm() > 0
    torch.testing.assert_close(sae.W_dec.grad, across_FD.detach())


def test_the_parts_of_the_loss_add_up_and_its_reconstruction_is_the_squared_error(name):
    sae, x_ND = unsettled(name), batch()
    sae.begin_training(100, x_ND)
    loss = sae.loss(x_ND, step=50)
    torch.testing.assert_close(loss.total, loss.reconstruction + loss.sparsity + loss.auxiliary)
    error_ND = (x_ND - sae.decode(loss.latents_NF)).detach().double()
    assert float(loss.reconstruction.detach()) == pytest.approx(float(error_ND.pow(2).sum() / len(x_ND)), rel=1e-5)
    for part in loss[:4]:
        assert part.shape == ()


def test_loss_changes_nothing_and_repeats_itself(name):
    sae, x_ND = unsettled(name), batch()
    sae.begin_training(100, x_ND)
    before = {key: tensor.clone() for key, tensor in sae.state_dict().items()}
    first, again = sae.loss(x_ND, step=50), sae.loss(x_ND, step=50)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert sae.state_dict().keys() == before.keys()
    for key, tensor in sae.state_dict().items():
        assert torch.equal(tensor, before[key]), key


@pytest.mark.parametrize("bias", [0.0, -1e3], ids=["some latents on", "no latent on"])
@pytest.mark.parametrize("step", [0, 50, 99])
def test_every_gradient_is_finite(name, bias, step):
    sae, x_ND = unsettled(name), batch()
    sae.begin_training(100, x_ND)
    with torch.no_grad():
        sae.b_enc += bias
    sae.tokens_since_fired_F += 10**12  # whatever can be dead is
    loss = sae.loss(x_ND, step=step)
    assert (bias == 0) == bool((loss.latents_NF > 0).any())
    loss.total.backward()
    for key, weight in sae.named_parameters():
        assert weight.grad is None or torch.isfinite(weight.grad).all(), key
    assert sae.b_dec.grad.abs().sum() > 0


def test_a_wrong_width_is_an_error_that_names_both(name):
    sae = make_sae(name, **SIZES)
    for use in (sae.encode, sae.loss, sae.forward, lambda x: sae.begin_training(10, x)):
        with pytest.raises(ValueError, match=f"width {D}, these have width 9"):
            use(torch.zeros(4, 9))


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


def test_the_seed_alone_decides_the_first_weights(name):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = make_sae(name, **SIZES, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again, other = make_sae(name, **SIZES, seed=5).state_dict(), make_sae(name, **SIZES, seed=6).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["W_dec"], other["W_dec"])


@torch.no_grad()
def test_a_saved_sae_loads_with_the_same_bits(name, trained, tmp_path):
    sae, x_ND = load_sae(trained[name]), torch.from_numpy(synthetic(50, seed=9))
    sae.metadata = {"hook_name": "blocks.0.hook_resid_post", "nested": {"a": [1, 2.5, None]}}
    sae.save(tmp_path)
    again = load_sae(tmp_path)
    assert type(again) is type(sae)
    assert (again.cfg, again.metadata, again.training) == (sae.cfg, sae.metadata, False)
    assert (sae.encode(x_ND) > 0).any()
    assert torch.equal(again.encode(x_ND), sae.encode(x_ND))
    assert torch.equal(again(x_ND), sae(x_ND))
    for key, tensor in sae.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor), key
    assert json.loads((tmp_path / "cfg.json").read_text())["architecture"] == name


@torch.no_grad()
@pytest.mark.parametrize("scale", [0.25, 7.0])
def test_folding_a_scale_in_turns_an_sae_of_scaled_activations_into_one_of_raw_ones(name, trained, scale):
    raw_ND = torch.from_numpy(synthetic(60, seed=4)) * scale
    sae, folded = load_sae(trained[name]), load_sae(trained[name])
    folded.fold_scale(scale)
    z_NF = sae.encode(raw_ND / scale)
    assert (z_NF > 0).any()
    torch.testing.assert_close(folded.encode(raw_ND), scale * z_NF, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(folded(raw_ND), scale * sae(raw_ND / scale), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_training_lowers_the_reconstruction_error_of_fresh_sparse_data(name, trained):
    """The error on raw activations is compared, so the scale must have been folded in too."""
    fresh_ND = torch.from_numpy(synthetic(6000)[5000:])
    spread = float((fresh_ND - fresh_ND.mean(0)).pow(2).sum(1).mean())

    def unexplained(sae):
        return float((fresh_ND - sae(fresh_ND)).pow(2).sum(1).mean()) / spread

    assert unexplained(load_sae(trained[name])) < 0.35
    assert unexplained(load_sae(trained[name])) < 0.5 * unexplained(make_sae(name, **SIZES))


def test_latents_that_do_not_fire_are_counted_in_tokens(name):
    sae, x_ND = unsettled(name), batch(30)
    sae.begin_training(100, x_ND)
    since_F = np.zeros(F, dtype=int)
    for step, n in enumerate((30, 10, 25)):
        loss = sae.loss(x_ND[:n], step)
        sae.after_step(step, loss)
        fired_F = (loss.latents_NF > 0).any(0).numpy()
        since_F = np.where(fired_F, 0, since_F + n)
        assert sae.tokens_since_fired_F.tolist() == since_F.tolist()
    assert sae.dead_F(25).tolist() == (since_F >= 25).tolist()


def test_a_missing_or_damaged_file_is_an_error_that_names_it(name, tmp_path):
    with pytest.raises(RunError, match=r"cfg\.json: no such file"):
        load_sae(tmp_path / "nowhere")
    make_sae(name, **SIZES).save(tmp_path)
    weights, card = tmp_path / "sae.safetensors", tmp_path / "cfg.json"
    whole, text = weights.read_bytes(), card.read_text()
    for data in (whole[:-100], whole[:4], b""):
        weights.write_bytes(data)
        with pytest.raises(RunError, match=r"sae\.safetensors: missing, truncated or of another shape"):
            load_sae(tmp_path)
    weights.unlink()
    with pytest.raises(RunError, match=r"sae\.safetensors: missing"):
        load_sae(tmp_path)
    weights.write_bytes(whole)
    card.write_text(json.dumps({**json.loads(text), "n_latents": F + 1}))
    with pytest.raises(RunError, match=r"sae\.safetensors: missing, truncated or of another shape"):
        load_sae(tmp_path)
    card.write_text(text[:20])
    with pytest.raises(RunError, match=r"cfg\.json: damaged"):
        load_sae(tmp_path)


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
