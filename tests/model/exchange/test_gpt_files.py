"""GPTs as files of other libraries and back, by the functions and by the verbs: the same logits, the same tokens."""

import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from boardgame_sae import cli
from boardgame_sae.files import RunError, read_json
from boardgame_sae.model.exchange.files import is_gpt, open_foreign, write_hugging_face, write_transformer_lens
from boardgame_sae.model.exchange.importers import from_nanogpt, library_of
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import GPT, GPTConfig
from boardgame_sae.saes.registry import make_sae


def logits(model: GameModel) -> torch.Tensor:
    tokens_BL = torch.randint(0, len(model.alphabet), (3, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.gpt(tokens_BL)


@pytest.fixture(params=["relu", "gelu", "gelu_exact"])
def model(request, tiny_model) -> GameModel:
    """A GPT of each nonlinearity, with weights large enough for it to show."""
    shape = {**tiny_model.card["gpt"], "act_fn": request.param}
    gpt = GPT(GPTConfig(**shape), seed=4)
    with torch.no_grad():
        for weight in gpt.parameters():
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())) * 0.3)
    return GameModel(gpt.eval(), {**tiny_model.card, "gpt": shape})


def test_a_folder_for_transformer_lens_comes_back_with_the_same_logits(model, tmp_path):
    write_transformer_lens(model, tmp_path)
    back = open_foreign(tmp_path)
    assert back is not None and back.alphabet == model.alphabet and back.game.spec == model.game.spec
    assert back.gpt.cfg == model.gpt.cfg
    torch.testing.assert_close(logits(back), logits(model), atol=1e-5, rtol=1e-5)


def test_its_file_has_the_names_and_shapes_of_a_hooked_transformer(model, tmp_path):
    write_transformer_lens(model, tmp_path)
    weights, fields = load_file(tmp_path / "model.safetensors"), read_json(tmp_path / "hooked_transformer.json")
    assert fields["normalization_type"] == "LN" and fields["d_head"] * fields["n_heads"] == fields["d_model"]
    assert weights["blocks.1.attn.W_Q"].shape == (fields["n_heads"], fields["d_model"], fields["d_head"])
    assert weights["unembed.W_U"].shape == (fields["d_model"], fields["d_vocab"])


def test_hugging_face_opens_its_folder_with_the_same_logits(model, tmp_path):
    transformers = pytest.importorskip("transformers")
    write_hugging_face(model, tmp_path)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path).eval()
    tokens_BL = torch.randint(0, len(model.alphabet), (3, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(theirs(tokens_BL).logits, model.gpt(tokens_BL), atol=1e-4, rtol=1e-4)
    assert read_json(tmp_path / "alphabet.json") == {"game": "othello4", "alphabet": list(model.alphabet)}


def nanogpt_weights(model: GameModel) -> dict[str, torch.Tensor]:
    """A GPT's weights by nanoGPT's names."""
    found = {
        "transformer.wte.weight": model.gpt.embed.weight,
        "transformer.wpe.weight": model.gpt.pos_embed.weight,
        "transformer.ln_f.weight": model.gpt.ln_final.weight,
        "transformer.ln_f.bias": model.gpt.ln_final.bias,
        "lm_head.weight": model.gpt.unembed.weight,
    }
    for layer, block in enumerate(model.gpt.blocks):
        place, attn = f"transformer.h.{layer}", block.attn
        for kind in ("weight", "bias"):
            parts = [getattr(part, kind) for part in (attn.q, attn.k, attn.v)]
            found |= {
                f"{place}.ln_1.{kind}": getattr(block.ln1, kind),
                f"{place}.attn.c_attn.{kind}": torch.cat(parts),
                f"{place}.attn.c_proj.{kind}": getattr(attn.out, kind),
                f"{place}.ln_2.{kind}": getattr(block.ln2, kind),
                f"{place}.mlp.c_fc.{kind}": getattr(block.mlp.up, kind),
                f"{place}.mlp.c_proj.{kind}": getattr(block.mlp.down, kind),
            }
    return {name: weight.detach().clone().contiguous() for name, weight in found.items()}


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_a_file_is_recognised_by_the_names_of_its_weights(tiny_model, tmp_path, ending):
    path = tmp_path / f"weights.{ending}"
    weights = nanogpt_weights(tiny_model)
    save_file(weights, path) if ending == "safetensors" else torch.save(weights, path)
    assert library_of(path) == "nanoGPT"
    found = open_foreign(path, game="othello4", n_heads=2)
    same = from_nanogpt(weights, game="othello4", n_heads=2)
    assert found is not None
    torch.testing.assert_close(logits(found), logits(same))


def test_what_is_no_gpt_is_left_to_others(tmp_path):
    make_sae("topk", d_model=8, n_latents=16, k=2).save(tmp_path / "sae")
    torch.save({"encoder.weight": torch.zeros(2, 2)}, tmp_path / "ae.pt")
    for path in ("sae", "sae/sae.safetensors", "ae.pt"):
        assert open_foreign(tmp_path / path) is None
    with pytest.raises(RunError, match=r"nowhere\.pt: no such file or folder"):
        open_foreign(tmp_path / "nowhere.pt")
    (tmp_path / "broken.pt").write_bytes(b"not a file of weights")
    with pytest.raises(RunError, match=r"broken\.pt: damaged"):
        open_foreign(tmp_path / "broken.pt")


def test_only_a_gpts_folder_is_one(tiny_model, tmp_path):
    tiny_model.save(tmp_path / "gpt")
    make_sae("topk", d_model=8, n_latents=16, k=2).save(tmp_path / "sae")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/cfg.json").write_text("[1")
    assert [is_gpt(tmp_path / name) for name in ("gpt", "sae", "odd", "nowhere")] == [True, False, False, False]


def test_the_verbs_give_a_gpt_away_and_bring_it_back(tiny_model, tmp_path, capsys):
    tiny_model.save(tmp_path / "gpt")
    there, back = str(tmp_path / "there"), str(tmp_path / "back")
    assert cli.main(["export", str(tmp_path / "gpt"), "--to", "transformer_lens", "--out", there]) == 0
    assert cli.main(["import", there, "--out", back]) == 0
    assert capsys.readouterr().out.splitlines() == [there, back]
    torch.testing.assert_close(logits(GameModel.load(back, "cpu")), logits(tiny_model), atol=1e-5, rtol=1e-5)
    torch.save(nanogpt_weights(tiny_model), tmp_path / "weights.pt")
    words = ["import", str(tmp_path / "weights.pt"), "--game", "othello4", "--out", str(tmp_path / "nano")]
    assert cli.main(words) == 1
    assert "does not say how many attention heads it has" in capsys.readouterr().err
    assert not (tmp_path / "nano").exists()
    assert cli.main([*words, "--n-heads", "2"]) == 0
    assert GameModel.load(tmp_path / "nano", "cpu").alphabet == tiny_model.alphabet
    (tmp_path / "out-othello").mkdir()
    (tmp_path / "weights.pt").rename(tmp_path / "out-othello/ckpt.pt")
    found = open_foreign(tmp_path / "out-othello", game="othello4", n_heads=2)
    assert found is not None and found.hash == GameModel.load(tmp_path / "nano", "cpu").hash


@pytest.mark.parametrize(
    ("what", "to", "message"),
    [
        ("gpt", "sae_lens", "a GPT is not for sae_lens.*a GPT to transformer_lens or hugging_face"),
        (
            "sae",
            "hugging_face",
            "an SAE is not for hugging_face.*An SAE can be exported to dictionary_learning or sae_lens",
        ),
        (
            "sae",
            "sae_len",
            "not for sae_len; did you mean 'sae_lens'.*An SAE can be exported to dictionary_learning or sae_lens",
        ),
    ],
)
def test_what_a_library_does_not_take_is_refused(tiny_model, tmp_path, capsys, what, to, message):
    tiny_model.save(tmp_path / "gpt")
    make_sae("topk", d_model=8, n_latents=16, k=2).save(tmp_path / "sae")
    assert cli.main(["export", str(tmp_path / what), "--to", to, "--out", str(tmp_path / "out")]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()
