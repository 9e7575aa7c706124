"""The config of JumpReLU SAEs."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from boardgame_sae.config import NonNegative, Positive, config
from boardgame_sae.saes.configs.relu import PenaltyConfig


@config
class JumpReLUConfig(PenaltyConfig):
    """JumpReLU."""

    sparsity_field: ClassVar[str | None] = "target_l0"
    architecture: Literal["jumprelu"] = "jumprelu"  # pyright: ignore[reportIncompatibleVariableOverride]
    subtract_b_dec: bool = False
    """Subtract b_dec from the activations before they are encoded."""
    sparsity_loss: Literal["l0_target", "l0", "tanh"] = "l0_target"
    """What is penalised: the distance of L0 from a target (l0_target), L0 itself (l0), or a smooth count of latents
    (tanh)."""
    sparsity_coefficient: NonNegative = 1.0
    """Weight of the sparsity penalty."""
    target_l0: Positive = 32.0
    """Latents that should be on per position; counts with the l0_target loss only."""
    bandwidth: Positive = 0.001
    """Width epsilon of the rectangle that blurs the step."""
    threshold_start: NonNegative = 0.001
    """Initial value of every threshold."""
    tanh_scale: Positive = 4.0
    """How steeply the smooth count rises; counts with the tanh loss only."""

    def check_trainable(self) -> None:
        """Raise ValueError for a target that no training can reach."""
        if self.sparsity_loss == "l0_target" and self.target_l0 > self.n_latents:
            raise ValueError(f"target_l0 must be at most n_latents ({self.n_latents}), not {self.target_l0:g}")

    @classmethod
    def sparsity_field_of(cls, fields: Mapping[str, Any]) -> str | None:
        """The target where one is set, else the coefficient."""
        of_target = fields.get("sparsity_loss", "l0_target") == "l0_target"
        return cls.sparsity_field if of_target else super().sparsity_field
