"""What every architecture's config has."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from boardgame_sae.config import Count, Seed, config

N_LATENTS = 1024
"""Latents of an SAE that is trained without saying how many."""


@config
class SAEConfig:
    """What every architecture has."""

    sparsity_field: ClassVar[str | None] = None
    """The field that sets how sparse an SAE is, where one does."""
    architecture: str
    """Kind of SAE: a registered architecture."""
    d_model: Count
    """Width of the activations."""
    n_latents: Count
    """Number of latents, the size of the dictionary."""
    seed: Seed = 0
    """Seed of the initial weights."""
    subtract_b_dec: bool = True
    """Subtract b_dec from the activations before they are encoded."""
    b_dec_start: Literal["zeros", "geometric_median"] = "zeros"
    """Initial value of b_dec: zeros, or the geometric median of the first training batch."""

    def __post_init__(self) -> None:
        """Check fields against each other; a subclass's own check calls this one."""

    def check_trainable(self) -> None:
        """Raise ValueError where an SAE of this config can be read from a file and used, but not trained."""

    @classmethod
    def sparsity_field_of(cls, fields: Mapping[str, Any]) -> str | None:  # noqa: ARG003 (for those where it depends)
        """The field that sets how sparse an SAE with these fields is, where that depends on another field."""
        return cls.sparsity_field

    @property
    def d_in(self) -> int:
        """d_model, as SAELens calls it."""
        return self.d_model

    @property
    def d_sae(self) -> int:
        """n_latents, as SAELens calls it."""
        return self.n_latents
