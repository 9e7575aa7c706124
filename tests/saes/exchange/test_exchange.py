"""The folders of SAELens and of dictionary_learning, as they are written and as they are found."""

import json

import pytest
import torch
from exported_saes import WRITERS, D, F, assert_same, batch, trained_like
from safetensors.torch import load_file

from boardgame_sae.files import RunError
from boardgame_sae.saes.exchange import recognise, saebench_view, to_dictionary_learning, to_sae_lens
from boardgame_sae.saes.load import load_sae


@pytest.mark.parametrize("name", ["p_anneal", "gated", "jumprelu", "topk", "batch_topk"])
def test_a_sae_lens_folder_has_the_tensors_and_the_fields_of_its_format(tmp_path, name):
    sae = trained_like(name, subtract_b_dec=False)
    sae.metadata = {"hook_name": "blocks.3.hook_resid_post", "model": "abc", "inference": {"l0": 2.5}}
    to_sae_lens(sae, tmp_path)
    weights, cfg = load_file(tmp_path / "sae_weights.safetensors"), json.loads((tmp_path / "cfg.json").read_text())
    shapes = {"W_enc": (D, F), "W_dec": (F, D), "b_enc": (F,), "b_dec": (D,)}
    gate = {"b_gate": (F,), "b_mag": (F,), "r_mag": (F,)}
    expected = {
        "p_anneal": ("standard", shapes),
        "gated": ("gated", {key: shape for key, shape in {**shapes, **gate}.items() if key != "b_enc"}),
        "jumprelu": ("jumprelu", {**shapes, "threshold": (F,)}),
        "topk": ("topk", shapes),
        "batch_topk": ("jumprelu", {**shapes, "threshold": (F,)}),
    }
    assert (cfg["architecture"], {key: tuple(weight.shape) for key, weight in weights.items()}) == expected[name]
    assert (cfg["d_in"], cfg["d_sae"], cfg["dtype"], cfg["apply_b_dec_to_input"]) == (D, F, "float32", False)
    told = cfg["metadata"]
    assert (told["hook_name"], told["training_architecture"], told["l0"]) == ("blocks.3.hook_resid_post", name, 2.5)
    assert cfg.get("k") == (4 if name == "topk" else None)


@pytest.mark.parametrize(
    ("name", "fields", "dict_class"),
    [
        ("relu", {}, "AutoEncoder"),
        ("relu", {"subtract_b_dec": False}, "AutoEncoderNew"),
        ("relu", {"unit": False}, "AutoEncoderNew"),
        ("p_anneal", {}, "AutoEncoder"),
        ("identity", {}, "AutoEncoder"),
        ("gated", {"subtract_b_dec": False}, "GatedAutoEncoder"),
        ("topk", {}, "AutoEncoderTopK"),
        ("random", {}, "AutoEncoderTopK"),
        ("batch_topk", {}, "BatchTopKSAE"),
        ("batch_topk", {"subtract_b_dec": False}, "JumpReluAutoEncoder"),
        ("matryoshka_batch_topk", {}, "MatryoshkaBatchTopKSAE"),
        ("jumprelu", {"subtract_b_dec": True}, "JumpReluAutoEncoder"),
    ],
)
def test_a_dictionary_learning_folder_names_its_class_layer_and_k(tmp_path, name, fields, dict_class):
    sae = trained_like(name, **fields)
    sae.metadata["hook_name"] = "blocks.3.hook_resid_post"
    to_dictionary_learning(sae, tmp_path)
    trainer = json.loads((tmp_path / "config.json").read_text())["trainer"]
    assert (trainer["dict_class"], trainer["layer"]) == (dict_class, 3)
    assert (trainer["activation_dim"], trainer["dict_size"]) == (D, F)
    assert ("k" in trainer) == ("TopK" in dict_class)
    tensors = torch.load(tmp_path / "ae.pt", weights_only=True)
    assert {type(value) for value in tensors.values()} == {torch.Tensor}
    if dict_class == "MatryoshkaBatchTopKSAE":
        assert tensors["group_sizes"].tolist() == [6, 6]
    if "k" in tensors:
        assert tensors["k"].item() == trainer["k"] == 4


@pytest.mark.parametrize("writer", WRITERS.values())
@pytest.mark.parametrize("name", ["batch_topk", "matryoshka_batch_topk"])
def test_an_sae_without_a_threshold_is_not_exported(tmp_path, name, writer):
    with pytest.raises(RunError, match=r"no threshold yet.*sae\.calibrate\(batches\)"):
        writer(trained_like(name, calibrated=False), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("writer", WRITERS.values())
def test_thresholds_below_zero_are_not_exported(tmp_path, writer):
    sae = trained_like("jumprelu")
    with torch.no_grad():
        sae.threshold[2] = -0.1
    with pytest.raises(RunError, match=r"thresholds below 0.*sae\.constrain\(\)"):
        writer(sae, tmp_path)


def test_an_export_does_not_overwrite_an_sae_of_ours(tmp_path):
    sae = trained_like("relu")
    sae.save(tmp_path)
    with pytest.raises(RunError, match="holds an SAE in our format"):
        to_sae_lens(sae, tmp_path)
    assert_same(load_sae(tmp_path), sae, batch())


def test_an_export_leaves_the_sae_as_it_was(tmp_path):
    sae = trained_like("gated", subtract_b_dec=False, unit=False)
    before = {name: tensor.clone() for name, tensor in sae.state_dict().items()}
    to_sae_lens(sae, tmp_path)
    to_dictionary_learning(sae, tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in sae.state_dict().items())


# which library


def test_our_own_folder_is_recognised_also_when_it_is_damaged(tmp_path):
    sae = trained_like("gated")
    sae.save(tmp_path)
    assert recognise(tmp_path) == "boardgame_sae"
    assert_same(load_sae(tmp_path), sae, batch())
    (tmp_path / "cfg.json").write_text("{")
    with pytest.raises(RunError, match=r"cfg\.json: damaged"):
        load_sae(tmp_path)
    sae.save(tmp_path)
    (tmp_path / "sae.safetensors").unlink()
    with pytest.raises(RunError, match=r"sae\.safetensors: missing"):
        load_sae(tmp_path)


@pytest.mark.parametrize("card", [None, "{}", "[]", "{", '{"d_model": 3}'])
def test_a_folder_of_none_of_them_is_an_error_that_says_what_was_looked_for(tmp_path, card):
    if card is not None:
        (tmp_path / "cfg.json").write_text(card)
    with pytest.raises(RunError, match=r"no SAE; looked for sae\.safetensors.*sae_weights\.safetensors.*ae\.pt"):
        load_sae(tmp_path)
    with pytest.raises(RunError, match="no SAE"):
        load_sae(tmp_path / "missing")


def test_above_the_folders_of_a_training_the_error_names_one(tmp_path):
    dictionary(tmp_path / "trainer_0")
    with pytest.raises(RunError, match=r"such as .*trainer_0"):
        load_sae(tmp_path)


# SAEBench


def test_the_saebench_view_has_the_fields_and_may_be_moved_without_the_sae():
    sae = trained_like("jumprelu")
    sae.metadata = {"hook_name": "blocks.3.hook_resid_post", "model": "abc"}
    view = saebench_view(sae, context_size=60)
    cfg = view.cfg
    assert (cfg.d_in, cfg.d_sae, cfg.hook_layer, cfg.hook_name) == (D, F, 3, "blocks.3.hook_resid_post")
    assert (cfg.architecture, cfg.model_name, cfg.context_size) == ("jumprelu", "abc", 60)
    assert (cfg.dtype, cfg.device, view.device) == ("float32", "cpu", torch.device("cpu"))
    assert json.loads(json.dumps(cfg.to_dict()))["d_in"] == D
    view.to(torch.float64)
    assert (view.dtype, view.W_dec.dtype, view.encode(batch().double()).dtype) == (torch.float64,) * 3
    assert sae.dtype == torch.float32
    with pytest.raises(AttributeError, match="nothing"):
        _ = view.nothing
