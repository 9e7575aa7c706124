"""TopK: the k largest latents of each activation stay, and no penalty is needed."""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.config import config
from boardgame_sae.saes.sae import SAE, Loss, SAEConfig, architecture


@config
class TopKConfig(SAEConfig):
    """TopK."""

    architecture: Literal["topk"] = "topk"  # pyright: ignore[reportIncompatibleVariableOverride]
    k: int = 32
    """Latents that stay."""
    auxiliary_coefficient: float = 1 / 32
    """Weight of the loss that gives dead latents a gradient."""
    dead_after: int = 10_000_000
    """Tokens without firing after which a latent counts as dead."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.k <= self.n_latents:
            raise ValueError(f"k must lie between 1 and n_latents ({self.n_latents}), not {self.k}")


@architecture(TopKConfig)
class TopKSAE(SAE):
    """z = the k largest of ReLU((x - b_dec) W_enc + b_enc), minimising E|x - x_hat|^2 + coefficient AuxK.

    AuxK: the dead latents' largest d_model / 2 activations try to rebuild the error that is left, as a share of the
    error's variance. Source: Gao et al. 2024 (arXiv 2406.04093), in the form of dictionary_learning.
    """

    grad_clip: ClassVar[float | None] = 1.0

    def activate(self, x: Tensor) -> Tensor:
        """All latents (..., n_latents) before the choice of k."""
        self._check_width(x)
        return F.relu(self.project(x))

    def encode(self, x: Tensor) -> Tensor:
        """Latents (..., n_latents) of activations (..., d_model), at most k of them above 0."""
        return keep_largest(self.activate(x), self.cfg.k)

    def loss(self, x_ND: Tensor, step: int = 0) -> Loss:  # noqa: ARG002 (the base class's signature)
        """The training loss of a batch (N, d_model)."""
        all_NF = self.activate(x_ND)
        z_NF = keep_largest(all_NF, self.cfg.k)
        error_ND = x_ND - self.decode(z_NF)
        reconstruction = error_ND.pow(2).sum(1).mean()
        auxiliary = self.cfg.auxiliary_coefficient * self._auxiliary(error_ND.detach(), all_NF)
        return Loss(reconstruction + auxiliary, reconstruction, reconstruction.new_zeros(()), auxiliary, z_NF)

    def _auxiliary(self, error_ND: Tensor, all_NF: Tensor) -> Tensor:
        dead_F = self.dead_F(self.cfg.dead_after)
        n_dead = int(dead_F.sum())
        if n_dead == 0:
            return error_ND.new_zeros(())
        z_NF = keep_largest(all_NF * dead_F, max(1, min(self.cfg.d_model // 2, n_dead)))
        missed = (error_ND - z_NF @ self.W_dec).pow(2).sum(1).mean()
        spread = (error_ND - error_ND.mean(0)).pow(2).sum(1).mean()
        return missed / spread.clamp(min=1e-12)

    @torch.no_grad()
    def begin_training(self, n_steps: int, first_ND: Tensor) -> None:
        """Start b_dec at the geometric median of the first batch."""
        super().begin_training(n_steps, first_ND)
        self.b_dec.copy_(geometric_median(first_ND))


def keep_largest(values: Tensor, k: int) -> Tensor:
    """The k largest values along the last axis, zeros elsewhere."""
    largest = values.topk(k, dim=-1, sorted=False)
    return torch.zeros_like(values).scatter(-1, largest.indices, largest.values)


def geometric_median(x_ND: Tensor, n_iterations: int = 100, tolerance: float = 1e-5) -> Tensor:
    """The point (D,) with the least summed distance to some points (N, D), by Weiszfeld's iteration."""
    point_D = x_ND.mean(0)
    for _ in range(n_iterations):
        weights_N1 = 1 / (x_ND - point_D).norm(dim=1, keepdim=True).clamp(min=1e-8)
        moved_D = (x_ND * weights_N1).sum(0) / weights_N1.sum()
        if (moved_D - point_D).norm() < tolerance:
            return moved_D
        point_D = moved_D
    return point_D
