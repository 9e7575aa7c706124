"""What fine-tuning minimises: how far the GPT's predictions move with the SAE spliced in, and how far activations do.

    balanced   (alpha KL + MSE) / 2, alpha = MSE / (KL + 1e-8) without gradient
    kl         KL
    mse        MSE

KL is the divergence from the clean predictions, its mean over the tokens that are read; MSE the mean over the numbers
of the activations, which are divided by the root of their mean squared norm. The balance gives both terms one value,
that of the MSE, so that a penalty keeps its meaning beside them; beside KL it is multiplied by KL / MSE.

Where no rule sets how many latents are on, a penalty, coefficient x mean L1 of the latents, holds L0 where it was: the
coefficient grows by a small factor after each step with more latents on, and shrinks after any other. It begins where
the SAE is in balance, neither gaining nor losing when all its latents grow together:

    coefficient = d MSE / d log(size) / mean L1,    of an SAE trained with an L1 penalty about that penalty's own.

Source: arXiv 2503.17272 (the losses, and a controller that holds L0, which there begins at the training's coefficient).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.saes.configs.finetuning import LossName
from boardgame_sae.saes.finetuning.ways.way import Reconstruction, Splice
from boardgame_sae.saes.sparse.active_latents import LargestOfBatch, LargestOfEach
from boardgame_sae.testbeds.replaced import Batch, divergence, log_probs_with

LEAST_SHARE = 0.01
"""The penalty's initial size is at least this share of the MSE: a coefficient of 0 could never grow."""


class Objective(NamedTuple):
    """A loss and its parts, each a scalar tensor."""

    total: Tensor
    """What is minimised."""
    divergence: Tensor
    """KL divergence from the clean predictions, in nats per token; 0 where the loss has no use for it."""
    mse: Tensor
    """Mean squared error of the normalised activations' numbers."""
    l0: Tensor
    """Mean number of latents on."""


class Sparsity:
    """The penalty that holds L0, or nothing where a rule sets how many latents are on."""

    def __init__(self, splice: Splice, batches: Sequence[Batch], step: float) -> None:
        """batches: on which the SAE's L0 and balance are measured.

        step: share by which the coefficient grows; 0: there is no penalty.
        """
        self.step, self.coefficient = step, 0.0
        self.held = step > 0 and not isinstance(splice.sae.training_rule(0), LargestOfEach | LargestOfBatch)
        self.target = self._measure(splice, batches) if self.held else 0.0

    @torch.no_grad()
    def _measure(self, splice: Splice, batches: Sequence[Batch]) -> float:
        """Set the coefficient, and return L0."""
        n, on, l1, error, gain = 0, 0.0, 0.0, 0.0, 0.0
        for batch in batches:
            x_ND = batch.acts_BLD[batch.read_BL] / splice.scale
            made = splice.reconstruct(x_ND)
            missed_ND = x_ND - made.x_hat_ND
            n, on, l1 = n + len(x_ND), on + float((made.z > 0).sum()), l1 + float(made.z.sum())
            error += float(missed_ND.pow(2).sum())
            gain += 2 * float((missed_ND * (made.x_hat_ND - splice.sae.b_dec)).sum())
        width = splice.sae.cfg.d_model
        self.coefficient = max(gain, LEAST_SHARE * error) / width / l1 if l1 > 0 else 0.0
        return on / n

    def penalty(self, made: Reconstruction) -> Tensor:
        """The penalty of a batch, coefficient included."""
        return self.coefficient * made.z.sum() / made.active.shape[0]

    def follow(self, l0: float) -> None:
        """Change the coefficient after a step whose batch had an L0."""
        if self.held:
            self.coefficient *= 1 + self.step if l0 > self.target else 1 / (1 + self.step)


def objective(splice: Splice, batch: Batch, loss: LossName, sparsity: Sparsity) -> Objective:
    """The loss of a batch."""
    x_ND = batch.acts_BLD[batch.read_BL] / splice.scale
    made = splice.reconstruct(x_ND)
    mse = F.mse_loss(made.x_hat_ND, x_ND)
    kl = mse.new_zeros(()) if loss == "mse" else _divergence(splice, batch, made)
    fidelity = combined(kl, mse, loss)
    total = fidelity
    if sparsity.held:
        total = fidelity + (fidelity / mse.clamp(min=1e-12)).detach() * sparsity.penalty(made)
    return Objective(total, kl, mse, (made.z > 0).sum() / made.active.shape[0])


def combined(kl: Tensor, mse: Tensor, loss: LossName) -> Tensor:
    """The two terms as a loss takes them."""
    if loss == "balanced":
        return ((mse / (kl + 1e-8)).detach() * kl + mse) / 2
    return kl if loss == "kl" else mse


def _divergence(splice: Splice, batch: Batch, made: Reconstruction) -> Tensor:
    acts_BLD = batch.with_rows(made.x_hat_ND * splice.scale)
    log_probs_BLV = log_probs_with(splice.gpt, splice.hook_name, batch, acts_BLD)
    return divergence(batch, log_probs_BLV).sum() / batch.read_BL.sum()
