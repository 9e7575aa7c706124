"""The player of known skill that every machine has: an engine where it is installed, else the built-in player."""

from typing import Annotated

from boardgame_sae.config import ConfigError, Count, config, spec_of
from boardgame_sae.players.registry import Ladder, Player, register
from boardgame_sae.players.uci.engine import find_engine


@register("graded")
@config
class GradedPlayer(Player):
    """Stockfish where it is installed, else the built-in player."""

    depth: Count = 1
    """Plies it looks ahead."""
    temperature: Annotated[str | int | float, Ladder] | None = None
    """Pawns, as of those two; by default as each of them has it."""

    @property
    def stands_for(self) -> str:
        settings = {"depth": self.depth}
        settings |= {} if self.temperature is None else {"temperature": self.temperature}
        try:
            find_engine("stockfish")
        except ConfigError:
            return spec_of("search", settings)
        return spec_of("stockfish", settings)
