"""A model on trial: games from the same beginnings and with the same draws, whatever vector is added to it."""

from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

from torch import Tensor

from boardgame_sae.config import seed_for
from boardgame_sae.metrics.causal.steering.playing import Played, play_against
from boardgame_sae.metrics.causal.steering.strength import Exam, Measured, results
from boardgame_sae.metrics.causal.steering.vectors import adding
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.players.openings import make_opening
from boardgame_sae.players.play import game_seeds
from boardgame_sae.players.registry import make_player


class Rules(NamedTuple):
    """How games are played and judged."""

    player: str
    """The opponent, as of `generate`."""
    opening: str
    """How games begin, as of `generate`."""
    max_plies: int
    """Longer games are broken off."""
    temperature: float
    """Of the model's moves: 0 for the most probable one."""
    depth: int
    """Plies that the built-in search looks ahead which judges."""


class Trial:
    """Games of a model against a player, and the positions that it meets there with no vector."""

    def __init__(self, model: GameModel, rules: Rules, n_games: int, seed: int) -> None:
        """seed: of the beginnings, and of both sides' draws.

        Raises ConfigError for an unknown player or opening.
        """
        self.model, self.rules, self._player = model, rules, make_player(rules.player)
        begins, self._draws = (
            game_seeds(seed_for(seed, "trial", what), 0, n_games).tolist() for what in ("openings", "draws")
        )
        self._openings = make_opening(rules.opening).play(model.game, begins)

    def played(self, vectors: Mapping[str, Tensor] | None = None) -> Played:
        """The games with some vectors added, by hook point. Raises as `play_against` does."""
        hooks = adding(vectors or {})
        settings = {"max_plies": self.rules.max_plies, "temperature": self.rules.temperature, "hooks": hooks}
        return play_against(self.model, self._player, self._openings, self._draws, **settings)

    @cached_property
    def plain(self) -> Played:
        """The games with no vector."""
        return self.played()

    @cached_property
    def exam(self) -> Exam:
        """The positions of those games at which the model is to move."""
        return Exam(
            self.model.game, self.plain, self._draws, depth=self.rules.depth, temperature=self.rules.temperature
        )

    def moves(self, vectors: Mapping[str, Tensor] | None = None) -> Measured:
        """What the model's moves at those positions lose."""
        return self.exam.taken_by(self.model, adding(vectors or {}))

    def ends(self, vectors: Mapping[str, Tensor] | None = None) -> Measured:
        """How its games end."""
        return results(self.model.game, self.played(vectors) if vectors else self.plain, self.rules.depth)
