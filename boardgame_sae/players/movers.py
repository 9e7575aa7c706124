"""How a player picks its next move in a game that is under way, one move at a time."""

from collections.abc import Callable, Sequence
from functools import singledispatch
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from boardgame_sae.config import ConfigError
from boardgame_sae.files import RunError
from boardgame_sae.games import Game, SplitMix64
from boardgame_sae.games.chess.search import soft_pick
from boardgame_sae.players.registry import EpsilonGreedyPlayer, Player, RandomPlayer, SearchPlayer, UciPlayer
from boardgame_sae.players.uci import EngineFailure, UciEngine, find_engine

RETRIES = 3
"""How often a game is begun again, with new engines, before a failing engine is given up."""
T = TypeVar("T")


@runtime_checkable
class Searchable(Protocol):
    """A game with a built-in player."""

    def score_moves(self, position: Any, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Codes of the legal moves, and the centipawns of each."""
        ...


@runtime_checkable
class SpeaksUci(Protocol):
    """A game that UCI engines play."""

    def uci(self, move: int) -> str:
        """A move's code in UCI's notation."""
        ...

    def from_uci(self, text: str) -> int:
        """The code of a move in UCI's notation."""
        ...


class Mover(Protocol):
    """A player at work."""

    def new_game(self) -> None:
        """A game begins."""
        ...

    def choose(self, position: Any, moves: Sequence[int], temperature: float, random: SplitMix64) -> int:
        """The move to play after `moves`. temperature: pawns, NaN where the player has none."""
        ...

    def close(self) -> None:
        """End what runs beside this program; the next game starts it again."""
        ...


class NativeMover:
    """Random and greedy play."""

    def __init__(self, game: Game, epsilon: float) -> None:
        self.game, self.epsilon = game, epsilon

    def new_game(self) -> None:
        """Nothing to do."""

    def choose(self, position: Any, moves: Sequence[int], temperature: float, random: SplitMix64) -> int:  # noqa: ARG002
        """As `Game.play_games` does."""
        return self.game.choose(position, self.game.legal_moves(position), random, (self.epsilon, self.epsilon))

    def close(self) -> None:
        """Nothing to do."""


class SearchMover:
    """The built-in player."""

    def __init__(self, game: Game, player: SearchPlayer) -> None:
        if not isinstance(game, Searchable):
            raise ConfigError(f"player search: {game.name} has no built-in player; the chess game has")
        self.game, self.depth = game, player.depth

    def new_game(self) -> None:
        """Nothing to do."""

    def choose(self, position: Any, moves: Sequence[int], temperature: float, random: SplitMix64) -> int:  # noqa: ARG002
        """A move drawn from the softmax over all scores; nothing is drawn where only one is legal."""
        codes, scores = self.game.score_moves(position, self.depth)
        return int(codes[draw_softly(scores, temperature, random)])

    def close(self) -> None:
        """Nothing to do."""


class UciMover:
    """An engine, started when it is first needed."""

    def __init__(self, game: Game, player: UciPlayer) -> None:
        if not isinstance(game, SpeaksUci):
            raise ConfigError(f"player uci: engines that speak UCI do not play {game.name}")
        self.game, self.player = game, player
        self.path, self.soft = find_engine(player.path), bool(player.ladder)
        self._engine: UciEngine | None = None
        self._text, self._written = "", 0

    @property
    def engine(self) -> UciEngine:
        """The running engine."""
        if self._engine is None:
            self._engine = UciEngine(self.path, self.player.options, timeout=self.player.timeout)
        return self._engine

    def new_game(self) -> None:
        """Have the engine forget all games before, on which its scores would hang otherwise."""
        self.engine.new_game()
        self._text, self._written = "", 0

    def choose(self, position: Any, moves: Sequence[int], temperature: float, random: SplitMix64) -> int:
        """The engine's best move, or one drawn from the softmax over its scores."""
        self._tell(moves)
        if self.soft:
            lines = self.engine.lines(self._text, self.player.limit)
            scores = np.array([line.centipawns for line in lines], np.int64)
            chosen = lines[draw_softly(scores, temperature, random)].move if lines else None
        else:
            chosen = self.engine.best(self._text, self.player.limit)
        return self._checked(position, chosen)

    def value(self, moves: Sequence[int]) -> int:
        """Centipawns for the player to move after `moves`, when the engine plays its best."""
        self._tell(moves)
        lines = self.engine.lines(self._text, self.player.limit)
        if not lines:
            raise EngineFailure(f"engine '{self.path}': sees no move after '{self._text}', and the game goes on")
        return lines[0].centipawns

    def _tell(self, moves: Sequence[int]) -> None:
        """Write down what has been played since the last call."""
        self._text = " ".join([self._text, *map(self.game.uci, moves[self._written :])]).lstrip()
        self._written = len(moves)

    def _checked(self, position: Any, chosen: str | None) -> int:
        """The code of a move that an engine chose. Raises EngineFailure when the rules do not have it."""
        try:
            code = self.game.from_uci(chosen or "")
        except ValueError:
            code = -1
        if code not in self.game.legal_moves(position):
            raise EngineFailure(
                f"engine '{self.path}': played {chosen or 'no move'} after '{self._text}'; it is not legal"
            )
        return code

    def close(self) -> None:
        """End the engine."""
        if self._engine is not None:
            self._engine.close()
        self._engine = None


def with_new_engines(play: Callable[[], T], close: Callable[[], None], instead: str) -> T:
    """What `play` returns; when an engine fails it is called again, from its beginning, after `close` ended them all.

    instead: what else could be asked for. Raises RunError with the last reason when one fails each time.
    """
    for left in reversed(range(RETRIES + 1)):
        try:
            return play()
        except EngineFailure as error:
            close()
            if not left:
                raise RunError(
                    f"the engine failed {RETRIES + 1} times in a row on one game, the last time: {error}; "
                    f"try another version of it, or the built-in engine: {instead}"
                ) from error
    raise AssertionError("unreachable")


def draw_softly(scores: np.ndarray, temperature: float, random: SplitMix64) -> int:
    """The place of a score (centipawns), drawn from their softmax at a temperature in pawns."""
    if len(scores) == 1:
        return 0
    return int(soft_pick(scores, len(scores), temperature, (random.draw() >> 11) * 2.0**-53))


@singledispatch
def make_mover(player: Player, game: Game) -> Mover:
    """The player at work on a game. Raises ConfigError when it cannot play that game or its engine is missing."""
    raise ConfigError(f"player {player}: nothing says how it plays {game.name}")


@make_mover.register
def _(player: RandomPlayer, game: Game) -> Mover:
    return NativeMover(game, player.epsilon)


@make_mover.register
def _(player: EpsilonGreedyPlayer, game: Game) -> Mover:
    return NativeMover(game, player.epsilon)


@make_mover.register
def _(player: SearchPlayer, game: Game) -> Mover:
    return SearchMover(game, player)


@make_mover.register
def _(player: UciPlayer, game: Game) -> Mover:
    return UciMover(game, player)
