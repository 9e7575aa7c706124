"""Discs to flip in a GPT's mind: in each game one which, if it were the other player's, would change the moves."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.games import Game
from boardgame_sae.notebook import pictures, table
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.workshop.material.views import View, first_plies

ENOUGH = 0.02
"""Moves below this probability are not shown, unless they are legal."""


class Flip(NamedTuple):
    """A disc of the other's that is to become the mover's own."""

    text: str
    """The game up to there."""
    square: int
    old: str
    """`yours`: as the player to move sees it."""
    new: str


def flips(game: Game, texts: Sequence[str], n_plies: int, seed: int = 0) -> list[Flip]:
    """One flip for each game in which there is any, after n_plies, at a square drawn at random.

    After it other moves are legal than before, and at least one.
    """
    random, found = np.random.default_rng(seed), []
    for text in texts:
        begun = first_plies(game, text, n_plies)
        position = game.replay(begun)[-1]
        legal = game.legal_moves(position)
        yours = game.labels(begun, [game.board_property])[game.board_property][-1].reshape(-1, len(game.contents))
        for square in random.permutation(np.flatnonzero(yours[:, game.contents.index("yours")])).tolist():
            after = game.legal_moves(game.with_square(position, square, "mine"))
            if after and after != legal:
                found.append(Flip(begun, square, "yours", "mine"))
                break
    return found


def legal_tokens(testbed: Testbed, moves: Sequence[str]) -> Tensor:
    """bool (alphabet,): true for each of some moves."""
    legal_V = torch.zeros(len(testbed.model.alphabet), dtype=torch.bool)
    legal_V[[testbed.model.alphabet.index(move) for move in moves]] = True
    return legal_V


def shown(testbed: Testbed, flip: Flip, before_V: Tensor, after_V: Tensor) -> View:
    """The board as it is and as edited, and the probability of each move before and after."""
    game = testbed.corpus.game
    position = game.replay(flip.text)[-1]
    edited = game.with_square(position, flip.square, flip.new)
    legal, legal_after = ([game.move_text(at, m) for m in game.legal_moves(at)] for at in (position, edited))
    chances = list(zip(testbed.model.alphabet, before_V.tolist(), after_V.tolist(), strict=True))
    rows = [
        (move, f"{before:.3f}", f"{after:.3f}", "yes" if move in legal else "", "yes" if move in legal_after else "")
        for move, before, after in sorted(chances, key=lambda chance: -chance[2])
        if move in {*legal, *legal_after} or max(before, after) > ENOUGH
    ]
    marked = {flip.square: "!"}
    boards = [(game.picture(position, size=220), "the board"), (game.picture(edited, size=220, marks=marked), "edited")]
    head = ("move", "before", "after", "legal", "legal as edited")
    return View(pictures(boards) + table(f"{game.squares[flip.square]}: {flip.old} -> {flip.new}", rows, head))
