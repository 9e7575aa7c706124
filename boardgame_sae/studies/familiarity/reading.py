"""What a model, trained or not, makes of the openings of every split, and what an SAE makes of that."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy.sparse import csr_array, vstack
from torch import Tensor

from boardgame_sae.activations.hook_points import read
from boardgame_sae.activations.one_token import OneToken
from boardgame_sae.metrics.causal.latent_edits import dense
from boardgame_sae.metrics.latent_source import LatentSource, as_latent_source
from boardgame_sae.saes.load import load_sae
from boardgame_sae.studies.familiarity.openings import Openings
from boardgame_sae.testbeds.testbed import Testbed

AT_ONCE = 2048
"""Openings that are read or encoded together."""


class Reading:
    """A testbed's model on openings; what was read once stays."""

    def __init__(self, testbed: Testbed, openings: Callable[[str], Openings]) -> None:
        """openings: those of a split."""
        self.testbed, self.openings = testbed, openings
        self.acts = cache(self._acts)
        """The activations at the last move of each opening of a split: float32 (N, width)."""
        self.source = cache(self._opened)
        """A saved SAE, by its folder or name, checked against the testbed as `as_latent_source` does."""
        self.latents = cache(self._latents)
        """The latents of such an SAE at the last move of each opening of a split: (N, F)."""

    @torch.no_grad()
    def _acts(self, split: str) -> Tensor:
        openings, name = self.openings(split), self.testbed.hook_name
        parts = []
        for rows in chunks(np.arange(len(openings.ply_N))):
            tokens_BL = torch.from_numpy(openings.tokens_NL[rows]).to(self.testbed.model.gpt.device)
            acts_BLD = read(self.testbed.model.gpt, tokens_BL, [name])[name].float().cpu()
            parts.append(acts_BLD[torch.arange(len(rows)), torch.from_numpy(openings.ply_N[rows] - 1)])
        return torch.cat(parts)

    def _opened(self, folder: str) -> LatentSource:
        return as_latent_source(load_sae(folder), self.testbed, folder)

    @torch.no_grad()
    def _latents(self, folder: str, split: str) -> csr_array:
        acts_ND, source = self.acts(split), self.source(folder)
        parts = [dense(source.encode(acts_ND[rows]), acts_ND).numpy() for rows in chunks(np.arange(len(acts_ND)))]
        return csr_array(vstack([csr_array(part) for part in parts], format="csr"))

    def above(self, split: str, row_N: np.ndarray) -> "Above":
        """The model above the hook point, at the last move of some openings."""
        openings, gpt = self.openings(split), self.testbed.model.gpt
        parts = []
        for rows in chunks(row_N):
            tokens_BL, last_N = (torch.from_numpy(part[rows]) for part in (openings.tokens_NL, openings.ply_N - 1))
            parts.append((OneToken(gpt, tokens_BL.to(gpt.device), self.testbed.hook_name), last_N.to(gpt.device)))
        return Above(parts)


@dataclass(frozen=True, eq=False)
class Above:
    """The model above a hook point at some openings."""

    parts: Sequence[tuple[OneToken, Tensor]]
    """AT_ONCE openings each, and the place of their last moves."""

    @torch.no_grad()
    def logits(self, acts_ND: Tensor) -> Tensor:
        """(N, V): what is predicted after the openings with these activations at their last moves."""
        logits = []
        for (model, last_N), own_ND in zip(self.parts, acts_ND.split(AT_ONCE), strict=True):
            read_on = model(
                torch.arange(len(last_N), device=last_N.device), last_N, own_ND.to(last_N.device), logits=True
            )
            assert read_on.logits_NV is not None
            logits.append(read_on.logits_NV.cpu())
        return torch.cat(logits)


def chunks(row_N: np.ndarray) -> list[np.ndarray]:
    """Rows, AT_ONCE at a time."""
    return [row_N[start : start + AT_ONCE] for start in range(0, len(row_N), AT_ONCE)]
