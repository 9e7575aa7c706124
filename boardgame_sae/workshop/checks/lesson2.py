"""Checkers of lesson 2."""

from typing import Any

import torch
from torch import Tensor

from boardgame_sae.games import Game
from boardgame_sae.workshop.checking import Checker, Mistake
from boardgame_sae.workshop.checks.lesson1 import games
from boardgame_sae.workshop.solutions import lesson2 as solutions


def _random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _to_fit() -> list[tuple[Any, ...]]:
    acts_ND = torch.randn(60, 6, generator=_random(0)) + 2.0
    outputs_NP = acts_ND @ torch.randn(6, 12, generator=_random(1)) + torch.randn(60, 12, generator=_random(2))
    return [(acts_ND, outputs_NP.view(60, 4, 3).argmax(-1), 5.0)]


def _to_judge() -> list[tuple[Any, ...]]:
    acts_ND, classes_NS, ridge = _to_fit()[0]
    return [(solutions.fit_probe(acts_ND, classes_NS, ridge), acts_ND[:n], classes_NS[:n]) for n in (60, 17)]


def _train_and_test() -> list[tuple[Tensor, Tensor]]:
    chances_SC = torch.tensor([[0.9, 0.05, 0.05], [0.1, 0.6, 0.3], [0.2, 0.3, 0.5], [0.45, 0.1, 0.45], [0.8, 0.1, 0.1]])
    train_SN, test_SN = (torch.multinomial(chances_SC, n, True, generator=_random(n)) for n in (90, 30))
    return [(train_SN.T.contiguous(), test_SN.T.contiguous())]


def _boards() -> list[tuple[Tensor, Tensor]]:
    black_N = torch.tensor([True, False, True, False, False, True, False, True, False, True, False, True])  # a pass
    return [(torch.randint(0, 3, (12, 12), generator=_random(4)), black_N)]


def _judged() -> list[tuple[Tensor, Tensor]]:
    ply_N = torch.tensor([1, 2, 3, 4, 5, 1, 2, 3, 4, 1, 2, 3])
    return [(torch.rand(12, 9, generator=_random(5)) < 0.95 - ply_N[:, None] / 8, ply_N)]


def _without_bias(acts_ND: Tensor, classes_NS: Tensor, ridge: float) -> Tensor:
    fitted_DSC = solutions.fit_probe(acts_ND, classes_NS, ridge).clone()
    Y_NP = torch.nn.functional.one_hot(classes_NS, 3).flatten(1).to(acts_ND)
    gram_DD = acts_ND.T @ acts_ND + ridge * torch.eye(acts_ND.shape[1])
    fitted_DSC[:-1] = torch.linalg.solve(gram_DD, acts_ND.T @ Y_NP).view_as(fitted_DSC[:-1])
    return fitted_DSC[:-1]


def _transposed(game: Game, text: str) -> Tensor:
    boards_RXY = solutions.colour_classes(game, text).view(-1, *game.shape)
    return boards_RXY.transpose(1, 2).flatten(1)


def _backwards(game: Game, text: str) -> Tensor:
    return torch.tensor([0, 2, 1])[solutions.colour_classes(game, text)]


colour_classes = Checker(
    solutions.colour_classes,
    games,
    [
        Mistake("black and white are swapped: 1 is black (`b`), 2 is white (`w`)", _backwards),
        Mistake(
            "wrong shape: the axes are swapped; a row is a position, a column a square",
            lambda game, text: solutions.colour_classes(game, text).T,
        ),
        Mistake(
            "off by one ply: the start is missing",
            lambda game, text: solutions.colour_classes(game, text)[1:],
        ),
        Mistake(
            "these are the classes as the player to move sees them (mine, yours); here colours are asked for",
            lambda game, text: solutions.to_mover(
                solutions.colour_classes(game, text), torch.tensor([game.mover(p) for p in game.replay(text)])
            ),
        ),
        Mistake(
            "off by one ply: the last position is missing",
            lambda game, text: solutions.colour_classes(game, text)[:-1],
        ),
        Mistake(
            "the boards are transposed: squares go row by row, a1, b1, c1, as `game.cells` gives them", _transposed
        ),
    ],
)

fit_probe = Checker(
    solutions.fit_probe,
    _to_fit,
    [
        Mistake("the bias is missing: append a 1 to every activation, `F.pad(acts_ND, (0, 1), value=1.0)`",
                _without_bias),
        Mistake(
            "the ridge is missing: add `ridge * torch.eye(D + 1)` to X'X before solving",
            lambda acts_ND, classes_NS, ridge: solutions.fit_probe(acts_ND, classes_NS, 0.0),
        ),
        Mistake(
            "the ridge is as if X'X were a mean over positions; here it is a sum, so do not multiply the ridge by N",
            lambda acts_ND, classes_NS, ridge: solutions.fit_probe(acts_ND, classes_NS, ridge * len(acts_ND)),
        ),
        Mistake(
            "wrong shape: give (D + 1, squares, 3); undo the flattening with `.view(-1, n_squares, 3)`",
            lambda acts_ND, classes_NS, ridge: solutions.fit_probe(acts_ND, classes_NS, ridge).flatten(1),
        ),
        Mistake(
            "you took the mean activation away: the 1 that is appended does that; fit to the activations as they are",
            lambda acts_ND, classes_NS, ridge: solutions.fit_probe(acts_ND - acts_ND.mean(0), classes_NS, ridge),
        ),
    ],
    tolerance=1e-3,
)  # fmt: skip

probe_accuracy = Checker(
    solutions.probe_accuracy,
    _to_judge,
    [
        Mistake(
            "the bias is forgotten: add the last row of the weights",
            lambda weights_DSC, acts_ND, classes_NS: solutions.probe_accuracy(
                torch.cat([weights_DSC[:-1], torch.zeros_like(weights_DSC[-1:])]), acts_ND, classes_NS
            ),
        ),
        Mistake(
            "you ask that all squares of a board are right at once; count squares one by one",
            lambda weights_DSC, acts_ND, classes_NS: (
                (torch.einsum("nd,dsc->nsc", acts_ND, weights_DSC[:-1]) + weights_DSC[-1]).argmax(-1) == classes_NS
            ).all(-1).float().mean().item(),
        ),
        Mistake(
            "that is the share of wrong squares: it is one minus this",
            lambda *given: 1 - solutions.probe_accuracy(*given),
        ),
        Mistake(
            "you take the smallest output: the answer is the class of the largest, `argmax(-1)`",
            lambda weights_DSC, acts_ND, classes_NS: solutions.probe_accuracy(-weights_DSC, acts_ND, classes_NS),
        ),
    ],
)  # fmt: skip

majority_accuracy = Checker(
    solutions.majority_accuracy,
    _train_and_test,
    [
        Mistake(
            "the majority is chosen on the games it is judged on: choose it on train",
            lambda train_classes_NS, classes_NS: solutions.majority_accuracy(classes_NS, classes_NS),
        ),
        Mistake(
            "that is one class for the whole board: choose it for each square, `mode(0)`",
            lambda train_classes_NS, classes_NS: (
                (train_classes_NS.flatten().mode().values == classes_NS).float().mean().item()
            ),
        ),
        Mistake(
            "that is the accuracy on train: choose there, judge on the second argument",
            lambda train_classes_NS, classes_NS: solutions.majority_accuracy(train_classes_NS, train_classes_NS),
        ),
        Mistake(
            "wrong axis: that is the most common class of each position; choose it for each square, `mode(0)`",
            lambda train_classes_NS, classes_NS: (
                (train_classes_NS.mode(1).values[: len(classes_NS), None] == classes_NS).float().mean().item()
            ),
        ),
    ],
)

to_mover = Checker(
    solutions.to_mover,
    _boards,
    [
        Mistake(
            "the wrong way round: where Black is to move, black discs are mine (1)",
            lambda classes_NS, black_N: solutions.to_mover(classes_NS, ~black_N),
        ),
        Mistake(
            "you forgot the pass: whose turn it is does not follow from the parity of the row; use `black_N`",
            lambda classes_NS, black_N: solutions.to_mover(classes_NS, torch.arange(len(black_N)) % 2 == 0),
        ),
        Mistake(
            "wrong axis: `black_N` belongs to positions, not squares; write `black_N[:, None]`",
            lambda classes_NS, black_N: torch.where(black_N, classes_NS, torch.tensor([0, 2, 1])[classes_NS]),
        ),
        Mistake(
            "nothing has changed: where White is to move, 1 and 2 swap",
            lambda classes_NS, black_N: classes_NS,
        ),
        Mistake(
            "empty squares have become 3: only 1 and 2 swap, 0 stays",
            lambda classes_NS, black_N: torch.where(black_N[:, None], classes_NS, 3 - classes_NS),
        ),
        Mistake(
            "off by one ply: you take whose turn it was one move before",
            lambda classes_NS, black_N: solutions.to_mover(classes_NS, black_N.roll(1)),
        ),
        Mistake(
            "off by one ply: you take whose turn it is one move later",
            lambda classes_NS, black_N: solutions.to_mover(classes_NS, black_N.roll(-1)),
        ),
    ],
)

accuracy_by_ply = Checker(
    solutions.accuracy_by_ply,
    _judged,
    [
        Mistake(
            "off by one ply: plies are counted from 1, so the first entry is that of `ply_N == 1`",
            lambda right_NS, ply_N: torch.stack(
                [right_NS[ply_N == ply].float().mean() for ply in range(int(ply_N.max()))]
            ).nan_to_num(),
        ),
        Mistake(
            "the last ply is missing: `range` stops before its end",
            lambda right_NS, ply_N: solutions.accuracy_by_ply(right_NS, ply_N)[:-1],
        ),
        Mistake(
            "wrong axis: that is the accuracy by square; average over squares, and over the positions of a ply",
            lambda right_NS, ply_N: right_NS.float().mean(0),
        ),
        Mistake(
            "you add up: average over the positions of each ply",
            lambda right_NS, ply_N: torch.stack(
                [right_NS[ply_N == ply].float().mean(1).sum() for ply in range(1, int(ply_N.max()) + 1)]
            ),
        ),
        Mistake(
            "you add up: average over the positions of each ply, and over squares",
            lambda right_NS, ply_N: torch.stack(
                [right_NS[ply_N == ply].float().sum() for ply in range(1, int(ply_N.max()) + 1)]
            ),
        ),
        Mistake(
            "that is the accuracy of all plies together: take the positions of one ply at a time, `ply_N == ply`",
            lambda right_NS, ply_N: right_NS.float().mean().expand(int(ply_N.max())),
        ),
    ],
)
