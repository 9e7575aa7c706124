"""The standard SAE: ReLU latents, an L1 penalty, unit decoder rows."""

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.config import config
from boardgame_sae.saes.sae import SAE, Loss, SAEConfig, architecture


@config
class ReLUConfig(SAEConfig):
    """The standard SAE."""

    architecture: Literal["relu"] = "relu"  # pyright: ignore[reportIncompatibleVariableOverride]
    sparsity_coefficient: float = 0.02
    """Weight of the L1 penalty."""
    sparsity_warmup: float = 0.05
    """Share of training in which the penalty rises from zero."""


@architecture(ReLUConfig)
class ReLUSAE(SAE):
    """z = ReLU((x - b_dec) W_enc + b_enc), minimising E|x - x_hat|^2 + coefficient E sum_f z_f.

    Source: Bricken et al. 2023, "Towards Monosemanticity".
    """

    encoder_scale: ClassVar[float] = 0.1

    def encode(self, x: Tensor) -> Tensor:
        """Latents (..., n_latents) of activations (..., d_model)."""
        self._check_width(x)
        return F.relu(self.project(x))

    def loss(self, x_ND: Tensor, step: int = 0) -> Loss:
        """The training loss of a batch (N, d_model) at a step."""
        z_NF = self.encode(x_ND)
        reconstruction = (x_ND - self.decode(z_NF)).pow(2).sum(1).mean()
        sparsity = self.warmup(step) * self.penalty(z_NF)
        return Loss(reconstruction + sparsity, reconstruction, sparsity, reconstruction.new_zeros(()), z_NF)

    def penalty(self, z_NF: Tensor) -> Tensor:
        """The sparsity penalty of some latents, coefficient included."""
        return self.cfg.sparsity_coefficient * z_NF.sum(1).mean()

    def warmup(self, step: int) -> float:
        """Share of the penalty that counts at a step."""
        rising = self.cfg.sparsity_warmup * self.n_steps
        return min(1.0, step / rising) if rising > 0 else 1.0
