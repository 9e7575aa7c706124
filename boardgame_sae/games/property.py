"""Properties: what is true of a board, by name, for any game of a family.

A property is a function of a batch of boards. The decorator registers it; a game binds it to its own board:

    @board_property(family="othello", name="legal_move", level="high")
    def legal_move(game, boards):
        \"\"\"The player to move may play on the square.\"\"\"
        return game.unpack(boards.legal_N)
"""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from boardgame_sae.games.game import Boards, Game

Level = Literal["low", "high"]
LEVELS = ("low", "high")


@dataclass(frozen=True)
class BoardProperty:
    """One property of one game's boards: what it means, how its labels are laid out, and how to compute them."""

    name: str
    meaning: str
    """The first line of the function's docstring."""
    shape: tuple[int, ...]
    """Shape of one position's labels. The board's axes come first where there is one label a square or more."""
    classes: tuple[str, ...]
    """Names along the axes that follow the board's, flattened; empty where a square (or a position) has one label."""
    level: Level
    """`low`: what stands on a square. `high`: what follows from the rules."""
    game: "Game" = field(repr=False)
    function: Callable[[Any, Any], np.ndarray] = field(repr=False)
    prefix: str = ""
    """A word put before the class names in `labels`, where they do not speak for themselves."""
    needs: str = ""
    """The column of games that the corpus must have for it; where that does not tell, no class is true."""
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
        """Labels a position, flattened."""
        return math.prod(self.shape)

    @property
    def labels(self) -> list[str]:
        """A name for each flattened entry, row-major: `d3 mine`, `d3 legal_move`, `d3 line NE 2`."""
        endings = [f"{self.prefix} {name}".strip() for name in self.classes] or [self.name]
        if self.shape[:2] != self.game.shape:
            return endings
        return [f"{square} {ending}" for square in self.game.squares for ending in endings]

    def evaluate(self, boards: "Boards") -> np.ndarray:
        """The labels of a batch of boards: bool (len(boards), *shape)."""
        return self.function(self.game, boards)


@dataclass(frozen=True)
class _Definition:
    """A registered property before a game binds it."""

    function: Callable[[Any, Any], np.ndarray]
    level: Level
    classes: Callable[["Game"], tuple[str, ...]]
    shape: Callable[["Game"], tuple[int, ...]] | None
    prefix: str
    needs: str
    source: str
    exclusive: bool | None

    def bind(self, game: "Game", name: str) -> BoardProperty:
        classes = self.classes(game)
        shape = self.shape(game) if self.shape else (*game.shape, len(classes)) if classes else game.shape
        meaning = (self.function.__doc__ or name).strip().splitlines()[0]
        own = (self.level, game, self.function, self.prefix, self.needs, self.source, self.exclusive)
        return BoardProperty(name, meaning, tuple(shape), classes, *own)


_DEFINITIONS: dict[str, dict[str, _Definition]] = {}


def board_property(
    *,
    family: str,
    name: str,
    level: Level,
    classes: tuple[str, ...] | Callable[["Game"], tuple[str, ...]] = (),
    shape: Callable[["Game"], tuple[int, ...]] | None = None,
    prefix: str = "",
    needs: str = "",
    source: str = "",
    exclusive: bool | None = None,
) -> Callable[[Callable[[Any, Any], np.ndarray]], Callable[[Any, Any], np.ndarray]]:
    """Register a function `(game, boards) -> bool (len(boards), *shape)` as a property of every game of a family.

    shape: by default the board's, and a last axis for the classes if there are any.
    classes: names, or a function of the game that gives them. needs: the column of games that the corpus must have for
    it; source: how it comes by that. exclusive: whether at most one class of a square (or of the position) is true.
    Raises ValueError when the family already has a property of that name, or the level is not `low` or `high`.
    """
    _check_level(level)

    def named(game: "Game") -> tuple[str, ...]:
        return classes(game) if callable(classes) else classes

    def add(function: Callable[[Any, Any], np.ndarray]) -> Callable[[Any, Any], np.ndarray]:
        known = _DEFINITIONS.setdefault(family, {})
        if name in known:
            raise ValueError(f"the {family} family already has a property {name!r}; choose another name")
        known[name] = _Definition(function, level, named, shape, prefix, needs, source, exclusive)
        return function

    return add


def properties_of(game: "Game", level: str | None = None) -> tuple[BoardProperty, ...]:
    """The properties registered for a game's family, bound to it, in order of registration.

    Raises ValueError when the level is neither None, `low` nor `high`.
    """
    if level is not None:
        _check_level(level)
    known = _DEFINITIONS.get(game.family, {})
    return tuple(made.bind(game, name) for name, made in known.items() if level in (None, made.level))


def property_of(game: "Game", name: str) -> BoardProperty:
    """One property of a game by name. Raises ValueError, with the closest names, when it has none of that name."""
    known = _DEFINITIONS.get(game.family, {})
    if name not in known:
        close = difflib.get_close_matches(name, known) or list(known)
        raise ValueError(f"{game.name} has no property {name!r}; did you mean {', '.join(close)}?")
    return known[name].bind(game, name)


def _check_level(level: str) -> None:
    if level not in LEVELS:
        raise ValueError(f"no property level {level!r}; the levels are {', '.join(LEVELS)}")
