"""The whole GPT in one file: learned positions, pre-norm blocks, causal attention, and hooks by name.

Every intermediate has TransformerLens's name (`blocks.3.hook_resid_post`, `blocks.0.attn.hook_q`, ...). Pass
`hooks={name: function}` to `forward` to read a value (the function returns None) or replace it (it returns a tensor).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boardgame_sae.config import Count, config

Hook = Callable[[Tensor], Tensor | None]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu_,  # in place: half the memory traffic of the widest tensor of a block
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_exact": F.gelu,
}
WRITERS = ("attn.out.weight", "mlp.down.weight")
"""The weights by which a block writes to the residual stream."""


@config
class GPTConfig:
    """The shape of a GPT, in TransformerLens's words."""

    n_layers: Count
    """Transformer blocks."""
    d_model: Count
    """Width of the residual stream."""
    n_heads: Count
    """Attention heads in each block; divides d_model."""
    d_vocab: Count
    """Size of the alphabet."""
    n_ctx: Count
    """Longest input, in tokens."""
    act_fn: Literal["relu", "gelu", "gelu_exact"] = "relu"
    """Nonlinearity of the MLP; gelu is GPT-2's tanh form, gelu_exact nanoGPT's."""

    def __post_init__(self) -> None:
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model {self.d_model} does not divide into {self.n_heads} heads")


def weight_shapes(cfg: GPTConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The name and shape of every weight of a GPT, without building it: one by one, of however many layers."""
    width, hidden = cfg.d_model, 4 * cfg.d_model
    yield "embed.weight", (cfg.d_vocab, width)
    yield "pos_embed.weight", (cfg.n_ctx, width)
    for layer in range(cfg.n_layers):
        parts: dict[str, tuple[int, ...]] = {
            **dict.fromkeys(("ln1", "ln2"), (width,)),
            **{f"attn.{name}": (width, width) for name in ("q", "k", "v", "out")},
            "mlp.up": (hidden, width),
            "mlp.down": (width, hidden),
        }
        for name, shape in parts.items():
            yield f"blocks.{layer}.{name}.weight", shape
            yield f"blocks.{layer}.{name}.bias", shape[:1]
    yield "ln_final.weight", (width,)
    yield "ln_final.bias", (width,)
    yield "unembed.weight", (cfg.d_vocab, width)


class Hooks:
    """The functions to call at named hook points; most hook points have none."""

    def __init__(self, functions: Mapping[str, Hook] | None, prefix: str = "") -> None:
        self.functions, self.prefix = functions or {}, prefix

    def __call__(self, name: str, value: Tensor) -> Tensor:
        function = self.functions.get(self.prefix + name)
        if function is None:
            return value
        replaced = function(value)
        return value if replaced is None else replaced

    def want(self, *names: str) -> bool:
        """Whether any of these is hooked: costly values are computed only when they are."""
        return any(self.prefix + name in self.functions for name in names)

    def below(self, prefix: str) -> "Hooks":
        """The same hooks, for a part of the model whose names begin with `prefix`."""
        return Hooks(self.functions, self.prefix + prefix) if self.functions else self


class LayerNorm(nn.LayerNorm):
    """Layer normalisation with `hook_scale` (the standard deviation) and `hook_normalized` (the output)."""

    def forward(self, x_BLD: Tensor, hook: Hooks | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if hook is None:
            return super().forward(x_BLD)
        if not hook.want("hook_scale"):
            return hook("hook_normalized", super().forward(x_BLD))
        centred_BLD = x_BLD - x_BLD.mean(-1, keepdim=True)
        scale_BL1 = hook("hook_scale", (centred_BLD.pow(2).mean(-1, keepdim=True) + self.eps).sqrt())
        return hook("hook_normalized", centred_BLD / scale_BL1 * self.weight + self.bias)


class Attention(nn.Module):
    """Causal multi-head self-attention."""

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()
        self.n_heads = cfg.n_heads
        self.q, self.k, self.v, self.out = (nn.Linear(cfg.d_model, cfg.d_model) for _ in range(4))

    def forward(self, x_BLD: Tensor, hook: Hooks) -> Tensor:
        heads = (*x_BLD.shape[:2], self.n_heads, -1)
        q = hook("hook_q", self.q(x_BLD).view(heads)).transpose(1, 2)
        k = hook("hook_k", self.k(x_BLD).view(heads)).transpose(1, 2)
        v = hook("hook_v", self.v(x_BLD).view(heads)).transpose(1, 2)
        if hook.want("hook_attn_scores", "hook_pattern"):
            z = self._written_out(q, k, v, hook)
        else:
            z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        z_BLHE = hook("hook_z", z.transpose(1, 2))
        if hook.want("hook_result"):
            out_HED = self.out.weight.T.reshape(self.n_heads, -1, self.out.out_features)
            result_BLHD = hook("hook_result", torch.einsum("blhe,hed->blhd", z_BLHE, out_HED))
            return result_BLHD.sum(2) + self.out.bias
        return self.out(z_BLHE.reshape(x_BLD.shape))

    @staticmethod
    def _written_out(q: Tensor, k: Tensor, v: Tensor, hook: Hooks) -> Tensor:
        n_tokens = q.shape[2]
        future = torch.ones(n_tokens, n_tokens, dtype=torch.bool, device=q.device).triu(1)
        scores_BHLL = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).masked_fill(future, -torch.inf)
        scores_BHLL = hook("hook_attn_scores", scores_BHLL)
        return hook("hook_pattern", scores_BHLL.softmax(-1)) @ v


class MLP(nn.Module):
    """Two linear maps with a nonlinearity between; its hidden units are the model's neurons."""

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()
        self.up = nn.Linear(cfg.d_model, 4 * cfg.d_model)
        self.down = nn.Linear(4 * cfg.d_model, cfg.d_model)
        self.act = ACTIVATIONS[cfg.act_fn]

    def forward(self, x_BLD: Tensor, hook: Hooks) -> Tensor:
        pre_BLM = self.up(x_BLD)
        if hook.want("hook_pre"):
            pre_BLM = hook("hook_pre", pre_BLM).clone()
        return self.down(hook("hook_post", self.act(pre_BLM)))


class Block(nn.Module):
    """Attention, then MLP, each reading a normalised residual stream and adding to it."""

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()
        self.ln1, self.attn = LayerNorm(cfg.d_model), Attention(cfg)
        self.ln2, self.mlp = LayerNorm(cfg.d_model), MLP(cfg)

    def forward(self, x_BLD: Tensor, hook: Hooks) -> Tensor:
        x_BLD = hook("hook_resid_pre", x_BLD)
        x_BLD = x_BLD + hook("hook_attn_out", self.attn(self.ln1(x_BLD, hook.below("ln1.")), hook.below("attn.")))
        x_BLD = hook("hook_resid_mid", x_BLD)
        x_BLD = x_BLD + hook("hook_mlp_out", self.mlp(self.ln2(x_BLD, hook.below("ln2.")), hook.below("mlp.")))
        return hook("hook_resid_post", x_BLD)


class GPT(nn.Module):
    """A GPT over a small alphabet."""

    def __init__(self, cfg: GPTConfig, seed: int = 0) -> None:
        """Random weights from `seed` as in GPT-2: standard deviation 0.02, over sqrt(2 n_layers) for `WRITERS`."""
        super().__init__()
        self.cfg = cfg
        self.embed = nn.Embedding(cfg.d_vocab, cfg.d_model)
        self.pos_embed = nn.Embedding(cfg.n_ctx, cfg.d_model)
        self.blocks = nn.ModuleList(Block(cfg) for _ in range(cfg.n_layers))
        self.ln_final = LayerNorm(cfg.d_model)
        self.unembed = nn.Linear(cfg.d_model, cfg.d_vocab, bias=False)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if weight.ndim == 2:
                    to_residual = name.endswith(WRITERS)
                    deviation = 0.02 / math.sqrt(2 * cfg.n_layers) if to_residual else 0.02
                    weight.copy_(torch.randn(weight.shape, generator=generator) * deviation)
                elif name.endswith("bias"):
                    weight.zero_()

    def forward(
        self,
        inputs: Tensor,
        hooks: Mapping[str, Hook] | None = None,
        *,
        start_at_layer: int | None = None,
        stop_at_layer: int | None = None,
    ) -> Tensor:
        """Logits (B, L, d_vocab) for token ids (B, L).

        hooks: functions by hook point name; each may return a replacement.
        start_at_layer: `inputs` is then the residual stream (B, L, d_model) that enters that block.
        stop_at_layer: return the residual stream (B, L, d_model) that enters that block instead of logits.
        Raises ValueError for an input longer than the context.
        """
        hook = Hooks(hooks)
        x_BLD = self._embed(inputs, hook) if start_at_layer is None else inputs
        stop = self.cfg.n_layers if stop_at_layer is None else stop_at_layer
        for layer in range(start_at_layer or 0, stop):
            x_BLD = self.blocks[layer](x_BLD, hook.below(f"blocks.{layer}."))
        if stop_at_layer is not None:
            return x_BLD
        return self.unembed(self.ln_final(x_BLD, hook.below("ln_final.")))

    @torch.no_grad()
    def silence_blocks(self) -> None:
        """Set the weights in `WRITERS` to zero: training starts better from there."""
        for name, weight in self.named_parameters():
            if name.endswith(WRITERS):
                weight.zero_()

    def _embed(self, tokens_BL: Tensor, hook: Hooks) -> Tensor:
        if tokens_BL.shape[1] > self.cfg.n_ctx:
            raise ValueError(f"input of {tokens_BL.shape[1]} tokens; this GPT's context is {self.cfg.n_ctx}")
        positions_L = torch.arange(tokens_BL.shape[1], device=tokens_BL.device)
        return hook("hook_embed", self.embed(tokens_BL)) + hook("hook_pos_embed", self.pos_embed(positions_L)[None])

    @property
    def n_parameters(self) -> int:
        """Number of parameters."""
        return sum(weight.numel() for weight in self.parameters())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embed.weight.device
