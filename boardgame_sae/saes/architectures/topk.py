"""TopK SAEs: the number of latents on is set, not reached by a penalty.

`topk` keeps the k largest of ReLU((x - b_dec) W_enc + b_enc) at every position and minimises

    E|x - x_hat|^2 + coefficient AuxK.

Nothing shrinks latents any more, but one that is never among the largest gets no gradient and dies. AuxK asks the dead
ones (that have not fired for `dead_after` tokens) for what is missing: their d_model / 2 largest activations
reconstruct the error e = x - x_hat, as a share of its variance, E|e - e_hat|^2 / E|e - mean e|^2.
Source: Gao et al. 2024 (arXiv 2406.04093), sections 2.3 and A.2, AuxK in the form of dictionary_learning.

`batch_topk` keeps the k N largest of a batch of N together, so that positions that need more latents get more. Which
are on then depends on the rest of the batch: after training one threshold for all latents is set on data, at which k
are on per position on average, and the SAE is saved as a JumpReLU. Source: Bussmann et al. 2024 (arXiv 2412.06410).
(Peers keep a running mean of the threshold while training; a short training leaves it at its initial value, and the SAE
dense.)

With `k_start` more latents are on at first; their number comes down to k over the first part of training.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from boardgame_sae.saes.configs.topk import BatchTopKConfig, TopKConfig
from boardgame_sae.saes.registry import architecture, as_inference
from boardgame_sae.saes.sae import SAE, Form
from boardgame_sae.saes.sparse.active_latents import Above, Active, LargestOfBatch, LargestOfEach, Rule, activate
from boardgame_sae.saes.training.calibration import threshold_for

DEAD_AFTER, DEAD_SHARE = 10_000_000, 0.02
"""What stands for a `dead_after` that is left open: so many tokens, and in a training that share of its own."""


@architecture(TopKConfig, colour="#F781BF", marker="D")
class TopKSAE(SAE):
    """The k largest latents of each position; an auxiliary loss revives dead ones.

    z = the k largest of ReLU((x - b_dec) W_enc + b_enc), minimising E|x - x_hat|^2 + coefficient AuxK.
    Source: Gao et al. 2024 (arXiv 2406.04093), in the form of dictionary_learning.
    """

    form: ClassVar[Form | None] = "topk"
    example: ClassVar[Mapping[str, Any]] = {"k": 2, "dead_after": 3000}
    grad_clip: ClassVar[float | None] = 1.0
    learning_rates: ClassVar[tuple[float, float, float]] = (5e-3, 1.5e-3, 5e-4)

    def __init__(self, cfg: TopKConfig) -> None:
        super().__init__(cfg)
        self.dead_after = cfg.dead_after or DEAD_AFTER
        """Tokens without firing after which a latent counts as dead in this training."""

    def begin_training(self, n_steps: int, first_ND: Tensor) -> None:
        """Set what `dead_after` is a share of the training for."""
        super().begin_training(n_steps, first_ND)
        self.dead_after = self.cfg.dead_after or max(1, round(DEAD_SHARE * n_steps * len(first_ND)))

    def rule(self) -> Rule:
        """On where it is among the k largest of its position."""
        return LargestOfEach(self.cfg.k)

    def training_rule(self, step: int) -> Rule:
        """The k of this step."""
        return LargestOfEach(self.k_at(step))

    def k_at(self, step: int) -> int:
        """How many latents are on per position at a step of training."""
        falling = self.cfg.k_anneal * self.n_steps
        left = max(0.0, 1 - step / falling) if falling > 0 else 0.0
        return round(self.cfg.k + left * max(0, self.cfg.k_start - self.cfg.k))

    def auxiliary(self, x_ND: Tensor, active: Active, x_hat_ND: Tensor, step: int) -> Tensor:  # noqa: ARG002
        """AuxK, coefficient included."""
        asleep_F = active.counts_F(active.pre) == 0  # a latent that fires in this batch is not dead
        dead = (self.dead_F(self.dead_after) & asleep_F).nonzero()[:, 0]
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


@architecture(BatchTopKConfig, colour="#0072B2", marker="o")
class BatchTopKSAE(TopKSAE):
    """The k N largest latents of N positions together; at inference those above one threshold.

    z = the k N largest of ReLU((x - b_dec) W_enc + b_enc). `threshold`, the same for all latents, is NaN until
    `calibrate`; until then `encode` takes the largest of the batch it is given.
    Source: Bussmann et al. 2024 (arXiv 2412.06410).
    """

    form: ClassVar[Form | None] = None  # until it has a threshold: then it is saved as a JumpReLU
    per_latent: ClassVar[tuple[str, ...]] = ("b_enc", "threshold")
    set_by_calibration: ClassVar[tuple[str, ...]] = ("threshold",)
    threshold: Tensor

    def __init__(self, cfg: BatchTopKConfig) -> None:
        super().__init__(cfg)
        self.register_buffer("threshold", torch.full((cfg.n_latents,), torch.nan))

    @property
    def calibrated(self) -> bool:
        """Whether the threshold is set."""
        return not bool(self.threshold.isnan().any())

    def rule(self) -> Rule:
        """On where it is above the threshold."""
        return Above(self.threshold) if self.calibrated else LargestOfBatch(self.cfg.k)

    def training_rule(self, step: int) -> Rule:
        """On where it is among the k N largest of the batch, with the k of this step."""
        return LargestOfBatch(self.k_at(step))

    def calibrate(self, batches: Sequence[Tensor]) -> None:
        """Set the threshold at which k latents are on per position, on average over some activations.

        Raises ValueError when there is no batch.
        """
        self.threshold.fill_(threshold_for(self, batches, self.cfg.k))

    def inference(self) -> SAE:
        """A JumpReLU SAE with the threshold; without a threshold, this SAE."""
        return as_inference(self, "jumprelu") if self.calibrated else self
