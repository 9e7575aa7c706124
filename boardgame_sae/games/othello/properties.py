"""What is true of an Othello board, for every game of the family."""

import numpy as np

from boardgame_sae.games.othello.game import OthelloBoards, OthelloGame
from boardgame_sae.games.property import HasBoard, board_property

DIRECTIONS = {
    "N": (-1, 0),
    "NE": (-1, 1),
    "E": (0, 1),
    "SE": (1, 1),
    "S": (1, 0),
    "SW": (1, -1),
    "W": (0, -1),
    "NW": (-1, -1),
}
"""Steps in (rows, columns): row 1 is drawn at the top, so north lowers the row number."""


@board_property(family="othello", name="board", classes=("mine", "yours", "empty"), level="low", exclusive=True)
def board(game: OthelloGame, boards: OthelloBoards) -> np.ndarray:
    """Whose disc stands on the square: of the player to move, of the other, or none.

    The player to move is the true one. Published labels take the parity of the ply, which a pass upsets: on random
    8x8 games that is wrong at 0.7% of the positions, and at 6.7% of the last ones.
    """
    return game.unpack(boards.mine_N, boards.yours_N, ~(boards.mine_N | boards.yours_N))


@board_property(family="othello", name="mine_yours", classes=("mine", "yours"), level="low", exclusive=True)
def mine_yours(game: OthelloGame, boards: OthelloBoards) -> np.ndarray:
    """Whose disc stands on the square, empty squares left out: the published headline.

    `mine` is of the true player to move, as in `board`.
    """
    return game.unpack(boards.mine_N, boards.yours_N)


@board_property(family="othello", name="occupied", level="low")
def occupied(game: OthelloGame, boards: OthelloBoards) -> np.ndarray:
    """A disc stands on the square, whosever it is."""
    return game.unpack(boards.mine_N | boards.yours_N)


@board_property(family="othello", name="legal_move", level="high")
def legal_move(game: OthelloGame, boards: OthelloBoards) -> np.ndarray:
    """The player to move may play on the square."""
    return game.unpack(boards.legal_N)


@board_property(family="othello", name="flipped", level="high")
def flipped(game: OthelloGame, boards: OthelloBoards) -> np.ndarray:
    """The last ply turned (or, by some rules, removed) the disc on the square."""
    return game.unpack(boards.flipped_N)


def _line_classes(game: HasBoard) -> tuple[str, ...]:
    return tuple(f"{direction} {length}" for direction in DIRECTIONS for length in range(1, game.shape[0] - 1))


def _line_shape(game: HasBoard) -> tuple[int, ...]:
    return (*game.shape, len(DIRECTIONS), game.shape[0] - 2)


@board_property(
    family="othello",
    name="line",
    level="high",
    classes=_line_classes,
    shape=_line_shape,
    prefix="line",
    exclusive=False,
)
def line(game: OthelloGame, boards: OthelloBoards) -> np.ndarray:
    """From the empty square, in the direction, lie exactly so many discs of yours and then one of mine.

    Directions are seen from the square: `NE 2` is two discs towards row 1 and the last column. On these lines rest
    the legal moves of the classic rules, whether or not the game's own rules flank along all eight.
    """
    return game.lines(boards, tuple(DIRECTIONS.values()))


@board_property(
    family="othello", name="legal_direction", level="high", classes=tuple(DIRECTIONS), prefix="legal", exclusive=False
)
def legal_direction(game: OthelloGame, boards: OthelloBoards) -> np.ndarray:
    """The square is empty and from it, in the direction, lie discs of yours and then one of mine: there they turn."""
    return np.asarray(line(game, boards)).max(axis=-1)
