"""Text with headers and numbered moves, as chess has it: `[Event "..."]`, then `1. f5 d6 2. c3 d3 33-31`."""

import re
from collections.abc import Iterator

from boardgame_sae.games import Game
from boardgame_sae.transcripts.imports.game_format import GameFormat, Written, game_format, is_text, moves_of

_HEADER = re.compile(rb"^\s*\[\w+\s+\"", re.MULTILINE)
_COMMENT = re.compile(r"\{[^}]*\}|;[^\n]*|\$\d+|[?!]+")


def _fits(data: bytes) -> bool:
    return is_text(data) and _HEADER.search(data) is not None


def _read(data: bytes, game: Game) -> Iterator[Written]:
    moves: list[str] = []
    began, in_headers = 0, False
    for number, line in enumerate(data.decode("utf-8-sig", errors="replace").splitlines(), 1):
        is_header = _HEADER.match(line.encode()) is not None
        if is_header and not in_headers:
            if began:
                yield _game(began, moves, game)
            began, moves = number, []
        in_headers = is_header or (in_headers and not line.strip() and not moves)
        if not is_header:
            moves.append(line)
    if began:
        yield _game(began, moves, game)


def _game(began: int, lines: list[str], game: Game) -> Written:
    text, depth, main_line = _COMMENT.sub(" ", "\n".join(lines)), 0, list[str]()
    for part in re.split(r"([()])", text):
        depth += {"(": 1, ")": -1}.get(part, 0)
        if depth == 0 and part != ")":
            main_line.append(part)
    place, moves = f"line {began}", moves_of(" ".join(main_line), game)
    if depth or "{" in text:
        return Written(place, "", "a comment or variation without an end")
    return Written(place, moves, "" if moves else "no moves")


game_format("pgn", GameFormat("text with headers, as PGN", 50, _fits, _read))
