"""WTHOR, the French federation's databases of Othello (`.wtb`).

    header, 16 bytes     day it was made (4), games (int32), records of other kinds (int16), year (int16),
                         size of the board (0 means 8), type, depth, nothing
    each game, 68 bytes  tournament, black, white (int16 each), black's discs, the same with perfect play,
                         60 moves, each 10 * row + column from 11 to 88, and 0 after the last

Passes are not written. Numbers are little-endian.
Source: ffothello.org, "La base WTHOR", its description of the format.
"""

import struct
from collections.abc import Iterator

from boardgame_sae.config import ConfigError
from boardgame_sae.games import Game
from boardgame_sae.transcripts.imports.game_format import GameFormat, Written, game_format, is_text

_HEADER, _RECORD, _MOVES = 16, 68, 60


def _n_games(data: bytes) -> int:
    return struct.unpack_from("<i", data, 4)[0]


def _fits(data: bytes) -> bool:
    """By the month and day it was made and its size: whole records of 68 bytes, or fewer where it is cut short."""
    if len(data) < _HEADER or is_text(data):
        return False
    records = len(data) - _HEADER
    return 1 <= data[2] <= 12 and 1 <= data[3] <= 31 and _n_games(data) > 0 and records <= _RECORD * _n_games(data)


def _read(data: bytes, game: Game) -> Iterator[Written]:
    n_games, size = _n_games(data), data[12] or 8
    if game.family != "othello" or game.shape != (size, size):
        raise ConfigError(f"holds Othello on {size} rows, not {game.spec}; choose another --game")
    if len(data) != _HEADER + _RECORD * n_games:
        held = (len(data) - _HEADER) // _RECORD
        raise ConfigError(f"cut short: its header says {n_games} games, it holds {held} whole ones; get it again")
    for number in range(n_games):
        first = _HEADER + _RECORD * number + _RECORD - _MOVES
        yield _game(f"game {number + 1}", data[first : first + _MOVES].rstrip(b"\0"), game)


def _game(place: str, moves: bytes, game: Game) -> Written:
    """The moves by their squares' names."""
    n_rows, n_columns = game.shape
    names = []
    for move in moves:
        row, column = move // 10 - 1, move % 10 - 1
        if not (0 <= row < n_rows and 0 <= column < n_columns):
            return Written(place, "", f"no square has the number {move}")
        names.append(game.squares[row * n_columns + column])
    return Written(place, " ".join(names), "" if names else "no moves")


game_format("wthor", GameFormat("a WTHOR database (.wtb)", 10, _fits, _read))
