"""SAELens' folders of every version: what they say is what is read, or it is an error."""

import json
import math

import pytest
import torch
from exported_saes import D, F, assert_close, assert_same, batch, trained_like
from safetensors.torch import load_file, save_file

from boardgame_sae.files import RunError
from boardgame_sae.saes.exchange import to_sae_lens
from boardgame_sae.saes.load import load_sae


def sae_lens_folder(folder, name="relu", drop=(), weights=None, seed=0, **changes):
    """A folder as SAELens writes it, without anything of ours."""
    to_sae_lens(trained_like(name, unit=False, seed=seed), folder)
    cfg = json.loads((folder / "cfg.json").read_text())
    del cfg["metadata"]["boardgame_sae"]
    cfg["metadata"].update(changes.pop("metadata", {}))
    cfg.update(changes)
    (folder / "cfg.json").write_text(json.dumps({key: value for key, value in cfg.items() if key not in drop}))
    if weights:
        save_file({**load_file(folder / "sae_weights.safetensors"), **weights}, folder / "sae_weights.safetensors")
    return folder


@pytest.mark.parametrize(
    ("name", "theirs", "ours"),
    [
        ("relu", "standard", "relu"),
        ("batch_topk", "batchtopk", "batch_topk"),
        ("batch_topk", "matryoshka_batchtopk", "matryoshka_batch_topk"),
        ("gated", "gated", "gated"),
    ],
)
def test_what_sae_lens_tells_becomes_metadata(tmp_path, name, theirs, ours):
    details = {"training_architecture": theirs, "training_architecture_details": {"k": 4.5}, "hook_name": "h", "x": 1}
    sae = load_sae(sae_lens_folder(tmp_path, name, metadata=details))
    assert sae.trained_as == {
        "architecture": ours, "d_model": D, "n_latents": F, "subtract_b_dec": True, "k": 4.5
    }  # fmt: skip
    assert sae.metadata["hook_name"] == "h"
    assert sae.metadata["foreign"]["metadata"]["x"] == 1
    assert sae.metadata["foreign"]["d_sae"] == F
    assert "model_name" not in sae.metadata


@torch.no_grad()
def test_a_topk_that_rescales_by_decoder_norms_keeps_what_it_gives(tmp_path):
    """Chosen by pre |d|, which is also the latent; decoded with rows of norm 1."""
    plain = load_sae(sae_lens_folder(tmp_path / "a", "topk"))
    sae = load_sae(sae_lens_folder(tmp_path / "b", "topk", rescale_acts_by_decoder_norm=True))
    norms_F, x_ND = plain.W_dec.norm(dim=1), batch()
    pre_NF = ((x_ND - plain.b_dec) @ plain.W_enc + plain.b_enc) * norms_F
    best = pre_NF.topk(4)
    z_NF = torch.zeros_like(pre_NF).scatter(1, best.indices, best.values.relu())
    assert_close(sae.encode(x_ND), z_NF, 1e-5)
    assert_close(sae.decode(z_NF), z_NF @ (plain.W_dec / norms_F[:, None]) + plain.b_dec, 1e-5)
    assert ((plain.encode(x_ND) > 0) != (z_NF > 0)).any()


def test_a_threshold_below_zero_becomes_zero_as_a_relu_follows_it_there(tmp_path):
    sae = load_sae(sae_lens_folder(tmp_path, "jumprelu", weights={"threshold": torch.linspace(-1, 1, F)}))
    torch.testing.assert_close(sae.threshold.detach(), torch.linspace(-1, 1, F).clamp(min=0))


@pytest.mark.parametrize("dtype", ["float16", "torch.bfloat16"])
def test_weights_are_rounded_to_the_dtype_of_the_config_and_held_as_float32(tmp_path, dtype):
    sae = load_sae(sae_lens_folder(tmp_path, dtype=dtype))
    stored = load_file(tmp_path / "sae_weights.safetensors")["W_enc"]
    rounded = stored.to(getattr(torch, dtype.removeprefix("torch."))).float()
    assert sae.dtype == torch.float32
    assert torch.equal(sae.W_enc, rounded)
    assert not torch.equal(rounded, stored)


def test_a_config_of_before_version_6_is_read(tmp_path):
    old = {"hook_point": "blocks.1.hook_resid_pre", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 2}}
    drop = ("metadata", "architecture")
    folder = sae_lens_folder(tmp_path, drop=drop, normalize_activations=False, model_name="gpt", **old)
    sae = load_sae(folder)
    assert (sae.cfg.architecture, sae.cfg.k) == ("topk", 2)
    assert (sae.metadata["hook_name"], sae.metadata["model_name"]) == ("blocks.1.hook_resid_pre", "gpt")
    assert load_sae(sae_lens_folder(tmp_path / "b", drop=drop)).cfg.architecture == "relu"


@pytest.mark.parametrize(
    "architecture", ["transcoder", "temporal", "matching_pursuit", "abstopk", "batchtopk", None, []]
)
def test_an_architecture_without_counterpart_is_an_error(tmp_path, architecture):
    with pytest.raises(RunError, match=r"cfg\.json: architecture is .*not one of.*save_inference_model"):
        load_sae(sae_lens_folder(tmp_path, architecture=architecture))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalize_activations": "layer_norm"}, "normalize_activations is 'layer_norm'.*fold_activation_norm"),
        ({"normalize_activations": "expected_average_only_in"}, "normalize_activations is 'expected_average"),
        ({"reshape_activations": "hook_z"}, "reshape_activations is 'hook_z'.*flatten"),
        ({"activation_fn": "tanh-relu"}, "activation_fn is 'tanh-relu'"),
        ({"dtype": "int8"}, "dtype is 'int8', not one of float32"),
        ({"d_in": 6}, r"W_dec is \(12, 5\), not \(12, 6\)"),
        ({"d_sae": "12"}, "field 'n_latents' is '12'"),
        ({"drop": ("metadata", "reshape_activations"), "hook_name": "blocks.0.attn.hook_z"}, "reshape_activations"),
        ({"architecture": "gated"}, "b_mag is missing"),
        ({"weights": {"scaling_factor": torch.full((F,), 2.0)}}, "scaling_factor is"),
    ],
)
def test_what_sae_lens_folders_may_hold_and_saes_here_cannot_is_an_error_that_names_it(tmp_path, changes, message):
    with pytest.raises(RunError, match=message) as caught:
        load_sae(sae_lens_folder(tmp_path, **changes))
    assert str(tmp_path) in str(caught.value)


def test_a_scaling_factor_of_ones_says_nothing(tmp_path):
    weights = {"scaling_factor": torch.ones(F)}
    assert_same(load_sae(sae_lens_folder(tmp_path, weights=weights)), trained_like("relu", unit=False), batch())


@pytest.mark.parametrize("keep", [0, 40])
def test_damaged_sae_lens_weights_are_an_error(tmp_path, keep):
    path = sae_lens_folder(tmp_path) / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RunError, match=r"sae_weights\.safetensors: missing or damaged"):
        load_sae(tmp_path)
    path.unlink()
    with pytest.raises(RunError, match=r"sae_weights\.safetensors: missing or damaged"):
        load_sae(tmp_path)


def test_a_number_that_is_none_becomes_null_so_that_the_sae_can_be_saved(tmp_path):
    sae = load_sae(sae_lens_folder(tmp_path, metadata={"l0": math.nan}))
    assert sae.metadata["foreign"]["metadata"]["l0"] is None
    sae.save(tmp_path / "ours")
