"""The configs of SAEs with a sparsity penalty."""

from typing import ClassVar, Literal

from boardgame_sae.config import Natural, NonNegative, Share, config
from boardgame_sae.saes.configs.sae import SAEConfig


@config
class PenaltyConfig(SAEConfig):
    """What every SAE with a sparsity penalty has."""

    sparsity_field: ClassVar[str | None] = "sparsity_coefficient"
    sparsity_coefficient: NonNegative = 0.02
    """Weight of the sparsity penalty."""
    sparsity_warmup: Share = 0.05
    """Fraction of the training, the first, over which the penalty rises from zero."""


@config
class ReLUConfig(PenaltyConfig):
    """The standard SAE."""

    architecture: Literal["relu"] = "relu"  # pyright: ignore[reportIncompatibleVariableOverride]
    sparsity_coefficient: NonNegative = 0.1
    """Weight of the sparsity penalty; by default some 32 latents are on after a million activations."""
    resample_every: Natural = 0
    """Steps between two resamplings of dead latents, those that have not fired for half as long; 0: never."""


@config
class ReLUAprilConfig(ReLUConfig):
    """The standard SAE as updated in April 2024."""

    architecture: Literal["relu_april"] = "relu_april"  # pyright: ignore[reportIncompatibleVariableOverride]
    sparsity_coefficient: NonNegative = 0.1
    """Weight of the sparsity penalty; by default some 32 latents are on after a million activations."""
