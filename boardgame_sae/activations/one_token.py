"""What a GPT makes of one token of a game once its activation at a hook point is replaced.

The tokens before it do not see it, so the keys and values of them are read once, and a replacement costs one token's
pass through the blocks that are left. Gradients reach the replaced activations.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.activations.hook_points import layer_of, read
from boardgame_sae.model.gpt import GPT, Hook

RESIDUAL = "blocks.{}.hook_resid_post"
OUTPUT = "ln_final.hook_normalized"
"""What the logits are read from."""


def next_hook_name(gpt: GPT, name: str) -> str:
    """The residual stream after the block that follows a hook point's, or after the last block its normalized output.

    Raises HookError for a hook point outside the blocks.
    """
    layer = layer_of(name) + 1
    return RESIDUAL.format(layer) if layer < gpt.cfg.n_layers else OUTPUT


class Read(NamedTuple):
    """What becomes of N tokens."""

    acts_ND: Tensor
    """The activations at the hook point after (`next_hook_name`)."""
    logits_NV: Tensor | None
    """The logits, if they were asked for."""


class OneToken:
    """The blocks above a hook point, for single tokens of some games whose earlier tokens stay as they are."""

    @torch.no_grad()
    def __init__(self, gpt: GPT, tokens_BL: Tensor, name: str) -> None:
        """tokens_BL: the games. name: where activations are replaced. Raises HookError for one outside the blocks."""
        self.gpt, self.name, self.read_at = gpt, name, next_hook_name(gpt, name)
        self._whole = name == RESIDUAL.format(layer_of(name))  # all that the next block reads
        self._first = layer_of(name) + self._whole
        self._layers = range(self._first, gpt.cfg.n_layers)
        start = [] if self._whole else [f"blocks.{self._first}.hook_resid_pre"]
        names = [f"blocks.{layer}.attn.hook_{part}" for layer in self._layers for part in "kv"]
        self._acts = read(gpt, tokens_BL, [*start, *names]) if start or names else {}

    def __call__(self, game_N: Tensor, token_N: Tensor, acts_ND: Tensor, *, logits: bool = False) -> Read:
        """Token `token_N[n]` of game `game_N[n]` with the activation `acts_ND[n]`.

        acts_ND: (N, width). logits: whether to go on to the logits; else only the blocks up to `read_at` are run.
        """
        found: dict[str, Tensor] = {}
        hooks: dict[str, Hook] = {}
        for layer in self._layers:
            hooks |= self._attention(f"blocks.{layer}.attn.hook_", game_N, token_N, found, acts_ND)
        if not self._whole:
            hooks[self.name] = _both(hooks.get(self.name), acts_ND)
        x_ND = acts_ND if self._whole else self._acts[f"blocks.{self._first}.hook_resid_pre"][game_N, token_N]
        reads_output = self.read_at == OUTPUT
        if not (logits or reads_output):
            stop = layer_of(self.read_at) + 1
            return Read(self.gpt(x_ND[:, None], hooks, start_at_layer=self._first, stop_at_layer=stop)[:, 0], None)
        hooks[self.read_at] = _keep(found, self.read_at)
        logits_NV = self.gpt(x_ND[:, None], hooks, start_at_layer=self._first)[:, 0]
        return Read(found[self.read_at][:, 0], logits_NV)

    def _attention(
        self, prefix: str, game_N: Tensor, token_N: Tensor, found: dict[str, Tensor], acts_ND: Tensor
    ) -> dict[str, Hook]:
        """Hooks by which a block's attention looks back at the earlier tokens of each game."""

        def attend(value_N1HE: Tensor) -> Tensor:
            own = {part: found[prefix + part] for part in "qkv"}
            seen_NL = torch.arange(self._acts[prefix + "k"].shape[1], device=token_N.device) <= token_N[:, None]
            at = torch.arange(len(token_N), device=token_N.device), token_N
            keys, values = (
                self._past(prefix + part, game_N, value_N1HE.shape).index_put_(at, own[part][:, 0]) for part in "kv"
            )
            q, k, v = (part.transpose(1, 2) for part in (own["q"], keys, values))
            return F.scaled_dot_product_attention(q, k, v, attn_mask=seen_NL[:, None, None]).transpose(1, 2)

        def keep(part: str) -> Hook:
            name = prefix + part
            return _keep(found, name, acts_ND if name == self.name else None)

        return {**{prefix + part: keep(part) for part in "qkv"}, prefix + "z": attend}

    def _past(self, name: str, game_N: Tensor, shape: torch.Size) -> Tensor:
        """(N, L, heads, d_head): a copy of the keys or values of the games."""
        return self._acts[name][game_N].unflatten(-1, shape[2:])


def _keep(found: dict[str, Tensor], name: str, instead_ND: Tensor | None = None) -> Hook:
    def keep(value: Tensor) -> None:
        found[name] = value if instead_ND is None else instead_ND.reshape(value.shape)

    return keep


def _both(first: Callable[[Tensor], Tensor | None] | None, acts_ND: Tensor) -> Hook:
    """What the attention needs of a value, if anything, and then its replacement."""

    def replaced(value: Tensor) -> Tensor:
        if first is not None:
            first(value)
        return acts_ND.reshape(value.shape)

    return replaced
