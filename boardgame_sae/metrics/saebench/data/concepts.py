"""The truths that SAEBench's evaluations ask about: binary labels of a testbed, chosen by rule and never by hand.

SAEBench takes concepts that people labelled in texts. Here each column of a testbed's labels is one, such as `d3 mine`;
a column can be asked about where it is true and false often enough in every split.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from boardgame_sae.testbeds.columns import PropertyColumns
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import SPLITS


class Concept(NamedTuple):
    """One binary truth about a position."""

    column: int
    """Its column in the testbed's labels."""
    name: str
    """`d3 mine`."""
    property: str
    """The board property it is a class of."""


class Support(NamedTuple):
    """At how many positions of each split, in the order of SPLITS, each column of the labels is true, and known."""

    true_SP: np.ndarray
    known_SP: np.ndarray

    @property
    def rarer_P(self) -> np.ndarray:
        """int64 (P,): how often the rarer of true and false occurs, in the split where that is least."""
        return np.minimum(self.true_SP, self.known_SP - self.true_SP).min(0)

    @property
    def prevalence_P(self) -> np.ndarray:
        """float64 (P,): share of the train positions with a known truth at which a column is true."""
        return self.true_SP[0] / np.maximum(self.known_SP[0], 1)


def support(testbed: Testbed) -> Support:
    """How often each column of a testbed's labels is true and known. Compute it by `testbed.once(support)`."""
    n_columns = testbed.columns[-1].stop
    true_SP, known_SP = (np.zeros((len(SPLITS), n_columns), np.int64) for _ in range(2))
    for row, split in enumerate(SPLITS):
        for start, stop, *_ in testbed.spans(split):
            labels_NP = testbed.labels(split, start, stop)
            true_SP[row] += labels_NP.sum(0)
            for columns in testbed.columns:
                known_SP[row, columns.start : columns.stop] += int(columns.known(labels_NP).sum())
    return Support(true_SP, known_SP)


def concepts(testbed: Testbed, n: int, *, min_count: int = 20) -> list[Concept]:
    """At most n concepts: from each property in turn the one nearest to being true half of the time.

    min_count: how often a concept is true, and false, in every split, at least. Of a property that is about squares,
    each square gives at most one concept, so that `d3 mine` and `d3 yours`, which say nearly the same, are not both
    asked. Ties go to the first column.
    """
    return [chosen[0] for chosen in concept_sets(testbed, n, size=1, min_count=min_count)]


def concept_sets(testbed: Testbed, n: int, size: int, *, min_count: int = 20) -> list[list[Concept]]:
    """At most n sets of concepts, each of one property: from each property in turn its next `size` most balanced ones.

    min_count: as for `concepts`.
    """
    counts = testbed.once(support)
    queues = [_most_balanced(columns, counts, min_count) for columns in testbed.columns]
    starts = range(0, max(map(len, queues), default=0), size)
    sets = (queue[start : start + size] for start in starts for queue in queues)
    return [chosen for chosen in sets if len(chosen) == size][:n]


def _most_balanced(columns: PropertyColumns, counts: Support, min_count: int) -> list[Concept]:
    own = slice(columns.start, columns.stop)
    imbalance_C, enough_C = np.abs(counts.prevalence_P[own] - 0.5), counts.rarer_P[own] >= min_count
    chosen, squares = [], set[int]()
    for index in np.argsort(imbalance_C, kind="stable").tolist():
        square = int(columns.square_P[index])
        if enough_C[index] and square not in squares:
            chosen.append(Concept(columns.start + index, columns.class_names[index], columns.name))
            squares |= {square} - {-1}
    return chosen


def concept_at(testbed: Testbed, column: int) -> Concept:
    """The concept of one column of the labels. Raises IndexError for a column that does not exist."""
    for columns in testbed.columns:
        if columns.start <= column < columns.stop:
            return Concept(column, columns.class_names[column - columns.start], columns.name)
    raise IndexError(f"the labels have {testbed.columns[-1].stop} columns, there is no column {column}")


def truth(testbed: Testbed, split: str, columns: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Labels of some columns at every position of a split, and where they are known: bool (N, K) each."""
    groups = [next(group for group in testbed.columns if group.start <= column < group.stop) for column in columns]
    true_parts, known_parts = [], []
    for start, stop, *_ in testbed.spans(split):
        labels_NP = testbed.labels(split, start, stop)
        true_parts.append(labels_NP[:, list(columns)])
        known_parts.append(np.stack([group.known(labels_NP) for group in groups], axis=1))
    return np.concatenate(true_parts), np.concatenate(known_parts)
