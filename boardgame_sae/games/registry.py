"""The games by name. Every module of this folder, and of the folders in it, registers its own."""

import inspect
from collections.abc import Callable
from typing import Any

from boardgame_sae.config import parse_spec, spec_of
from boardgame_sae.games.game import Game
from boardgame_sae.registry import Registry

_FACTORIES: Registry[Callable[..., Game]] = Registry("game", "boardgame_sae.games")
_LOADED: dict[tuple[str, tuple[tuple[str, Any], ...]], Game] = {}


def register(name: str, factory: Callable[..., Game]) -> None:
    """Make a game known: `load_game(name, **options)` will call `factory(**options)`, once for the same options.

    Raises ValueError when the name is taken.
    """
    _FACTORIES.add(name, factory)


def games() -> tuple[str, ...]:
    """Names of the registered games."""
    return _FACTORIES.names()


def load_game(spec: str, **options: Any) -> Game:
    """A game by name, with options if any: `load_game("othello:passes=explicit")`, or as keywords, which win.

    Raises ConfigError for an unknown name (with the closest one), ValueError for an option that the game does not take;
    both name the text.
    """
    name, given = parse_spec(spec, "game")
    factory = _FACTORIES.find(name)
    options = {**given, **options}
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as error:
        raise ValueError(f"the game {spec} does not take these options: {error}") from None
    key = (name, tuple(sorted(options.items())))
    if key not in _LOADED:
        try:
            _LOADED[key] = factory(**options)
        except ValueError as error:
            raise ValueError(f"game {spec_of(name, options)!r}: {error}") from error
    return _LOADED[key]
