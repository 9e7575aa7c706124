"""The configs of SAEs with p-annealing."""

from typing import Literal

from boardgame_sae.config import Count, NonNegative, Positive, Share, config
from boardgame_sae.saes.configs.relu import PenaltyConfig, ReLUConfig


@config
class AnnealingConfig(PenaltyConfig):
    """How the exponent falls, with the paper's Othello and chess settings as defaults."""

    penalty_norm: Literal["lp_p", "lp"] = "lp_p"
    """Whether the sum of powers is penalised itself (lp_p) or its p-th root (lp)."""
    p_start: Positive = 1.0
    """Initial value of the penalty's exponent."""
    p_end: Positive = 0.2
    """Final value of the exponent; above 0, where the penalty would count latents and have no gradient."""
    n_updates: Count = 10
    """Number of values that the exponent takes, evenly spaced from p_start to p_end."""
    exponents: tuple[Positive, ...] = ()
    """The values themselves, if not evenly spaced: then p_start, p_end and n_updates are ignored."""
    anneal_start: Share = 0.273
    """Fraction of the training after which the first update comes (as published, 10,000 of 36,621 steps)."""
    anneal_end: Share = 0.9
    """Fraction after which the last update comes (as published 1, a step that is never reached)."""
    queue_length: Count = 10
    """Number of last batches whose penalties set the coefficient after an update."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.p_end > self.p_start:
            raise ValueError("the exponents must obey 0 < p_end <= p_start")
        if len(self.exponents) == 1 or any(p > 2 for p in self.exponents):
            raise ValueError("exponents are at least two numbers, each above 0 and at most 2")
        if self.anneal_start >= self.anneal_end or self.n_updates < 2:
            raise ValueError("anneal_start must be below anneal_end, and n_updates at least 2")


@config
class PAnnealConfig(AnnealingConfig, ReLUConfig):
    """p-annealing, with the paper's Othello and chess settings as defaults."""

    architecture: Literal["p_anneal"] = "p_anneal"  # pyright: ignore[reportIncompatibleVariableOverride]
    sparsity_coefficient: NonNegative = 0.045
    """Weight of the sparsity penalty; by default some 32 latents are on after a million activations."""
