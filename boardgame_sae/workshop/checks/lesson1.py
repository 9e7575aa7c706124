"""Checkers of lesson 1."""

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.games import load_game
from boardgame_sae.workshop.checking import Checker, Mistake
from boardgame_sae.workshop.solutions import lesson1 as solutions

SEEDS = (3, 4, 5, 6)


@functools.cache
def games() -> list[tuple[Any, ...]]:
    """Random games of 6x6 Othello, in at least one of which a player passes."""
    game = load_game("othello6")
    return [(game, text) for text in game.texts(game.play_games(np.array(SEEDS, np.uint64)))]


def _predictions() -> list[tuple[Tensor, ...]]:
    """Logits and legal moves of positions; the logits favour legal moves, not always rightly."""
    random = torch.Generator().manual_seed(0)
    cases = []
    for n_positions in (40, 25):
        legal_NV = torch.rand(n_positions, 12, generator=random) < 0.3
        legal_NV[:, 3] = True
        cases.append((torch.randn(n_positions, 12, generator=random) + 1.5 * legal_NV, legal_NV))
    return cases


def _one_game() -> list[tuple[Tensor, ...]]:
    random = torch.Generator().manual_seed(1)
    legal_RV = torch.rand(21, 12, generator=random) < 0.3
    legal_RV[:, 0] = True
    over_RV = legal_RV & (torch.arange(21) < 20)[:, None]
    logits_LV = torch.randn(20, 12, generator=random)
    return [(logits_LV, over_RV), (logits_LV, legal_RV)]  # a whole game, and one of which the GPT reads a part


def _counts() -> list[tuple[Tensor]]:
    return [(torch.tensor([4, 3, 5, 6, 1, 2, 8, 3]),), (torch.tensor([1, 1, 10]),)]


legal_moves_by_ply = Checker(
    solutions.legal_moves_by_ply,
    games,
    [
        Mistake(
            "off by one ply: the last position is missing, where the game is over and 0 moves are legal",
            lambda game, text: solutions.legal_moves_by_ply(game, text)[:-1],
        ),
        Mistake(
            "off by one ply: the start is missing; before the first move four moves are legal",
            lambda game, text: solutions.legal_moves_by_ply(game, text)[1:],
        ),
        Mistake(
            "these are the lists of legal moves themselves: count them with `len`",
            lambda game, text: [game.legal_moves(position) for position in game.replay(text)],
        ),
    ],
)

black_to_move = Checker(
    solutions.black_to_move,
    games,
    [
        Mistake(
            "you forgot the pass: whose turn it is does not follow from the parity of the ply, as a player without a "
            "move is skipped; ask `game.mover(position)`",
            lambda game, text: [i % 2 == 0 for i in range(len(game.replay(text)) - 1)],
        ),
        Mistake(
            "it is the other's turn: you say True where White is to move",
            lambda game, text: [not black for black in solutions.black_to_move(game, text)],
        ),
        Mistake(
            "one position too many: at the end nobody is to move, so leave it out",
            lambda game, text: [game.mover(position) for position in game.replay(text)],
        ),
        Mistake(
            "you forgot the pass, and White does not begin: whose turn it is does not follow from the parity of the "
            "ply; ask `game.mover(position)`",
            lambda game, text: [i % 2 == 1 for i in range(len(game.replay(text)) - 1)],
        ),
    ],
)

aligned = Checker(
    solutions.aligned,
    _one_game,
    [
        Mistake(
            "off by one ply: row i of the logits is the prediction after move i was read, when i + 1 plies are played, "
            "so it belongs to row i + 1 of the truth",
            lambda logits_LV, legal_RV: (logits_LV, legal_RV[:-1]),
        ),
        Mistake(
            "the last position is still there, where the game is over: nothing is legal, and every prediction is wrong",
            lambda logits_LV, legal_RV: (logits_LV, legal_RV[1:]),
        ),
        Mistake(
            "shifted the wrong way: you dropped the first prediction, where the first board has none",
            lambda logits_LV, legal_RV: (logits_LV[1:], legal_RV[1:-1]),
        ),
        Mistake(
            "you always drop the last position, but the GPT does not read every game to its end: drop positions where "
            "nothing is legal, `legal_RV.any(-1)`",
            lambda logits_LV, legal_RV: (logits_LV[:-1], legal_RV[1:-1]),
        ),
        Mistake(
            "the two are swapped: first the predictions, then the truth",
            lambda logits_LV, legal_RV: solutions.aligned(logits_LV, legal_RV)[::-1],
        ),
    ],
)

legal_probability = Checker(
    solutions.legal_probability,
    _predictions,
    [
        Mistake(
            "you add up logits: turn them into probabilities with `softmax(-1)` first",
            lambda logits_NV, legal_NV: (logits_NV * legal_NV).sum(-1),
        ),
        Mistake(
            "wrong axis: the softmax goes over moves, which are the last axis, not over positions",
            lambda logits_NV, legal_NV: (logits_NV.softmax(0) * legal_NV).sum(-1),
        ),
        Mistake(
            "everything is 1: you took the softmax over the legal moves alone; take it over all moves, then add up "
            "those that are legal",
            lambda logits_NV, legal_NV: logits_NV.masked_fill(~legal_NV, -torch.inf).softmax(-1).sum(-1),
        ),
        Mistake(
            "you averaged over the moves: probabilities of different moves add up",
            lambda logits_NV, legal_NV: (logits_NV.softmax(-1) * legal_NV).mean(-1),
        ),
        Mistake(
            "one number too few: keep one probability for each position, and average later",
            lambda logits_NV, legal_NV: solutions.legal_probability(logits_NV, legal_NV).mean(),
        ),
        Mistake(
            "wrong axis: you add up over positions; add up over moves, `sum(-1)`",
            lambda logits_NV, legal_NV: (logits_NV.softmax(-1) * legal_NV).sum(0),
        ),
        Mistake(
            "that is the probability of illegal moves: it is one minus this",
            lambda logits_NV, legal_NV: 1 - solutions.legal_probability(logits_NV, legal_NV),
        ),
        Mistake(
            "a sigmoid judges each move by itself; one of the moves comes, so take the softmax over them",
            lambda logits_NV, legal_NV: (logits_NV.sigmoid() * legal_NV).sum(-1),
        ),
    ],
)

top_move_legal_rate = Checker(
    solutions.top_move_legal_rate,
    _predictions,
    [
        Mistake(
            "wrong axis: `argmax(0)` is the position where a move is most probable; the best move of a position is "
            "`argmax(-1)`",
            lambda logits_NV, legal_NV: legal_NV.gather(0, logits_NV.argmax(0)[None]).float().mean().item(),
        ),
        Mistake(
            "that is the share of moves that are legal, whatever the GPT says",
            lambda logits_NV, legal_NV: legal_NV.float().mean().item(),
        ),
        Mistake(
            "that is the probability on legal moves; here only the most probable move counts",
            lambda logits_NV, legal_NV: solutions.legal_probability(logits_NV, legal_NV).mean().item(),
        ),
        Mistake(
            "that is the share of illegal top moves: it is one minus this",
            lambda logits_NV, legal_NV: 1 - solutions.top_move_legal_rate(logits_NV, legal_NV),
        ),
        Mistake(
            "that is the least probable move: take `argmax`",
            lambda logits_NV, legal_NV: solutions.top_move_legal_rate(-logits_NV, legal_NV),
        ),
    ],
)

loss_floor = Checker(
    solutions.loss_floor,
    _counts,
    [
        Mistake(
            "that is the logarithm of the mean; the loss is a mean over positions, so average the logarithms",
            lambda n_legal_N: n_legal_N.double().mean().log().item(),
        ),
        Mistake(
            "those are bits: losses here are in nats, so use the natural logarithm",
            lambda n_legal_N: n_legal_N.double().log2().mean().item(),
        ),
        Mistake(
            "that is the mean probability of a legal move: the loss is minus its logarithm, averaged",
            lambda n_legal_N: (1 / n_legal_N.double()).mean().item(),
        ),
        Mistake(
            "that is the sum over positions: a loss is their mean",
            lambda n_legal_N: n_legal_N.double().log().sum().item(),
        ),
        Mistake(
            "the sign is wrong: the loss is *minus* the logarithm of 1/n, which is the logarithm of n",
            lambda n_legal_N: -solutions.loss_floor(n_legal_N),
        ),
    ],
)
