"""The columns of a corpus that are filled from the headers of games. Texts are kept whole, up to LONGEST_TEXT bytes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from boardgame_sae.games import Result
from boardgame_sae.games.chess.game import COLUMNS
from boardgame_sae.games.chess.notation import RESULTS
from boardgame_sae.games.record import LONGEST_TEXT
from boardgame_sae.transcripts.pgn.characters import as_utf8
from boardgame_sae.transcripts.pgn.headers import Headers, elo, stated_result
from boardgame_sae.transcripts.pgn.reader import PGNGame

FROM_HEADERS = {
    name: np.dtype(COLUMNS[name].dtype)
    for name in ("white_elo", "black_elo", "result", "opening", "eco", "time_control")
}
"""The columns, and how they are stored where no text is longer."""
_TEXTS = [name for name, kind in FROM_HEADERS.items() if kind.kind == "S"]
_RESULT = {"1-0": Result.WON, "0-1": Result.LOST, "1/2-1/2": Result.DRAWN, "*": Result.UNFINISHED}


def result_of(game: PGNGame) -> str:
    """The result in the header, or else the one at the end of the text."""
    stated = stated_result(game.headers)
    return stated if stated in RESULTS[1:] else game.result


def _texts(headers: Headers) -> list[bytes]:
    """The texts in a game's headers, whole; empty where they are unknown."""
    opening = headers.get(b"Opening", b"") or headers.get(b"ECO", b"")
    texts = opening, headers.get(b"ECO", b""), headers.get(b"TimeControl", b"")
    return [b"" if text == b"?" else as_utf8(text) for text in texts]


def row_of(game: PGNGame) -> tuple[tuple[Any, ...], list[str]]:
    """A game's entries in the columns, and the names of those texts that had to be cut."""
    texts, cut = _texts(game.headers), []
    for place, (name, text) in enumerate(zip(_TEXTS, texts, strict=True)):
        if len(text) > LONGEST_TEXT:
            texts[place] = text[:LONGEST_TEXT].decode("utf-8", "ignore").encode()
            cut.append(name)
    elos = elo(game.headers, b"WhiteElo"), elo(game.headers, b"BlackElo")
    return (*elos, _RESULT[result_of(game)], *texts), cut


def pack(rows: Sequence[tuple[Any, ...]]) -> dict[str, np.ndarray]:
    """The columns of some games as arrays of numbers: a text is a row of bytes, as long as the longest needs."""
    columns = zip(*rows, strict=True) if rows else [()] * len(FROM_HEADERS)
    arrays = {}
    for (name, kind), values in zip(FROM_HEADERS.items(), columns, strict=True):
        width = max([kind.itemsize, *map(len, values)]) if kind.kind == "S" else 0
        column = np.array(values, f"S{width}" if width else kind)
        arrays[name] = column.view(np.uint8).reshape(len(rows), width) if width else column
    return arrays


def unpack(parts: Sequence[Mapping[str, np.ndarray]], n_games: int) -> dict[str, np.ndarray]:
    """The columns of the first games of some parts, from the arrays of `pack`."""
    columns = {}
    for name, kind in FROM_HEADERS.items():
        arrays = [part[name] for part in parts]
        if kind.kind == "S":
            arrays = [np.ascontiguousarray(array).view(f"S{array.shape[1]}")[:, 0] for array in arrays]
        columns[name] = np.concatenate(arrays)[:n_games]
        if kind.kind == "S":
            width = max([kind.itemsize, *np.char.str_len(columns[name]).tolist()])
            columns[name] = columns[name].astype(f"S{width}")
    return columns
