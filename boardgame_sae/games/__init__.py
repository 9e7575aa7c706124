"""The rules of the games, and what is true on their boards. `load_game("othello")` is the way in."""

from boardgame_sae.games.game import Game
from boardgame_sae.games.property import BoardProperty, board_property
from boardgame_sae.games.random_bits import SplitMix64
from boardgame_sae.games.record import (
    N_SKILLS,
    PLAYER_COLUMNS,
    UNKNOWN_EVALUATION,
    Boards,
    Column,
    IllegalMove,
    MoveRecord,
    Result,
)
from boardgame_sae.games.registry import games, load_game, register

__all__ = [
    "N_SKILLS",
    "PLAYER_COLUMNS",
    "UNKNOWN_EVALUATION",
    "BoardProperty",
    "Boards",
    "Column",
    "Game",
    "IllegalMove",
    "MoveRecord",
    "Result",
    "SplitMix64",
    "board_property",
    "games",
    "load_game",
    "register",
]
