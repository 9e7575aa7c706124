"""The seven numbers that SAEBench's core gives for each latent."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.metrics.latent_source import LatentSource

UNDEFINED = -1.0
"""What SAEBench writes for a number that does not exist: of a latent that is never on, or where weights are lacking."""
DIGITS = 6
"""Significant digits that are kept of each number."""


@torch.no_grad()
def latent_columns(density_F: Tensor, games_F: Tensor, n_tokens: int, source: LatentSource) -> dict[str, list[float]]:
    """Each number of all latents, by SAEBench's name.

    density_F: share of tokens on which each latent is on. games_F: number of games in which it is on at all.
    """
    return {name: [float(f"{value:.{DIGITS}g}") for value in column_F.nan_to_num(UNDEFINED).tolist()]
            for name, column_F in _columns(density_F, games_F, n_tokens, source)}  # fmt: skip


def _columns(density_F: Tensor, games_F: Tensor, n_tokens: int, source: LatentSource) -> Iterator[tuple[str, Tensor]]:
    undefined_F = torch.full_like(density_F, UNDEFINED)
    W_enc, W_dec, bias_F = source.W_enc, source.W_dec, source.encoder_bias
    yield "feature_density", density_F
    yield "consistent_activation_heuristic", density_F * n_tokens / games_F  # 0 / 0 of a dead one
    yield "encoder_bias", torch.zeros_like(density_F) if bias_F is None else bias_F
    yield "encoder_norm", undefined_F if W_enc is None else W_enc.norm(dim=0)
    cosine_F = undefined_F if W_enc is None or W_dec is None else (_unit(W_enc.T) * _unit(W_dec)).sum(1)
    yield "encoder_decoder_cosine_sim", cosine_F
    yield "max_decoder_cosine_sim", undefined_F if W_dec is None else nearest(W_dec)
    yield "max_encoder_cosine_sim", undefined_F if W_enc is None else nearest(W_enc.T)


def _unit(rows_FD: Tensor) -> Tensor:
    """Rows of norm 1; NaN where all is zero."""
    return rows_FD / rows_FD.norm(dim=1, keepdim=True)


@torch.no_grad()
def nearest(rows_FD: Tensor) -> Tensor:
    """The cosine (F,) of each row with the nearest other row."""
    unit_FD = F.normalize(rows_FD.float(), dim=1)
    found = []
    for start in range(0, len(unit_FD), 4096):
        cosine_FF = unit_FD[start : start + 4096] @ unit_FD.T
        cosine_FF[torch.arange(len(cosine_FF)), torch.arange(start, start + len(cosine_FF))] = -1
        found.append(cosine_FF.max(1).values)
    return torch.cat(found)
