"""The moves that a latent promotes: by how much their log-probability falls where the latent is set to zero.

That is what the latent does to the GPT's prediction, through all blocks above it and in the games where it is on. What
a decoder row adds to the logits directly (logit lens) would leave out those blocks, and is not shown anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.activations.hook_points import layer_of
from boardgame_sae.activations.one_token import OneToken
from boardgame_sae.metrics.causal.latent_edits import dense
from boardgame_sae.metrics.latent_source import LatentSource
from boardgame_sae.report.latents.boards import Peaks
from boardgame_sae.testbeds.columns import Span
from boardgame_sae.testbeds.testbed import KEPT_BYTES, Testbed

N_MOVES = 6
"""Moves of either kind that are shown."""
N_ASKED = 16
"""Games in which a latent's moves are asked for: those where it is most active."""
ROWS_AT_ONCE = 512
"""Positions without one of their latents that the GPT goes on from at once."""
Move = tuple[str, float]


@dataclass(frozen=True)
class Moves:
    """What a latent does to the GPT's next move."""

    promotes: list[Move]
    """Moves (or characters) that it makes more probable, most first: by how much their log-probability falls, in nats,
    where the latent is set to zero, on average over the positions where it is most active, one per game."""
    suppresses: list[Move]
    """The same of those it makes less probable; below zero."""


NO_MOVES = Moves([], [])


def moves(testbed: Testbed, source: LatentSource, latent_J: Sequence[int], peaks_J: Sequence[Peaks]) -> list[Moves]:
    """The moves that each of some latents of an SAE promotes and suppresses.

    peaks_J: the peaks of each, at the N_ASKED strongest of which moves are asked for. No latent has moves where the SAE
    does not reconstruct the activations it reads, or these are outside the GPT's blocks.
    """
    rows_J = [peaks.rows_N[:N_ASKED] for peaks in peaks_J]
    if source.decode is None or not testbed.hook_name.startswith("blocks."):
        return [NO_MOVES for _ in rows_J]
    number_N = np.repeat(np.arange(len(rows_J)), [len(rows_N) for rows_N in rows_J])
    row_N = np.concatenate([*rows_J, np.empty(0, np.int32)])
    order_N = np.argsort(row_N, kind="stable")
    number_N, row_N = number_N[order_N], row_N[order_N]
    latent_N = np.asarray(latent_J)[number_N]
    added_JV = torch.zeros(len(rows_J), testbed.model.gpt.cfg.d_vocab, dtype=torch.float64)
    for span in testbed.spans("test"):
        first, last = np.searchsorted(row_N, (span.start, span.stop)).tolist()
        for start in range(first, last, ROWS_AT_ONCE):
            here = slice(start, min(last, start + ROWS_AT_ONCE))
            added_NV = _added(testbed, source, span, row_N[here], latent_N[here])
            added_JV.index_add_(0, torch.from_numpy(number_N[here]), added_NV.double().cpu())
    n_J = [max(1, len(rows_N)) for rows_N in rows_J]
    return [_named(testbed, added_V / n) for added_V, n in zip(added_JV, n_J, strict=True)]


@torch.no_grad()
def _added(testbed: Testbed, source: LatentSource, span: Span, row_N: np.ndarray, latent_N: np.ndarray) -> Tensor:
    """What latents add to the log-probability of each token: latent `latent_N[n]` at position `row_N[n]` of a span."""
    assert source.decode is not None
    acts_ND = testbed.read("test", span.start, span.stop)[torch.from_numpy(row_N - span.start)]
    acts_ND = acts_ND.to(testbed.model.gpt.device)
    z_NF = dense(source.encode(acts_ND), acts_ND)
    own_ND = source.decode(z_NF)
    z_NF[torch.arange(len(z_NF)), torch.from_numpy(latent_N)] = 0.0
    without_ND = acts_ND + source.decode(z_NF) - own_ND
    rows_M, first_M, of_N = np.unique(row_N, return_index=True, return_inverse=True)
    with_MV = _log_probabilities(testbed, span, rows_M, acts_ND[torch.from_numpy(first_M)])
    return with_MV[torch.from_numpy(of_N)] - _log_probabilities(testbed, span, row_N, without_ND)


def _log_probabilities(testbed: Testbed, span: Span, row_N: np.ndarray, acts_ND: Tensor) -> Tensor:
    """What the GPT predicts at some positions of a span with other activations there: (N, V)."""
    where, gpt = testbed.positions("test"), testbed.model.gpt
    n_bytes = (
        8 * len(where.games_B) * gpt.cfg.n_ctx * gpt.cfg.d_model * (gpt.cfg.n_layers - layer_of(testbed.hook_name))
    )
    games = testbed.once(_read_games, span) if n_bytes <= KEPT_BYTES else _read_games(testbed, span)
    game_N, token_N = where.game_N[row_N] - span.first_game, where.token_N[row_N]
    at_game_N, at_token_N = (torch.from_numpy(index_N.astype(np.int64)).to(gpt.device) for index_N in (game_N, token_N))
    logits_NV = games(at_game_N, at_token_N, acts_ND, logits=True).logits_NV
    assert logits_NV is not None
    return logits_NV.float().log_softmax(-1)


def _read_games(testbed: Testbed, span: Span) -> OneToken:
    """The games of a span, as the GPT has read them."""
    where, gpt = testbed.positions("test"), testbed.model.gpt
    games_B = where.games_B[span.first_game : span.first_game + span.n_games]
    tokens_BL = torch.from_numpy(testbed.corpus.rows(games_B, gpt.cfg.n_ctx)[0][:, :-1])
    return OneToken(gpt, tokens_BL.to(gpt.device), testbed.hook_name)


def _named(testbed: Testbed, added_V: Tensor) -> Moves:
    alphabet = testbed.model.alphabet
    named = [(token, by) for token, by in zip(alphabet, added_V.tolist(), strict=True) if token]
    ranked = sorted(named, key=lambda move: -move[1])
    return Moves(
        promotes=[move for move in ranked[:N_MOVES] if move[1] > 0],
        suppresses=[move for move in ranked[::-1][:N_MOVES] if move[1] < 0],
    )
