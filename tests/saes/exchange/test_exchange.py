"""The folders of other libraries, as they are written and as they are found."""

import json

import pytest
import torch
from exported_saes import WRITERS, D, F, assert_close, assert_same, batch, can_write, trained_like
from safetensors.torch import load_file, save_file

from boardgame_sae.files import RunError
from boardgame_sae.saes.exchange import libraries, recognise, saebench_view, to_dictionary_learning, to_sae_lens
from boardgame_sae.saes.load import load_sae, sae_folder


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


@pytest.mark.parametrize("writer", [to_sae_lens, to_dictionary_learning])
def test_thresholds_below_zero_are_not_exported(tmp_path, writer):
    sae = trained_like("jumprelu")
    with torch.no_grad():
        sae.threshold[2] = -0.1
    with pytest.raises(RunError, match=r"thresholds below 0.*sae\.constrain\(\)"):
        writer(sae, tmp_path)


@pytest.mark.parametrize("name", ["sae_lens", "sparsify"])
@pytest.mark.parametrize("other", ["boardgame_sae", "sae_lens", "sparsify"])
def test_an_export_does_not_overwrite_a_config_of_something_else(tmp_path, name, other):
    sae = trained_like("topk")
    WRITERS.get(other, lambda sae, folder: sae.save(folder))(sae, tmp_path)
    if name != other:
        with pytest.raises(RunError, match=r"holds another cfg\.json, which would be lost"):
            WRITERS[name](sae, tmp_path)
    else:
        WRITERS[name](sae, tmp_path)
    assert recognise(tmp_path) == other
    assert_same(load_sae(tmp_path), sae, batch())


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["relu", "gated", "jumprelu", "batch_topk", "topk"])
@pytest.mark.parametrize("library", WRITERS)
def test_rows_that_half_precision_moved_off_norm_one_are_of_norm_one_in_an_export(tmp_path, library, name, dtype):
    """Latents and reconstructions stay to the precision of what was stored; those that are on are the same."""
    if not can_write(library, name):
        return
    sae, x_ND = trained_like(name, 64, 96, k=8) if "topk" in name else trained_like(name, 64, 96), batch(64)
    sae.W_dec.copy_(sae.W_dec.to(dtype).float())
    off = (sae.W_dec.norm(dim=1) - 1).abs().max()
    assert 1e-6 < off < 2**-10
    WRITERS[library](sae, tmp_path)
    again, plain = load_sae(tmp_path), sae.inference()
    assert (again.W_dec.norm(dim=1) - 1).abs().max() < 2e-7
    z_NF = plain.encode(x_ND)
    assert torch.equal(again.encode(x_ND) > 0, z_NF > 0)
    assert_close(again.encode(x_ND), z_NF, 2 * off)
    assert_close(again(x_ND), plain(x_ND), 2 * off if name == "topk" else 2e-6)


def test_an_export_to_sae_lens_tells_how_its_activations_are_made(tmp_path):
    sae = trained_like("topk")
    sae.metadata = {"context_size": 59, "hook_name": "blocks.3.hook_resid_post"}
    to_sae_lens(sae, tmp_path)
    told = json.loads((tmp_path / "cfg.json").read_text())["metadata"]
    assert (told["context_size"], told["prepend_bos"]) == (59, False)


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
    with pytest.raises(RunError, match=r"sae\.safetensors: no such file"):
        load_sae(tmp_path)


@pytest.mark.parametrize("field", ["k", "subtract_b_dec", "d_model", "n_latents", "architecture"])
def test_no_field_of_ours_that_latents_depend_on_is_filled_in(tmp_path, field):
    trained_like("topk").save(tmp_path)
    card = json.loads((tmp_path / "cfg.json").read_text())
    (tmp_path / "cfg.json").write_text(json.dumps({name: card[name] for name in card if name != field}))
    with pytest.raises(RunError, match=rf"cfg\.json: .*{field}"):
        load_sae(tmp_path)


def test_a_config_of_ours_that_promises_more_than_the_weights_hold_is_an_error_before_it_is_made(tmp_path):
    trained_like("topk").save(tmp_path)
    card = json.loads((tmp_path / "cfg.json").read_text())
    (tmp_path / "cfg.json").write_text(json.dumps({**card, "n_latents": 10**12}))
    with pytest.raises(RunError, match=r"W_enc is \(5, 12\), not \(5, 1000000000000\)"):
        load_sae(tmp_path)


@pytest.mark.parametrize("card", [None, "{}", "[]", "{", '{"d_model": 3}'])
def test_a_folder_of_none_of_them_is_an_error_that_says_what_was_looked_for(tmp_path, card):
    if card is not None:
        (tmp_path / "cfg.json").write_text(card)
    with pytest.raises(RunError, match="no SAE; looked for") as caught:
        load_sae(tmp_path)
    for library in libraries().values():
        assert f"{library.weights_file} ({library.title})" in str(caught.value)
    with pytest.raises(RunError, match="no SAE"):
        load_sae(tmp_path / "missing")


def test_weights_without_a_config_are_an_error_that_says_what_is_missing(tmp_path):
    weights = {name: torch.zeros(4, 4) for name in ("W_enc", "W_dec")} | {
        "b_enc": torch.zeros(4),
        "b_dec": torch.zeros(4),
    }
    (tmp_path / "sae").mkdir()
    save_file(weights, tmp_path / "sae/mine.safetensors")
    for given in ("sae", "sae/mine.safetensors"):
        with pytest.raises(RunError, match=r"no SAE; .* weights alone do not say how they encode.*mine\.safetensors"):
            load_sae(tmp_path / given)
    (tmp_path / "lens").mkdir()
    save_file(weights, tmp_path / "lens/sae_weights.safetensors")
    with pytest.raises(RunError, match=r"cfg\.json: no such file, and weights alone .*`save_model` wrote"):
        load_sae(tmp_path / "lens")


SAVED = {**WRITERS, "boardgame_sae": lambda sae, folder: sae.save(folder)}
each_saved = pytest.mark.parametrize("library", SAVED)


@each_saved
@pytest.mark.parametrize("below", ["blocks.5.hook_resid_post", "layers.3", "trainer_0", "layer_5/width_16k/l0_10"])
def test_the_only_sae_below_a_folder_is_opened_and_of_several_all_are_named(tmp_path, library, below):
    SAVED[library](trained_like("topk"), tmp_path / below)
    (tmp_path / "empty").mkdir()
    assert_same(load_sae(tmp_path), trained_like("topk"), batch())
    assert sae_folder(tmp_path) == tmp_path / below
    SAVED[library](trained_like("topk"), tmp_path / "another")
    with pytest.raises(RunError, match="the folder above 2; give one of them: ") as caught:
        load_sae(tmp_path)
    assert below in str(caught.value) and "another" in str(caught.value)


@each_saved
def test_a_file_of_an_sae_stands_for_its_folder(tmp_path, library):
    SAVED[library](trained_like("topk"), tmp_path)
    for path in tmp_path.iterdir():
        assert_same(load_sae(path), trained_like("topk"), batch())


@each_saved
@pytest.mark.parametrize("wrapped", ["module.{}", "_orig_mod.module.{}"])
def test_wrappers_of_a_training_leave_no_trace_in_any_file(tmp_path, library, wrapped):
    sae = trained_like("topk")
    SAVED[library](sae, tmp_path)
    for path in tmp_path.glob("*.safetensors"):
        save_file({wrapped.format(name): tensor for name, tensor in load_file(path).items()}, path)
    assert recognise(tmp_path) == library
    assert_same(load_sae(tmp_path), sae, batch())


@each_saved
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_a_config(tmp_path, library, encoding):
    SAVED[library](trained_like("topk"), tmp_path)
    for path in tmp_path.glob("*.json"):
        path.write_text(path.read_text(), encoding=encoding)
    assert recognise(tmp_path) == library
    assert_same(load_sae(tmp_path), trained_like("topk"), batch())


@each_saved
@pytest.mark.parametrize("ending", ["*.json", "[as]*"])
def test_a_git_lfs_pointer_is_named_as_such(tmp_path, library, ending):
    SAVED[library](trained_like("topk"), tmp_path)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n"
    for path in tmp_path.glob(ending):
        path.write_text(pointer)
    with pytest.raises(RunError, match=r"a git-LFS pointer, not the file itself; run `git lfs pull`"):
        load_sae(tmp_path)


@each_saved
def test_weights_that_are_not_finite_are_an_error_that_names_file_and_tensor(tmp_path, library):
    sae = trained_like("topk")
    with torch.no_grad():
        sae.b_dec[2] = torch.nan
    SAVED[library](sae, tmp_path)
    with pytest.raises(RunError, match="tensor 'b_dec' holds NaN or infinite values"):
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
