"""The configs of gated SAEs."""

from typing import Literal

from boardgame_sae.config import NonNegative, config
from boardgame_sae.saes.configs.p_anneal import AnnealingConfig
from boardgame_sae.saes.configs.relu import ReLUConfig


@config
class GatedConfig(ReLUConfig):
    """Gated."""

    architecture: Literal["gated"] = "gated"  # pyright: ignore[reportIncompatibleVariableOverride]
    sparsity_coefficient: NonNegative = 0.18
    """Weight of the sparsity penalty; by default some 32 latents are on after a million activations."""


@config
class GatedPAnnealConfig(AnnealingConfig, GatedConfig):
    """Gated with p-annealing."""

    architecture: Literal["gated_p_anneal"] = "gated_p_anneal"  # pyright: ignore[reportIncompatibleVariableOverride]
    sparsity_coefficient: NonNegative = 0.09
    """Weight of the sparsity penalty; by default some 32 latents are on after a million activations."""
