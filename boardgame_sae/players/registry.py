"""Who picks the moves: players by name, with their settings, as text. Each registers itself in its own module.

    random                                        picks every legal move with equal probability
    epsilon_greedy:epsilon=0.2                    the greediest move, or sometimes a random one
    search:depth=1,temperature=8/4/2/1/0.5/0.25   the game's built-in player, its strength set by its temperature
    stockfish:temperature=1                       an engine, its moves drawn from a softmax over all their scores
    stockfish:nodes=1000,skill=3                  an engine's own best move, at a strength the engine offers
    uci:path=/opt/engines/x,depth=4               any other engine
    graded:temperature=8/1/0.25                   stockfish where it is installed, else search

A temperature is in pawns. Of several, each game draws one for each side: a known grade of skill, kept in the corpus.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from pydantic import AfterValidator

from boardgame_sae.config import ConfigError, from_mapping, parse_spec
from boardgame_sae.games import Game, MoveRecord
from boardgame_sae.players.movers import Mover
from boardgame_sae.registry import Registry

P = TypeVar("P", bound="type[Player]")


class Player:
    """A player is a config, and says how it plays: move by move, and whether a game can play for it in bulk."""

    @property
    def ladder(self) -> tuple[float, ...]:
        """Temperatures in pawns of which each game draws one; none where it has no such thing."""
        return ()

    @property
    def strength(self) -> float:
        """Its playing strength on a scale of its own kind, where its settings and no temperature say; else NaN."""
        return math.nan

    @property
    def is_uniform(self) -> bool:
        """Whether it picks every legal move with equal probability."""
        return False

    @property
    def native_epsilon(self) -> float | None:
        """Its share of random moves, where `Game.play_games` plays as it does; None where not."""
        return None

    @property
    def search_depth(self) -> int | None:
        """Plies it looks ahead, 0 for random play, where a game's built-in player plays as it does; None where not."""
        return None

    @property
    def is_engine(self) -> bool:
        """Whether it is another program: while it thinks, another game can go on."""
        return False

    @property
    def games_per_part(self) -> int:
        """Games that it is worth playing in one piece, a minute or less of work."""
        return 8192

    @property
    def stands_for(self) -> str | None:
        """The text of the player that plays in its place on this machine; None where it plays itself."""
        return None

    def mover(self, game: Game) -> Mover:
        """The player at work on a game. Raises ConfigError when it cannot play that game or its engine is missing."""
        raise ConfigError(f"{type(self).__name__} does not say how it plays {game.name}")

    def evaluate(self, game: Game, record: MoveRecord) -> np.ndarray:  # noqa: ARG002
        """Centipawns for the player to move of every position of some games, the start first: int64.

        A position in which the game is over has the value of its result. Raises ConfigError when the player does not
        evaluate positions of that game, RunError when its engine fails again and again.
        """
        raise ConfigError("that player does not evaluate positions; give an engine, or the game's built-in player")


_PLAYERS: Registry[type[Player]] = Registry("player", "boardgame_sae.players")


def register(name: str) -> Callable[[P], P]:
    """Register a player's config class under a name. Raises ValueError when the name is taken."""

    def keep(cls: P) -> P:
        _PLAYERS.add(name, cls)
        return cls

    return keep


def players() -> tuple[str, ...]:
    """Names of the registered players."""
    return tuple(sorted(_PLAYERS.names()))


def make_player(text: str) -> Player:
    """A player from its text: `name` or `name:setting=value,setting=value`.

    Raises ConfigError naming the text when the player or a setting is unknown or mistyped.
    """
    player = _read(text)
    return player if player.stands_for is None else _read(player.stands_for)


def settle_player(text: str) -> str:
    """A player's text, or that of the player it stands for on this machine. Raises what `make_player` raises."""
    return _read(text).stands_for or text


def plays_uniformly(text: str) -> bool:
    """Whether a player of that text picks every legal move with equal probability; not so if none is registered."""
    return parse_spec(text, "player")[0] in _PLAYERS.names() and make_player(text).is_uniform


def rating(player: Player, temperature: float) -> float:
    """How strong a player is, on a scale of its own kind; NaN where nothing says.

    With a temperature it is -log2 of it, so that half the temperature is one more.
    """
    return player.strength if math.isnan(temperature) else -math.log2(temperature)


def read_ladder(temperature: Any) -> tuple[float, ...]:
    """Temperatures of a text like `8/4/0.5`. Raises ValueError when one is not a positive number."""
    try:
        ladder = tuple(float(part) for part in str(temperature).split("/"))
    except ValueError:
        raise ValueError(f"temperature is a number of pawns, or several like 8/4/0.5, not {temperature!r}") from None
    if not all(0 < value < math.inf for value in ladder):
        raise ValueError(f"temperature must be above 0 pawns, not {temperature!r}")
    return ladder


def _checked_ladder(temperature: Any) -> Any:
    read_ladder(temperature)
    return temperature


Ladder = AfterValidator(_checked_ladder)
"""Marks a config's field of one temperature or several: `Annotated[str | float, Ladder]`."""


def _read(text: str) -> Player:
    name, settings = parse_spec(text, "player")
    source = f"player '{text}'"
    return from_mapping(_PLAYERS.find(name, f"{source}: "), settings, source)
