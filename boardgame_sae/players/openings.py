"""How games begin before the players take over: `random:plies=6`, or by an opening book, `book:plies=12`.

A new opening is a config class that registers itself, in any module of this folder.
"""

import bisect
import itertools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from boardgame_sae.config import ConfigError, Natural, config, from_mapping, parse_spec
from boardgame_sae.games import Game, MoveRecord, SplitMix64
from boardgame_sae.registry import Registry

Entries = Callable[[Any], Sequence[tuple[int, int]]]
"""A function from a position to the moves that a book has there, each with its weight, in order of their codes."""


class Opening(Protocol):
    """A way to begin games."""

    def content(self, game: Game) -> Path | None:
        """A file that the moves depend on, if there is one. Raises ConfigError when it is missing."""
        ...

    def play(self, game: Game, seeds: Sequence[int]) -> MoveRecord:
        """The first moves of one game for each seed. Raises ConfigError when the game cannot begin so."""
        ...


@runtime_checkable
class HasBooks(Protocol):
    """A game that opening books are written for."""

    book_paths: tuple[str, ...]
    """Where a book may be installed."""
    book_advice: str
    """How one is installed."""

    def open_book(self, path: Path) -> AbstractContextManager[Entries]:
        """A book."""
        ...


O = TypeVar("O", bound=type)  # noqa: E741
_OPENINGS: Registry[type] = Registry("opening", "boardgame_sae.players")


def register_opening(name: str) -> Callable[[O], O]:
    """Register an opening's config class under a name. Raises ValueError when the name is taken."""

    def keep(cls: O) -> O:
        _OPENINGS.add(name, cls)
        return cls

    return keep


def openings() -> tuple[str, ...]:
    """Names of the registered openings."""
    return _OPENINGS.names()


def make_opening(text: str | None) -> Opening:
    """An opening from its text; none: the players begin. Raises ConfigError naming an unknown name or setting."""
    name, settings = parse_spec(text or "random:plies=0", "opening")
    source = f"opening '{text}'"
    return from_mapping(_OPENINGS.find(name, f"{source}: "), settings, source)


@register_opening("random")
@config
class RandomOpening:
    """Random plies."""

    plies: Natural = 6
    """How many."""

    def content(self, game: Game) -> None:
        """Nothing but the rules."""

    def play(self, game: Game, seeds: Sequence[int]) -> MoveRecord:
        """The first plies of random games."""
        return game.play_games(np.array(seeds, np.uint64)).cut(self.plies)


@register_opening("book")
@config
class BookOpening:
    """A walk through an opening book, each move as likely as its weight, until the book or the plies end."""

    path: str | None = None
    """The book (default: one that is installed where the game looks for it)."""
    plies: Natural = 12
    """Plies it plays at most."""

    def content(self, game: Game) -> Path:
        """The book. Raises ConfigError when it is not there, or the game has no books."""
        with_books = _with_books(game)
        paths = [self.path] if self.path else with_books.book_paths
        book = next((Path(path) for path in paths if Path(path).is_file()), None)
        if book is None:
            raise ConfigError(
                f"opening book: no file {' or '.join(paths)}; give book:path=..., or {with_books.book_advice}"
            )
        return book

    def play(self, game: Game, seeds: Sequence[int]) -> MoveRecord:
        """One walk for each seed. Raises ConfigError when there is no book, or the game has none."""
        with _with_books(game).open_book(self.content(game)) as entries:
            return MoveRecord.of([self._walk(game, entries, SplitMix64(seed)) for seed in seeds])

    def _walk(self, game: Game, entries: Entries, random: SplitMix64) -> list[int]:
        position, moves = game.start(), []
        while len(moves) < self.plies and (known := entries(position)):
            totals = list(itertools.accumulate(weight for _, weight in known))
            moves.append(known[bisect.bisect_right(totals, random.below(totals[-1]))][0])
            position = game.play(position, moves[-1])
        return moves


def _with_books(game: Game) -> HasBooks:
    if not isinstance(game, HasBooks):
        raise ConfigError(f"opening book: there are no opening books of {game.name}; choose another opening")
    return game
