"""What a format of written games is, and how the format of a file is recognised."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from boardgame_sae.config import ConfigError
from boardgame_sae.games import Game
from boardgame_sae.registry import Registry

PASSES = frozenset(("--", "pa", "ps", "pass", "passe", "@@"))
"""How passes are written."""
_NUMBER = re.compile(r"(?<![a-z0-9])\d+\s*\.+\s*")
_RESULT = re.compile(r"(?<!\S)(\d+\s*[-:]\s*\d+|1/2-1/2|[+-]\d+(\.\d+)?|\*|=)\s*$")


class Written(NamedTuple):
    """A game as a file holds it."""

    place: str
    """Where it stands: `line 12`."""
    text: str
    """Its moves, as the game's `record` reads them."""
    fault: str = ""
    """Why it cannot be read, if it cannot."""


class GameFormat(NamedTuple):
    """A way in which files hold games."""

    title: str
    """What messages call it."""
    rank: int
    """Formats are tried in ascending order; the first that fits is taken."""
    fits: Callable[[bytes], bool]
    """Whether a file's bytes are of this format."""
    read: Callable[[bytes, Game], Iterator[Written]]
    """The games in a file's bytes. Raises ConfigError for a file that is cut short or of another game."""


_FORMATS: Registry[GameFormat] = Registry("format of games", "boardgame_sae.transcripts.imports")


def game_format(name: str, made: GameFormat) -> GameFormat:
    """Register a format. Raises ValueError when the name is taken."""
    return _FORMATS.add(name, made)


def format_of(data: bytes) -> GameFormat:
    """The format of a file's bytes. Raises ConfigError when it is none that is known."""
    known = sorted(_FORMATS.all().values(), key=lambda each: each.rank)
    found = next((each for each in known if each.fits(data)), None)
    if found is None:
        raise ConfigError(f"no games in a form that is known ({'; '.join(each.title for each in known)})")
    return found


def is_text(data: bytes) -> bool:
    """Whether bytes are text, by their beginning."""
    return b"\0" not in data[:4096]


def moves_of(text: str, game: Game) -> str:
    """The moves in a text, without numbers and result; a pass as the game writes it, or left out where it does not."""
    words = _RESULT.sub("", _NUMBER.sub(" ", text.casefold()).strip()).split()
    moves = (_in_game(word, game) for word in words if word in game.alphabet or not word.isdigit())
    return " ".join(filter(None, moves))


def _in_game(word: str, game: Game) -> str:
    """A written move, or several without a space between, as a game writes them."""
    own_pass = "--" if "--" in game.alphabet else ""
    if word in PASSES:
        return own_pass
    return re.sub(r"pass|--|@@|pa(?![1-9])|ps(?![1-9])", f" {own_pass} ", word).strip()
