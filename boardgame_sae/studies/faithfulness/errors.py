"""Illegal moves, judged on the board that probes read: does a model that errs follow a wrong board that it holds?

An illegal move is *consistent* where it is legal on the board read. Whether that says anything is told by other moves
that are as plausible: those that are legal at other positions after as many plies, and illegal here. They are judged on
the same board.

Where moves are whole tokens there is a stronger question, at every position whose read board is wrong. Some moves are
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
    """How many would be if they were other moves, as plausible."""


def plausible_tokens(legal_NV: np.ndarray, ply_N: np.ndarray) -> np.ndarray:
    """(N, V): how often each token is legal at positions after as many plies."""
    plausible_NV = np.zeros(legal_NV.shape)
    for ply in np.unique(ply_N):
        plausible_NV[ply_N == ply] = legal_NV[ply_N == ply].mean(0)
    return plausible_NV


def consistency(
    weight_NV: np.ndarray, legal_NV: np.ndarray, read_NV: np.ndarray, plausible_NV: np.ndarray
) -> Consistency:
    """Judge moves that are whole tokens.

    weight_NV: of every token, a probability, or 1 for a move that is made; legal ones do not count. legal_NV, read_NV:
    bool, the tokens that are legal on the true board and on the board read. plausible_NV: as of `plausible_tokens`.
    """
    weight_NV, plausible_NV = weight_NV * ~legal_NV, plausible_NV * ~legal_NV
    total_N, read_N = plausible_NV.sum(1), (plausible_NV * read_NV).sum(1)
    share_N = np.divide(read_N, total_N, out=np.zeros(len(total_N)), where=total_N > 0)
    error_N = weight_NV.sum(1)
    return Consistency(error_N, (weight_NV * read_NV).sum(1), error_N * share_N)


def consistency_of_texts(
    game: Game,
    positions: Sequence[Any],
    read: Mapping[int, Any],
    written: Sequence[Sequence[str]],
    plausible: Sequence[Sequence[str]],
) -> Consistency:
    """Judge moves as they are written.

    read: the positions that are read, by the number of those at which that is asked. written: the moves that are
    written at each. plausible: moves that are legal at other positions after as many plies.
    """
    sums = np.zeros((3, len(positions)))
    for row, as_read in read.items():
        wrong = [text for text in written[row] if game.judge(positions[row], text) != "legal"]
        others = [text for text in plausible[row] if game.judge(positions[row], text) != "legal"]
        share = np.mean([game.judge(as_read, text) == "legal" for text in others]) if others else 0.0
        consistent = sum(game.judge(as_read, text) == "legal" for text in wrong)
        sums[:, row] = len(wrong), consistent, len(wrong) * share
    return Consistency(*sums)


def plausible_texts(
    game: Game, positions: Sequence[Any], ply_N: np.ndarray, n: int, rng: np.random.Generator
) -> list[list[str]]:
    """For each position n moves, as written, that are legal at others after as many plies, drawn at random."""
    rows_of = {ply: np.flatnonzero(ply_N == ply) for ply in np.unique(ply_N)}
    drawn: list[list[str]] = []
    for ply in ply_N:
        others = [positions[row] for row in rng.choice(rows_of[ply], n)]
        legal = [game.legal_moves(other) for other in others]
        pairs = zip(others, legal, strict=True)
        drawn.append([game.move_text(other, int(rng.choice(moves))) for other, moves in pairs if moves])
    return drawn


def follows(p_NV: np.ndarray, legal_NV: np.ndarray, read_NV: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two sums of `follows`, by position: float64 (N,) each, 0 where not both boards have moves of their own."""
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
