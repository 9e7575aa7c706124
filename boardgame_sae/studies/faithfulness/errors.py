"""Illegal moves, judged on the board that probes read: does a model that errs follow a wrong board that it holds?

An illegal move is *consistent* where it is legal on the board read. A board with many mistakes makes many moves legal,
so the same move is also judged on boards with *the same mistakes elsewhere*: what is read is shuffled among the squares
on which the same stands in truth, so that as many discs or pieces of each kind are taken for what they were taken for.

Where moves are whole tokens there is a further question, at every position whose read board is wrong. Some moves are
legal on the board read alone, others on the true board alone: which of them does the model hold more probable?

    follows = sum of p(read alone) / sum of (p(read alone) + p(true alone)),    p the mean probability of such a move

1 for a model that plays by the board read, 0 for one that plays by the true board whatever is read.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from boardgame_sae.games import Game


class Consistency(NamedTuple):
    """Of N positions, sums of what is asked there."""

    error_N: np.ndarray
    """Illegal moves: their number, or their probability."""
    consistent_N: np.ndarray
    """Of these, those that are legal on the board read."""
    expected_N: np.ndarray
    """Of these, those that are legal on a board with the same mistakes elsewhere, the mean over some."""


def elsewhere(true_S: np.ndarray, read_S: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A board with the same mistakes on other squares: what is read, shuffled among squares of equal true content."""
    shuffled_S = read_S.copy()
    for content in np.unique(true_S[read_S != true_S]):
        squares = np.flatnonzero(true_S == content)
        shuffled_S[squares] = read_S[rng.permutation(squares)]
    return shuffled_S


def consistency(
    weight_NV: np.ndarray, legal_NV: np.ndarray, read_NV: np.ndarray, elsewhere_NV: np.ndarray
) -> Consistency:
    """Judge moves that are whole tokens.

    weight_NV: of every token, a probability, or 1 for a move that is made; legal ones do not count. legal_NV, read_NV:
    bool, the tokens that are legal on the true board and on the board read. elsewhere_NV: the share of boards with the
    same mistakes elsewhere on which each is legal.
    """
    weight_NV = weight_NV * ~legal_NV
    return Consistency(weight_NV.sum(1), (weight_NV * read_NV).sum(1), (weight_NV * elsewhere_NV).sum(1))


def consistency_of_texts(
    game: Game,
    positions: Sequence[Any],
    read: Mapping[int, Any],
    others: Mapping[int, Sequence[Any]],
    written: Sequence[Sequence[str]],
) -> Consistency:
    """Judge moves as they are written.

    read: the positions that are read, by the number of those at which that is asked. others: positions with the same
    mistakes elsewhere, by the same numbers. written: the moves that are written at each position.
    """
    sums = np.zeros((3, len(positions)))
    for row, as_read in read.items():
        wrong = [text for text in written[row] if game.judge(positions[row], text) != "legal"]
        legal = [[game.judge(board, text) == "legal" for text in wrong] for board in (as_read, *others[row])]
        consistent, *expected = (sum(one) for one in legal)
        sums[:, row] = len(wrong), consistent, np.mean(expected)
    return Consistency(*sums)


def follows(p_NV: np.ndarray, legal_NV: np.ndarray, read_NV: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two sums of `follows`, by position: float64 (N,) each, 0 where not both boards have moves of their own.

    p_NV: probabilities of tokens. legal_NV, read_NV: bool, as in `consistency`.
    """
    read_alone_NV, true_alone_NV = read_NV & ~legal_NV, legal_NV & ~read_NV
    both_N = read_alone_NV.any(1) & true_alone_NV.any(1)
    read_N, true_N = (
        (p_NV * own_NV).sum(1) / own_NV.sum(1).clip(min=1) * both_N for own_NV in (read_alone_NV, true_alone_NV)
    )
    return read_N, read_N + true_N


def disagreement(read_HNS: np.ndarray, layers: Sequence[int]) -> np.ndarray:
    """The share of squares on which the boards of some layers do not all agree: (N,)."""
    chosen_KNS = read_HNS[list(layers)]
    return (chosen_KNS != chosen_KNS[0]).any(0).mean(1)
