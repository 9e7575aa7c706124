"""The folders of SAELens and of dictionary_learning, as they are written and as they are found."""

import json
import math
import pickle
from pathlib import Path

import pytest
import torch
from exported_saes import WRITERS, D, F, assert_close, assert_same, batch, trained_like
from safetensors.torch import load_file, save_file

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


# reading what SAELens wrote


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


# reading what dictionary_learning wrote


def dictionary(folder, name="relu", drop=(), config=True, tensors=None, trainer=None, **fields):
    """A folder as dictionary_learning writes it, without anything of ours."""
    to_dictionary_learning(trained_like(name, **fields), folder)
    card = json.loads((folder / "config.json").read_text())
    del card["boardgame_sae"]
    card["trainer"].update(trainer or {})
    (folder / "config.json").write_text(json.dumps(card))
    if not config:
        (folder / "config.json").unlink()
    found = {**torch.load(folder / "ae.pt"), **(tensors or {})}
    torch.save({key: value for key, value in found.items() if key not in drop}, folder / "ae.pt")
    return folder


@pytest.mark.parametrize("name", ["relu", "gated", "jumprelu", "matryoshka_batch_topk"])
def test_without_a_config_the_tensors_tell(tmp_path, name):
    assert_same(load_sae(dictionary(tmp_path, name, config=False)), trained_like(name), batch())


@pytest.mark.parametrize("name", ["topk", "batch_topk"])
def test_without_a_config_topk_and_batch_topk_cannot_be_told_apart(tmp_path, name):
    dictionary(tmp_path, name, config=False)
    with pytest.raises(RunError, match=r"may be AutoEncoderTopK or BatchTopKSAE; put its config\.json beside it"):
        load_sae(tmp_path)


def test_a_dictionary_is_opened_by_its_folder_its_file_or_a_checkpoint(tmp_path):
    folder, expected = dictionary(tmp_path / "trainer_0", "topk"), trained_like("topk")
    (folder / "checkpoints").mkdir()
    checkpoint = folder / "checkpoints" / "ae_100.pt"
    checkpoint.write_bytes((folder / "ae.pt").read_bytes())
    for path in (folder, folder / "ae.pt", checkpoint, str(folder)):
        assert_same(load_sae(path), expected, batch())


def test_what_dictionary_learning_tells_becomes_metadata(tmp_path):
    trainer = {"trainer_class": "PAnnealTrainer", "layer": 2, "lm_name": "m", "submodule_name": "resid_post_layer_2"}
    sae = load_sae(dictionary(tmp_path, trainer=trainer))
    assert sae.trained_as == {"architecture": "p_anneal", "d_model": D, "n_latents": F, "subtract_b_dec": True}
    told = {key: sae.metadata[key] for key in ("layer", "lm_name", "submodule")}
    assert told == {"layer": 2, "lm_name": "m", "submodule": "resid_post_layer_2"}
    assert sae.metadata["foreign"]["trainer"]["dict_class"] == "AutoEncoder"


@torch.no_grad()
def test_norms_of_an_autoencoder_are_folded_as_its_loader_does(tmp_path):
    """They are left in an AutoEncoderNew."""
    sae, x_ND = trained_like("relu"), batch()
    raw = torch.load(dictionary(tmp_path) / "ae.pt")
    longer = load_sae(dictionary(tmp_path, tensors={"decoder.weight": 3 * raw["decoder.weight"]}))
    torch.testing.assert_close(longer.W_dec.norm(dim=1), torch.ones(F))
    assert_close(longer.encode(x_ND), 3 * sae.encode(x_ND))
    raw = torch.load(dictionary(tmp_path, subtract_b_dec=False) / "ae.pt")
    sae = load_sae(dictionary(tmp_path, subtract_b_dec=False, tensors={"decoder.weight": 3 * raw["decoder.weight"]}))
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.full((F,), 3.0))


@pytest.mark.parametrize("name", ["batch_topk", "matryoshka_batch_topk"])
@pytest.mark.parametrize("threshold", [-1.0, math.nan])
def test_a_threshold_that_was_never_set_is_an_error_that_says_what_the_sae_would_do(tmp_path, name, threshold):
    with pytest.raises(RunError, match=r"ae\.pt: threshold is .*dense ReLU.*train it longer"):
        load_sae(dictionary(tmp_path, name, tensors={"threshold": torch.tensor(threshold)}))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"trainer": {"dict_class": "CrossCoder"}}, "says dict_class is 'CrossCoder'.*are those of AutoEncoder;"),
        ({"trainer": {"dict_class": "GatedAutoEncoder"}}, "says dict_class is 'GatedAutoEncoder'"),
        ({"drop": ("bias",)}, "those of no class known here"),
        ({"drop": ("bias",), "config": False}, r"the tensors \(decoder.weight, encoder.bias.*no class known"),
        ({"tensors": {"encoder.weight": torch.zeros(3)}}, r"the encoder is \(3,\), not a matrix"),
        ({"tensors": {"bias": torch.zeros(D + 1)}}, r"b_dec is \(6,\), not \(5,\)"),
        ({"name": "topk", "tensors": {"k": torch.tensor([1, 2])}}, r"k has shape \(2,\)"),
        ({"name": "topk", "tensors": {"k": torch.tensor(99)}}, "k must lie between 1 and n_latents"),
    ],
)
def test_a_dictionary_that_does_not_fit_is_an_error_that_names_it(tmp_path, fields, message):
    with pytest.raises(RunError, match=message) as caught:
        load_sae(dictionary(tmp_path, **fields))
    assert str(tmp_path / "ae.pt") in str(caught.value)


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_that_would_run_code_is_an_error_and_is_not_run(tmp_path):
    mark = tmp_path / "mark"
    for write in (torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2))):
        write({"bias": Bomb(mark)}, tmp_path / "ae.pt")
        with pytest.raises(
            RunError, match=r"ae\.pt: damaged, or holds more than tensors and plain data and was not run"
        ):
            load_sae(tmp_path)
        assert not mark.exists()


@pytest.mark.parametrize(
    "content", [b"", b"\x80", b"hello", pickle.dumps([1], protocol=2)[:-3], b"PK\x03\x04" + bytes(40)]
)
def test_a_damaged_pickle_is_an_error(tmp_path, content):
    (tmp_path / "ae.pt").write_bytes(content)
    with pytest.raises(RunError, match=r"ae\.pt: damaged"):
        load_sae(tmp_path)


@pytest.mark.parametrize("value", [[torch.zeros(2)], {"bias": 3}, torch.zeros(2)])
def test_a_pickle_of_something_else_is_an_error(tmp_path, value):
    torch.save(value, tmp_path / "ae.pt")
    with pytest.raises(RunError, match=r"ae\.pt: not a dict of tensors"):
        load_sae(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{}", '{"trainer": 3}', "{"])
def test_a_damaged_config_of_a_dictionary_is_an_error(tmp_path, text):
    (dictionary(tmp_path) / "config.json").write_text(text)
    with pytest.raises(RunError, match=r"config\.json: "):
        load_sae(tmp_path)


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
