"""Properties: what is true of a board, by name, for any game of a family.

A property is a function of a batch of boards. The decorator registers it; a game binds it to its own board:

    @board_property(family="othello", name="legal_move", level="high")
    def legal_move(game, boards):
        \"\"\"The player to move may play on the square.\"\"\"
        return game.unpack(boards.legal_N)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from boardgame_sae.games.record import Boards
from boardgame_sae.registry import Registry

Level = Literal["low", "high"]
LEVELS = ("low", "high")


class HasBoard(Protocol):
    """What a property asks of its game."""

    @property
    def name(self) -> str:
        """The game's name, for messages."""
        ...

    @property
    def family(self) -> str:
        """The family whose properties it shares."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        ...

    @property
    def squares(self) -> tuple[str, ...]:
        """Names of the squares, row by row."""
        ...


@dataclass(frozen=True)
class BoardProperty:
    """One property of one game's boards: what it means, how its labels are laid out, and how to compute them."""

    name: str
    meaning: str
    """The first line of the function's docstring."""
    shape: tuple[int, ...]
    """Shape of one position's labels. The board's axes come first where each square has one label or more."""
    classes: tuple[str, ...]
    """Names along the axes that follow the board's, flattened; empty where each square (or position) has one label."""
    level: Level
    """`low`: what stands on a square. `high`: what follows from the rules."""
    game: HasBoard = field(repr=False)
    function: Callable[[Any, Any], np.ndarray] = field(repr=False)
    prefix: str = ""
    """A word put before the classes in `class_names`, where they do not speak for themselves."""
    needs: str = ""
    """The column that the corpus must have for it; where its value is unknown, no class is true."""
    source: str = ""
    """How a corpus comes by what the property needs, as advice."""
    exclusive: bool | None = None
    """Whether at most one of a square's (or the position's) classes is true; None where that is not declared."""

    @property
    def title(self) -> str:
        """The name as prose."""
        return self.name.replace("_", " ")

    @property
    def size(self) -> int:
        """Labels per position, flattened."""
        return math.prod(self.shape)

    @property
    def class_names(self) -> list[str]:
        """A name for each flattened entry, row-major: `d3 mine`, `d3 legal_move`, `d3 line NE 2`."""
        endings = [f"{self.prefix} {name}".strip() for name in self.classes] or [self.name]
        if self.shape[:2] != self.game.shape:
            return endings
        return [f"{square} {ending}" for square in self.game.squares for ending in endings]

    def evaluate(self, boards: Boards) -> np.ndarray:
        """The labels of a batch of boards: bool (len(boards), *shape)."""
        return self.function(self.game, boards)


@dataclass(frozen=True)
class _Definition:
    """A registered property before a game binds it."""

    function: Callable[[Any, Any], np.ndarray]
    level: Level
    classes: Callable[[HasBoard], tuple[str, ...]]
    shape: Callable[[HasBoard], tuple[int, ...]] | None
    prefix: str
    needs: str
    source: str
    exclusive: bool | None

    def bind(self, game: HasBoard, name: str) -> BoardProperty:
        classes = self.classes(game)
        shape = self.shape(game) if self.shape else (*game.shape, len(classes)) if classes else game.shape
        meaning = (self.function.__doc__ or name).strip().splitlines()[0]
        own = (self.level, game, self.function, self.prefix, self.needs, self.source, self.exclusive)
        return BoardProperty(name, meaning, tuple(shape), classes, *own)


_FAMILIES: dict[str, Registry[_Definition]] = {}
"""The properties of each family; the modules that register them are those of `games`, which its registry imports."""


def board_property(
    *,
    family: str,
    name: str,
    level: Level,
    classes: tuple[str, ...] | Callable[[HasBoard], tuple[str, ...]] = (),
    shape: Callable[[HasBoard], tuple[int, ...]] | None = None,
    prefix: str = "",
    needs: str = "",
    source: str = "",
    exclusive: bool | None = None,
) -> Callable[[Callable[[Any, Any], np.ndarray]], Callable[[Any, Any], np.ndarray]]:
    """Register a function `(game, boards) -> bool (len(boards), *shape)` as a property of every game of a family.

    shape: by default the board's, and a last axis for the classes if there are any.
    classes: names, or a function of the game that gives them. needs: the column that the corpus must have for it;
    source: how the corpus comes by that. exclusive: whether at most one class of a square (or the position) is true.
    Raises ValueError when the family already has a property of that name, or the level is not `low` or `high`.
    """
    _check_level(level)

    def named(game: HasBoard) -> tuple[str, ...]:
        return classes(game) if callable(classes) else classes

    def add(function: Callable[[Any, Any], np.ndarray]) -> Callable[[Any, Any], np.ndarray]:
        known = _FAMILIES.setdefault(family, Registry(f"{family} property"))
        known.add(name, _Definition(function, level, named, shape, prefix, needs, source, exclusive))
        return function

    return add


def properties_of(game: HasBoard, level: str | None = None) -> tuple[BoardProperty, ...]:
    """The properties registered for a game's family, bound to it, in order of registration.

    Raises ValueError when the level is neither None, `low` nor `high`.
    """
    if level is not None:
        _check_level(level)
    definitions = _definitions(game).all().items()
    return tuple(definition.bind(game, name) for name, definition in definitions if level in (None, definition.level))


def property_of(game: HasBoard, name: str) -> BoardProperty:
    """One property of a game by name. Raises ValueError, with the closest name, when it has none of that name."""
    return _definitions(game).find(name, f"{game.name}: ").bind(game, name)


def _definitions(game: HasBoard) -> Registry[_Definition]:
    return _FAMILIES.get(game.family, Registry(f"{game.family} property"))


def _check_level(level: str) -> None:
    if level not in LEVELS:
        raise ValueError(f"no property level {level!r}; the levels are {', '.join(LEVELS)}")
