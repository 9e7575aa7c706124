"""What the page shows of every latent of an SAE that is run again: how its activations spread, where it is strongest,
what these boards have in common, and which moves it pushes. All on test."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
import torch

from boardgame_sae.metrics.counting.latent_columns import Latents
from boardgame_sae.metrics.counts import activation_bins, activation_edges
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.report.latent_card import top_boards
from boardgame_sae.testbeds.testbed import Testbed

N_BINS = 50
"""Bins of a histogram, and steps of its threshold: from 0 to the largest activation on train."""
N_BOARDS = 4
"""Boards of a latent."""
N_MOVES = 5
"""Moves that a latent pushes up most, and as many that it pushes down."""
Table = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Shown:
    """The latents of an SAE that are ever on at test, and the truth about them. J are those latents."""

    testbed: Testbed
    latents: Latents
    """Of all latents of the SAE, at all test positions."""
    latent_J: np.ndarray
    column_J: np.ndarray
    """The column among the testbed's labels of the class that each stands for."""
    max_activation_J: np.ndarray
    """The largest activation on train."""
    threshold_J: np.ndarray
    """The threshold it was chosen with, as a share of that."""


def latent_details(subject: Subject, table: Table) -> dict[str, Any]:
    """Plain data about every latent of the table that stands for a class, in the table's order.

    positives, known: test positions where the class is true, and where the truth is known. true, false: how many
    activations lie in each of N_BINS bins where the class is true, and where it is not; the empty end is cut off.
    boards: (position, activation) of the strongest. mean: percentage points by square, for the two classes of the
    headline that differ most. up, down: (move, change of its logit). positions: the boards, drawn by the game.
    """
    shown = _shown(subject, table)
    boards = Boards(shown)
    up, down = _moves(subject, shown.latent_J)
    return {
        **_histograms(shown),
        "boards": boards.by_latent,
        "mean": _means(shown),
        "up": up,
        "down": down,
        "positions": boards.positions,
    }


def _shown(subject: Subject, table: Table) -> Shown:
    testbed, latents = subject.testbed, Latents.concatenate(subject.latents("test"))
    places = {
        (columns.name, name): columns.start + place
        for columns in testbed.columns
        for place, name in enumerate(columns.class_names)
    }
    latent_J = np.flatnonzero(table["property"] != "")
    named = zip(table["property"][latent_J], table["label"][latent_J], strict=True)
    column_J = np.array([places[property_, label] for property_, label in named], np.int64)
    kind = latents.values_Z.dtype.type  # the scores compare in the activations' own precision
    max_J = table["max_activation"][latent_J].astype(kind)
    return Shown(testbed, latents, latent_J, column_J, max_J, table["threshold"][latent_J])


def _histograms(shown: Shown) -> dict[str, Any]:
    labels_NP, latents = shown.testbed.labels("test"), shown.latents
    max_F = np.ones(latents.n_latents, shown.max_activation_J.dtype)
    max_F[shown.latent_J] = shown.max_activation_J
    bins_Z = activation_bins(latents, activation_edges(np.arange(N_BINS) / N_BINS, max_F)).astype(np.int64) - 1
    known_NQ = np.stack([columns.known(labels_NP) for columns in shown.testbed.columns], axis=1)
    starts = [columns.start for columns in shown.testbed.columns]
    found: dict[str, list[Any]] = {"positives": [], "known": [], "true": [], "false": []}
    for latent, column in zip(shown.latent_J, shown.column_J, strict=True):
        entries = slice(latents.indptr_F1[latent], latents.indptr_F1[latent + 1])
        known_N = known_NQ[:, np.searchsorted(starts, column, side="right") - 1]
        true_Z, known_Z = labels_NP[latents.rows_Z[entries], column], known_N[latents.rows_Z[entries]]
        found["positives"].append(int((labels_NP[:, column] & known_N).sum()))
        found["known"].append(int(known_N.sum()))
        for name, here_Z in (("true", true_Z & known_Z), ("false", ~true_Z & known_Z)):
            found[name].append(np.trim_zeros(np.bincount(bins_Z[entries][here_Z], minlength=N_BINS), "b").tolist())
    return found


def _means(shown: Shown) -> list[list[dict[str, Any]]]:
    """How much more often squares show each class of the headline where a latent is on, in percentage points."""
    testbed, columns = shown.testbed, shown.testbed.columns[0]
    n_squares = len(testbed.corpus.game.squares)
    if (columns.square_P < 0).any():
        return [[] for _ in shown.latent_J]
    labels_NP = testbed.labels("test")[:, columns.start : columns.stop].astype(np.float32)
    names = testbed.corpus.game.property(columns.name).classes or (columns.name,)
    on_FN = _on(shown)
    rates_JP = on_FN @ labels_NP / np.maximum(on_FN.sum(1), 1) - labels_NP.mean(0)
    means = []
    for rate_P in np.asarray(rates_JP):
        difference_SC = rate_P.reshape(n_squares, -1)
        widest = sorted(np.argsort(-np.abs(difference_SC).max(0), kind="stable")[:2].tolist())
        points = [(100 * difference_SC[:, c]).round().astype(int).tolist() for c in widest]
        means.append([{"class": names[c], "points": of} for c, of in zip(widest, points, strict=True)])
    return means


def _on(shown: Shown) -> scipy.sparse.csr_matrix:
    """float32 (J, N): 1 where a latent is above its threshold."""
    latents, edge_J = shown.latents, shown.threshold_J.astype(shown.max_activation_J.dtype) * shown.max_activation_J
    edge_F = np.full(latents.n_latents, np.inf)
    edge_F[shown.latent_J] = edge_J
    on_Z = latents.values_Z > np.repeat(edge_F, np.diff(latents.indptr_F1))
    shape = (latents.n_latents, latents.n_positions)
    every = scipy.sparse.csr_matrix((on_Z.astype(np.float32), latents.rows_Z, latents.indptr_F1), shape)
    return every[shown.latent_J]


@torch.no_grad()
def _moves(subject: Subject, latent_J: np.ndarray) -> tuple[list[Any], list[Any]]:
    """What decoder rows do to the logits directly, by the final layer norm's weights and the unembedding.

    As far as they are read: nothing where there are no decoder rows, or these do not write to the residual stream.
    """
    gpt, W_dec = subject.testbed.model.gpt, subject.source.W_dec
    if W_dec is None or W_dec.shape[1] != gpt.cfg.d_model or "resid" not in subject.testbed.hook_name:
        return [], []
    rows_JD = W_dec[torch.from_numpy(latent_J).to(W_dec.device)].to(gpt.device)
    logits_JV = gpt.unembed((rows_JD - rows_JD.mean(1, keepdim=True)) * gpt.ln_final.weight)
    logits_JV = logits_JV - logits_JV.mean(1, keepdim=True)
    n = min(N_MOVES, logits_JV.shape[1] // 2)
    alphabet = subject.testbed.model.alphabet

    def named(signed_JV: torch.Tensor, sign: int) -> list[list[tuple[str, float]]]:
        values, tokens = signed_JV.topk(n, dim=1)
        lines = zip(tokens.tolist(), (sign * values).tolist(), strict=True)
        return [[(alphabet[t], round(v, 3)) for t, v in zip(*line, strict=True)] for line in lines]

    return named(logits_JV, 1), named(-logits_JV, -1)


class Boards:
    """The boards that latents are strongest on, each kept once."""

    def __init__(self, shown: Shown) -> None:
        self._shown, self._places = shown, dict[str, int]()
        self.positions: list[dict[str, Any]] = []
        self.by_latent = [self._of(int(latent)) for latent in shown.latent_J]

    def _of(self, latent: int) -> list[tuple[int, float]]:
        """(place among `positions`, activation) of the boards of one latent, the strongest first."""
        own = self._shown.latents.columns(latent, latent + 1)
        boards = top_boards(self._shown.testbed, own, N_BOARDS)
        return [(self._place(board), board["activation"]) for board in boards]

    def _place(self, board: dict[str, Any]) -> int:
        text = board["text"]
        if text not in self._places:
            self._places[text] = len(self.positions)
            self.positions.append({name: board[name] for name in ("picture", "first_to_move", "ply", "text")})
        return self._places[text]
