"""A player at work on a game, one move at a time, and what happens when it is another program and fails."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from boardgame_sae.files import RunError
from boardgame_sae.games.random_bits import SplitMix64, soft_pick

RETRIES = 3
"""How often a game is started again, with new engines, before a failing engine is given up."""
T = TypeVar("T")


class EngineFailure(RuntimeError):  # noqa: N818 (a crash or a hang is a failure of the engine, not an error here)
    """An engine that crashed, hung or answered nonsense; the message names it, what it was sent and what came back."""


class Mover(Protocol):
    """A player at work."""

    @property
    def identity(self) -> str | None:
        """What its moves depend on beside its settings, such as an engine's own name and version."""
        ...

    def new_game(self) -> None:
        """A game begins. Raises EngineFailure."""
        ...

    def choose(self, position: Any, moves: Sequence[int], temperature: float, random: SplitMix64) -> int:
        """The move to play after `moves`. temperature: pawns, NaN where the player has none. Raises EngineFailure."""
        ...

    def close(self) -> None:
        """End what runs beside this program; the next game starts it again."""
        ...


class BuiltInMover:
    """A mover that needs nothing beside this program: a player's mover has only to choose."""

    identity: str | None = None

    def new_game(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


def with_new_engines(play: Callable[[], T], close: Callable[[], None]) -> T:
    """What `play` returns; when an engine fails it is called again, from its beginning, after `close` ended them all.

    Raises RunError with the last reason when an engine fails each time.
    """
    for left in reversed(range(RETRIES + 1)):
        try:
            return play()
        except EngineFailure as error:
            close()
            if not left:
                raise RunError(
                    f"the engine failed {RETRIES + 1} times in a row on one game, the last time: {error}; "
                    f"try another version of it, or a player that is built in"
                ) from error
    raise AssertionError("unreachable")


def draw_softly(scores: np.ndarray, temperature: float, random: SplitMix64) -> int:
    """The index of a score (centipawns), drawn from their softmax at a temperature in pawns; of one alone, no draw."""
    return 0 if len(scores) == 1 else int(soft_pick(scores, len(scores), temperature, random.fraction()))
