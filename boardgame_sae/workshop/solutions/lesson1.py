"""Lesson 1: games and a GPT that plays."""

import torch
from torch import Tensor

from boardgame_sae.games import Game


def legal_moves_by_ply(game: Game, text: str) -> list[int]:
    """How many legal moves there are at each position of a written game, from the start to the end.

    A game of n plies has n + 1 positions. `game.replay(text)` gives them, `game.legal_moves(position)` lists moves.
    """
    return [len(game.legal_moves(position)) for position in game.replay(text)]


def black_to_move(game: Game, text: str) -> list[bool]:
    """Whether Black is to move, at each position of a written game before its end. Black makes the first move.

    A player who has no move passes, and passes are not written.
    """
    return [game.mover(position) for position in game.replay(text) if game.legal_moves(position)]


def aligned(logits_LV: Tensor, legal_RV: Tensor) -> tuple[Tensor, Tensor]:
    """Predictions and truth of one game, side by side: (logits_NV, legal_NV), a row for each position asked about.

    logits_LV: (plies, alphabet): row i is what the GPT predicts once it has read move i (counted from 0).
    legal_RV: (plies + 1, alphabet), bool: row i is what may be played after i plies, so row 0 is the start.
    Positions without a legal move (the game is over) are left out.
    """
    after_RV = legal_RV[1:]
    open_R = after_RV.any(-1)
    return logits_LV[open_R], after_RV[open_R]


def legal_probability(logits_NV: Tensor, legal_NV: Tensor) -> Tensor:
    """(N,): the probability that the GPT gives to legal moves, all together, at each position."""
    return (logits_NV.softmax(-1) * legal_NV).sum(-1)


def top_move_legal_rate(logits_NV: Tensor, legal_NV: Tensor) -> float:
    """Share of positions at which the most probable move is legal, 0 to 1."""
    top_N = logits_NV.argmax(-1)
    return legal_NV[torch.arange(len(top_N)), top_N].float().mean().item()


def loss_floor(n_legal_N: Tensor) -> float:
    """The lowest loss in nats per move that any model can reach on games played uniformly at random.

    n_legal_N: how many moves were legal at each position.
    """
    return n_legal_N.double().log().mean().item()
