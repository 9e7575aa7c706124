"""The rules of Othello and its variants as data: the first discs, what is legal, what a move does, how it is written.

A variant is a `Rules` with other parts put in. `RULES` holds those that are registered.
"""

import string
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from boardgame_sae.games.othello import kernels

PASS = "--"
NO_LIMIT = 1 << 30


class Legality(IntEnum):
    """Which empty squares may be played."""

    FLANKING = kernels.FLANKING
    """Those from which discs of the other player are flanked."""
    ADJACENT = kernels.ADJACENT
    """Those beside, in any of the eight directions, a disc of one's own."""


class Effect(IntEnum):
    """What becomes of flanked discs."""

    FLIP_ALL = kernels.FLIP_ALL
    FLIP_ENDS = kernels.FLIP_ENDS
    """Only the first and the last disc of each flanked run turn."""
    REMOVE = kernels.REMOVE


@dataclass(frozen=True)
class Notation:
    """How moves are written: item i of the squares and then the pass as item `(multiplier * i + offset) mod length`."""

    multiplier: int = 1
    offset: int = 0

    def written(self, n_items: int) -> tuple[int, ...]:
        """For each item, the one whose name it is written by."""
        return tuple((self.multiplier * i + self.offset) % n_items for i in range(n_items))


PLAIN = Notation()
PERMUTED = Notation(multiplier=47, offset=13)


@dataclass(frozen=True)
class Rules:
    """The rules of one variant on an n x n board, composed of parts."""

    size: int = 8
    black: tuple[str, ...] = ()
    """Squares of black's discs at the start; by default the usual two in the middle."""
    white: tuple[str, ...] = ()
    legality: Legality = Legality.FLANKING
    effect: Effect = Effect.FLIP_ALL
    diagonals: bool = True
    """Discs are flanked along rows, columns and diagonals; False: along rows and columns only."""
    notation: Notation = PLAIN
    passes: str = "implicit"
    """`implicit`: a player who cannot move is skipped. `explicit`: passes by a ply written `--`."""
    closing_passes: bool = False
    """When nobody can move, both players pass before the game ends, and those passes count as steps."""
    step_limit: int | None = None
    """The game is over after so many steps; passes are steps, also the implicit ones."""
    full_games_only: bool = False
    """Generated games are kept only when they reach the step limit."""
    whole_alphabet: bool = False
    """A token for every square and the pass; otherwise only for moves that can occur."""

    def __post_init__(self) -> None:
        if self.size not in (4, 6, 8):
            raise ValueError(f"an Othello board has 4, 6 or 8 rows, not {self.size!r}")
        if self.passes not in ("implicit", "explicit"):
            raise ValueError(f"passes are 'implicit' or 'explicit', not {self.passes!r}")
        low, high = self.size // 2 - 1, self.size // 2
        name = [[self.squares[row * self.size + column] for column in (low, high)] for row in (low, high)]
        object.__setattr__(self, "black", self.black or (name[0][1], name[1][0]))
        object.__setattr__(self, "white", self.white or (name[0][0], name[1][1]))

    @property
    def squares(self) -> tuple[str, ...]:
        """Names row by row: letter for the column, number for the row."""
        columns = string.ascii_lowercase[: self.size]
        return tuple(f"{column}{row}" for row in range(1, self.size + 1) for column in columns)

    @property
    def written(self) -> tuple[str, ...]:
        """How each move code (the squares, then the pass) is written."""
        items = (*self.squares, PASS)
        return tuple(items[i] for i in self.notation.written(len(items)))

    @property
    def alphabet(self) -> tuple[str, ...]:
        """Tokens, the padding first: every square and the pass, or the squares that are not taken at the start."""
        if self.whole_alphabet:
            return ("", *self.squares, PASS)
        playable = [square for square in self.squares if square not in self.black + self.white]
        return ("", *playable, PASS) if self.passes == "explicit" else ("", *playable)

    @property
    def max_plies(self) -> int:
        """No game is longer: one disc per square, and no two passes in a row unless the rules close with them."""
        n_moves = self.size**2 - len(self.black + self.white)
        return self.step_limit or (2 * n_moves if self.passes == "explicit" else n_moves)

    def setup(self) -> kernels.Setup:
        """The rules as the compiled functions read them."""
        n = self.size
        edges = sum((1 | 1 << (n - 1)) << (n * row) for row in range(n))
        full = (1 << n * n) - 1
        sets = [sum(1 << self.squares.index(square) for square in squares) for squares in (self.black, self.white)]
        return kernels.Setup(
            n=np.uint64(n),
            full=np.uint64(full),
            inner=np.uint64(full & ~edges),
            black=np.uint64(sets[0]),
            white=np.uint64(sets[1]),
            legality=int(self.legality),
            effect=int(self.effect),
            diagonals=self.diagonals,
            explicit=self.passes == "explicit",
            closing=self.closing_passes,
            limit=NO_LIMIT if self.step_limit is None else self.step_limit,
        )


_PUBLISHED = {
    "closing_passes": True,
    "step_limit": 60,
    "full_games_only": True,
    "whole_alphabet": True,
}

RULES: dict[str, Rules] = {
    "othello": Rules(),
    "othello6": Rules(size=6),
    "othello4": Rules(size=4),
    "othello6_parallel": Rules(size=6, black=("c3", "d3"), white=("c4", "d4")),
    "othello6_straight": Rules(size=6, diagonals=False),
    "classic": Rules(**_PUBLISHED),
    "nomidflip": Rules(effect=Effect.FLIP_ENDS, **_PUBLISHED),
    "delflank": Rules(
        black=("c3", "f6"),
        white=("f3", "c6"),
        legality=Legality.ADJACENT,
        effect=Effect.REMOVE,
        **_PUBLISHED,
    ),
    "iago": Rules(notation=PERMUTED, **_PUBLISHED),
}
"""The registered games. Those of 6x6 have the same tokens: one begins with each player's discs side by side, in another
nothing is flanked along diagonals. The last four are the variants of MetaOthello, as its engine plays them, but for its
explicit passes: `load_game("classic", passes="explicit")` writes those too."""
