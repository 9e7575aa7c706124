"""The configs of SAEs that are not trained."""

from typing import ClassVar, Literal

from boardgame_sae.config import Count, config
from boardgame_sae.saes.configs.sae import SAEConfig


@config
class IdentityConfig(SAEConfig):
    """The channels themselves."""

    architecture: Literal["identity"] = "identity"  # pyright: ignore[reportIncompatibleVariableOverride]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_latents < 2 * self.d_model:
            raise ValueError(f"two latents per channel need n_latents of at least {2 * self.d_model}")


@config
class RandomConfig(SAEConfig):
    """Random directions."""

    sparsity_field: ClassVar[str | None] = "k"
    architecture: Literal["random"] = "random"  # pyright: ignore[reportIncompatibleVariableOverride]
    k: Count = 32
    """Latents that are on per position."""
    b_dec_start: Literal["zeros", "geometric_median"] = "geometric_median"
    """Initial value of b_dec: zeros, or the geometric median of the first training batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k > self.n_latents:
            raise ValueError(f"k must lie between 1 and n_latents ({self.n_latents}), not {self.k}")
