"""Branches against whole games run with the same hooks."""

import pytest
import torch

from boardgame_sae.activations.branches import Branches
from boardgame_sae.model.gpt import GPT, GPTConfig


@pytest.fixture(scope="module")
def gpt():
    model = GPT(GPTConfig(n_layers=3, d_model=16, n_heads=2, d_vocab=11, n_ctx=9), seed=1).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight *= 8  # so that every token matters
    return model


@pytest.fixture(scope="module")
def tokens_BL():
    return torch.randint(11, (4, 9), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["hook_embed", "blocks.0.hook_resid_post", "blocks.1.attn.hook_k",
                                  "blocks.1.attn.hook_z", "blocks.2.mlp.hook_post", "hook_pos_embed"])  # fmt: skip
@pytest.mark.parametrize("n_own", [1, 3])
@torch.no_grad()
def test_a_branch_is_what_the_whole_game_gives_with_its_own_tokens_hooked(gpt, tokens_BL, name, n_own):
    game_N, start_N = torch.tensor([2, 0, 2]), torch.tensor([0, 4, 6])
    own_NT = torch.stack([tokens_BL[g, s : s + n_own] for g, s in zip(game_N, start_N, strict=True)])
    logits_NTV = Branches(gpt, tokens_BL)(game_N, start_N, own_NT, {name: lambda value: value * 1.5 + 0.3})
    for n, (game, start) in enumerate(zip(game_N.tolist(), start_N.tolist(), strict=True)):

        def hook(value, start=start):
            value = value.clone()
            value[:, start : start + n_own] = value[:, start : start + n_own] * 1.5 + 0.3
            return value

        whole_LV = gpt(tokens_BL[game : game + 1], {name: hook})[0]
        torch.testing.assert_close(logits_NTV[n], whole_LV[start : start + n_own], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_hooks_while_games_are_read_reach_what_branches_see(gpt, tokens_BL):
    hooks = {"blocks.0.hook_resid_post": lambda value: value + 0.5}
    whole_BLV, start_B = gpt(tokens_BL, hooks), torch.full((4,), 5)
    logits_BTV = Branches(gpt, tokens_BL, hooks)(torch.arange(4), start_B, tokens_BL[:, 5:6], hooks)
    torch.testing.assert_close(logits_BTV[:, 0], whole_BLV[:, 5], rtol=1e-4, atol=1e-4)


def test_a_branch_beyond_the_context_is_refused(gpt, tokens_BL):
    with pytest.raises(ValueError, match="reads token 10; the context is 9"):
        Branches(gpt, tokens_BL)(torch.tensor([0]), torch.tensor([8]), tokens_BL[:1, :2], {})
