"""What the page shows of every latent of an SAE that is run again: how its activations spread, where it is strongest,
what these boards have in common, and which moves it promotes. All on test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from boardgame_sae.metrics.counting.latent_columns import Latents
from boardgame_sae.metrics.counts import activation_bins, activation_edges
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.report.latents.boards import Card, Peaks, mean_boards, peaks, top_boards
from boardgame_sae.report.latents.moves import Move, moves
from boardgame_sae.testbeds.testbed import Testbed

N_BINS = 50
"""Bins of a histogram, and steps of its threshold: from 0 to the largest activation on train."""
N_BOARDS = 4
"""Boards of a latent."""
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
    boards: (position, activation) of the strongest. mean: as `mean_boards` draws it. promotes, suppresses: (move, what
    it adds to its log-probability), as `moves` says; empty where moves are not known. positions: the boards, drawn by
    the game.
    """
    shown = _shown(subject, table)
    every = peaks(shown.testbed, shown.latents)
    peaks_J = [every[latent] for latent in shown.latent_J]
    boards = Boards(shown.testbed, peaks_J)
    return {
        **_histograms(shown),
        "boards": boards.by_latent,
        "mean": mean_boards(shown.testbed, _on(shown)),
        **_moves(subject, shown, peaks_J),
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


class Truth(NamedTuple):
    """What is true at a testbed's test positions: ask for `testbed.once(truth_at_test)`."""

    labels_NP: np.ndarray
    known_NQ: np.ndarray
    """By property, where the truth is known."""
    positives_P: np.ndarray
    n_known_P: np.ndarray
    property_P: np.ndarray
    """The property (0..Q-1) that a class is of."""


def truth_at_test(testbed: Testbed) -> Truth:
    """Labels of test, and how often each class is true."""
    labels_NP = testbed.labels("test")
    known_NQ = np.stack([columns.known(labels_NP) for columns in testbed.columns], axis=1)
    property_P = np.repeat(np.arange(known_NQ.shape[1]), [c.stop - c.start for c in testbed.columns])
    positives = [(labels_NP[:, c.start : c.stop] & known_NQ[:, [q]]).sum(0) for q, c in enumerate(testbed.columns)]
    return Truth(labels_NP, known_NQ, np.concatenate(positives), known_NQ.sum(0)[property_P], property_P)


def _histograms(shown: Shown) -> dict[str, Any]:
    truth, latents = shown.testbed.once(truth_at_test), shown.latents
    max_F, column_F = np.ones(latents.n_latents, shown.max_activation_J.dtype), np.zeros(latents.n_latents, np.int64)
    max_F[shown.latent_J], column_F[shown.latent_J] = shown.max_activation_J, shown.column_J
    bins_Z = activation_bins(latents, activation_edges(np.arange(N_BINS) / N_BINS, max_F)).astype(np.int64) - 1
    latent_Z = np.repeat(np.arange(latents.n_latents), np.diff(latents.indptr_F1))
    column_Z = column_F[latent_Z]
    true_Z = truth.labels_NP[latents.rows_Z, column_Z]
    known_Z = truth.known_NQ[latents.rows_Z, truth.property_P[column_Z]]

    def counted(here_Z: np.ndarray) -> list[list[int]]:
        cells_Z = (latent_Z * N_BINS + bins_Z)[here_Z & (bins_Z >= 0)]
        counts_FB = np.bincount(cells_Z, minlength=latents.n_latents * N_BINS).reshape(-1, N_BINS)
        return [np.trim_zeros(counts_B, "b").tolist() for counts_B in counts_FB[shown.latent_J]]

    return {
        "positives": truth.positives_P[shown.column_J].tolist(),
        "known": truth.n_known_P[shown.column_J].tolist(),
        "true": counted(true_Z & known_Z),
        "false": counted(~true_Z & known_Z),
    }


def _on(shown: Shown) -> csr_array:
    """float32 (J, N): 1 where a latent is above its threshold."""
    latents, edge_J = shown.latents, shown.threshold_J.astype(shown.max_activation_J.dtype) * shown.max_activation_J
    edge_F = np.full(latents.n_latents, np.inf)
    edge_F[shown.latent_J] = edge_J
    on_Z = latents.values_Z > np.repeat(edge_F, np.diff(latents.indptr_F1))
    shape = (latents.n_latents, latents.n_positions)
    return csr_array((on_Z.astype(np.float32), latents.rows_Z, latents.indptr_F1), shape)[shown.latent_J]


def _moves(subject: Subject, shown: Shown, peaks_J: Sequence[Peaks]) -> dict[str, list[list[Move]]]:
    found = moves(shown.testbed, subject.source, shown.latent_J.tolist(), peaks_J)
    kinds = {"promotes": [each.promotes for each in found], "suppresses": [each.suppresses for each in found]}
    return {
        kind: [[(move, round(by, 3)) for move, by in own if round(by, 3)] for own in of_latents]
        for kind, of_latents in kinds.items()
    }


class Boards:
    """The boards that latents are strongest on, each kept once."""

    def __init__(self, testbed: Testbed, peaks_J: Sequence[Peaks]) -> None:
        self._places = dict[str, int]()
        self.positions: list[dict[str, Any]] = []
        self.by_latent = [self._of(top_boards(testbed, peaks, N_BOARDS)) for peaks in peaks_J]

    def _of(self, boards: Sequence[Card]) -> list[tuple[int, float]]:
        """(place among `positions`, activation) of the boards of one latent."""
        return [(self._place(board), board["activation"]) for board in boards]

    def _place(self, board: dict[str, Any]) -> int:
        text = board["text"]
        if text not in self._places:
            self._places[text] = len(self.positions)
            self.positions.append({name: board[name] for name in ("picture", "first_to_move", "ply", "text")})
        return self._places[text]
