"""One latent of any SAE, at a glance: where it is on, what it says of the board, and the moves it promotes.

latent("othello6-tiny/topk-16", load_testbed("othello6-tiny"), 17)

Classes and thresholds are chosen on train games, by the correlation of the latent being on with the class being true
(Matthews' phi, which is fair to latents that are on seldom as well as often); all numbers are of test games.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from boardgame_sae.metrics.counting.f1 import f1
from boardgame_sae.metrics.counting.latent_columns import Latents
from boardgame_sae.metrics.latent_source import LatentSource, as_latent_source
from boardgame_sae.metrics.subject import ROWS_AT_ONCE
from boardgame_sae.plain_data import whole_number
from boardgame_sae.report.latents.boards import mean_boards, peaks, top_boards
from boardgame_sae.report.latents.moves import moves
from boardgame_sae.report.latents.view import SHARES, Latent, Reading
from boardgame_sae.testbeds.given import AnyTestbed, as_testbed
from boardgame_sae.testbeds.testbed import Testbed

N_BOARDS, N_PROPERTIES, N_BINS = 8, 6, 20
"""Boards and classes that are shown; bars of the histogram."""


def latent(sae: Any, testbed: AnyTestbed, i: int, *, name: str | None = None) -> Latent:
    """Latent `i` of an SAE on a testbed.

    sae, testbed: anything that `evaluate` takes. Of an SAE whose latents go below zero, latent n_latents + f is the
    negative part of latent f. name: what it is called (default: the path, or its class's name).
    Its moves are those of `report.latents.moves`, as on a report's page; there are none where the SAE does not
    reconstruct the activations it reads, or these are outside the GPT's blocks.
    Raises ValueError when there is no such latent, and where widths, hook points or shapes do not fit.
    """
    testbed, i = as_testbed(testbed), whole_number(i, "a latent")
    source = as_latent_source(sae, testbed, name or (str(sae) if isinstance(sae, str | Path) else None))
    n_latents = source.read("train", 0, 1, testbed.read("train", 0, 1)).n_latents
    if not 0 <= i < n_latents:
        raise ValueError(f"{source.name} has latents 0 to {n_latents - 1}, none is {i}")
    train, test = _column(source, testbed, "train", i), _column(source, testbed, "test", i)
    kind, largest = test.values_Z.dtype.type, float(train.max_F()[0])
    top = float(test.values_Z.max(initial=0.0))
    counts, edges = np.histogram(test.values_Z, bins=N_BINS, range=(0.0, top or 1.0))
    readings = _readings(testbed, train, test, largest)
    at = SHARES[readings[0].chosen] if readings else 0.0
    on_Z = test.rows_Z[test.values_Z > kind(at) * kind(largest)]
    on_1N = csr_array((np.ones(len(on_Z)), on_Z, [0, len(on_Z)]), (1, test.n_positions))
    own_peaks = peaks(testbed, test)
    (own_moves,) = moves(testbed, source, [i], own_peaks)
    return Latent(
        sae=source.name,
        number=i,
        n_latents=n_latents,
        testbed=repr(testbed),
        density=len(test.values_Z) / max(1, test.n_positions),
        max_activation=largest,
        counts=counts.tolist(),
        edges=edges[1:].tolist(),
        readings=readings,
        boards=top_boards(testbed, own_peaks[0], N_BOARDS),
        mean=mean_boards(testbed, on_1N)[0],
        promotes=own_moves.promotes,
        suppresses=own_moves.suppresses,
    )


def _column(source: LatentSource, testbed: Testbed, split: str, i: int) -> Latents:
    """One latent at all scored positions of a split."""
    parts = []
    for span in testbed.spans(split):
        if source.is_given:
            parts.append(source.read(split, span.start, span.stop).columns(i, i + 1))
            continue
        acts_ND = testbed.read(split, span.start, span.stop)
        for first in range(0, len(acts_ND), ROWS_AT_ONCE):
            slab_ND = acts_ND[first : first + ROWS_AT_ONCE]
            parts.append(source.read(split, first, first + len(slab_ND), slab_ND).columns(i, i + 1))
    return Latents.concatenate(parts)


class _Counted(NamedTuple):
    """Counts of a latent as classifier of every class, at every threshold."""

    on_TP: np.ndarray
    """Positions where it is on and the class true."""
    n_on_TP: np.ndarray
    """Positions where it is on, of those where it is known whether the class is true."""
    positives_P: np.ndarray
    n_known_P: np.ndarray

    @property
    def phi_TP(self) -> np.ndarray:
        """The correlation of being on with the class being true; 0 where either is always or never so."""
        on_TP, positives_P, n_P = self.n_on_TP.astype(float), self.positives_P.astype(float), self.n_known_P
        spread_TP = np.sqrt(on_TP * (n_P - on_TP) * positives_P * (n_P - positives_P))
        return (n_P * self.on_TP - on_TP * positives_P) / np.where(spread_TP > 0, spread_TP, np.inf)


def _counted(testbed: Testbed, split: str, column: Latents, largest: float) -> _Counted:
    n_classes, kind = testbed.columns[-1].stop, column.values_Z.dtype.type
    on_TP, n_on_TP = np.zeros((2, len(SHARES), n_classes), np.int64)
    positives_P, n_known_P = np.zeros((2, n_classes), np.int64)
    sizes = [columns.stop - columns.start for columns in testbed.columns]
    for span in testbed.spans(split):
        labels_NP = testbed.labels(split, span.start, span.stop)
        known_NP = np.stack([columns.known(labels_NP) for columns in testbed.columns], 1).repeat(sizes, axis=1)
        positives_P += labels_NP.sum(0)
        n_known_P += known_NP.sum(0)
        here_Z = (column.rows_Z >= span.start) & (column.rows_Z < span.stop)
        for t, share in enumerate(SHARES):
            on = column.rows_Z[here_Z & (column.values_Z > kind(share) * kind(largest))] - span.start
            on_TP[t] += labels_NP[on].sum(0)
            n_on_TP[t] += known_NP[on].sum(0)
    return _Counted(on_TP, n_on_TP, positives_P, n_known_P)


def _readings(testbed: Testbed, train: Latents, test: Latents, largest: float) -> list[Reading]:
    """The classes with enough examples that the latent goes with most closely, at any threshold, on train."""
    if not largest:
        return []
    on_train, on_test = (_counted(testbed, *of, largest) for of in (("train", train), ("test", test)))
    phi_TP = on_train.phi_TP
    phi_P = np.where(testbed.supported_P, phi_TP.max(0), 0.0)
    best = [int(p) for p in np.argsort(-phi_P, kind="stable")[:N_PROPERTIES] if phi_P[p] > 0]
    f1_TP = f1(on_test.on_TP, on_test.n_on_TP, on_test.positives_P)
    precision_TP = on_test.on_TP / np.maximum(on_test.n_on_TP, 1)
    recall_TP = on_test.on_TP / np.maximum(on_test.positives_P, 1)
    of = {p: columns for columns in testbed.columns for p in range(columns.start, columns.stop)}
    return [
        Reading(
            property=of[p].name,
            label=of[p].class_names[p - of[p].start],
            base=float(on_test.positives_P[p] / max(1, on_test.n_known_P[p])),
            chosen=int(phi_TP[:, p].argmax()),
            precision=precision_TP[:, p].tolist(),
            recall=recall_TP[:, p].tolist(),
            f1=f1_TP[:, p].tolist(),
        )
        for p in best
    ]
