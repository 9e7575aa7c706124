"""Latents to clamp, and what clamping them does.

As published: latents that are on at less than a share of the positions to retain, ranked by how often they are on where
the model is to forget; where one is on, f := -multiplier, the error term kept. Here the multiplier is in units of the
latent's own mean where it is on; published it is a number, whatever the scale of activations.
Source: SAEBench 0.6, `evals.unlearning` (`get_top_features`, `anthropic_clamp_resid_SAE_features`).
"""

import itertools
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor


class Setting(NamedTuple):
    """Which latents are clamped, and to what."""

    retain_threshold: float
    """Latents are on at less than this share of the positions to retain."""
    n_latents: int
    """Maximum number of latents."""
    multiplier: float
    """They are clamped to minus this many times their mean."""


RETAIN_THRESHOLDS, N_LATENTS, MULTIPLIERS = (0.001, 0.01, 0.1), (1, 5, 20), (1.0, 5.0, 25.0)
SETTINGS = [Setting(*fields) for fields in itertools.product(RETAIN_THRESHOLDS, N_LATENTS, MULTIPLIERS)]


def frequencies(latents_NF: csr_array, rows_N: np.ndarray) -> np.ndarray:
    """(F,): the share of some positions at which each latent is on. rows_N: bool."""
    return _counts(csr_array(latents_NF[rows_N])) / max(int(rows_N.sum()), 1)


def means_where_on(latents_NF: csr_array) -> np.ndarray:
    """(F,): each latent's mean over the positions at which it is on; 0 where there is none."""
    return np.asarray(latents_NF.sum(0), np.float64).ravel() / np.maximum(_counts(latents_NF), 1)


def _counts(latents_NF: csr_array) -> np.ndarray:
    """(F,): at how many positions each latent is on."""
    on_NF = csr_array((latents_NF.data > 0, latents_NF.indices, latents_NF.indptr), shape=latents_NF.shape)
    return np.asarray(on_NF.sum(0), np.float64).ravel()


def top_latents(forget_F: np.ndarray, retain_F: np.ndarray, threshold: float) -> np.ndarray:
    """Latents on at less than `threshold` of the positions to retain, by how often they are on at those to forget."""
    eligible_F = np.where(retain_F < threshold, forget_F, 0.0)
    order = np.argsort(-eligible_F, kind="stable")
    return order[eligible_F[order] > 0]


def clamped(latents_NK: np.ndarray, targets_K: np.ndarray, W_dec: Tensor) -> Tensor:
    """(N, D): how activations change when latents that are on become `targets`.

    latents_NK: those of the latents that are clamped. W_dec: (K, D), their decoder rows.
    """
    change_NK = np.where(latents_NK > 0, targets_K - latents_NK, 0.0)
    return torch.from_numpy(change_NK.astype(np.float32)).to(W_dec.device) @ W_dec
