"""How an SAE is fine-tuned."""

from typing import Literal, TypeAlias

from boardgame_sae.config import Count, NonNegative, Positive, Seed, config

LossName: TypeAlias = Literal["balanced", "kl", "mse"]
"""What is minimised."""


@config
class FinetuneConfig:
    """How an SAE is fine-tuned."""

    loss: LossName = "balanced"
    """What is minimised: balanced (KL and MSE, at equal value), kl or mse."""
    how: str = "full"
    """What learns, one of the ways listed above."""
    n_steps: Count = 1000
    """Optimiser steps."""
    batch_size: Count = 32
    """Train games per step (blocks of games, where the corpus packs them)."""
    lr: Positive = 3e-4
    """Learning rate of Adam at the first step; it falls to zero linearly. Published: 5e-5, for 25 million tokens."""
    rank: Count = 16
    """Rank of LoRA, and number of hidden units of an adapter."""
    sparsity_step: NonNegative = 0.01
    """Share by which the coefficient that holds L0 grows or shrinks after a step; 0: no penalty, so that L0 may move.
    Published: 0.001, for more steps."""
    grad_clip: Positive = 1.0
    """Maximum norm of the gradient."""
    n_test_tokens: Count = 100_000
    """Tokens of test games on which the gap is measured, before and after."""
    log_every: Count = 50
    """Steps between two lines of metrics."""
    seed: Seed = 0
    """Seed of the order of the games, and of what is put in at random."""
