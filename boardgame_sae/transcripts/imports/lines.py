"""Text with one game a line: `f5d6c3d3c4`, `F5 D6 C3`, `1. f5 2. d6 33-31`, or a line of a table that holds it."""

import re
from collections.abc import Iterator

from boardgame_sae.games import Game
from boardgame_sae.transcripts.imports.game_format import PASSES, GameFormat, Written, game_format, is_text, moves_of

_COMMENT = re.compile(r"\s*([#%;]|//|$)")
_QUOTES = str.maketrans("[](){}\"'", " " * 8)


def _read(data: bytes, game: Game) -> Iterator[Written]:
    for number, line in enumerate(data.decode("utf-8-sig", errors="replace").splitlines(), 1):
        if not _COMMENT.match(line):
            text = _moves_in(line, game)
            yield Written(f"line {number}", text, "" if text else "no moves")


def _moves_in(line: str, game: Game) -> str:
    """The moves of a line: all of it, the longest of its columns that is made of moves, or all columns that are."""
    line = line.translate(_QUOTES)
    columns = [column.strip() for column in re.split(r"[,;|\t]", line) if column.strip()]
    played = [moves_of(column, game) for column in columns if _is_moves(column, game)]
    longest = max(played, key=len, default="")
    if len(columns) == 1:
        return moves_of(line, game)
    return longest if len(longest) > game.max_written else " ".join(played)


def _is_moves(column: str, game: Game) -> bool:
    """Whether a column begins with a move of the game: the rest is for the rules to judge."""
    text = moves_of(column, game)
    first = "".join(text.split())[: game.max_written]
    return first in game.alphabet[1:] or text in PASSES


game_format("lines", GameFormat("text, one game a line", 100, is_text, _read))
