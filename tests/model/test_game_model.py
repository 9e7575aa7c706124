"""A model is its folder: the same logits back, or an error that names the file."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from boardgame_sae.config import ConfigError
from boardgame_sae.files import RunError
from boardgame_sae.games import IllegalMove
from boardgame_sae.model.game_model import GameModel, pick_device
from boardgame_sae.model.gpt import GPT, weight_shapes


@pytest.fixture
def folder(tiny_model, tmp_path):
    tiny_model.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(scope="module")
def tokens_BL(tiny_corpus):
    return torch.from_numpy(tiny_corpus.rows(tiny_corpus.games("test", 20))[0][:, :-1])


@torch.no_grad()
def test_a_loaded_model_gives_the_same_logits_and_card(tiny_model, folder, tokens_BL):
    loaded = GameModel.load(folder, "cpu")
    assert torch.equal(loaded.gpt(tokens_BL), tiny_model.gpt(tokens_BL))
    assert loaded.card == tiny_model.card and not loaded.gpt.training
    assert str(loaded) == str(tiny_model) and tiny_model.hash in str(loaded)


def test_saving_again_writes_the_same_bytes(tiny_model, folder, tmp_path):
    GameModel.load(folder, "cpu").save(tmp_path / "again")
    for name in ("model.safetensors", "cfg.json"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["cfg.json", "model.safetensors"]


def test_a_model_knows_its_game_and_alphabet(tiny_model, tiny_corpus):
    assert tiny_model.game is tiny_corpus.game and tiny_model.alphabet == tiny_corpus.alphabet
    assert tiny_model.tokenization == "move" and tiny_model.gpt.cfg.n_ctx == tiny_corpus.n_ctx
    assert tiny_model.card["corpus"] == tiny_corpus.config


def test_encoding_a_games_text_gives_the_corpus_tokens(tiny_model, tiny_corpus):
    (text,) = tiny_corpus.game.texts(tiny_corpus.record([5]))
    tokens = tiny_corpus.rows([5])[0][0]
    assert tiny_model.encode(text).tolist() == [tokens[tokens > 0].tolist()]
    with pytest.raises(IllegalMove):
        tiny_model.encode("a1")


def refusal(folder, name, error=RunError):
    with pytest.raises(error) as caught:
        GameModel.load(folder, "cpu")
    assert str(caught.value).startswith(str(folder / name))
    return str(caught.value)


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_truncated_weights_are_named(folder, share):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "truncated or damaged" in refusal(folder, "model.safetensors")


def test_missing_weights_are_named(folder):
    (folder / "model.safetensors").unlink()
    refusal(folder, "model.safetensors")


def test_weights_of_another_shape_or_with_a_part_missing_are_named(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    for change in ({"unembed.weight": torch.zeros(3, 3)}, {"unembed.weight": None}, {"foreign": torch.zeros(1)}):
        changed = {name: value for name, value in {**weights, **change}.items() if value is not None}
        save_file(changed, path)
        refusal(folder, "model.safetensors")


def test_a_missing_or_damaged_card_is_named(folder):
    (folder / "cfg.json").write_text('{"gpt": ')
    assert "damaged" in refusal(folder, "cfg.json")
    (folder / "cfg.json").unlink()
    assert "no such file" in refusal(folder, "cfg.json")
    shutil.rmtree(folder)
    assert "no such file" in refusal(folder, "cfg.json")


@pytest.mark.parametrize("card", [{"architecture": "topk", "d_sae": 64}, [], 3, None])
def test_a_card_of_something_else_is_named(folder, card):
    (folder / "cfg.json").write_text(json.dumps(card))
    assert "not a GPT's card" in refusal(folder, "cfg.json")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("n_layers", 10**6, "blocks.2.ln1.weight is missing"),
        ("n_layers", 1, "has blocks.1.attn.k.bias, which a GPT by cfg.json has not"),
        ("d_model", 2**62, r"embed.weight is .*, by cfg.json it is \(\d+, 4611686018427387904\)"),
        ("n_ctx", 10**12, "pos_embed.weight is"),
    ],
)
def test_a_card_of_another_size_is_refused_before_anything_of_that_size_is_made(folder, field, value, said):
    card = json.loads((folder / "cfg.json").read_text())
    card["gpt"][field] = value
    (folder / "cfg.json").write_text(json.dumps(card))
    assert re.search(said, refusal(folder, "model.safetensors"))


def test_the_shapes_of_a_gpt_are_known_without_building_it(tiny_model):
    gpt = tiny_model.gpt
    assert dict(weight_shapes(gpt.cfg)) == {name: tuple(weight.shape) for name, weight in gpt.state_dict().items()}


@pytest.mark.parametrize("field", ["game", "tokenization", "hash", "alphabet", "gpt"])
@pytest.mark.parametrize("value", [3, None, [], ["a", 1]])
def test_a_card_with_a_field_of_another_type_is_named(folder, field, value):
    card = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps({**card, field: value}))
    assert f"'{field}' " in refusal(folder, "cfg.json")


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_weight_that_is_not_finite_is_named(folder, value):
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["blocks.0.attn.q.bias"][1] = value
    save_file(weights, path)
    assert "tensor 'blocks.0.attn.q.bias' holds NaN or infinite values" in refusal(folder, "model.safetensors")


def test_weights_are_as_readable_as_any_file(tiny_model, tmp_path):
    tiny_model.save(tmp_path)
    (tmp_path / "plain").touch()
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_card_with_an_unknown_shape_field_is_named(folder):
    card = json.loads((folder / "cfg.json").read_text())
    card["gpt"]["n_experts"] = 8
    (folder / "cfg.json").write_text(json.dumps(card))
    assert "n_experts" in refusal(folder, "cfg.json", ConfigError)


@torch.no_grad()
def test_a_random_twin_has_the_shape_but_neither_the_weights_nor_the_hash(tiny_model, tokens_BL):
    before = tiny_model.gpt(tokens_BL)
    twins = [tiny_model.random_twin(), tiny_model.random_twin(seed=1)]
    assert len({model.hash for model in (tiny_model, *twins)}) == 3
    logits = [model.gpt(tokens_BL) for model in (tiny_model, *twins)]
    assert torch.equal(logits[0], before)
    assert not any(torch.allclose(logits[a], logits[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    for twin in twins:
        assert twin.gpt.cfg == tiny_model.gpt.cfg and twin.alphabet == tiny_model.alphabet and not twin.gpt.training


@torch.no_grad()
def test_a_random_twin_is_the_gpt_of_its_seed_and_always_the_same(tiny_model, tokens_BL):
    twin = tiny_model.random_twin(seed=4)
    assert torch.equal(twin.gpt(tokens_BL), GPT(tiny_model.gpt.cfg, seed=4)(tokens_BL))
    assert twin.hash == tiny_model.random_twin(seed=4).hash


def test_an_unknown_device_is_refused_with_those_that_exist():
    assert pick_device("cpu") == torch.device("cpu") and pick_device() == pick_device("auto")
    with pytest.raises(ConfigError, match="unknown device 'gpu'; the devices are auto, cpu, cuda and mps"):
        pick_device("gpu")
