"""Lesson 3: flip a square."""

import torch
from torch import Tensor

from boardgame_sae.games import Game


def flip_direction(weight_DSC: Tensor, square: int, old: int, new: int) -> Tensor:
    """(D,), of length 1: the direction in which the probe says `new` rather than `old` of a square.

    weight_DSC: a probe's weights, (width, squares, classes). old, new: numbers of classes.
    """
    direction_D = weight_DSC[:, square, new] - weight_DSC[:, square, old]
    return direction_D / direction_D.norm()


def push(value_BLD: Tensor, direction_BD: Tensor, scale: float) -> Tensor:
    """(B, L, D): the activations with each game's last token moved by `scale` along the game's own direction.

    direction_BD: a direction for each game. What is given stays as it is.
    """
    pushed_BLD = value_BLD.clone()
    pushed_BLD[:, -1] += scale * direction_BD
    return pushed_BLD


def legal_as_edited(game: Game, text: str, square: int, content: str) -> list[str]:
    """The legal moves, as written, if after these moves something else stood on a square.

    content: `mine`, `yours` or `empty`, as the player to move sees it. `game.with_square(position, square, content)`
    is the edited position, `game.move_text(position, move)` writes a move.
    """
    edited = game.with_square(game.replay(text)[-1], square, content)
    return [game.move_text(edited, move) for move in game.legal_moves(edited)]


def errors(logits_BV: Tensor, legal_BV: Tensor) -> Tensor:
    """(B,) int64: wrong plus missing moves, when with n legal moves the n most probable ones are what the GPT plays.

    legal_BV: bool, the moves that ought to be played. So each wrong move costs 2: it is wrong, and one is missing.
    """
    n_legal_B = legal_BV.sum(-1)
    rank_BV = logits_BV.argsort(-1, descending=True).argsort(-1)
    played_BV = rank_BV < n_legal_B[:, None]
    return (played_BV & ~legal_BV).sum(-1) + (legal_BV & ~played_BV).sum(-1)


def random_like(direction_BD: Tensor, seed: int) -> Tensor:
    """(B, D): random directions, each as long as the one given: what an edit is compared with.

    Drawn with `torch.randn(direction_BD.shape, generator=torch.Generator().manual_seed(seed))`, then rescaled.
    """
    random_BD = torch.randn(direction_BD.shape, generator=torch.Generator().manual_seed(seed))
    return random_BD * (direction_BD.norm(dim=-1, keepdim=True) / random_BD.norm(dim=-1, keepdim=True))


def best_scale(errors_KB: Tensor, scales: list[float]) -> float:
    """The scale with the lowest mean error; the smaller one where two are equal.

    errors_KB: (scales, games), errors on validation games. scales: ascending.
    """
    return scales[int(errors_KB.float().mean(1).argmin())]
