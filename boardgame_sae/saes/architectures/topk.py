"""TopK SAEs: the number of latents is chosen, not coaxed by a penalty.

`topk` keeps the k largest of ReLU((x - b_dec) W_enc + b_enc) at every position and minimises

    E|x - x_hat|^2 + coefficient AuxK.

Nothing shrinks latents any more, but one that is never among the largest gets no gradient and dies. AuxK asks the dead
ones (silent for `dead_after` tokens) for what is missing: their d_model / 2 largest activations try to rebuild the
error e = x - x_hat, as a share of its variance, E|e - e_hat|^2 / E|e - mean e|^2.
Source: Gao et al. 2024 (arXiv 2406.04093), sections 2.3 and A.2, AuxK in the form of dictionary_learning.

`batch_topk` keeps the k N largest of a batch of N together, so that positions that need more latents get more. That
rule depends on the company a position is in: after training one threshold for all latents is set on data, at which k
are on in the mean, and the SAE is saved as a JumpReLU. Source: Bussmann et al. 2024 (arXiv 2412.06410). (Peers keep
a running mean of the threshold while training; a short training leaves it where it began, and the SAE dense.)

`k_start` begins with more latents on and comes down to k over the first part of training.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from boardgame_sae.config import config
from boardgame_sae.saes.registry import architecture, as_inference
from boardgame_sae.saes.sae import SAE, SAEConfig
from boardgame_sae.saes.sparse.active_latents import Above, Active, LargestOfBatch, LargestOfEach, Rule, activate
from boardgame_sae.saes.training.calibration import threshold_for


@config
class TopKConfig(SAEConfig):
    """TopK."""

    architecture: Literal["topk"] = "topk"  # pyright: ignore[reportIncompatibleVariableOverride]
    k: int = 32
    """Latents that stay."""
    b_dec_start: Literal["zeros", "geometric_median"] = "geometric_median"
    """Where b_dec begins: at zero, or in the middle of the first batch of training."""
    k_start: int = 0
    """Latents that stay at first, if more than k."""
    k_anneal: float = 0.0
    """Share of training in which k_start comes down to k."""
    auxiliary_coefficient: float = 1 / 32
    """Weight of the loss that gives dead latents a gradient."""
    dead_after: int = 10_000_000
    """Tokens without firing after which a latent counts as dead."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.k <= self.n_latents:
            raise ValueError(f"k must lie between 1 and n_latents ({self.n_latents}), not {self.k}")
        if self.k_start and not self.k <= self.k_start <= self.n_latents:
            raise ValueError(f"k_start must lie between k and n_latents ({self.n_latents}), not {self.k_start}")
        if not 0 <= self.k_anneal <= 1 or self.auxiliary_coefficient < 0 or self.dead_after < 1:
            raise ValueError("k_anneal lies in 0..1, auxiliary_coefficient is not negative, dead_after at least 1")


@architecture(TopKConfig)
class TopKSAE(SAE):
    """z = the k largest of ReLU((x - b_dec) W_enc + b_enc), minimising E|x - x_hat|^2 + coefficient AuxK.

    Source: Gao et al. 2024 (arXiv 2406.04093), in the form of dictionary_learning.
    """

    grad_clip: ClassVar[float | None] = 1.0

    def rule(self) -> Rule:
        """On where among the k largest of its position."""
        return LargestOfEach(self.cfg.k)

    def training_rule(self, step: int) -> Rule:
        """The k of this step."""
        return LargestOfEach(self.k_at(step))

    def k_at(self, step: int) -> int:
        """How many latents stay at a step of training."""
        falling = self.cfg.k_anneal * self.n_steps
        left = max(0.0, 1 - step / falling) if falling > 0 else 0.0
        return round(self.cfg.k + left * max(0, self.cfg.k_start - self.cfg.k))

    def auxiliary(self, x_ND: Tensor, active: Active, x_hat_ND: Tensor, step: int) -> Tensor:  # noqa: ARG002
        """AuxK, coefficient included."""
        asleep_F = active.counts_F(active.pre) == 0  # a latent that fires in this batch is not dead
        dead = (self.dead_F(self.cfg.dead_after) & asleep_F).nonzero()[:, 0]
        if not len(dead):
            return x_ND.new_zeros(())
        error_ND = x_ND - x_hat_ND
        k = max(1, min(self.cfg.d_model // 2, len(dead)))
        columns_FD, rows_FD = self.W_enc.T[dead], self.W_dec[dead]
        shift = self.b_dec if self.cfg.subtract_b_dec else None
        revived = activate(x_ND, columns_FD.T, self.b_enc[dead], shift, LargestOfEach(k), self.way)
        rebuilt_ND = revived.decode(revived.pre, rows_FD, torch.zeros_like(self.b_dec))
        missed = (error_ND - rebuilt_ND).pow(2).sum()
        spread = (error_ND - error_ND.mean(0)).pow(2).sum()
        return self.cfg.auxiliary_coefficient * missed / spread.clamp(min=1e-12)


@config
class BatchTopKConfig(TopKConfig):
    """BatchTopK."""

    architecture: Literal["batch_topk"] = "batch_topk"  # pyright: ignore[reportIncompatibleVariableOverride]


@architecture(BatchTopKConfig)
class BatchTopKSAE(TopKSAE):
    """z = the k N largest of ReLU((x - b_dec) W_enc + b_enc) of a batch of N; a threshold at inference.

    `threshold`, the same for all latents, is NaN until `calibrate`; till then `encode` takes the largest of what it is
    given. Source: Bussmann et al. 2024 (arXiv 2412.06410).
    """

    per_latent: ClassVar[tuple[str, ...]] = ("b_enc", "threshold")
    threshold: Tensor

    def __init__(self, cfg: BatchTopKConfig) -> None:
        super().__init__(cfg)
        self.register_buffer("threshold", torch.full((cfg.n_latents,), torch.nan))

    @property
    def calibrated(self) -> bool:
        """Whether the threshold is set."""
        return not bool(self.threshold.isnan().any())

    def rule(self) -> Rule:
        """On above the threshold."""
        return Above(self.threshold) if self.calibrated else LargestOfBatch(self.cfg.k)

    def training_rule(self, step: int) -> Rule:
        """On where among the k N largest of the batch, with the k of this step."""
        return LargestOfBatch(self.k_at(step))

    def calibrate(self, batches: Sequence[Tensor]) -> None:
        """Set the threshold at which k latents are on at a position, in the mean over some activations."""
        self.threshold.fill_(threshold_for(self, batches, self.cfg.k))

    def inference(self) -> SAE:
        """A JumpReLU SAE with the threshold; without a threshold, this SAE."""
        return as_inference(self, "jumprelu") if self.calibrated else self
