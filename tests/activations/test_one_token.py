"""One token's pass equals the whole game's, at every hook point; gradients too."""

import copy

import pytest
import torch
from shaken_weights import shaken

from boardgame_sae.activations.hook_points import HookError, hook_points, read, replace
from boardgame_sae.activations.one_token import OneToken, next_hook_name
from boardgame_sae.model.gpt import GPT, GPTConfig

GAME_N, TOKEN_N = torch.tensor([0, 3, 1, 3, 2]), torch.tensor([6, 0, 4, 2, 5])


@pytest.fixture(scope="module")
def gpt():
    return shaken(GPT(GPTConfig(n_layers=3, d_model=8, n_heads=2, d_vocab=11, n_ctx=7), seed=1).eval())


@pytest.fixture(scope="module")
def tokens_BL():
    return torch.randint(1, 11, (4, 7), generator=torch.Generator().manual_seed(0))


def names():
    gpt = GPT(GPTConfig(n_layers=3, d_model=8, n_heads=2, d_vocab=11, n_ctx=7))
    pairs = ("hook_attn_scores", "hook_pattern")
    return [name for name in hook_points(gpt) if name.startswith("blocks.") and not name.endswith(pairs)]


@pytest.mark.parametrize("name", names())
@torch.no_grad()
def test_it_is_the_whole_games_pass_with_that_token_replaced(gpt, tokens_BL, name):
    clean_BLD = read(gpt, tokens_BL, [name])[name]
    one = OneToken(gpt, tokens_BL, name)
    new_ND = clean_BLD[GAME_N, TOKEN_N] + torch.randn(
        5, clean_BLD.shape[-1], generator=torch.Generator().manual_seed(1)
    )
    got = one(GAME_N, TOKEN_N, new_ND, logits=True)
    for n, (game, token) in enumerate(zip(GAME_N, TOKEN_N, strict=True)):
        values_BLD = clean_BLD[game][None].clone()
        values_BLD[0, token] = new_ND[n]
        logits_BLV = replace(gpt, tokens_BL[game][None], name, values_BLD)
        kept = {}
        gpt(
            tokens_BL[game][None],
            {name: lambda v, new=values_BLD: new.reshape(v.shape), one.read_at: lambda v, kept=kept: kept.update(x=v)},
        )
        torch.testing.assert_close(got.logits_NV[n], logits_BLV[0, token], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(got.acts_ND[n], kept["x"][0, token], rtol=1e-5, atol=1e-5)
    short = one(GAME_N, TOKEN_N, new_ND)
    torch.testing.assert_close(short.acts_ND, got.acts_ND)


def test_gradients_reach_the_activation(gpt, tokens_BL):
    name = "blocks.0.hook_resid_post"
    exact = copy.deepcopy(gpt).double()
    one = OneToken(exact, tokens_BL, name)
    acts_ND = read(exact, tokens_BL, [name])[name][GAME_N, TOKEN_N].detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda acts_ND: one(GAME_N, TOKEN_N, acts_ND).acts_ND, (acts_ND,))


def test_what_comes_after_is_the_next_block_and_at_last_the_output(gpt, tokens_BL):
    assert next_hook_name(gpt, "blocks.0.hook_mlp_out") == "blocks.1.hook_resid_post"
    assert next_hook_name(gpt, "blocks.2.attn.hook_z") == "ln_final.hook_normalized"
    with pytest.raises(HookError, match="in no block"):
        OneToken(gpt, tokens_BL, "hook_embed")
