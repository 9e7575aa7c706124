"""A latent clamped on or off at the last move of openings, and what becomes of what the model predicts.

    x + (target - f) d,    target: some times the latent's mean where it is on, or 0; the error term kept

In random play every legal move is equally likely, so that the truth is known: how far a prediction is from it
(divergence), whether it is right to be as sure as it is (calibration), and how sure it is (entropy), each position by
itself.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.intervals import Estimate, bootstrap_interval
from boardgame_sae.model.float64 import exact

BINS = 10
"""Of the confidence in the most probable move, of equal width."""
MIN_SHARE = 0.01
"""A latent that is on less often than this is not drawn for comparison."""


class Outcome(NamedTuple):
    """What a model predicts at N positions."""

    legal_mass_N: np.ndarray
    """Total probability of the legal moves."""
    greedy_N: np.ndarray
    """Whether the most probable move is legal, 0 or 1."""
    entropy_N: np.ndarray
    """Nats."""
    divergence_N: np.ndarray
    """Nats: of the truth, each legal move equally likely, from what is predicted."""
    confidence_N: np.ndarray
    """Probability of the most probable move."""
    chance_N: np.ndarray
    """How likely that move is in truth: one over the number of legal moves, or 0."""


def outcome(logits_NV: Tensor, legal_NV: np.ndarray) -> Outcome:
    """Compare predictions with the truth of random play; every position has a legal move."""
    log_NV = exact(logits_NV).log_softmax(-1).cpu().numpy()
    p_NV, n_legal_N, rows = np.exp(log_NV), legal_NV.sum(1), np.arange(len(log_NV))
    greedy_N = legal_NV[rows, p_NV.argmax(1)].astype(np.float64)
    divergence_N = -np.log(n_legal_N) - np.where(legal_NV, log_NV, 0.0).sum(1) / n_legal_N
    entropy_N = -(p_NV * log_NV).sum(1)
    return Outcome((p_NV * legal_NV).sum(1), greedy_N, entropy_N, divergence_N, p_NV.max(1), greedy_N / n_legal_N)


def calibration_error(outcome: Outcome, game_N: np.ndarray) -> Estimate:
    """Expected calibration error of the most probable move, resampled over games.

    The mean over positions of |mean confidence - mean chance| in the bin of the position's confidence.
    Source: Guo et al. 2017 (arXiv 1706.04599), with the true chance in place of what happened.
    """
    sums_BC2 = _binned(outcome, game_N)
    return Estimate(float(_error(sums_BC2.sum(0)[None])[0]), bootstrap_interval(_error, sums_BC2))


def calibration_change(before: Outcome, after: Outcome, game_N: np.ndarray) -> Estimate:
    """How much larger the calibration error is after than before at the same positions, resampled over games."""
    sums_B2C2 = np.stack([_binned(one, game_N) for one in (before, after)], 1)

    def change(sums_R2C2: np.ndarray) -> np.ndarray:
        return _error(sums_R2C2[:, 1]) - _error(sums_R2C2[:, 0])

    return Estimate(float(change(sums_B2C2.sum(0)[None])[0]), bootstrap_interval(change, sums_B2C2))


def _binned(outcome: Outcome, game_N: np.ndarray) -> np.ndarray:
    """(B, BINS, 2): of each game and bin of confidence, summed confidence less chance, and number of positions."""
    game_N = np.unique(game_N, return_inverse=True)[1]
    bin_N = (outcome.confidence_N * BINS).astype(int).clip(max=BINS - 1)
    sums_BC2 = np.zeros((game_N.max() + 1, BINS, 2))
    np.add.at(sums_BC2[..., 0], (game_N, bin_N), outcome.confidence_N - outcome.chance_N)
    np.add.at(sums_BC2[..., 1], (game_N, bin_N), 1.0)
    return sums_BC2


def _error(sums_RC2: np.ndarray) -> np.ndarray:
    return np.abs(sums_RC2[..., 0]).sum(1) / sums_RC2[..., 1].sum(1)


def clamped(acts_ND: Tensor, latent_N: np.ndarray, target: float, direction_D: Tensor) -> Tensor:
    """Activations with a latent set to a target. latent_N: what it is there. direction_D: its decoder row."""
    change_N = torch.from_numpy((target - latent_N).astype(np.float32))
    return acts_ND + change_N[:, None] * direction_D.to(acts_ND)[None]


def alike(mean_F: np.ndarray, share_F: np.ndarray, latent: int, apart: Sequence[int], n: int, seed: int) -> list[int]:
    """At most n latents, drawn at random from the 3 n whose mean where on is nearest to a latent's.

    mean_F, share_F: of each latent, the mean where it is on and how often that is; those on less often than MIN_SHARE
    are not drawn. apart: nor are these.
    """
    candidates = np.flatnonzero((share_F >= MIN_SHARE) & ~np.isin(np.arange(len(mean_F)), [latent, *apart]))
    nearest = candidates[np.argsort(np.abs(np.log(mean_F[candidates] / mean_F[latent])), kind="stable")][: 3 * n]
    return sorted(np.random.default_rng(seed).permutation(nearest)[:n].tolist())
