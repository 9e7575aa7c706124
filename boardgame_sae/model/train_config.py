"""What sets a GPT's training: its fields, and presets of them."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from boardgame_sae.config import (
    ConfigError,
    Count,
    NonNegative,
    Positive,
    Seed,
    Share,
    config,
    from_mapping,
    to_mapping,
)
from boardgame_sae.foreign_names import advice


@config
class TrainGPTConfig:
    """The shape of the GPT and how it is trained."""

    n_layers: Count = 4
    """Transformer blocks."""
    d_model: Count = 128
    """Width of the residual stream."""
    n_heads: Count = 4
    """Attention heads per block."""
    act_fn: Literal["relu", "gelu"] = "relu"
    """Nonlinearity of the MLP."""
    n_ctx: Count | None = None
    """Context length, in tokens (default: as many as the longest game needs)."""
    targets: Literal["sampled", "expected"] = "sampled"
    """What is predicted: the move that was played, or the uniform distribution over the moves that random players could
    have made there. The second is the expectation of the first, without its noise, but it uses the rules."""
    n_steps: Count = 2800
    """Optimiser steps."""
    batch_size: Count = 64
    """Rows per step: games or, where the notation shows where a game begins, blocks of games."""
    muon_lr: Positive = 0.02
    """Peak learning rate of Muon, on the blocks' matrices."""
    adamw_lr: Positive = 3e-3
    """Peak learning rate of AdamW, on embeddings, norms, biases and the output."""
    weight_decay: NonNegative = 0.01
    """Decoupled weight decay of both."""
    warmup_fraction: Share = 0.02
    """Fraction of a cycle's steps, at its start, over which the learning rate rises from zero."""
    decay_fraction: Share = 0.4
    """Fraction of a cycle's steps, at its end, over which the learning rate falls to zero."""
    cycles: Count = 1
    """Times that the learning rate rises and falls, each over an equal part of the steps and with new optimisers."""
    grad_clip: Positive = 1.0
    """Maximum norm of the gradient."""
    log_every: Count = 50
    """Steps between two logged training losses."""
    eval_every: Count = 500
    """Steps between two measurements of legality on validation games."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Number format: float32, or bfloat16 in products, with weights and their updates in float32."""
    seed: Seed = 0
    """Seed of the weights and of the order of the games."""

    def __post_init__(self) -> None:
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model {self.d_model} does not divide into {self.n_heads} heads")
        if self.n_steps % self.cycles:
            raise ValueError(f"n_steps {self.n_steps} do not divide into {self.cycles} cycles")


Preset: TypeAlias = Literal["tiny", "small", "paper"]
PRESETS: dict[Preset, TrainGPTConfig] = {
    "tiny": TrainGPTConfig(),
    "small": TrainGPTConfig(n_layers=8, n_steps=30_000, eval_every=2500),
    "paper": TrainGPTConfig(
        n_layers=8, d_model=512, n_heads=8, act_fn="gelu", n_steps=200_000, batch_size=512, eval_every=5000
    ),
}
"""tiny: minutes on 2 cores. small: hours on 2 cores. paper: 8 layers of width 512, for a GPU."""


def preset(name: str, **changes: Any) -> TrainGPTConfig:
    """A preset with some fields changed. Raises ConfigError for an unknown preset or field."""
    if isinstance(name, TrainGPTConfig):
        raise ConfigError("preset: is a TrainGPTConfig; give it as config=")
    if name not in PRESETS:
        raise ConfigError(f"unknown preset '{name}'; {advice(name, PRESETS, 'the presets are')}")
    return changed(PRESETS[name], changes, f"preset {name}")


def changed(cfg: TrainGPTConfig, changes: Mapping[str, Any], source: str) -> TrainGPTConfig:
    """A config with some fields changed. Raises ConfigError, which names the source, for an unknown or bad field."""
    return from_mapping(TrainGPTConfig, {**to_mapping(cfg), **changes}, source)
