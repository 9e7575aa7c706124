"""How games begin before the players take over: `random:plies=6`, or by a polyglot book, `book:plies=12`."""

import bisect
import itertools
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from boardgame_sae.config import ConfigError, config, from_mapping, parse_spec
from boardgame_sae.games import Game, MoveRecord, SplitMix64

BOOKS = ("/usr/share/games/gnuchess/book.bin", "/usr/local/share/gnuchess/book.bin")
"""Where Debian's gnuchess-book, which is in the public domain, lies."""


class Opening(Protocol):
    """A way to begin games."""

    @property
    def content(self) -> Path | None:
        """A file that the moves depend on."""
        ...

    def play(self, game: Game, seeds: Sequence[int]) -> MoveRecord:
        """The first moves of one game for each seed."""
        ...


@config
class RandomOpening:
    """Random plies."""

    plies: int = 6
    """How many."""

    def __post_init__(self) -> None:
        if self.plies < 0:
            raise ValueError(f"plies are 0 or more, not {self.plies}")

    @property
    def content(self) -> None:
        """Nothing but the rules."""
        return

    def play(self, game: Game, seeds: Sequence[int]) -> MoveRecord:
        """The first plies of random games."""
        return game.play_games(np.array(seeds, np.uint64)).cut(self.plies)


@config
class BookOpening:
    """A walk through a polyglot book, each move as likely as its weight, until the book or the plies end."""

    path: str | None = None
    """The book (default: that of the package gnuchess-book)."""
    plies: int = 12
    """The most it plays."""

    @cached_property
    def content(self) -> Path:
        """The book. Raises ConfigError when it is not there."""
        places = [self.path] if self.path else BOOKS
        found = next((Path(place) for place in places if Path(place).is_file()), None)
        if found is None:
            raise ConfigError(
                f"opening book: no file {' or '.join(places)}; give book:path=..., or apt-get install gnuchess-book"
            )
        return found

    def play(self, game: Game, seeds: Sequence[int]) -> MoveRecord:
        """One walk for each seed. Raises ConfigError when the game has no such books."""
        from chess.polyglot import MemoryMappedReader

        from boardgame_sae.games.chess.game import ChessGame, move_code

        if not isinstance(game, ChessGame):
            raise ConfigError(f"opening book: there are no polyglot books for {game.name}")
        games = []
        with MemoryMappedReader(self.content) as book:
            for seed in seeds:
                random, board, moves = SplitMix64(seed), game.start().board, []
                while len(moves) < self.plies:
                    entries = [entry for entry in book.find_all(board) if entry.weight]
                    if not entries:
                        break
                    entries.sort(key=lambda entry: move_code(entry.move))
                    totals = list(itertools.accumulate(entry.weight for entry in entries))
                    drawn = ((random.draw() >> 32) * totals[-1]) >> 32
                    move = entries[bisect.bisect_right(totals, drawn)].move
                    moves.append(move_code(move))
                    board.push(move)
                games.append(moves)
        return MoveRecord.of(games)


OPENINGS: dict[str, type] = {"random": RandomOpening, "book": BookOpening}


def make_opening(text: str | None) -> Opening:
    """An opening from its text; none: the players begin. Raises ConfigError naming an unknown name or setting."""
    name, values = parse_spec(text or "random:plies=0", "opening")
    if name not in OPENINGS:
        raise ConfigError(f"opening '{text}': unknown name '{name}'; the openings are {', '.join(OPENINGS)}")
    return from_mapping(OPENINGS[name], values, f"opening '{text}'")
