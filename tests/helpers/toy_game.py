"""A game of letters with a notation such as chess's: `;.ab.ca`. It has what a game may have and Othello has not.

Token 0 is a letter, a game ends while moves are left, a mark stands in the text where boards may be read, and one
property needs a column of the corpus.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from boardgame_sae.games import PLAYER_COLUMNS, Boards, Column, Game, MoveRecord, board_property

LETTERS = "abc"


@dataclass(frozen=True, eq=False, repr=False)
class ToyBoards(Boards):
    """How often each letter was played, and what is known of the players."""

    counts_N: np.ndarray
    skill_N: np.ndarray


class Toy(Game):
    """Players take turns to write a letter; five points end the game, `a` gives none of them up to ply `longest`."""

    family = "toy"
    name = "toy"
    shape, squares = (1, 3), tuple(LETTERS)
    alphabet = ("", *LETTERS)
    text_alphabet = (*LETTERS, ".", ";")
    default_tokenization = "char"
    text_start, places, default_place = ";", {"dot": "."}, "dot"
    columns: Mapping[str, Column] = MappingProxyType(
        {
            **PLAYER_COLUMNS,
            "points": Column("int64", "points at the end"),
            "skill": Column("int64", "skill of the players"),
            "luck": Column("float64", "luck of the players"),
            "site": Column("S7", "where it was played"),
        }
    )
    about = ("skill", "luck")
    scored_properties = ("odd",)

    def __init__(self, longest: int = 12) -> None:
        self.options = {} if longest == 12 else {"longest": longest}
        self.max_plies = longest
        self.max_characters = 1 + longest + -(-longest // 2)

    def start(self) -> str:
        return ""

    def legal_moves(self, position: str) -> list[int]:
        return [0, 1, 2]

    def is_over(self, position: str) -> bool:
        return len(position) >= self.max_plies or sum(map(LETTERS.index, position)) >= 5

    def play(self, position: str, move: int) -> str:
        return position + LETTERS[move]

    def mover(self, position: str) -> bool:
        return len(position) % 2 == 0

    def evaluate(self, position: str) -> int:
        return len(position)

    def move_text(self, position: str, move: int) -> str:
        return ";" * (not position) + "." * self.mover(position) + LETTERS[move]

    def parse_move(self, position: str, text: str) -> int:
        return LETTERS.index(text[-1])

    def split(self, text: str) -> list[str]:
        return [letter for letter in text if letter in LETTERS]

    def cells(self, position: str) -> str:
        return "".join(letter if letter in position else "." for letter in LETTERS)

    def picture(self, position: str, **_: object) -> str:
        return f"<svg>{position}</svg>"

    def boards(self, record: MoveRecord, about: Mapping[str, np.ndarray] | None = None) -> ToyBoards:
        lengths = record.lengths
        ply_N = np.concatenate([np.arange(n + 1) for n in lengths])
        last_N = np.concatenate([[-1, *moves] for moves in record])
        counts_N = np.concatenate([np.cumsum(np.eye(4)[[3, *moves]][:, :3], axis=0) for moves in record])
        skill_B = (about or {}).get("skill", np.zeros(len(record)))
        ply, last, counts = ply_N.astype(np.uint16), last_N.astype(np.int32), counts_N.astype(int)
        return ToyBoards(ply_N % 2 == 0, last, ply, record.offsets, counts, np.repeat(skill_B, lengths + 1))

    def move_tokens(self, record: MoveRecord) -> np.ndarray:
        return (record.moves_M + 1).astype(np.uint8)

    def legal_tokens(self, boards: Boards) -> np.ndarray:
        return np.tile([False, True, True, True], (len(boards), 1))

    def outcomes(self, record: MoveRecord) -> dict[str, np.ndarray]:
        return {"points": np.array([moves.sum() for moves in record], np.int64)}


@board_property(family="toy", name="odd", level="low")
def odd(game: Toy, boards: ToyBoards) -> np.ndarray:
    """The letter was played an odd number of times."""
    return boards.counts_N[:, None] % 2 == 1


@board_property(family="toy", name="strong", level="high", shape=lambda _: (1,), needs="skill")
def strong(game: Toy, boards: ToyBoards) -> np.ndarray:
    """The players are strong."""
    return boards.skill_N[:, None] > 5


def as_text(alphabet: Sequence[str], tokens: np.ndarray) -> str:
    """Tokens as they are written."""
    return "".join(alphabet[token] for token in tokens)
