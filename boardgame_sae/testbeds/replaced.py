"""A testbed's GPT with its activations replaced: its predictions then, and what that costs, game by game.

Every token that the GPT reads counts. Gradients reach the activations that are put in.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.activations.hook_points import read, replace
from boardgame_sae.model.float64 import exact
from boardgame_sae.model.gpt import GPT
from boardgame_sae.model.train import ABSENT


class Losses(NamedTuple):
    """The GPT's losses with other activations, in nats: sums over the tokens of each game, float64 (games,)."""

    loss_B: np.ndarray
    """Cross-entropy of the tokens that are predicted."""
    divergence_B: np.ndarray
    """KL divergence from the clean model's predictions, at the tokens that are read."""
    predicted_B: np.ndarray
    """How many tokens are predicted."""
    read_B: np.ndarray
    """How many tokens are read."""

    @property
    def cross_entropy(self) -> float:
        """Mean over the tokens that are predicted."""
        return float(self.loss_B.sum() / self.predicted_B.sum())

    @property
    def divergence(self) -> float:
        """Mean over the tokens that are read."""
        return float(self.divergence_B.sum() / self.read_B.sum())

    @staticmethod
    def concatenate(several: "list[Losses]") -> "Losses":
        """The losses of several batches' games, one after another."""
        return Losses(*(np.concatenate(part) for part in zip(*several, strict=True)))


@dataclass(frozen=True, eq=False)
class Batch:
    """Clean activations and predictions of some games."""

    tokens_BL: Tensor
    present_BL: Tensor
    acts_BLD: Tensor
    log_probs_BLV: Tensor

    @property
    def read_BL(self) -> Tensor:
        """Where a token is read."""
        return self.present_BL[:, :-1]

    @property
    def predicted_BL(self) -> Tensor:
        """Where the token that follows is there to be predicted."""
        return self.present_BL[:, 1:]

    def with_rows(self, acts_ND: Tensor) -> Tensor:
        """The activations (B, L, D) with these rows at the tokens that are read, in their order."""
        return self.acts_BLD.index_put((self.read_BL,), acts_ND)


@torch.no_grad()
def clean_batch(gpt: GPT, hook_name: str, rows: tuple[np.ndarray, np.ndarray]) -> Batch:
    """Read some games. rows: their tokens and plies, as `Corpus.rows` gives them."""
    tokens_BL, plies_BL = (torch.from_numpy(part).to(gpt.device) for part in rows)
    acts_BLD = read(gpt, tokens_BL[:, :-1], [hook_name])[hook_name].float()
    log_probs_BLV = replace(gpt, tokens_BL[:, :-1], hook_name, acts_BLD).float().log_softmax(-1)
    return Batch(tokens_BL, plies_BL >= 0, acts_BLD, log_probs_BLV)


def log_probs_with(gpt: GPT, hook_name: str, batch: Batch, acts_BLD: Tensor) -> Tensor:
    """The GPT's predictions (B, L, V) of a batch with these activations in place of its own."""
    return replace(gpt, batch.tokens_BL[:, :-1], hook_name, acts_BLD).float().log_softmax(-1)


def divergence(batch: Batch, log_probs_BLV: Tensor) -> Tensor:
    """KL divergence (B, L) from the clean predictions to others; 0 where no token is read."""
    return (batch.log_probs_BLV.exp() * (batch.log_probs_BLV - log_probs_BLV)).sum(-1) * batch.read_BL


@torch.no_grad()
def losses_with(gpt: GPT, hook_name: str, batch: Batch, acts_BLD: Tensor) -> Losses:
    """What these activations in place of a batch's own cost."""
    log_probs_BLV = log_probs_with(gpt, hook_name, batch, acts_BLD)
    targets_BL = batch.tokens_BL[:, 1:].where(batch.predicted_BL, ABSENT)
    loss_BL = F.nll_loss(log_probs_BLV.transpose(1, 2), targets_BL, ignore_index=ABSENT, reduction="none")
    sums = (exact(loss_BL), exact(divergence(batch, log_probs_BLV)), batch.predicted_BL, batch.read_BL)
    return Losses(*(part_BL.sum(1).cpu().numpy() for part_BL in sums))
