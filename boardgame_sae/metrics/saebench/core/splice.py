"""The clean GPT on a testbed's test games, and what it costs to replace its activations there."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.model.float64 import exact
from boardgame_sae.testbeds.replaced import Batch, Losses, clean_batch, losses_with
from boardgame_sae.testbeds.testbed import Testbed

N_TOKENS = 100_000
"""Minimum number of tokens of test games to read, where the test split has as many."""
GAMES_AT_ONCE = 128


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
        self.n_tokens, self.mean_D = len(acts_ND), exact(acts_ND).mean(0).to(acts_ND)
        self.clean = self.losses(batch.acts_BLD for batch in self.batches)
        self.zeroed = self.losses(torch.zeros_like(batch.acts_BLD) for batch in self.batches)
        self.averaged = self.losses(self.mean_D.expand_as(batch.acts_BLD) for batch in self.batches)

    def _read(self, games_B: np.ndarray) -> Batch:
        gpt = self.testbed.model.gpt
        return clean_batch(gpt, self.testbed.hook_name, self.testbed.corpus.rows(games_B, gpt.cfg.n_ctx))

    def losses(self, acts_of_batches: Iterable[Tensor]) -> Losses:
        """The losses with these activations (B, L, D) in place of each batch's own."""
        gpt, hook_name = self.testbed.model.gpt, self.testbed.hook_name
        pairs = zip(self.batches, acts_of_batches, strict=True)
        return Losses.concatenate([losses_with(gpt, hook_name, batch, acts_BLD) for batch, acts_BLD in pairs])


def clean_run(testbed: Testbed) -> CleanRun:
    """The clean model on a testbed's test games: ask `testbed.once(clean_run)`."""
    return CleanRun(testbed)
