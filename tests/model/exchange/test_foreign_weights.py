"""A GPT's weights are found in whatever they were saved, and one that is not finite is named."""

import re

import pytest
import torch
from safetensors.torch import save_file

from boardgame_sae import cli
from boardgame_sae.files import RunError
from boardgame_sae.model.exchange.exporters import hooked_weights
from boardgame_sae.model.exchange.files import open_foreign
from boardgame_sae.model.exchange.foreign_weights import foreign_weights, library_in
from boardgame_sae.model.exchange.importers import from_transformer_lens
from boardgame_sae.model.gpt import GPT, GPTConfig


@pytest.fixture(scope="module")
def state():
    """An Othello GPT by HookedTransformer's names, its masks among them."""
    gpt = GPT(GPTConfig(n_layers=2, d_model=8, n_heads=2, d_vocab=61, n_ctx=59), seed=3)
    weights = {
        name: weight.detach().clone(memory_format=torch.contiguous_format) for name, weight in hooked_weights(gpt)
    }
    masks = {"blocks.0.attn.mask": torch.ones(59, 59).tril(), "blocks.0.attn.IGNORE": torch.tensor(-torch.inf)}
    return {**weights, **masks}


def prefixed(state, prefix):
    return {prefix + name: weight for name, weight in state.items()}


WRAPPED = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "step": 3},
    "model": lambda state: {"model": state, "loss": torch.tensor(2.0)},
    "model_state_dict": lambda state: {"epoch": 1, "model_state_dict": state, "optimizer": {"state": {0: {}}}},
    "another word, deeper": lambda state: {"checkpoint": {"network": state}},
    "data parallel": lambda state: prefixed(state, "module."),
    "compiled": lambda state: prefixed(state, "_orig_mod."),
    "both": lambda state: prefixed(state, "module._orig_mod."),
    "compiled blocks": lambda state: {re.sub(r"^(blocks\.\d)", r"\1._orig_mod", name): w for name, w in state.items()},
    "lightning": lambda state: {"state_dict": {**prefixed(state, "model."), "metric.total": torch.ones(())}},
    "lightning, compiled": lambda state: {"state_dict": prefixed(state, "net._orig_mod."), "hyper_parameters": {}},
}


@pytest.mark.parametrize("ending", ["pt", "pth", "ckpt", "bin"])
@pytest.mark.parametrize("way", WRAPPED)
def test_a_wrapped_or_prefixed_gpt_opens_as_if_it_were_not(state, tmp_path, way, ending):
    torch.save(WRAPPED[way](state), tmp_path / f"gpt.{ending}")
    found = open_foreign(tmp_path / f"gpt.{ending}")
    assert found is not None and found.hash == from_transformer_lens(state).hash


@pytest.mark.parametrize("way", ["plain", "data parallel", "compiled", "both", "compiled blocks"])
def test_so_it_does_from_safetensors(state, tmp_path, way):
    save_file(WRAPPED[way](state), tmp_path / "gpt.safetensors")
    found = open_foreign(tmp_path)
    assert found is not None and found.hash == from_transformer_lens(state).hash


def test_what_stands_beside_the_weights_says_how_many_heads_there_are():
    weights = {"tok_emb.weight": torch.ones(3, 4)}
    for where, name in (("model_args", "n_head"), ("hyper_parameters", "n_heads"), ("config", "num_heads")):
        assert foreign_weights({"state_dict": weights, where: {name: 7}}, "minGPT").heads(None) == 7
    assert foreign_weights({"state_dict": weights}, "minGPT").heads(5) == 5
    for said in (None, "8", {}):
        with pytest.raises(RunError, match="does not say how many attention heads it has; pass n_heads"):
            foreign_weights({"state_dict": weights, "config": {"n_head": said}}, "minGPT").heads(None)


def test_several_gpts_in_a_file_or_folder_are_not_guessed_between(state, tmp_path):
    torch.save({"model": state, "ema": prefixed(state, "module.")}, tmp_path / "two.pt")
    with pytest.raises(RunError, match=r"two\.pt: holds several GPTs, at model\., ema\.; save the weights of one"):
        open_foreign(tmp_path / "two.pt")
    torch.save(state, tmp_path / "one.pt")
    with pytest.raises(RunError, match=r"holds several GPTs, \S*one\.pt, \S*two\.pt; give one of them"):
        open_foreign(tmp_path)


def test_a_folder_one_level_above_is_as_good_unless_several_hold_weights(state, tmp_path):
    for name in ("a/b", "a/notes"):
        (tmp_path / name).mkdir(parents=True)
    torch.save(state, tmp_path / "a/b/gpt.pth")
    found = open_foreign(tmp_path / "a")
    assert found is not None and found.hash == from_transformer_lens(state).hash
    assert open_foreign(tmp_path) is None
    torch.save(state, tmp_path / "a/notes/gpt.pth")
    assert open_foreign(tmp_path / "a") is None


def test_nothing_is_a_gpt_that_has_only_a_similar_name():
    assert library_in({"other_embed.W_E": torch.ones(2, 2), "transformer.wte.weight_scale": torch.ones(2)}) is None
    assert library_in({"a": {"b": {"c": {"embed.W_E": torch.ones(2, 2)}}}}) is None


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_a_weight_that_is_not_finite_is_named_with_its_file(state, tmp_path, capsys, ending, value):
    broken = {**state, "blocks.1.mlp.W_in": state["blocks.1.mlp.W_in"].clone()}
    broken["blocks.1.mlp.W_in"][2, 3] = value
    path = tmp_path / f"gpt.{ending}"
    save_file(broken, path) if ending == "safetensors" else torch.save({"state_dict": broken}, path)
    assert cli.main(["import", str(path), "--out", str(tmp_path / "ours")]) == 1
    assert f"{path}: tensor 'blocks.1.mlp.W_in' holds NaN or infinite values" in capsys.readouterr().err
    assert not (tmp_path / "ours").exists()


def test_a_number_too_large_for_ours_is_not_finite_either(state):
    big = {**state, "blocks.0.attn.b_O": state["blocks.0.attn.b_O"].double() + 1e300}
    with pytest.raises(RunError, match=r"tensor 'blocks\.0\.attn\.b_O' holds NaN or infinite"):
        from_transformer_lens(big)


@pytest.mark.parametrize("ending", ["pt", "pth", "ckpt", "safetensors"])
def test_a_git_lfs_pointer_is_named_as_one(tmp_path, capsys, ending):
    path = tmp_path / f"gpt.{ending}"
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n")
    assert cli.main(["import", str(path), "--out", str(tmp_path / "ours")]) == 1
    assert f"{path}: a git-LFS pointer, not the file itself" in capsys.readouterr().err


def test_a_byte_order_mark_before_the_config_of_a_hooked_transformer_is_read_over(state, tmp_path):
    save_file({name: weight for name, weight in state.items() if "attn.IGNORE" not in name}, tmp_path / "m.safetensors")
    (tmp_path / "hooked_transformer.json").write_bytes(b'\xef\xbb\xbf{"act_fn": "relu"}')
    (tmp_path / "alphabet.json").write_bytes('{"game": "othello"}'.encode("utf-8-sig"))
    found = open_foreign(tmp_path)
    assert found is not None and found.gpt.cfg.act_fn == "relu"
