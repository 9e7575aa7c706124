"""Padding: vocabularies are often filled up to a round number, 64 or 50,304, with ids that stand for nothing.

Such ids are known by what training did to them: it never read them, so that their embeddings are as small as at the
start, or it pushed their probability to nothing. Ids that are neither stand for something, and may not be cut.
"""

from collections.abc import Mapping, Sequence
from itertools import takewhile

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.games import Game
from boardgame_sae.model.gpt import GPT, GPTConfig
from boardgame_sae.transcripts.tokenization import Tokenizer

UNTRAINED = 0.022
"""Root mean square up to which embeddings are as small as nanoGPT's and minGPT's at the start (0.02)."""
NEVER_PREDICTED = 0.01
"""Share of the probability below which ids are not predicted."""
N_GAMES, N_TOKENS = 4, 256
"""Random games on which that share is measured, and tokens of each."""


def untrained(embed_VD: Tensor, padding_V: Tensor) -> bool:
    """Whether the embeddings of some ids are as small as before training, and those of the others are not."""
    small, other = (float(embed_VD[rows_V].square().mean().sqrt()) for rows_V in (padding_V, ~padding_V))
    return small <= UNTRAINED and 2 * small <= other


@torch.no_grad()
def share_of(padding_V: Tensor, cfg: GPTConfig, weights: Mapping[str, Tensor], games: Sequence[Sequence[int]]) -> float:
    """Mean probability that a GPT gives to some ids together, after every token of some games."""
    gpt = GPT(cfg)
    gpt.load_state_dict({name: weight for name, weight in weights.items() if name != "unembed.bias"})
    bias_V = weights.get("unembed.bias", torch.zeros(cfg.d_vocab))
    shares = [(gpt(torch.tensor([ids])) + bias_V).softmax(-1)[..., padding_V].sum(-1).flatten() for ids in games]
    return float(torch.cat(shares).mean())


def random_games(game: Game, tokenizer: Tokenizer, theirs: Sequence[str | None], n_ctx: int) -> list[list[int]]:
    """The first tokens of random games as ids of an alphabet, each up to a token that it does not have."""
    record = game.play_games(np.arange(N_GAMES, dtype=np.uint64))
    tokens = tokenizer.encode(game, record)
    ours, id_of = tokenizer.alphabet(game), {token: place for place, token in enumerate(theirs)}
    games = np.split(tokens.ids, tokens.offsets[1:-1])
    known = (takewhile(id_of.__contains__, (ours[token] for token in ids[: min(n_ctx, N_TOKENS)])) for ids in games)
    return [ids for texts in known if (ids := [id_of[text] for text in texts])]
