"""Games that a GPT reads as they are played: all of them at once, and every token once.

Every block's keys and values of what was read are kept. Reading from an earlier place on takes back what came after it,
so that a move may be written on trial.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.activations.branches import then
from boardgame_sae.model.gpt import GPT, Hook


class GrowingGames:
    """B games, of which a GPT has read nothing yet."""

    def __init__(self, gpt: GPT, n_games: int, hooks: Mapping[str, Hook] | None = None) -> None:
        """hooks: called with the activations (B, T, ...) of the tokens that are read, each time."""
        self.gpt, self.hooks = gpt, hooks or {}
        cfg = gpt.cfg
        shape = (n_games, cfg.n_ctx + 1, cfg.n_heads, cfg.d_model // cfg.n_heads)  # the last place takes what is beyond
        names = [f"blocks.{layer}.attn.hook_{part}" for layer in range(cfg.n_layers) for part in "kv"]
        self._past = {name: torch.zeros(shape, device=gpt.device) for name in names}

    @torch.no_grad()
    def __call__(self, game_N: Tensor, start_N: Tensor, tokens_NT: Tensor) -> Tensor:
        """Logits (N, T, V) after each of T tokens, of which the first is token `start_N[n]` of game `game_N[n]`.

        Tokens beyond the context are read too, and mean nothing: so games of different lengths share a call.
        """
        place_NT, beyond = (
            start_N[:, None] + torch.arange(tokens_NT.shape[1], device=start_N.device),
            self.gpt.cfg.n_ctx,
        )
        embedded_NTD = self.gpt.pos_embed(place_NT.clamp(max=beyond - 1))
        hooks = {"hook_pos_embed": then(lambda _: embedded_NTD, self.hooks.get("hook_pos_embed"))}
        for layer in range(self.gpt.cfg.n_layers):
            hooks |= self._attention(f"blocks.{layer}.attn.hook_", game_N, place_NT.clamp(max=beyond))
        return self.gpt(tokens_NT, {**self.hooks, **hooks})

    def _attention(self, prefix: str, game_N: Tensor, place_NT: Tensor) -> dict[str, Hook]:
        """Hooks by which a block's attention looks back at all that its game holds up to each token."""
        n_seen = int(place_NT.max()) + 1
        seen_N1TP = (torch.arange(n_seen, device=place_NT.device) <= place_NT[..., None])[:, None]
        query: list[Tensor] = []

        def keep(part: str) -> Hook:
            def hook(value: Tensor) -> None:
                self._past[prefix + part][game_N[:, None], place_NT] = value

            return then(self.hooks.get(prefix + part), query.append if part == "q" else hook)

        def attend(_: Tensor) -> Tensor:
            k, v = (self._past[prefix + part][game_N, :n_seen].transpose(1, 2) for part in "kv")
            z = F.scaled_dot_product_attention(query.pop().transpose(1, 2), k, v, attn_mask=seen_N1TP)
            return z.transpose(1, 2)

        z = prefix + "z"
        return {**{prefix + part: keep(part) for part in "qkv"}, z: then(attend, self.hooks.get(z))}
