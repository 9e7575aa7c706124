"""Vectors along which activations on two sides of a contrast differ, and a model that is steered by one.

    contrastive   mean of the high side - mean of the low side
    probe         the direction of the linear classifier that separates them (Fisher's):
                  the inverse covariance within the sides, times the difference of the means
    latents       sum over the K latents that differ most, in standard deviations, of (difference of the means) d_j
    random        a direction drawn at random

Each is as long as the difference of the means, so that a coefficient means the same of all of them: 1 takes the mean of
the low side as far as the mean of the high side is.
Source: Karvonen 2024 (arXiv 2403.15498), section 4.3; there the vector is a sum over positions, so that its
coefficients are not comparable.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.metrics.causal.latent_edits import dense
from boardgame_sae.metrics.causal.steering.contrast import Sides
from boardgame_sae.metrics.latent_source import LatentSource
from boardgame_sae.model.float64 import exact
from boardgame_sae.model.gpt import Hook
from boardgame_sae.probes.fit import whitening

RIDGE = 1e-3
"""Added to the covariance, as a share of its mean variance."""
AT_ONCE = 4096
"""Positions that an SAE encodes at once."""


def contrastive(high_ND: Tensor, low_ND: Tensor) -> Tensor:
    """(D,): the mean of the high side less that of the low. high_ND, low_ND: activations (n, D)."""
    return (exact(high_ND).mean(0) - exact(low_ND).mean(0)).to(high_ND)


def probe_vector(high_ND: Tensor, low_ND: Tensor, ridge: float = RIDGE) -> Tensor:
    """(D,): the direction of the linear classifier, as long as `contrastive`."""
    within_ND = torch.cat([side_ND - side_ND.mean(0) for side_ND in (high_ND, low_ND)])
    white_DD = whitening(within_ND, ridge)[1]
    difference_D = contrastive(high_ND, low_ND)
    return _as_long(white_DD @ (white_DD.T @ difference_D.to(white_DD)), difference_D)


@torch.no_grad()
def latents_vector(source: LatentSource, high_ND: Tensor, low_ND: Tensor, n_latents: int) -> Tensor:
    """(D,): what the latents that tell the sides apart best write, as long as `contrastive`.

    Raises ValueError for an SAE without decoder rows.
    """
    if source.W_dec is None:
        raise ValueError(f"{source.name} has no decoder rows (`W_dec`), so that nothing can be added")
    (mean_F, square_F), (low_mean_F, low_square_F) = (_moments(source, side_ND) for side_ND in (high_ND, low_ND))
    gap_F = mean_F - low_mean_F
    spread_F = ((square_F - mean_F**2 + low_square_F - low_mean_F**2) / 2).clamp(min=1e-12).sqrt()
    top_K = (gap_F / spread_F).abs().argsort(descending=True, stable=True)[:n_latents]
    written_D = gap_F[top_K] @ source.W_dec.cpu().double()[top_K]
    return _as_long(written_D, contrastive(high_ND, low_ND))


def random_vector(like_D: Tensor, seed: int) -> Tensor:
    """(D,): a direction drawn at random, as long as another vector."""
    return _as_long(torch.randn(len(like_D), generator=torch.Generator().manual_seed(seed)), like_D)


def told_apart(vector_D: Tensor, train: tuple[Tensor, Tensor], test: Sides, hook_name: str) -> np.ndarray:
    """(games, 2): of each test game, the positions whose side the vector tells, and all of them.

    A position is on the high side where it lies further along the vector than halfway between the means of the two
    sides (train).
    """
    halfway = sum(float((side_ND @ vector_D).mean()) for side_ND in train) / 2
    right_N = (test.acts[hook_name] @ vector_D > halfway).numpy() == test.high_N
    return np.stack([np.bincount(test.game_N, weights, test.n_games) for weights in (right_N, None)], 1)


def adding(vectors: Mapping[str, Tensor]) -> dict[str, Hook]:
    """Hooks that add a vector (D,) at every token, by hook point."""

    def hook_for(vector_D: Tensor) -> Hook:
        return lambda value: value + vector_D.to(value).view(value.shape[2:])

    return {name: hook_for(vector_D) for name, vector_D in vectors.items()}


def _as_long(vector_D: Tensor, other_D: Tensor) -> Tensor:
    return F.normalize(vector_D.to(other_D), dim=0) * other_D.norm()


def _moments(source: LatentSource, acts_ND: Tensor) -> tuple[Tensor, Tensor]:
    """float64 (F,): each latent's mean, and the mean of its square."""
    sums: list[Tensor] = []
    for part_ND in acts_ND.split(AT_ONCE):
        latents_NF = exact(dense(source.encode(part_ND), part_ND))
        sums.append(torch.stack([latents_NF.sum(0), latents_NF.square().sum(0)]))
    mean_F, square_F = torch.stack(sums).sum(0) / len(acts_ND)
    return mean_F, square_F
