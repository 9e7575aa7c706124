"""The GPT with its activations replaced: what that costs in loss, and in divergence.

Every token that the GPT reads counts, over whole test games.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.activations.hook_points import read, replace
from boardgame_sae.model.train import ABSENT
from boardgame_sae.testbeds.testbed import Testbed

N_TOKENS = 100_000
"""Minimum number of tokens of test games to read, where the test split has as many."""
GAMES_AT_ONCE = 128


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


class CleanRun:
    """The clean model on at least `n_tokens` tokens of test games, and its losses under ablation."""

    @torch.no_grad()
    def __init__(self, testbed: Testbed, n_tokens: int = N_TOKENS) -> None:
        self.testbed = testbed
        games_B = testbed.corpus.games("test")
        read_B = testbed.corpus.n_read(games_B, testbed.model.gpt.cfg.n_ctx)
        self.games_B = games_B[: int(np.searchsorted(np.cumsum(read_B), n_tokens)) + 1]
        starts = range(0, len(self.games_B), GAMES_AT_ONCE)
        self.batches = [self._read(self.games_B[start : start + GAMES_AT_ONCE]) for start in starts]
        acts_ND = torch.cat([batch.acts_BLD[batch.read_BL] for batch in self.batches])
        self.n_tokens, self.mean_D = len(acts_ND), acts_ND.double().mean(0).float()
        self.clean = self.losses(batch.acts_BLD for batch in self.batches)
        self.zeroed = self.losses(torch.zeros_like(batch.acts_BLD) for batch in self.batches)
        self.averaged = self.losses(self.mean_D.expand_as(batch.acts_BLD) for batch in self.batches)

    def _read(self, games_B: np.ndarray) -> Batch:
        gpt, name = self.testbed.model.gpt, self.testbed.hook_name
        rows = self.testbed.corpus.rows(games_B, gpt.cfg.n_ctx)
        tokens_BL, plies_BL = (torch.from_numpy(part).to(gpt.device) for part in rows)
        acts_BLD = read(gpt, tokens_BL[:, :-1], [name])[name].float()
        log_probs_BLV = replace(gpt, tokens_BL[:, :-1], name, acts_BLD).float().log_softmax(-1)
        return Batch(tokens_BL, plies_BL >= 0, acts_BLD, log_probs_BLV)

    @torch.no_grad()
    def losses(self, acts_of_batches: Iterable[Tensor]) -> Losses:
        """The losses with these activations (B, L, D) in place of each batch's own."""
        games = []
        for batch, acts_BLD in zip(self.batches, acts_of_batches, strict=True):
            inputs_BL, targets_BL = batch.tokens_BL[:, :-1], batch.tokens_BL[:, 1:].where(batch.predicted_BL, ABSENT)
            logits_BLV = replace(self.testbed.model.gpt, inputs_BL, self.testbed.hook_name, acts_BLD)
            log_probs_BLV = logits_BLV.float().log_softmax(-1)
            loss_BL = F.nll_loss(log_probs_BLV.transpose(1, 2), targets_BL, ignore_index=ABSENT, reduction="none")
            kl_BL = (batch.log_probs_BLV.exp() * (batch.log_probs_BLV - log_probs_BLV)).sum(-1) * batch.read_BL
            sums = (loss_BL.double(), kl_BL.double(), batch.predicted_BL, batch.read_BL)
            games.append([part_BL.sum(1).cpu().numpy() for part_BL in sums])
        return Losses(*(np.concatenate(part) for part in zip(*games, strict=True)))


def clean_run(testbed: Testbed) -> CleanRun:
    """The clean model on a testbed's test games: ask `testbed.once(clean_run)`."""
    return CleanRun(testbed)
