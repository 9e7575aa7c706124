"""Ids that fill up a vocabulary are cut without a change of any logit; ids that the model uses are not cut."""

import pytest
import torch

from boardgame_sae.files import RunError
from boardgame_sae.games import load_game
from boardgame_sae.model.exchange.exporters import hooked_weights
from boardgame_sae.model.exchange.importers import from_transformer_lens
from boardgame_sae.model.gpt import GPT, GPTConfig

SQUARES = load_game("othello").alphabet
WIDTH = 16


@pytest.fixture(scope="module")
def state():
    """An Othello GPT by HookedTransformer's names, its weights larger than at the start."""
    gpt = GPT(GPTConfig(n_layers=1, d_model=WIDTH, n_heads=2, d_vocab=61, n_ctx=59, act_fn="gelu_exact"), seed=3)
    return {name: 10 * weight.detach() for name, weight in hooked_weights(gpt)}


def padded(state, size, embed, logit_bias=0.0):
    """The same with a vocabulary of a size: embeddings of a standard deviation, and a bias of the further logits."""
    more, generator = size - 61, torch.Generator().manual_seed(1)
    rows = torch.randn(2, more, WIDTH, generator=generator)
    return {
        **state,
        "embed.W_E": torch.cat([state["embed.W_E"], embed * rows[0]]),
        "unembed.W_U": torch.cat([state["unembed.W_U"], embed * rows[1].T], 1),
        "unembed.b_U": torch.cat([state["unembed.b_U"], torch.full((more,), logit_bias)]),
    }


@torch.no_grad()
@pytest.mark.parametrize("size", [62, 64, 128, 50_304])
@pytest.mark.parametrize(("embed", "bias"), [(0.0, 0.0), (0.02, 0.0), (0.2, -30.0)], ids=["zero", "new", "pushed down"])
def test_padding_is_cut(state, size, embed, bias):
    found, same = from_transformer_lens(padded(state, size, embed, bias)), from_transformer_lens(state)
    assert found.gpt.cfg == same.gpt.cfg and found.alphabet == SQUARES
    tokens_BL = torch.randint(0, 61, (2, 59), generator=torch.Generator().manual_seed(0))
    assert torch.equal(found.gpt(tokens_BL), same.gpt(tokens_BL))


@pytest.mark.parametrize("size", [62, 64, 128])
def test_ids_that_get_probability_are_not_cut(state, size):
    with pytest.raises(RunError, match=rf"has {size} tokens, but the alphabet has 61, and the others get .*% of"):
        from_transformer_lens(padded(state, size, 0.2))


def test_nor_are_new_ids_of_a_model_all_of_which_is_new():
    gpt = GPT(GPTConfig(n_layers=1, d_model=WIDTH, n_heads=2, d_vocab=64, n_ctx=59), seed=3)
    with pytest.raises(RunError, match="no padding"):
        from_transformer_lens({name: weight.detach() for name, weight in hooked_weights(gpt)})


@torch.no_grad()
def test_who_says_that_an_id_stands_for_nothing_is_believed_wherever_it_is(state):
    used, tokens_BL = padded(state, 64, 0.2), torch.arange(59)[None]
    same = from_transformer_lens(state).gpt(tokens_BL)
    assert torch.equal(from_transformer_lens(used, alphabet=[*SQUARES, None, None, None]).gpt(tokens_BL), same)
    order = torch.tensor([63, 62, *range(61), 61])
    turned = {**used, "embed.W_E": used["embed.W_E"][order], "unembed.W_U": used["unembed.W_U"][:, order]}
    found = from_transformer_lens(turned, alphabet=[None, None, *SQUARES, None])
    assert torch.equal(found.gpt(tokens_BL), same)


def test_a_vocabulary_smaller_than_the_alphabet_is_refused(state):
    few = {**state, "embed.W_E": state["embed.W_E"][:60], "unembed.W_U": state["unembed.W_U"][:, :60]}
    with pytest.raises(RunError, match=r"has 60 tokens, but the alphabet has 61; pass the game"):
        from_transformer_lens({**few, "unembed.b_U": torch.zeros(60)})
