"""Players that are UCI engines: which, how strong, and their moves in a game that is under way."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Protocol, runtime_checkable

import numpy as np

from boardgame_sae.config import ConfigError, Count, Natural, Positive, config
from boardgame_sae.games import Game, MoveRecord, SplitMix64
from boardgame_sae.players.movers import EngineFailure, Mover, draw_softly, with_new_engines
from boardgame_sae.players.registry import Ladder, Player, read_ladder, register
from boardgame_sae.players.uci.engine import MATE, UciEngine, find_engine


@runtime_checkable
class SpeaksUci(Protocol):
    """A game that UCI engines play."""

    def uci(self, move: int) -> str:
        """A move's code in UCI's notation."""
        ...

    def from_uci(self, text: str) -> int:
        """The code of a move in UCI's notation. Raises ValueError when it is none."""
        ...

    def final_value(self, position: Any) -> int | None:
        """-1 where the player to move has lost, 0 where the game is drawn, None while it goes on."""
        ...


@register("uci")
@register("stockfish")
@config
class UciPlayer(Player):
    """Any engine that speaks UCI. Without a temperature it plays its own best move."""

    path: str = "stockfish"
    """The program: a name to be found, or a path."""
    depth: Count | None = None
    """Plies it searches (default 1, unless nodes are given)."""
    nodes: Count | None = None
    """Positions it searches."""
    skill: Natural | None = None
    """Its option `Skill Level`."""
    uci_elo: Count | None = None
    """Its options `UCI_LimitStrength` and `UCI_Elo`."""
    temperature: Annotated[str | float, Ladder] | None = None
    """Pawns: moves are drawn from a softmax over their scores; several (`8/4/2`) are a ladder, one for each side."""
    multipv: Count = 256
    """How many of its best moves have a score, when there is a temperature."""
    timeout: Positive = 30.0
    """Seconds after which it is taken to hang."""

    def __post_init__(self) -> None:
        if self.temperature is not None and (self.skill is not None or self.uci_elo is not None):
            raise ValueError("temperature goes without skill and uci_elo: they would weaken the same player twice")

    @property
    def ladder(self) -> tuple[float, ...]:
        return () if self.temperature is None else read_ladder(self.temperature)

    @property
    def strength(self) -> float:
        """`uci_elo`, or else `skill`."""
        given = (value for value in (self.uci_elo, self.skill) if value is not None)
        return float(next(given, math.nan))

    @property
    def is_engine(self) -> bool:
        return True

    @property
    def games_per_part(self) -> int:
        """It plays a few games per second."""
        return 64

    @property
    def limit(self) -> str:
        """What bounds each search, in UCI's words."""
        bounds = [f"{name} {value}" for name, value in (("depth", self.depth), ("nodes", self.nodes)) if value]
        return " ".join(bounds) or "depth 1"

    @property
    def options(self) -> dict[str, str | int]:
        """The engine's options."""
        options: dict[str, str | int] = {"MultiPV": self.multipv} if self.ladder else {}
        if self.skill is not None:
            options["Skill Level"] = self.skill
        if self.uci_elo is not None:
            options |= {"UCI_LimitStrength": "true", "UCI_Elo": self.uci_elo}
        return options

    def mover(self, game: Game) -> Mover:
        return UciMover(game, self)

    def evaluate(self, game: Game, record: MoveRecord) -> np.ndarray:
        if self.ladder or self.skill is not None or self.uci_elo is not None:
            raise ConfigError("evaluates at its full strength; leave out temperature, skill and uci_elo")
        mover = UciMover(game, self)
        try:
            values = [_evaluate_game(game, mover, moves.tolist()) for moves in record]
        finally:
            mover.close()
        return np.concatenate([np.empty(0, np.int64), *values])


class UciMover:
    """An engine at work, started when it is first needed."""

    def __init__(self, game: Game, player: UciPlayer) -> None:
        """Raises ConfigError when such engines do not play the game, or this one is not to be found."""
        if not isinstance(game, SpeaksUci):
            raise ConfigError(f"player uci: engines that speak UCI do not play {game.name}")
        self.game, self.player = game, player
        self.path, self.soft = find_engine(player.path), bool(player.ladder)
        self._engine: UciEngine | None = None
        self._text, self._n_written = "", 0

    @property
    def engine(self) -> UciEngine:
        """The running engine. Raises ConfigError when it cannot be started, EngineFailure when it does not answer."""
        if self._engine is None:
            self._engine = UciEngine(self.path, self.player.options, timeout=self.player.timeout)
        return self._engine

    @property
    def identity(self) -> str:
        return self.engine.name

    def new_game(self) -> None:
        """Have the engine forget all games before: its scores would depend on them."""
        self.engine.new_game()
        self._text, self._n_written = "", 0

    def choose(self, position: Any, moves: Sequence[int], temperature: float, random: SplitMix64) -> int:
        """The engine's best move, or one drawn from the softmax over its scores."""
        self._write(moves)
        if self.soft:
            lines = self.engine.lines(self._text, self.player.limit)
            scores = np.array([line.centipawns for line in lines], np.int64)
            chosen = lines[draw_softly(scores, temperature, random)].move if lines else None
        else:
            chosen = self.engine.best(self._text, self.player.limit)
        return self._checked(position, chosen)

    def value(self, position: Any, moves: Sequence[int]) -> int:
        """Centipawns for the player to move in a position, after `moves`; of a game that is over, its result."""
        result = self.game.final_value(position)
        if result is not None:
            return result * MATE
        self._write(moves)
        lines = self.engine.lines(self._text, self.player.limit)
        if not lines:
            raise EngineFailure(f"engine '{self.path}': sees no move after '{self._text}', and the game goes on")
        return lines[0].centipawns

    def _write(self, moves: Sequence[int]) -> None:
        """Write down what has been played since the last call."""
        self._text = " ".join([self._text, *map(self.game.uci, moves[self._n_written :])]).lstrip()
        self._n_written = len(moves)

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


def _evaluate_game(game: Game, mover: UciMover, moves: list[int]) -> np.ndarray:
    """The values of one game's positions; it is begun again, with a new engine, when the engine fails."""

    def evaluate() -> list[int]:
        mover.new_game()
        return [mover.value(position, moves[:ply]) for ply, position in enumerate(game.positions(moves))]

    return np.array(with_new_engines(evaluate, mover.close), np.int64)
