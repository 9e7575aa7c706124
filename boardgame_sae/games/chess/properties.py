"""What is true of a chess position. Everything is stated for the player to move; squares are the board's own.

At the dots of a transcript White is to move, and these are the definitions of Karvonen et al. 2024 (arXiv 2408.00113),
except where the published code is wrong; each docstring says so.
"""

from collections.abc import Callable

import numpy as np

from boardgame_sae.games.chess import facts
from boardgame_sae.games.chess.game import ChessGame
from boardgame_sae.games.chess.position import ChessBoards
from boardgame_sae.games.property import HasBoard, board_property
from boardgame_sae.games.record import N_SKILLS, UNKNOWN_EVALUATION

PIECES = ("pawn", "knight", "bishop", "rook", "queen", "king")
YOURS, MINE = tuple(f"your {name}" for name in reversed(PIECES)), tuple(f"my {name}" for name in PIECES)
Truth = Callable[[ChessGame, ChessBoards], np.ndarray]


def _pieces(boards: ChessBoards, *, blank: bool, moved: bool = False) -> np.ndarray:
    labels_NSC = np.zeros((len(boards), 64, 13 if blank else 12), bool)
    facts.mark_pieces(boards.state_N, blank, moved, labels_NSC)
    return labels_NSC.reshape(len(boards), 8, 8, -1)


def _set(boards: ChessBoards, column: int) -> np.ndarray:
    labels_NS = np.empty((len(boards), 64), bool)
    facts.mark_sets(boards.truth[0][:, column], labels_NS)
    return labels_NS.reshape(-1, 8, 8)


@board_property(family="chess", name="piece", classes=(*YOURS, "empty", *MINE), level="low", exclusive=True)
def piece(game: ChessGame, boards: ChessBoards) -> np.ndarray:
    """Which piece stands on the square, and whose; or none."""
    return _pieces(boards, blank=True)


@board_property(family="chess", name="piece_masked_blank", classes=(*YOURS, *MINE), level="low", exclusive=True)
def piece_masked_blank(game: ChessGame, boards: ChessBoards) -> np.ndarray:
    """Which piece stands on the square, and whose; empty squares left out."""
    return _pieces(boards, blank=False)


@board_property(family="chess", name="piece_moved", classes=(*YOURS, *MINE), level="low", exclusive=True)
def piece_moved(game: ChessGame, boards: ChessBoards) -> np.ndarray:
    """Which piece stands on the square, where it did not at the start: the published board state.

    Empty squares are left out, and squares that hold what they held at the start of the game.
    """
    return _pieces(boards, blank=False, moved=True)


@board_property(family="chess", name="color", classes=("yours", "empty", "mine"), level="low", exclusive=True)
def color(game: ChessGame, boards: ChessBoards) -> np.ndarray:
    """Whose piece stands on the square."""
    labels_NSC = np.zeros((len(boards), 64, 3), bool)
    facts.mark_colours(boards.state_N, labels_NSC)
    return labels_NSC.reshape(-1, 8, 8, 3)


@board_property(family="chess", name="threat", level="high")
def threat(game: ChessGame, boards: ChessBoards) -> np.ndarray:
    """The opponent attacks the square, whatever stands there.

    The published code always takes Black for the opponent, which is right at the dots alone.
    """
    return _set(boards, facts.THREAT)


@board_property(family="chess", name="legal_move", level="high")
def legal_move(game: ChessGame, boards: ChessBoards) -> np.ndarray:
    """Some legal move ends on the square (castling: where the king ends).

    The published code takes White's moves alone, which is right at the dots.
    """
    return _set(boards, facts.LEGAL)


@board_property(family="chess", name="pseudo_legal_move", level="high")
def pseudo_legal_move(game: ChessGame, boards: ChessBoards) -> np.ndarray:
    """Some move ends on the square that would be legal if the own king could be left in check."""
    return _set(boards, facts.PSEUDO_LEGAL)


def _scalar(game: HasBoard) -> tuple[int, ...]:
    return ()


def _fact(name: str, meaning: str) -> None:
    """Register a yes-or-no property that the compiled truth has a column for."""
    column = facts.FACTS.index(name)

    def evaluate(game: ChessGame, boards: ChessBoards) -> np.ndarray:
        return boards.truth[1][:, column].copy()

    evaluate.__doc__ = meaning
    board_property(family="chess", name=name, level="high", shape=_scalar)(evaluate)


_fact("check", "The player to move is in check.")
_fact("can_check_next", "Some legal move gives check.")
_fact("has_queen", "The player to move has a queen.")
_fact(
    "can_capture_queen",
    """A legal move captures a queen.

    The published code looks at one of the opponent's queens only; here any counts.
    """,
)
_fact("has_bishop_pair", "The player to move has two bishops or more.")
_fact("castling_rights", "The player to move may still castle, on either side, now or later.")
_fact("castling_kingside", "The player to move may still castle on the king's side, now or later.")
_fact("castling_queenside", "The player to move may still castle on the queen's side, now or later.")
_fact(
    "fork",
    """A piece of the player to move attacks two or more of the opponent's rooks, queens and king.

    The published code counts targets of one type at a time, and the targets of all attackers of a type together, so it
    misses a fork of queen and rook and sees one where two knights attack a rook each; it leaves out the queen and the
    king as attackers, and pinned ones. Here any piece counts, and a pinned piece attacks, as in the rules.
    """,
)
_fact(
    "knight_fork",
    """A knight of the player to move attacks two or more of the opponent's rooks, queens and king.

    The published code adds up the targets of all knights.
    """,
)
_fact("pin", "A piece of either player is pinned to its own king.")
_fact("en_passant", "A capture in passing is legal.")
_fact(
    "ambiguous_move",
    "Two pieces of one type (pawns too) can legally go to one square, so that notation must say which.",
)
_fact("connected_rooks", "Two rooks of the player to move stand on one rank or file with nothing between.")
_fact("can_claim_draw", "The player to move can claim a draw, by repetition or fifty moves, with the next move too.")
_fact(
    "mate_threat",
    """The opponent would mate at once if it were to move; never so in check.

    The published code mirrors the board, which leaves the same player to move: it tells who can mate now.
    """,
)


def _amounts(game: HasBoard) -> tuple[int, ...]:
    return (facts.MOST_MATERIAL + 1,)


@board_property(
    family="chess",
    name="material",
    classes=tuple(str(amount) for amount in range(facts.MOST_MATERIAL + 1)),
    shape=_amounts,
    level="high",
    prefix="material",
    exclusive=True,
)
def material(game: ChessGame, boards: ChessBoards) -> np.ndarray:
    """Material of the player to move: pawn 1, knight and bishop 3, rook 5, queen 9; 39 and more are one class."""
    labels_NC = np.zeros((len(boards), facts.MOST_MATERIAL + 1), bool)
    facts.mark_material(boards.state_N, labels_NC)
    return labels_NC


@board_property(family="chess", name="last_move", level="high")
def last_move(game: ChessGame, boards: ChessBoards) -> np.ndarray:
    """The last ply ended on the square."""
    labels_NS = np.zeros((len(boards), 64), bool)
    played = np.flatnonzero(boards.last_N >= 0)
    labels_NS[played, boards.last_N[played] >> 3 & 63] = True
    return labels_NS.reshape(-1, 8, 8)


def _bins(game: HasBoard) -> tuple[int, ...]:
    return (N_SKILLS,)


@board_property(
    family="chess",
    name="skill",
    classes=tuple(str(place) for place in range(N_SKILLS)),
    shape=_bins,
    level="high",
    prefix="skill",
    needs="skill_first",
    source="games by players of several temperatures (search:depth=1,temperature=4/1/0.25), or a PGN with Elo ratings",
    exclusive=True,
)
def skill(game: ChessGame, boards: ChessBoards) -> np.ndarray:
    """How strong the player to move is: the bin of the known temperature or rating, 0 the weakest; none if unknown."""
    return boards.skill_N[:, None] == np.arange(N_SKILLS)


EVEN = 100
"""Centipawns of advantage that are still called even, as published."""
OUTLOOKS = ("losing", "even", "winning")


def _outlooks(game: HasBoard) -> tuple[int, ...]:
    return (len(OUTLOOKS),)


@board_property(
    family="chess",
    name="evaluation",
    classes=OUTLOOKS,
    shape=_outlooks,
    level="high",
    needs="evaluation",
    source="boardgame-sae annotate CORPUS --engine stockfish:nodes=1000",
    exclusive=True,
)
def evaluation(game: ChessGame, boards: ChessBoards) -> np.ndarray:
    """An engine thinks the player to move is losing or winning, by more than a pawn; none where none was asked.

    The published code knows White's view alone, which is the mover's at the dots.
    """
    place_N = 1 + (boards.evaluation_N > EVEN).astype(int) - (boards.evaluation_N < -EVEN)
    return (place_N[:, None] == np.arange(len(OUTLOOKS))) & (boards.evaluation_N != UNKNOWN_EVALUATION)[:, None]
