"""The configs of TopK SAEs."""

from typing import ClassVar, Literal

from boardgame_sae.config import Count, Natural, NonNegative, Share, config
from boardgame_sae.saes.configs.sae import SAEConfig


@config
class TopKConfig(SAEConfig):
    """TopK."""

    sparsity_field: ClassVar[str | None] = "k"
    architecture: Literal["topk"] = "topk"  # pyright: ignore[reportIncompatibleVariableOverride]
    k: Count = 32
    """Latents that are on per position (of a batch-wise SAE, on average)."""
    b_dec_start: Literal["zeros", "geometric_median"] = "geometric_median"
    """Initial value of b_dec: zeros, or the geometric median of the first training batch."""
    k_start: Natural = 0
    """Initial value of k; at least k. 0: k itself."""
    k_anneal: Share = 0.0
    """Fraction of the training over which k_start comes down to k."""
    auxiliary_coefficient: NonNegative = 1 / 32
    """Weight of the loss that gives dead latents a gradient (AuxK)."""
    dead_after: Natural = 0
    """Tokens without firing after which a latent counts as dead. 0: a fiftieth of the training's, so that AuxK has work
    in a short training too (as published, 10 million)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k > self.n_latents:
            raise ValueError(f"k must lie between 1 and n_latents ({self.n_latents}), not {self.k}")
        if self.k_start and not self.k <= self.k_start <= self.n_latents:
            raise ValueError(f"k_start must lie between k and n_latents ({self.n_latents}), not {self.k_start}")


@config
class BatchTopKConfig(TopKConfig):
    """BatchTopK."""

    architecture: Literal["batch_topk"] = "batch_topk"  # pyright: ignore[reportIncompatibleVariableOverride]
