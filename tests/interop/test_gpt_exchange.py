"""Our GPT in TransformerLens and Hugging Face: the same logits and, by the same names, the same activations."""

import pytest
import torch

from boardgame_sae.activations.hook_points import hook_points
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import GPT, GPTConfig


@pytest.fixture(params=["relu", "gelu"])
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
