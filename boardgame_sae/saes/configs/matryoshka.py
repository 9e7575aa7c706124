"""The configs of SAEs with nested dictionaries."""

from itertools import accumulate
from typing import Literal

from boardgame_sae.config import NonNegative, Positive, config
from boardgame_sae.saes.configs.relu import ReLUConfig
from boardgame_sae.saes.configs.sae import SAEConfig
from boardgame_sae.saes.configs.topk import BatchTopKConfig


@config
class NestingConfig(SAEConfig):
    """How dictionaries are nested."""

    group_fractions: tuple[Positive, ...] = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 17 / 32)
    """Shares of the latents that each prefix adds to the one before; they sum to 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.group_fractions or abs(sum(self.group_fractions) - 1) > 1e-6:
            raise ValueError("group_fractions are positive and sum to 1")
        if self.ends[0] < 1:
            raise ValueError(f"with {self.n_latents} latents the first prefix would have none; give larger fractions")

    @property
    def ends(self) -> tuple[int, ...]:
        """How many latents each prefix has; the last has all."""
        sizes = [int(share * self.n_latents) for share in self.group_fractions[:-1]]
        return (*accumulate(sizes), self.n_latents)


@config
class MatryoshkaBatchTopKConfig(NestingConfig, BatchTopKConfig):
    """Matryoshka BatchTopK."""

    architecture: Literal["matryoshka_batch_topk"] = "matryoshka_batch_topk"  # pyright: ignore[reportIncompatibleVariableOverride]
    b_dec_start: Literal["zeros", "geometric_median"] = "geometric_median"
    """Initial value of b_dec: zeros, or the geometric median of the first training batch."""


@config
class MatryoshkaConfig(NestingConfig, ReLUConfig):
    """Matryoshka with ReLU latents."""

    architecture: Literal["matryoshka"] = "matryoshka"  # pyright: ignore[reportIncompatibleVariableOverride]
    sparsity_coefficient: NonNegative = 0.055
    """Weight of the sparsity penalty; by default some 32 latents are on after a million activations."""
