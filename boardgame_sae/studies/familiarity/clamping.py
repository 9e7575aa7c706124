"""A latent clamped on or off at the last move of openings, and what becomes of what the model predicts.

    x + (target - f) d,    target: some times the latent's mean where it is on, or 0; the error term kept

In random play every legal move is equally likely, so that the truth is known: how far a prediction is from it
(divergence), whether it is right to be as sure as it is (calibration), and how sure it is (entropy), each position by
itself.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.model.float64 import exact
from boardgame_sae.studies.over_games import Counted, counted

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


def calibration_error(outcome: Outcome, game_N: np.ndarray) -> Counted:
    """Expected calibration error of the most probable move, resampled over games.

    The mean over positions of |mean confidence - mean chance| in the bin of the position's confidence.
    Source: Guo et al. 2017 (arXiv 1706.04599), with the true chance in place of what happened.
    """
    return counted(_binned(outcome, ""), game_N, _error)


def calibration_change(before: Outcome, after: Outcome, game_N: np.ndarray) -> Counted:
    """How much larger the calibration error is after than before at the same positions, resampled over games."""

    def change(sums: Mapping[str, np.ndarray]) -> np.ndarray:
        return _error(sums, "after ") - _error(sums, "before ")

    return counted(_binned(before, "before ") | _binned(after, "after "), game_N, change)


def _binned(outcome: Outcome, when: str) -> dict[str, np.ndarray]:
    """(N, BINS) each: in the bin of a position's confidence, its confidence less its chance, and 1."""
    bin_N = (outcome.confidence_N * BINS).astype(int).clip(max=BINS - 1)
    in_bin_NC = np.eye(BINS)[bin_N]
    over_N = outcome.confidence_N - outcome.chance_N
    return {f"{when}over": over_N[:, None] * in_bin_NC, f"{when}positions": in_bin_NC}


def _error(sums: Mapping[str, np.ndarray], when: str = "") -> np.ndarray:
    return np.abs(sums[f"{when}over"]).sum(1) / sums[f"{when}positions"].sum(1).clip(min=1)


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
