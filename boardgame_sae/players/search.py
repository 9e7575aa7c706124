"""The player that a game brings with it, which looks a few plies ahead."""

from collections.abc import Sequence
from typing import Annotated, Any, Protocol, runtime_checkable

import numpy as np
from pydantic import Field

from boardgame_sae.config import ConfigError, config
from boardgame_sae.games import Boards, Game, MoveRecord, SplitMix64
from boardgame_sae.players.movers import BuiltInMover, Mover, draw_softly
from boardgame_sae.players.registry import Ladder, Player, read_ladder, register


@runtime_checkable
class Searchable(Protocol):
    """A game with a built-in player."""

    def score_moves(self, position: Any, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Codes of the legal moves, and the centipawns of each."""
        ...

    def search_boards(self, boards: Boards, depth: int) -> np.ndarray:
        """Centipawns of every board for the player to move, after a search."""
        ...


@register("search")
@config
class SearchPlayer(Player):
    """The built-in player: looks a few plies ahead, and draws its move from a softmax over the scores."""

    depth: Annotated[int, Field(ge=1, le=3)] = 1
    """Plies it looks ahead, 1 to 3; exchanges are followed further."""
    temperature: Annotated[str | float, Ladder] = 1.0
    """Pawns; several (`8/4/2`) are a ladder, of which each game draws one for each side."""

    @property
    def ladder(self) -> tuple[float, ...]:
        return read_ladder(self.temperature)

    @property
    def search_depth(self) -> int:
        return self.depth

    @property
    def games_per_part(self) -> int:
        """It plays tens of games per second at depth 1."""
        return 512 >> 2 * (self.depth - 1)

    def mover(self, game: Game) -> Mover:
        return SearchMover(searchable(game), self.depth)

    def evaluate(self, game: Game, record: MoveRecord) -> np.ndarray:
        return searchable(game).search_boards(game.boards(record), self.depth)


class SearchMover(BuiltInMover):
    """The built-in player at work."""

    def __init__(self, game: Searchable, depth: int) -> None:
        self.game, self.depth = game, depth

    def choose(self, position: Any, moves: Sequence[int], temperature: float, random: SplitMix64) -> int:  # noqa: ARG002
        """A move drawn from the softmax over all scores; nothing is drawn where only one is legal."""
        codes, scores = self.game.score_moves(position, self.depth)
        return int(codes[draw_softly(scores, temperature, random)])


def searchable(game: Game) -> Searchable:
    """A game that has a built-in player. Raises ConfigError for one that has none."""
    if not isinstance(game, Searchable):
        raise ConfigError(f"player search: {game.name} has no built-in player; choose another player")
    return game
