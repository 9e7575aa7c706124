"""Our GPT in TransformerLens and Hugging Face: the same logits and, by the same names, the same activations."""

import pytest
import torch

from boardgame_sae.activations.hook_points import hook_points
from boardgame_sae.model.exchange.importers import from_transformer_lens
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import GPT, GPTConfig


@pytest.fixture(params=["relu", "gelu", "gelu_exact"])
def model(request):
    gpt = GPT(GPTConfig(n_layers=2, d_model=32, n_heads=4, d_vocab=33, n_ctx=31, act_fn=request.param), seed=3)
    with torch.no_grad():
        for weight in gpt.parameters():
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())) * 0.3)
    return GameModel(gpt.eval(), {"game": "othello6"})


@pytest.fixture
def tokens_BL():
    return torch.randint(0, 33, (3, 17), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_transformer_lens_gives_the_same_logits_and_activations(model, tokens_BL):
    ours = model.gpt(tokens_BL)
    theirs, cache = model.to_transformer_lens().run_with_cache(tokens_BL)
    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=1e-4)
    shared = [name for name in hook_points(model.gpt) if name in cache and "scores" not in name]
    assert len(shared) >= 30
    for name in shared:
        seen = {}
        model.gpt(tokens_BL, {name: lambda value, seen=seen: seen.update(value=value)})
        found = cache[name]
        if name.endswith("hook_normalized"):
            norm = model.gpt.get_submodule(name.rsplit(".", 1)[0])  # theirs is before weight and bias
            found = found * norm.weight + norm.bias
        torch.testing.assert_close(found, seen["value"].expand_as(found), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_hugging_face_gives_the_same_logits(model, tokens_BL):
    torch.testing.assert_close(model.to_hugging_face()(tokens_BL).logits, model.gpt(tokens_BL), atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.interop
@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("shape", [(2, 32, 4), (8, 512, 8)])
def test_a_hooked_transformer_as_ours_gives_the_same_logits(tmp_path, shape, folded):
    library = pytest.importorskip("transformer_lens")
    if not hasattr(library, "HookedTransformer"):
        pytest.skip("TransformerLens 4 has no HookedTransformer")
    n_layers, d_model, n_heads = shape
    cfg = library.HookedTransformerConfig(
        n_layers=n_layers,
        d_model=d_model,
        n_heads=n_heads,
        d_head=d_model // n_heads,
        d_vocab=61,
        n_ctx=59,
        act_fn="gelu_new",
        normalization_type="LN",
        seed=5,
        device="cpu",
    )
    theirs = library.HookedTransformer(cfg)
    generator = torch.Generator().manual_seed(0)
    for name, weight in theirs.named_parameters():
        if weight.ndim == 1 or name.split(".")[-1].startswith("b_"):
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    tokens_BL = torch.randint(0, 61, (2, 59), generator=generator)
    before = theirs(tokens_BL)
    if folded:
        theirs.process_weights_(fold_ln=True, center_writing_weights=True, center_unembed=False)
        assert theirs.cfg.normalization_type == "LNPre" and theirs.state_dict()["unembed.b_U"].any()
    torch.save(theirs.state_dict(), tmp_path / "gpt.pth")
    for model in (from_transformer_lens(theirs), from_transformer_lens(tmp_path / "gpt.pth", act_fn="gelu_new")):
        torch.testing.assert_close(model.gpt(tokens_BL), theirs(tokens_BL), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(model.gpt(tokens_BL), before, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("act_fn", ["relu", "gelu", "gelu_exact"])
def test_ours_goes_to_transformer_lens_and_back_on_either_version(tokens_BL, act_fn):
    shape = {"n_layers": 2, "d_model": 32, "n_heads": 4, "d_vocab": 33, "n_ctx": 31}
    gpt = GPT(GPTConfig(**shape, act_fn=act_fn), seed=3).eval()
    back = from_transformer_lens(GameModel(gpt, {}).to_transformer_lens(), game="othello6")
    assert back.gpt.cfg == gpt.cfg
    torch.testing.assert_close(back.gpt(tokens_BL), gpt(tokens_BL), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_what_is_added_to_the_logits_in_transformer_lens_comes_back_too(tokens_BL):
    shape = {"n_layers": 2, "d_model": 32, "n_heads": 4, "d_vocab": 33, "n_ctx": 31}
    theirs = GameModel(GPT(GPTConfig(**shape), seed=3).eval(), {}).to_transformer_lens()
    name = "b_U" if "unembed.b_U" in theirs.state_dict() else "bias"
    theirs.state_dict()[f"unembed.{name}"].copy_(torch.arange(33.0) / 7)
    back = from_transformer_lens(theirs, game="othello6")
    torch.testing.assert_close(back.gpt(tokens_BL), theirs(tokens_BL), atol=1e-4, rtol=1e-4)
