"""The rules of the games, and what is true on their boards. `load_game("othello")` is the way in."""

from boardgame_sae.games import chess, chess_properties, othello, othello_properties
from boardgame_sae.games.game import Game, SplitMix64, games, load_game, register
from boardgame_sae.games.property import BoardProperty, board_property
from boardgame_sae.games.record import UNKNOWN_EVALUATION, Boards, IllegalMove, MoveRecord

__all__ = [
    "UNKNOWN_EVALUATION",
    "BoardProperty",
    "Boards",
    "Game",
    "IllegalMove",
    "MoveRecord",
    "SplitMix64",
    "board_property",
    "chess",
    "chess_properties",
    "games",
    "load_game",
    "othello",
    "othello_properties",
    "register",
]
