"""A model plays many games at once against a player.

The model plays the side that begins the game, from given openings on, and writes every move itself: its most probable
one, or one sampled at a temperature. Where that is not legal it tries again, and when no try is legal it has lost. A
game ends by its rules, after `max_plies`, or where the model's context does.
Source: Karvonen 2024 (arXiv 2403.15498), and its repository chess_gpt_eval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from boardgame_sae.games import MoveRecord, SplitMix64
from boardgame_sae.metrics.causal.steering.writing import Table, Writer, draws_of
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import Hook
from boardgame_sae.players.movers import Mover, with_new_engines
from boardgame_sae.players.play import draw_temperature
from boardgame_sae.players.registry import Player


@dataclass(frozen=True, eq=False)
class Played:
    """B games of a model against a player."""

    record: MoveRecord
    opening_B: np.ndarray
    """Plies of the opening of each game."""
    forfeited_B: np.ndarray
    """bool: games that the model lost as none of its tries was legal."""


class _Answers:
    """The player, in all games."""

    def __init__(self, player: Player, mover: Mover, seeds_B: Sequence[int]) -> None:
        self.mover = mover
        self._bits = [SplitMix64(seed) for seed in seeds_B]
        self._temperatures = [draw_temperature(player.ladder, bits) for bits in self._bits]

    def __call__(self, place: int, one: Table) -> int:
        """Its move in a game; an engine hears of the whole game each time, as others are played between."""

        def answer() -> int:
            self.mover.new_game()
            return self.mover.choose(one.position, one.moves, self._temperatures[place], self._bits[place])

        return with_new_engines(answer, self.mover.close)


def play_against(
    model: GameModel,
    player: Player,
    openings: MoveRecord,
    seeds_B: Sequence[int],
    *,
    max_plies: int,
    temperature: float = 0.0,
    hooks: Mapping[str, Hook] | None = None,
) -> Played:
    """Play one game from each opening.

    seeds_B: what each game's draws depend on. temperature: of the model's moves. hooks: what changes the model.

    Raises ConfigError when the player cannot play the game, ValueError when the model cannot move first from an
    opening, RunError when an engine fails again and again.
    """
    begun = [moves.tolist() for moves in openings]
    tables = [
        Table(moves, model.game.position_after(moves), draws_of(seed))
        for moves, seed in zip(begun, seeds_B, strict=True)
    ]
    writer, forfeited_B = Writer(model, len(tables), hooks, temperature), np.zeros(len(tables), bool)
    answers = _Answers(player, player.mover(model.game), seeds_B)

    def is_asked(place: int) -> bool:
        """Let the player answer where it is to move; whether the model is asked then."""
        one, game = tables[place], model.game
        while not forfeited_B[place] and len(one.moves) < max_plies and not game.is_over(one.position):
            if game.mover(one.position):
                return one.set_prompt(model)
            one.play(model, answers(place, one))
        return False

    try:
        while asked := [place for place in range(len(tables)) if is_asked(place)]:
            for place, written in zip(asked, writer([tables[place] for place in asked], asked), strict=True):
                forfeited_B[place] = written.move is None
                if written.move is not None:
                    tables[place].play(model, written.move)
    finally:
        answers.mover.close()
    return Played(MoveRecord.of([one.moves for one in tables]), openings.lengths, forfeited_B)
