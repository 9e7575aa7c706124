"""Games of PGN text as this program and as python-chess read them."""

import io
import logging
from dataclasses import dataclass
from pathlib import Path

import chess.pgn

from boardgame_sae.games.chess.position import python_move
from boardgame_sae.transcripts.pgn.cutter import Cutter
from boardgame_sae.transcripts.pgn.headers import stated_result
from boardgame_sae.transcripts.pgn.reader import read_batch
from boardgame_sae.transcripts.pgn.source import Blocks, open_source


@dataclass
class ReadGame:
    """A game, by either reader."""

    moves: list[str]
    headers: dict[str, str]
    result: str
    fault: str
    """Why it is not kept; of python-chess, that it found an error in the game's own line."""


def ours(text: str | bytes, folder: Path) -> list[ReadGame]:
    """Every game of a text, those that are skipped too."""
    path = folder / "text.pgn"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    games = [
        game
        for batch in Cutter(Blocks(open_source(str(path), folder)))
        for game in read_batch(batch, 600, lambda _: "")
    ]
    return [
        ReadGame(
            [python_move(int(move)).uci() for move in game.moves],
            {name.decode(): value.decode("utf-8", "replace") for name, value in game.headers.items()},
            stated_result(game.headers) or game.result,
            game.fault,
        )
        for game in games
    ]


class MainLine(chess.pgn.GameBuilder):
    """Reads a game without its variations: an error in one is none of the game's."""

    def begin_variation(self):
        return chess.pgn.SKIP

    def end_variation(self):
        pass


def python_chess(text: str) -> list[ReadGame]:
    """Every game that python-chess finds."""
    logging.getLogger("chess.pgn").setLevel(logging.CRITICAL)
    lines, games = io.StringIO(text, newline=None), []
    while (game := chess.pgn.read_game(lines, Visitor=MainLine)) is not None:
        moves = [move.uci() for move in game.mainline_moves()]
        games.append(ReadGame(moves, dict(game.headers), game.headers["Result"], "; ".join(map(str, game.errors))))
    return games
