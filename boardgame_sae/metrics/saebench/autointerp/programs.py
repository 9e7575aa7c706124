"""Explanations that are programs: a truth about the board, its negation, or two of these together.

A program is found exactly and for free: of all of them, the one that tells best which of some examples are active.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Literal(NamedTuple):
    """A label, or its negation."""

    column: int
    """Of the testbed's labels."""
    holds: bool
    """False: the program asks that the label is not true."""


class Program(NamedTuple):
    """True where all of its literals are."""

    literals: tuple[Literal, ...]

    def predict(self, labels_NP: np.ndarray) -> np.ndarray:
        """bool (N,): where it is true. labels_NP: the labels at some positions."""
        true = [labels_NP[:, literal.column] == literal.holds for literal in self.literals]
        return np.logical_and.reduce(true)

    def words(self, names: Sequence[str]) -> str:
        """`d3 mine and not e3 legal_move`. names: of all columns."""
        return " and ".join(("" if literal.holds else "not ") + names[literal.column] for literal in self.literals)


def explain(labels_NP: np.ndarray, active_N: np.ndarray, n_literals: int) -> Program:
    """The program of 1 or 2 literals with the highest balanced accuracy in telling which examples are active.

    labels_NP: bool, at each example. active_N: bool, both values present. Ties go to the first columns, and to a label
    before its negation. Raises ValueError for another number of literals.
    """
    if n_literals not in (1, 2):
        raise ValueError(f"programs have 1 or 2 literals, not {n_literals}")
    counts = [_counts(labels_NP[rows_N]) for rows_N in (active_N, ~active_N)]
    if n_literals == 1:
        best = [np.diagonal(count_PP) for count_PP in (_accuracy(counts, True, True), _accuracy(counts, False, False))]
        holds = int(np.argmax([accuracy_P.max() for accuracy_P in best])) == 0
        return Program((Literal(int(np.argmax(best[0 if holds else 1])), holds),))
    signs = ((True, True), (True, False), (False, False))
    accuracies = [_accuracy(counts, *pair) for pair in signs]
    which = int(np.argmax([accuracy_PP.max() for accuracy_PP in accuracies]))
    first, second = divmod(int(np.argmax(accuracies[which])), labels_NP.shape[1])
    literals = [Literal(first, signs[which][0]), Literal(second, signs[which][1])]
    return Program(tuple(dict.fromkeys(literals)))


def _counts(labels_NP: np.ndarray) -> tuple[int, np.ndarray]:
    """How many examples, and at how many of them two labels are both true (P, P)."""
    dense_NP = labels_NP.astype(np.float32)
    return len(labels_NP), dense_NP.T @ dense_NP


def _accuracy(counts: Sequence[tuple[int, np.ndarray]], first: bool, second: bool) -> np.ndarray:
    """(P, P): balanced accuracy of every pair of labels, each as it is or negated, from counts of both kinds."""
    rates = []
    for n, both_PP in counts:
        true_P = np.diagonal(both_PP)
        if first and second:
            count_PP = both_PP
        elif first:
            count_PP = true_P[:, None] - both_PP
        else:
            count_PP = n - true_P[:, None] - true_P[None, :] + both_PP
        rates.append(count_PP / n)
    return (rates[0] + 1 - rates[1]) / 2
