"""Who picks the moves: players by name, with their settings, as text (`random`, `epsilon_greedy:epsilon=0.2`)."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from boardgame_sae.config import ConfigError, config, from_mapping
from boardgame_sae.games import Game, MoveRecord


class Player(Protocol):
    """A player is a config with a share of random moves; the rest are greedy for discs or material.

    Games play such players natively, in bulk. A player that searches adds its own way to play.
    """

    @property
    def epsilon(self) -> float:
        """Share of its moves that are uniformly random; the others maximise `Game.evaluate` one ply ahead."""
        ...


P = TypeVar("P", bound=type)
_players: dict[str, type] = {}


def register(name: str) -> Callable[[P], P]:
    """Register a player's config class under a name."""

    def keep(cls: P) -> P:
        _players[name] = cls
        return cls

    return keep


def players() -> tuple[str, ...]:
    """Names of the registered players."""
    return tuple(sorted(_players))


@register("random")
@config
class RandomPlayer:
    """Plays every legal move with equal probability."""

    @property
    def epsilon(self) -> float:
        """All its moves are random."""
        return 1.0


@register("epsilon_greedy")
@config
class EpsilonGreedyPlayer:
    """Plays the move with the best evaluation one ply ahead (ties at random), or sometimes a random one."""

    epsilon: float = 0.1
    """Probability of a random move, 0 to 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= 1:
            raise ValueError(f"epsilon is a probability, 0 to 1, not {self.epsilon}")


def make_player(text: str) -> Player:
    """A player from its text: `name` or `name:setting=value,setting=value`.

    Raises ConfigError naming the text when the player or a setting is unknown or mistyped.
    """
    name, _, settings = text.partition(":")
    if name not in _players:
        raise ConfigError(f"player '{text}': unknown name '{name}'; the players are {', '.join(players())}")
    values: dict[str, Any] = {}
    for setting in filter(None, settings.split(",")):
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"player '{text}': '{setting}' is not setting=value")
        values[key.strip()] = _number_or_text(value.strip())
    return from_mapping(_players[name], values, f"player '{text}'")


def _number_or_text(value: str) -> Any:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def play_games(game: Game, both: Sequence[Player], seeds_B: np.ndarray) -> MoveRecord:
    """Play one game per seed: `both` are the first and the second mover. Each game depends on its own seed alone."""
    first, second = both
    return game.play_games(seeds_B, (first.epsilon, second.epsilon))
