"""The rules of the games, and what is true on their boards. `load_game("othello")` is the way in."""

from boardgame_sae.games import othello, othello_properties
from boardgame_sae.games.game import Boards, Game, IllegalMove, MoveRecord, games, load_game, register
from boardgame_sae.games.property import BoardProperty, board_property

__all__ = [
    "BoardProperty",
    "Boards",
    "Game",
    "IllegalMove",
    "MoveRecord",
    "board_property",
    "games",
    "load_game",
    "othello",
    "othello_properties",
    "register",
]
