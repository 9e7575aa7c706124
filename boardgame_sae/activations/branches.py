"""What a GPT makes of a few tokens that continue its games while hooks change their activations.

The tokens before a branch do not see it, so their keys and values are read once, and a branch costs its own tokens
only, whatever is hooked in it and however often. `one_token` is the case of a single token at a single hook point, with
gradients.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.model.gpt import GPT, Hook


class Branches:
    """Games that a GPT has read, to be continued from many places."""

    @torch.no_grad()
    def __init__(self, gpt: GPT, tokens_BL: Tensor, hooks: Mapping[str, Hook] | None = None) -> None:
        """tokens_BL: the games, at most as long as the GPT's context. hooks: called while they are read."""
        self.gpt, hooks = gpt, hooks or {}
        self._past: dict[str, Tensor] = {}
        names = [f"blocks.{layer}.attn.hook_{part}" for layer in range(gpt.cfg.n_layers) for part in "kv"]
        keep = {name: then(hooks.get(name), _keeper(self._past, name)) for name in names}
        self.logits_BLV = gpt(tokens_BL, {**hooks, **keep})

    @torch.no_grad()
    def __call__(self, game_N: Tensor, start_N: Tensor, tokens_NT: Tensor, hooks: Mapping[str, Hook]) -> Tensor:
        """Logits (N, T, V) of branches that read the tokens `tokens_NT[n]` after the first `start_N[n]` of a game.

        hooks: called with the activations (N, T, ...) of the branches' own tokens alone.
        Raises ValueError when a branch goes beyond the GPT's context.
        """
        place_NT = start_N[:, None] + torch.arange(tokens_NT.shape[1], device=start_N.device)
        if place_NT.numel() and int(place_NT.max()) >= self.gpt.cfg.n_ctx:
            raise ValueError(f"a branch reads token {int(place_NT.max()) + 1}; the context is {self.gpt.cfg.n_ctx}")
        found: dict[str, Tensor] = {}
        place = "hook_pos_embed"
        own = {place: then(lambda _: self.gpt.pos_embed(place_NT), hooks.get(place))}
        for layer in range(self.gpt.cfg.n_layers):
            prefix = f"blocks.{layer}.attn.hook_"
            own |= {prefix + part: then(hooks.get(prefix + part), _keeper(found, prefix + part)) for part in "qkv"}
            own[prefix + "z"] = then(self._attention(prefix, game_N, start_N, found), hooks.get(prefix + "z"))
        return self.gpt(tokens_NT, {**hooks, **own})

    def _attention(self, prefix: str, game_N: Tensor, start_N: Tensor, found: dict[str, Tensor]) -> Hook:
        """A hook by which a block's attention looks back at each branch's game, and at its own tokens."""
        n_past = int(start_N.max()) if len(start_N) else 0

        def attend(_: Tensor) -> Tensor:
            q, k, v = (found.pop(prefix + part) for part in "qkv")
            n_own, device = q.shape[1], q.device
            past_k, past_v = (self._past[prefix + part][game_N, :n_past] for part in "kv")
            q, k, v = (part.transpose(1, 2) for part in (q, torch.cat([past_k, k], 1), torch.cat([past_v, v], 1)))
            seen_N1P = (torch.arange(n_past, device=device) < start_N[:, None])[:, None].expand(-1, n_own, -1)
            causal_NTT = torch.ones(n_own, n_own, dtype=torch.bool, device=device).tril().expand(len(q), -1, -1)
            mask_N1TP = torch.cat([seen_N1P, causal_NTT], -1)[:, None]
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask_N1TP).transpose(1, 2)

        return attend


def _keeper(found: dict[str, Tensor], name: str) -> Callable[[Tensor], None]:
    def keep(value: Tensor) -> None:
        found[name] = value

    return keep


def then(first: Hook | None, second: Hook | None) -> Hook:
    """A hook that calls one after the other, each with what the one before it made of the value."""

    def both(value: Tensor) -> Tensor:
        for hook in (first, second):
            replaced = value if hook is None else hook(value)
            value = value if replaced is None else replaced
        return value

    return both
