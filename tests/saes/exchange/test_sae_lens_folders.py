"""SAELens' folders of every version: what they say is what is read, or it is an error."""

import math

import pytest
import torch
from exported_saes import D, F, assert_close, assert_same, batch, sae_lens_folder, trained_like
from safetensors.torch import load_file, save_file

from boardgame_sae.files import RunError
from boardgame_sae.saes.load import load_sae


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


@pytest.mark.parametrize("architecture", ["transcoder", "temporal", "matching_pursuit", "batchtopk", None, []])
def test_an_architecture_without_counterpart_is_an_error(tmp_path, architecture):
    with pytest.raises(RunError, match=r"cfg\.json: architecture is .*not one of standard, .*save_inference_model"):
        load_sae(sae_lens_folder(tmp_path, architecture=architecture))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalize_activations": "expected_average_only_in"}, r"is 'expected_.*fold_activation_norm_scaling_factor"),
        ({"normalize_activations": "covariance_whitening"}, r"is 'covariance_whitening'.*fold_activation_whitening"),
        ({"normalize_activations": ["layer_norm"]}, "normalize_activations is .*it is a text"),
        ({"reshape_activations": "hook_q"}, "reshape_activations is 'hook_q'.*heads of hook_z"),
        ({"apply_b_dec_to_input": "yes"}, "apply_b_dec_to_input is 'yes'; it is true or false"),
        ({"drop": ("d_in",)}, "d_in is missing"),
        ({"metadata": {"sae_lens_version": "5.1.0"}, "architecture": "topk"}, "k is missing; it says how many"),
        ({"activation_fn": "tanh-relu"}, "activation_fn is 'tanh-relu'"),
        ({"dtype": "int8"}, "dtype is 'int8', not one of float32"),
        ({"d_in": 6}, r"the encoder is \(5, 12\), not \(6, 12\)"),
        ({"d_sae": 10**9}, r"the encoder is \(5, 12\), not \(5, 1000000000\)"),
        ({"d_sae": "12"}, "d_sae is '12'"),
        ({"architecture": "gated"}, "b_mag is missing"),
        ({"architecture": "topk"}, "k is missing"),
        ({"name": "topk", "k": True}, "k is True"),
        ({"name": "topk", "k": 99}, "k must lie between 1 and n_latents"),
        ({"weights": {"scaling_factor": torch.full((F,), 2.0)}}, "finetuning_scaling_factor is not true"),
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
    with pytest.raises(RunError, match=r"sae_weights\.safetensors: truncated or damaged"):
        load_sae(tmp_path)
    path.unlink()
    with pytest.raises(RunError, match=r"sae_weights\.safetensors: no such file"):
        load_sae(tmp_path)


def test_a_number_that_is_none_becomes_null_so_that_the_sae_can_be_saved(tmp_path):
    sae = load_sae(sae_lens_folder(tmp_path, metadata={"l0": math.nan}))
    assert sae.metadata["foreign"]["metadata"]["l0"] is None
    sae.save(tmp_path / "ours")


@pytest.mark.parametrize("activation", [None, "topk"])
@pytest.mark.parametrize("version", [None, "5.3.0", "3.0.0"])
def test_before_version_6_k_is_that_of_the_activation(tmp_path, activation, version):
    """SAELens's own default is 100; none is ever filled in."""
    old = {"architecture": "topk", "activation_fn_kwargs": {"k": 2}, "activation_fn": activation}
    metadata = {"sae_lens_version": version}
    folder = sae_lens_folder(tmp_path, **old, metadata=metadata)
    assert load_sae(folder).cfg.k == 2


@pytest.mark.parametrize("kind", ["layer_norm", "constant_norm_rescale", "constant_scalar_rescale"])
def test_what_normalises_each_activation_is_scored_as_the_object(tmp_path, kind):
    with pytest.raises(RunError, match=rf"normalize_activations is '{kind}'.*score the object itself") as caught:
        load_sae(sae_lens_folder(tmp_path, normalize_activations=kind))
    assert "fold" not in str(caught.value)


@torch.no_grad()
@pytest.mark.parametrize("name", ["relu", "gated", "jumprelu", "topk"])
@pytest.mark.parametrize("kind", ["expected_average_only_in", True])
def test_a_factor_of_all_activations_is_folded_in_where_it_is_kept(tmp_path, name, kind):
    """z = encode(factor x), x_hat = decode(z) / factor."""
    metadata = {"sae_lens_version": None if kind is True else "6.0.0"}
    plain = load_sae(sae_lens_folder(tmp_path / "plain", name))
    folder = sae_lens_folder(tmp_path / "scaled", name, normalize_activations=kind, metadata=metadata)
    (folder / "activation_scaler.json").write_text('{"scaling_factor": 0.25}')
    sae, x_ND = load_sae(folder), batch()
    z_NF = plain.encode(x_ND / 4)
    assert_close(sae.encode(x_ND), z_NF, 1e-5)
    assert_close(sae.decode(z_NF), 4 * plain.decode(z_NF), 1e-5)
    (folder / "activation_scaler.json").write_text('{"scaling_factor": null}')
    with pytest.raises(RunError, match=r"activation_scaler\.json: scaling_factor is None"):
        load_sae(folder)


@torch.no_grad()
@pytest.mark.parametrize("tensor", ["scaling_factor", "finetuning_scaling_factor"])
def test_factors_of_latents_are_applied_when_they_are_decoded(tmp_path, tensor):
    factor_F = torch.linspace(0.5, 2, F)
    plain = load_sae(sae_lens_folder(tmp_path / "a"))
    told = {"finetuning_scaling_factor": True, "metadata": {"sae_lens_version": "5.0.0"}}
    sae = load_sae(sae_lens_folder(tmp_path / "b", weights={tensor: factor_F}, **told))
    z_NF = plain.encode(batch())
    assert torch.equal(sae.encode(batch()), z_NF)
    assert_close(sae.decode(z_NF), plain.decode(z_NF * factor_F), 1e-5)


def test_heads_side_by_side_are_vectors(tmp_path):
    folder = sae_lens_folder(tmp_path, reshape_activations="hook_z", metadata={"hook_name": "blocks.0.attn.hook_z"})
    assert_same(load_sae(folder), trained_like("relu", unit=False), batch())


@torch.no_grad()
@pytest.mark.parametrize("rescale", [False, True])
def test_the_largest_by_size_are_a_topk_of_either_sign(tmp_path, rescale):
    told = {"rescale_acts_by_decoder_norm": rescale, "metadata": {"training_architecture": None}}
    folder = sae_lens_folder(tmp_path, "topk", architecture="abstopk", **told)
    stored, sae, x_ND = load_file(folder / "sae_weights.safetensors"), load_sae(folder), batch()
    norms_F = stored["W_dec"].norm(dim=1) if rescale else torch.ones(F)
    pre_NF = ((x_ND - stored["b_dec"]) @ stored["W_enc"] + stored["b_enc"]) * norms_F
    kept_NF = torch.zeros_like(pre_NF).scatter(1, pre_NF.abs().topk(4).indices, 1.0)
    z_NF = pre_NF * kept_NF
    assert (z_NF < 0).any() and sae.cfg.n_latents == 2 * F
    assert sae.trained_as["architecture"] == "abstopk"
    both_NF = sae.encode(x_ND)
    assert_close(both_NF, torch.cat([z_NF.clamp(min=0), (-z_NF).clamp(min=0)], 1), 1e-5)
    assert_close(sae.decode(both_NF), z_NF @ (stored["W_dec"] / norms_F[:, None]) + stored["b_dec"], 1e-5)


def test_weights_are_never_rounded_to_a_dtype_that_nobody_stated(tmp_path):
    folder = sae_lens_folder(tmp_path, drop=("dtype",))
    stored = load_file(folder / "sae_weights.safetensors")
    save_file({name: weight.double() for name, weight in stored.items()}, folder / "sae_weights.safetensors")
    assert torch.equal(load_sae(folder).W_enc, stored["W_enc"])
