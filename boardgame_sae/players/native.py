"""Players that every game can play for: random, and greedy one ply ahead."""

from collections.abc import Sequence
from typing import Any

from boardgame_sae.config import Share, config
from boardgame_sae.games import Game, SplitMix64
from boardgame_sae.players.movers import BuiltInMover, Mover
from boardgame_sae.players.registry import Player, register


class NativeMover(BuiltInMover):
    """Random and greedy play."""

    def __init__(self, game: Game, epsilon: float) -> None:
        self.game, self.epsilon = game, epsilon

    def choose(self, position: Any, moves: Sequence[int], temperature: float, random: SplitMix64) -> int:  # noqa: ARG002
        """As `Game.play_games` does."""
        return self.game.choose(position, self.game.legal_moves(position), random, (self.epsilon, self.epsilon))


@register("random")
@config
class RandomPlayer(Player):
    """Picks every legal move with equal probability."""

    @property
    def epsilon(self) -> float:
        """All its moves are random."""
        return 1.0

    @property
    def is_uniform(self) -> bool:
        return True

    @property
    def native_epsilon(self) -> float:
        return self.epsilon

    @property
    def search_depth(self) -> int:
        return 0

    def mover(self, game: Game) -> Mover:
        return NativeMover(game, self.epsilon)


@register("epsilon_greedy")
@config
class EpsilonGreedyPlayer(Player):
    """Plays the move with the best evaluation one ply ahead (ties at random), or sometimes a random one."""

    epsilon: Share = 0.1
    """Probability of a random move, 0 to 1."""

    @property
    def native_epsilon(self) -> float:
        return self.epsilon

    def mover(self, game: Game) -> Mover:
        return NativeMover(game, self.epsilon)
