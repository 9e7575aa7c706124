"""Folders and files of dictionary_learning of every age: what they say is what is read, or it is an error."""

import math
import pickle
from pathlib import Path

import pytest
import torch
from exported_saes import D, F, assert_close, assert_same, batch, dictionary, trained_like

from boardgame_sae.files import RunError
from boardgame_sae.saes.load import load_sae


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
@pytest.mark.parametrize("threshold", [-1.0, math.nan, None])
def test_a_threshold_that_was_never_set_is_an_error_until_it_is_calibrated(tmp_path, name, threshold):
    expected, x_ND = trained_like(name), batch()
    tensors = {} if threshold is None else {"threshold": torch.tensor(threshold)}
    folder = dictionary(tmp_path, name, tensors=tensors, drop=("threshold",) if threshold is None else ())
    with pytest.raises(RunError, match=r"its threshold was never set.*--calibrate"):
        load_sae(folder)
    sae = load_sae(folder, uncalibrated=True)
    assert (sae.calibrated, sae.cfg.k, sae.trained_as["architecture"]) == (False, 4, name)
    sae.calibrate([batch(D, 64, 1)])
    assert_same(sae, expected, x_ND)
    sae.save(tmp_path / "ours")
    assert_same(load_sae(tmp_path / "ours"), expected, x_ND)


@pytest.mark.parametrize(
    ("name", "drop"),
    [
        ("topk", ("k", "threshold")),
        ("topk", ("k",)),
        ("topk", ("threshold",)),
        ("batch_topk", ("k",)),
        ("matryoshka_batch_topk", ("k", "group_sizes")),
    ],
)
def test_before_december_2024_k_stands_in_the_config_alone(tmp_path, name, drop):
    trainers = {"topk": "TrainerTopK", "batch_topk": "TrainerBatchTopK"}
    trainer = {"trainer_class": trainers.get(name, "MatroyshkaBatchTopKTrainer")}
    sae = load_sae(dictionary(tmp_path, name, drop=drop, trainer=trainer))
    assert_same(sae, trained_like(name), batch())
    assert (sae.trained_as["architecture"], sae.trained_as["k"]) == (name, 4)


def test_k_is_never_guessed_and_two_ks_never_chosen_between(tmp_path):
    folder = dictionary(tmp_path, "topk", drop=("k",), trainer={"k": None})
    with pytest.raises(RunError, match=r"ae\.pt: holds no k, nor does its config\.json"):
        load_sae(folder)
    with pytest.raises(RunError, match=r"k is 4, but .*config\.json says 3"):
        load_sae(dictionary(tmp_path, "topk", trainer={"k": 3}))


@pytest.mark.parametrize("name", ["relu", "topk", "batch_topk", "jumprelu", "gated"])
@pytest.mark.parametrize("wrapped", ["module.{}", "_orig_mod.{}", "module._orig_mod.{}", "_orig_mod.module.{}"])
def test_wrappers_of_a_training_leave_no_trace(tmp_path, name, wrapped):
    raw = torch.load(dictionary(tmp_path, name) / "ae.pt")
    torch.save({wrapped.format(key): value for key, value in raw.items()}, tmp_path / "ae.pt")
    assert_same(load_sae(tmp_path), trained_like(name), batch())


def test_wrapped_parts_leave_no_trace(tmp_path):
    raw = torch.load(dictionary(tmp_path, "topk") / "ae.pt")
    torch.save({key.replace("encoder.", "encoder._orig_mod."): value for key, value in raw.items()}, tmp_path / "ae.pt")
    assert_same(load_sae(tmp_path), trained_like("topk"), batch())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_an_error_that_names_the_tensor(tmp_path, value):
    with pytest.raises(RunError, match=r"ae\.pt: tensor 'encoder\.bias' holds NaN or infinite"):
        load_sae(dictionary(tmp_path, tensors={"encoder.bias": torch.full((F,), value)}))


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
        (
            {"name": "topk", "tensors": {"k": torch.tensor(99)}, "trainer": {"k": 99}},
            "k must lie between 1 and n_latents",
        ),
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
