"""The rules of the games, and what is true on their boards. `load_game("othello")` is the way in."""

from boardgame_sae.games.game import Game
from boardgame_sae.games.property import BoardProperty, board_property
from boardgame_sae.games.random_bits import SplitMix64
from boardgame_sae.games.record import UNKNOWN_EVALUATION, Boards, IllegalMove, MoveRecord
from boardgame_sae.games.registry import games, load_game, register

__all__ = [
    "UNKNOWN_EVALUATION",
    "BoardProperty",
    "Boards",
    "Game",
    "IllegalMove",
    "MoveRecord",
    "SplitMix64",
    "board_property",
    "games",
    "load_game",
    "register",
]
