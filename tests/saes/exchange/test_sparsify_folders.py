"""sparsify's folders: its TopK coders are read and written as it computes them, anything else is refused by name."""

import json

import pytest
import torch
import torch.nn.functional as nn_functional
from exported_saes import D, F, assert_close, assert_same, batch, trained_like
from safetensors.torch import load_file, save_file

from boardgame_sae.files import RunError
from boardgame_sae.saes.exchange import from_sparsify, to_sparsify
from boardgame_sae.saes.load import load_sae

WEIGHTS = "sae.safetensors"


def folder_of(folder, drop=(), **changes):
    """A folder as sparsify writes it, without anything of ours."""
    to_sparsify(trained_like("topk"), folder)
    cfg = json.loads((folder / "cfg.json").read_text())
    del cfg["boardgame_sae"]
    (folder / "cfg.json").write_text(json.dumps({k: v for k, v in {**cfg, **changes}.items() if k not in drop}))
    return folder


def by_formula(folder, x_ND, *, signed=False):
    """Latents and reconstructions as sparsify's source states them."""
    held, cfg = load_file(folder / WEIGHTS), json.loads((folder / "cfg.json").read_text())
    pre_NF = nn_functional.linear(x_ND - held["b_dec"], held["encoder.weight"], held["encoder.bias"])
    pre_NF = pre_NF if signed else pre_NF.relu()
    kept = pre_NF.abs().topk(cfg["k"]).indices
    z_NF = torch.zeros_like(pre_NF).scatter(1, kept, pre_NF.gather(1, kept))
    return z_NF, z_NF @ held["W_dec"] + held["b_dec"]


def test_the_tensors_and_the_fields_are_those_of_the_format(tmp_path):
    folder = folder_of(tmp_path)
    shapes = {name: tuple(tensor.shape) for name, tensor in load_file(folder / WEIGHTS).items()}
    assert shapes == {"encoder.weight": (F, D), "encoder.bias": (F,), "W_dec": (F, D), "b_dec": (D,)}
    assert json.loads((folder / "cfg.json").read_text()) == {
        "activation": "topk",
        "expansion_factor": 2,
        "normalize_decoder": True,
        "num_latents": F,
        "k": 4,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": D,
    }


@torch.no_grad()
@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize("unit", [True, False])
def test_latents_and_reconstructions_are_those_of_its_formula(tmp_path, subtract, unit):
    sae, x_ND = trained_like("topk", subtract_b_dec=subtract, unit=unit), batch()
    to_sparsify(sae, tmp_path)
    z_NF, x_hat_ND = by_formula(tmp_path, x_ND)
    assert_close(sae.encode(x_ND), z_NF, 1e-5)
    assert_close(sae(x_ND), x_hat_ND, 1e-5)
    assert_same(from_sparsify(tmp_path), sae, x_ND)


@torch.no_grad()
def test_signed_latents_of_early_versions_become_one_for_either_sign(tmp_path):
    folder, x_ND = folder_of(tmp_path, drop=("activation", "skip_connection", "transcode"), signed=True), batch()
    z_NF, x_hat_ND = by_formula(folder, x_ND, signed=True)
    sae = load_sae(folder)
    assert (z_NF < 0).any() and sae.trained_as["architecture"] == "abstopk"
    assert_close(sae.encode(x_ND), torch.cat([z_NF.relu(), (-z_NF).relu()], 1), 1e-5)
    assert_close(sae(x_ND), x_hat_ND, 1e-5)


def test_the_number_of_latents_may_be_a_multiple_of_the_width(tmp_path):
    sae = trained_like("topk", 5, 10)
    to_sparsify(sae, tmp_path)
    cfg = json.loads((tmp_path / "cfg.json").read_text())
    for early in ({"num_latents": 0}, {"num_latents": None}):
        (tmp_path / "cfg.json").write_text(json.dumps({**cfg, **early}))
        assert_same(load_sae(tmp_path), sae, batch())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "groupmax"}, "activation is 'groupmax'; SAEs here have no such activation"),
        ({"activation": "relu"}, "activation is 'relu'"),
        ({"transcode": True}, "transcode is True; a transcoder reconstructs other activations"),
        ({"skip_connection": True}, "skip_connection is True"),
        ({"drop": ("k",)}, "k is missing"),
        ({"k": 0}, "k is 0"),
        ({"k": 99}, "k must lie between 1 and n_latents"),
        ({"drop": ("d_in",)}, "d_in is missing"),
        ({"d_in": 6}, r"the encoder is \(5, 12\), not \(6, 12\)"),
        ({"num_latents": 13}, f"says that there are 13 latents, sae.safetensors holds {F}"),
        ({"num_latents": 0, "expansion_factor": 32}, "says that there are 160 latents"),
        ({"signed": "yes"}, "signed is 'yes'; it is true or false"),
    ],
)
def test_what_has_no_counterpart_is_an_error_that_names_it(tmp_path, changes, message):
    with pytest.raises(RunError, match=message) as caught:
        load_sae(folder_of(tmp_path, **changes))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("change", [{"W_skip": torch.zeros(D, D)}, {"b_dec": None}])
def test_other_tensors_are_an_error(tmp_path, change):
    held = {**load_file(folder_of(tmp_path) / WEIGHTS), **change}
    save_file({name: tensor for name, tensor in held.items() if tensor is not None}, tmp_path / WEIGHTS)
    with pytest.raises(RunError, match=r"sae\.safetensors: holds .*, not encoder\.weight"):
        load_sae(tmp_path)


@pytest.mark.parametrize("name", ["relu", "gated", "jumprelu"])
def test_what_it_does_not_have_is_not_written(tmp_path, name):
    with pytest.raises(RunError, match="computes nothing that sparsify knows"):
        to_sparsify(trained_like(name), tmp_path)
    assert not list(tmp_path.iterdir())
