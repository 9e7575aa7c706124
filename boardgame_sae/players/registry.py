"""Who picks the moves: players by name, with their settings, as text.

    random                                        every legal move alike
    epsilon_greedy:epsilon=0.2                    the greediest move, or sometimes a random one
    search:depth=1,temperature=8/4/2/1/0.5/0.25   the built-in chess player, its strength known by its temperature
    stockfish:temperature=1                       an engine, its moves drawn from a softmax over all their scores
    stockfish:nodes=1000,skill=3                  an engine's own best move, at a strength the engine offers
    uci:path=/opt/engines/x,depth=4               any other engine
    graded:temperature=8/1/0.25                   stockfish where it is installed, else search

A temperature is in pawns. Of several, each game draws one for each side: a known grade of skill, kept in the corpus.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

from boardgame_sae.config import ConfigError, config, from_mapping, parse_spec, spec_of
from boardgame_sae.players.uci import find_engine


class Player:
    """A player is a config. How it plays is for `movers` and, in bulk, for the game to know."""

    @property
    def ladder(self) -> tuple[float, ...]:
        """Temperatures in pawns of which each game draws one; none where it has no such thing."""
        return ()

    @property
    def games_a_part(self) -> int:
        """Games that it is worth playing in one piece, a minute or less of work."""
        return 8192


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
    return tuple(sorted({*_players, "graded"}))


@register("random")
@config
class RandomPlayer(Player):
    """Plays every legal move with equal probability."""

    @property
    def epsilon(self) -> float:
        """All its moves are random."""
        return 1.0


@register("epsilon_greedy")
@config
class EpsilonGreedyPlayer(Player):
    """Plays the move with the best evaluation one ply ahead (ties at random), or sometimes a random one."""

    epsilon: float = 0.1
    """Probability of a random move, 0 to 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= 1:
            raise ValueError(f"epsilon is a probability, 0 to 1, not {self.epsilon}")


@register("search")
@config
class SearchPlayer(Player):
    """The built-in player: looks a few plies ahead, and draws its move from a softmax over the scores."""

    depth: int = 1
    """Plies it looks ahead, 1 to 3; exchanges are followed further."""
    temperature: str | float = 1.0
    """Pawns; several (`8/4/2`) are a ladder, of which each game draws one for each side."""

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= 3:
            raise ValueError(f"depth is 1 to 3 plies, not {self.depth}")
        _ladder(self.temperature)

    @property
    def ladder(self) -> tuple[float, ...]:
        """Its temperatures."""
        return _ladder(self.temperature)

    @property
    def games_a_part(self) -> int:
        """Tens of games a second at depth 1."""
        return 512 >> 2 * (self.depth - 1)


@register("uci")
@config
class UciPlayer(Player):
    """Any engine that speaks UCI. Without a temperature it plays its own best move."""

    path: str = "stockfish"
    """The program: a name to be found, or a path."""
    depth: int | None = None
    """Plies it searches (default 1, unless nodes are given)."""
    nodes: int | None = None
    """Positions it searches."""
    skill: int | None = None
    """Its option `Skill Level`."""
    uci_elo: int | None = None
    """Its options `UCI_LimitStrength` and `UCI_Elo`."""
    temperature: str | float | None = None
    """Pawns: moves are drawn from a softmax over their scores; several (`8/4/2`) are a ladder, one for each side."""
    multipv: int = 256
    """How many of its best moves have a score, when there is a temperature."""
    timeout: float = 30.0
    """Seconds after which it is taken to hang."""

    def __post_init__(self) -> None:
        for name in ("depth", "nodes", "multipv"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, not {getattr(self, name)}")
        if self.temperature is not None:
            _ladder(self.temperature)
            if self.skill is not None or self.uci_elo is not None:
                raise ValueError("temperature goes without skill and uci_elo: they would weaken the same player twice")

    @property
    def ladder(self) -> tuple[float, ...]:
        """Its temperatures."""
        return () if self.temperature is None else _ladder(self.temperature)

    @property
    def games_a_part(self) -> int:
        """Some games a second."""
        return 64

    @property
    def limit(self) -> str:
        """What bounds each search, in UCI's words."""
        bounds = [f"{name} {value}" for name, value in (("depth", self.depth), ("nodes", self.nodes)) if value]
        return " ".join(bounds) or "depth 1"

    @property
    def options(self) -> dict[str, str | int]:
        """The engine's options."""
        found: dict[str, str | int] = {"MultiPV": self.multipv} if self.ladder else {}
        if self.skill is not None:
            found["Skill Level"] = self.skill
        if self.uci_elo is not None:
            found |= {"UCI_LimitStrength": "true", "UCI_Elo": self.uci_elo}
        return found


register("stockfish")(UciPlayer)


def make_player(text: str) -> Player:
    """A player from its text: `name` or `name:setting=value,setting=value`.

    Raises ConfigError naming the text when the player or a setting is unknown or mistyped.
    """
    name, values = parse_spec(settle_player(text), "player")
    if name not in _players:
        raise ConfigError(f"player '{text}': unknown name '{name}'; the players are {', '.join(players())}")
    return from_mapping(_players[name], values, f"player '{text}'")


def settle_player(text: str) -> str:
    """A player's text with `graded` replaced by what it stands for here: stockfish, or search where there is none."""
    name, values = parse_spec(text, "player")
    if name != "graded":
        return text
    try:
        find_engine("stockfish")
    except ConfigError:
        return spec_of("search", {"depth": 1, **values})
    return spec_of("stockfish", {"depth": 1, **values})


def rating(player: Player, temperature: float) -> float:
    """How strong a player is, on a scale of its own kind; NaN where nothing says.

    With a temperature it is -log2 of it, so that half the temperature is one more.
    """
    if not math.isnan(temperature):
        return -math.log2(temperature)
    given: list[Any] = [getattr(player, name, None) for name in ("uci_elo", "skill")]
    return float(next((value for value in given if value is not None), math.nan))


def _ladder(temperature: str | float) -> tuple[float, ...]:
    """Temperatures of a text like `8/4/0.5`. Raises ValueError when one is not a positive number."""
    try:
        found = tuple(float(part) for part in str(temperature).split("/"))
    except ValueError:
        raise ValueError(f"temperature is a number of pawns, or several like 8/4/0.5, not {temperature!r}") from None
    if not all(0 < value < math.inf for value in found):
        raise ValueError(f"temperature must be above 0 pawns, not {temperature!r}")
    return found
