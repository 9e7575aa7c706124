"""Checkers of lesson 3."""

from typing import Any

import torch
from torch import Tensor

from boardgame_sae.games import Game
from boardgame_sae.workshop.checking import Checker, Mistake, in_any_order
from boardgame_sae.workshop.checks.lesson1 import games
from boardgame_sae.workshop.material.flips import flips
from boardgame_sae.workshop.solutions import lesson3 as solutions

SCALES = [0.0, 2.0, 4.0, 8.0]


def _random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _probes() -> list[tuple[Any, ...]]:
    weight_DSC = torch.randn(8, 5, 3, generator=_random(0))
    return [(weight_DSC, 2, 1, 0), (weight_DSC, 4, 0, 2)]


def _values() -> list[tuple[Any, ...]]:
    value_BLD = torch.randn(4, 6, 8, generator=_random(1))
    return [(value_BLD, torch.randn(4, 8, generator=_random(2)), 3.0)]


def _edited_games() -> list[tuple[Any, ...]]:
    (game, _), texts = games()[0], [text for _, text in games()]
    flipped = [(game, flip.text, flip.square, flip.new) for n_plies in (9, 14) for flip in flips(game, texts, n_plies)]
    put = [(game, text, square, content) for _, text, square, _ in flipped[:2] for content in ("yours", "empty")]
    return flipped + put


def _answers() -> list[tuple[Tensor, ...]]:
    legal_BV = torch.rand(30, 9, generator=_random(3)) < 0.4
    legal_BV[:, 0] = True
    return [(torch.randn(30, 9, generator=_random(4)) + 1.5 * legal_BV, legal_BV)]


def _directions() -> list[tuple[Any, ...]]:
    direction_BD = torch.randn(5, 8, generator=_random(5))
    return [(direction_BD, 0), (2 * direction_BD, 7)]


def _errors() -> list[tuple[Any, ...]]:
    errors_KB = torch.tensor([[4, 4, 6, 2], [0, 4, 4, 4], [2, 2, 0, 2], [0, 6, 8, 8]])
    equal_KB = torch.tensor([[4, 4, 4, 4], [0, 8, 0, 0], [2, 2, 2, 2], [2, 0, 4, 2]])
    skewed_KB = torch.tensor([[2, 2, 2, 2], [0, 0, 0, 40], [1, 3, 3, 3], [6, 6, 6, 6]])
    return [(errors_KB, SCALES), (errors_KB[[0, 2, 3, 1]], SCALES), (equal_KB, SCALES), (skewed_KB, SCALES)]


def _swapped(game: Game, text: str, square: int, content: str) -> list[str]:
    other = {"mine": "yours", "yours": "mine", "empty": "empty"}[content]
    return solutions.legal_as_edited(game, text, square, other)


def _a_ply_early(game: Game, text: str, square: int, content: str) -> list[str]:
    position = game.with_square(game.replay(text)[-2], square, content)
    return [game.move_text(position, move) for move in game.legal_moves(position)]


def _one_direction(value_BLD: Tensor, direction_BD: Tensor, scale: float) -> Tensor:
    return solutions.push(value_BLD, direction_BD[:1].expand_as(direction_BD), scale)


flip_direction = Checker(
    solutions.flip_direction,
    _probes,
    [
        Mistake(
            "the sign is wrong: it points from new to old; take the weights of `new` minus those of `old`",
            lambda weight_DSC, square, old, new: solutions.flip_direction(weight_DSC, square, new, old),
        ),
        Mistake(
            "its length is not 1: divide by `.norm()`, so that `scale` has a meaning",
            lambda weight_DSC, square, old, new: weight_DSC[:, square, new] - weight_DSC[:, square, old],
        ),
        Mistake(
            "only `new` is considered: that raises its logit, but need not lower that of `old`; take the difference",
            lambda weight_DSC, square, old, new: torch.nn.functional.normalize(weight_DSC[:, square, new], dim=0),
        ),
        Mistake(
            "that is towards `new` from the mean of all classes: take the difference to `old`",
            lambda weight_DSC, square, old, new: torch.nn.functional.normalize(
                weight_DSC[:, square, new] - weight_DSC[:, square].mean(-1), dim=0
            ),
        ),
    ],
)

push = Checker(
    solutions.push,
    _values,
    [
        Mistake(
            "you push every token: only the last one predicts the next move here, so write to `[:, -1]`",
            lambda value_BLD, direction_BD, scale: value_BLD + scale * direction_BD[:, None],
        ),
        Mistake(
            "you push the first token: the last one is at `[:, -1]`",
            lambda value_BLD, direction_BD, scale: solutions.push(
                value_BLD.flip(1), direction_BD, scale
            ).flip(1),
        ),
        Mistake("the scale is forgotten", lambda value_BLD, direction_BD, scale: solutions.push(
            value_BLD, direction_BD, 1.0
        )),
        Mistake("every game is pushed along the direction of the first; each has its own", _one_direction),
        Mistake(
            "the sign is wrong: add `scale * direction_BD`",
            lambda value_BLD, direction_BD, scale: solutions.push(value_BLD, -direction_BD, scale),
        ),
        Mistake(
            "you rescale the direction: take it as it is, times `scale`",
            lambda value_BLD, direction_BD, scale: solutions.push(
                value_BLD, torch.nn.functional.normalize(direction_BD, dim=-1), scale
            ),
        ),
    ],
)  # fmt: skip

legal_as_edited = Checker(
    solutions.legal_as_edited,
    _edited_games,
    [
        Mistake(
            "these are the legal moves of the board as it is: edit it first, with `game.with_square`",
            lambda game, text, square, content: [
                game.move_text(position, move)
                for position in game.replay(text)[-1:]
                for move in game.legal_moves(position)
            ],
        ),
        Mistake("off by one ply: you edit the position before the last move; the last one is `[-1]`", _a_ply_early),
        Mistake(
            "these are numbers of squares: write moves with `game.move_text`",
            lambda game, text, square, content: game.legal_moves(
                game.with_square(game.replay(text)[-1], square, content)
            ),
        ),
        Mistake(
            "mine and yours are swapped: `content` is seen by the player to move, whose turn it stays",
            _swapped,
        ),
        Mistake(
            "`content` is not used: what stands on the square then need not be the mover's",
            lambda game, text, square, content: solutions.legal_as_edited(game, text, square, "mine"),
        ),
    ],
    compared=in_any_order,
)

errors = Checker(
    solutions.errors,
    _answers,
    [
        Mistake(
            "you count wrong moves only: for each of them a legal one is missing too",
            lambda logits_BV, legal_BV: solutions.errors(logits_BV, legal_BV) // 2,
        ),
        Mistake(
            "only the most probable move is judged: with n legal moves, take the n most probable",
            lambda logits_BV, legal_BV: (~legal_BV.gather(1, logits_BV.argmax(1, keepdim=True))).sum(1),
        ),
        Mistake(
            "you take the least probable moves: sort in descending order",
            lambda logits_BV, legal_BV: solutions.errors(-logits_BV, legal_BV),
        ),
        Mistake(
            "one number too few: keep one count for each game, and average later",
            lambda logits_BV, legal_BV: solutions.errors(logits_BV, legal_BV).float().mean(),
        ),
        Mistake(
            "`argsort` once gives the order of the moves, not their ranks: apply it twice",
            lambda logits_BV, legal_BV: (
                (logits_BV.argsort(-1, descending=True) < legal_BV.sum(-1, keepdim=True)) != legal_BV
            ).sum(-1),
        ),
    ],
)

random_like = Checker(
    solutions.random_like,
    _directions,
    [
        Mistake(
            "not as long as the directions given: a longer push does more, whatever its direction, so rescale each row",
            lambda direction_BD, seed: torch.randn(direction_BD.shape, generator=_random(seed)),
        ),
        Mistake(
            "the seed is not used: pass `generator=torch.Generator().manual_seed(seed)`, so that others get the same",
            lambda direction_BD, seed: solutions.random_like(direction_BD, 0),
        ),
        Mistake(
            "these have length 1: make each as long as the direction it stands for",
            lambda direction_BD, seed: torch.nn.functional.normalize(
                torch.randn(direction_BD.shape, generator=_random(seed)), dim=-1
            ),
        ),
        Mistake(
            "every game has the same direction: draw one for each",
            lambda direction_BD, seed: solutions.random_like(direction_BD[:1], seed).expand_as(direction_BD),
        ),
    ],
)

best_scale = Checker(
    solutions.best_scale,
    _errors,
    [
        Mistake(
            "that is its place in the list: give the scale itself, `scales[place]`",
            lambda errors_KB, scales: int(errors_KB.float().mean(1).argmin()),
        ),
        Mistake(
            "that is the worst: take `argmin`",
            lambda errors_KB, scales: scales[int(errors_KB.float().mean(1).argmax())],
        ),
        Mistake(
            "wrong axis: average over games, which are the second axis, `mean(1)`",
            lambda errors_KB, scales: scales[int(errors_KB.float().mean(0).argmin())],
        ),
        Mistake(
            "that is the scale of the best single game: average over games first",
            lambda errors_KB, scales: scales[int(errors_KB.min(1).values.argmin())],
        ),
        Mistake(
            "of two that are equal, give the smaller scale: `argmin` takes the first, a loop with `<=` the last",
            lambda errors_KB, scales: list(scales)[::-1][int(errors_KB.float().mean(1).flip(0).argmin())],
        ),
        Mistake(
            "that is the lowest median, which does not see a few games that go very wrong: take the mean",
            lambda errors_KB, scales: scales[int(errors_KB.float().median(1).values.argmin())],
        ),
        Mistake(
            "that is the best scale for the first game: average over all games",
            lambda errors_KB, scales: scales[int(errors_KB[:, 0].argmin())],
        ),
    ],
)
