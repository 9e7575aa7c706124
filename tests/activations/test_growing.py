"""Games read piece by piece, against whole games."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from boardgame_sae.activations.growing import GrowingGames
from boardgame_sae.model.gpt import GPT, GPTConfig

N_CTX = 9


def shaken():
    model = GPT(GPTConfig(n_layers=3, d_model=16, n_heads=2, d_vocab=11, n_ctx=N_CTX), seed=1).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight *= 8  # so that every token matters
    return model


GPT_ = shaken()
TOKENS = torch.randint(11, (3, N_CTX), generator=torch.Generator().manual_seed(0))


@given(st.lists(st.tuples(*[st.integers(0, N_CTX - 1)] * 3, st.integers(1, 4)), min_size=1, max_size=5))
@torch.no_grad()
def test_pieces_give_what_the_whole_game_gives_also_after_going_back(reads):
    """Each read begins anywhere in what has been read so far, and goes on with other tokens."""
    games, rows = GrowingGames(GPT_, 5), TOKENS.clone()
    length, game = [0, 0, 0], torch.tensor([3, 0, 4])
    for number, (*starts, n) in enumerate(reads):
        start = [min(s, known) for s, known in zip(starts, length, strict=True)]
        tokens = torch.randint(11, (3, n), generator=torch.Generator().manual_seed(number))
        logits_BTV = games(game, torch.tensor(start), tokens)
        for row, first in enumerate(start):
            n_fit = min(n, N_CTX - first)
            rows[row, first : first + n_fit] = tokens[row, :n_fit]
            length[row] = first + n_fit
            whole_LV = GPT_(rows[row : row + 1, : length[row]])[0]
            torch.testing.assert_close(logits_BTV[row, :n_fit], whole_LV[first:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        *("hook_embed", "hook_pos_embed", "blocks.0.hook_resid_post", "ln_final.hook_normalized"),
        *(f"blocks.1.attn.hook_{part}" for part in "qkvz"),
    ],
)
@torch.no_grad()
def test_hooks_change_every_token_as_they_do_in_a_whole_game(name):
    hooks = {name: lambda value: value * 1.5 + 0.3}
    games = GrowingGames(GPT_, 3, hooks)
    parts = [games(torch.arange(3), torch.full((3,), first), TOKENS[:, first : first + 3]) for first in (0, 3, 6)]
    torch.testing.assert_close(torch.cat(parts, 1), GPT_(TOKENS, hooks), rtol=1e-4, atol=1e-4)
