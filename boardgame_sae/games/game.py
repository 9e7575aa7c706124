"""A game: its rules, its notation and its boards, behind one interface that the rest of the package talks to.

Shared code never asks which game it has. A new game is a subclass of `Game` and a call of `register`.
"""

import difflib
import inspect
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import numpy as np

from boardgame_sae.games.property import BoardProperty, properties_of, property_of

MAX_TRIES = 1000
"""Games that `play_games` throws away, for one kept, before it gives up."""


class IllegalMove(ValueError):  # noqa: N818 - it is what happened, as in python-chess
    """A move that the rules forbid, or a text that is no move, with the game it stood in.

    game: name of the game. text: the moves as written. ply: number of the bad move, the first being 1.
    move: the bad move as written. legal: what could have been played there, as written.
    """

    def __init__(self, game: str, text: str, ply: int, move: str, legal: Sequence[str]) -> None:
        self.game, self.text, self.ply, self.move, self.legal = game, text, ply, move, tuple(legal)
        there = f"legal there: {', '.join(legal)}" if legal else "the game is over there"
        super().__init__(f"{game}: illegal move {move!r} at ply {ply} of {text!r}; {there}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.game, self.text, self.ply, self.move, self.legal)


@dataclass(frozen=True, eq=False)
class MoveRecord:
    """The moves of many games, one game after the other.

    moves_M: uint16 move codes. offsets: int64 (n_games + 1); game b is `moves_M[offsets[b]:offsets[b + 1]]`.
    Raises ValueError when the offsets do not cut the moves into games.
    """

    moves_M: np.ndarray
    offsets: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "moves_M", np.asarray(self.moves_M, np.uint16))
        object.__setattr__(self, "offsets", np.asarray(self.offsets, np.int64))
        ends = self.offsets[[0, -1]].tolist() if self.offsets.size else None
        if ends != [0, len(self.moves_M)] or (np.diff(self.offsets) < 0).any():
            raise ValueError(f"the offsets of {len(self.moves_M)} moves must rise from 0 to {len(self.moves_M)}")

    @classmethod
    def of(cls, games: Sequence[Sequence[int]]) -> Self:
        """A record of games given as lists of move codes."""
        offsets = np.cumsum([0, *map(len, games)], dtype=np.int64)
        moves = [np.asarray(moves, np.uint16) for moves in games]
        return cls(np.concatenate([np.empty(0, np.uint16), *moves]), offsets)

    @classmethod
    def concatenate(cls, records: Sequence["MoveRecord"]) -> Self:
        """The games of several records, in order."""
        lengths = np.concatenate([np.empty(0, np.int64), *(record.lengths for record in records)])
        moves = np.concatenate([np.empty(0, np.uint16), *(record.moves_M for record in records)])
        return cls(moves, np.concatenate([[0], np.cumsum(lengths)]))

    @property
    def lengths(self) -> np.ndarray:
        """Plies of each game: int64 (n_games,)."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[np.ndarray]:
        """The move codes of each game in turn."""
        return (self.moves_M[a:b] for a, b in itertools.pairwise(self.offsets))

    def __getitem__(self, games: slice | int | np.ndarray | Sequence[int]) -> Self:
        """The chosen games (a slice, numbers or a mask), in the order asked for, as a record."""
        chosen = np.atleast_1d(np.arange(len(self))[games])
        lengths = self.lengths[chosen]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        shift = np.repeat(self.offsets[chosen] - offsets[:-1], lengths)
        return type(self)(self.moves_M[np.arange(offsets[-1]) + shift], offsets)


@dataclass(frozen=True, eq=False)
class Boards:
    """The positions of many games as arrays: n_plies + 1 rows a game, the start first. Games add their own arrays.

    Arrays named `..._N` have one entry a row. `boards[rows]` picks rows (numbers, a slice or a mask).
    """

    mover_N: np.ndarray
    """bool: the player who began the game is to move."""
    last_N: np.ndarray
    """int32: code of the move just played, -1 at the start."""
    ply_N: np.ndarray
    """uint16: plies played."""
    offsets: np.ndarray | None
    """int64 (n_games + 1): the record's. None once rows have been picked."""

    def __len__(self) -> int:
        return len(self.ply_N)

    def __getitem__(self, rows: slice | np.ndarray | Sequence[int]) -> Self:
        chosen = np.arange(len(self))[rows]
        picked = {each.name: getattr(self, each.name)[chosen] for each in fields(self) if each.name.endswith("_N")}
        return replace(self, offsets=None, **picked)

    def rows(self, game: int | np.ndarray, ply: int | np.ndarray) -> Any:
        """The row of a game after a number of plies (both may be arrays).

        Raises ValueError when rows have been picked, so that games no longer lie one after the other, and
        IndexError when a game has no such ply.
        """
        if self.offsets is None:
            raise ValueError("rows have been picked from these boards; find rows in the whole batch, then pick")
        game, ply = np.asarray(game), np.asarray(ply)
        if ((ply < 0) | (ply > np.diff(self.offsets)[game])).any():
            raise IndexError("a game has no such ply")
        return (self.offsets[game] + game + ply)[()]


class SplitMix64:
    """Steele, Lea and Flood's 64-bit generator: one word of state, so a game's seed is all there is to know."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def draw(self) -> int:
        """The next 64 random bits."""
        mask = 0xFFFFFFFFFFFFFFFF
        self.state = (self.state + 0x9E3779B97F4A7C15) & mask
        bits = ((self.state ^ (self.state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & mask
        return bits ^ (bits >> 31)


class Game(ABC):
    """The rules of a game. Positions are immutable; a move is a small integer code that the game defines."""

    name: str
    """The name that `load_game` takes."""
    options: Mapping[str, Any]
    """`load_game(game.name, **game.options)` gives this game again."""
    family: ClassVar[str]
    """Games of a family share their properties."""
    shape: tuple[int, int]
    """(rows, columns)."""
    squares: tuple[str, ...]
    """Names of the squares, row by row."""
    alphabet: tuple[str, ...]
    """The moves as tokens; 0 is the padding, written as nothing."""
    text_alphabet: tuple[str, ...]
    """The characters that a game's text is made of; 0 is the padding, written as nothing."""
    max_plies: int
    """No game is longer."""
    characters_per_ply: int
    """Characters of the longest written move."""
    scored_properties: tuple[str, ...]
    """Properties an SAE is scored on; the first is the headline."""

    @abstractmethod
    def start(self) -> Any:
        """The position before the first ply."""

    @abstractmethod
    def legal_moves(self, position: Any) -> list[int]:
        """Codes of the moves that the player to move has, rising; none when the game is over."""

    @abstractmethod
    def play(self, position: Any, move: int) -> Any:
        """The position after a legal move (legality is not checked)."""

    @abstractmethod
    def mover(self, position: Any) -> bool:
        """Whether the player to move is the one who began."""

    @abstractmethod
    def evaluate(self, position: Any) -> int:
        """Material of the player to move minus the other's."""

    @abstractmethod
    def move_text(self, position: Any, move: int) -> str:
        """A move as written in this game's notation."""

    @abstractmethod
    def parse_move(self, position: Any, text: str) -> int:
        """The code of a written move. Raises ValueError when the text is no move of this game."""

    @abstractmethod
    def split(self, text: str) -> list[str]:
        """A game's text cut into moves."""

    @abstractmethod
    def cells(self, position: Any) -> str:
        """The board as one character a square, row by row."""

    @abstractmethod
    def picture(
        self,
        position: Any,
        *,
        marks: Mapping[int, str] | None = None,
        heat: np.ndarray | None = None,
        last: int | None = None,
        size: int = 240,
    ) -> str:
        """The board as SVG.

        marks: short texts on squares. heat: floats of the board's shape, laid over it in colour (positive warm,
        negative cold). last: square of the last move, by default the position's own. size: width in pixels.
        Raises ValueError when `heat` has not the board's shape.
        """

    @abstractmethod
    def boards(self, record: MoveRecord) -> Boards:
        """Every position of every game. Raises IllegalMove at the first move that the rules forbid."""

    @abstractmethod
    def legal_tokens(self, boards: Boards) -> np.ndarray:
        """Which moves continue each position legally: bool (len(boards), len(alphabet))."""

    @abstractmethod
    def outcomes(self, record: MoveRecord) -> dict[str, np.ndarray]:
        """What the game says of each game's end, for the corpus: arrays (n_games,) by name."""

    def published_size(self, name: str) -> int:
        """How many classes the published code divides a property's coverage by; by default as many as it has."""
        return self.property(name).size

    def is_over(self, position: Any) -> bool:
        """Whether there is nothing left to play."""
        return not self.legal_moves(position)

    def keeps(self, position: Any) -> bool:
        """Whether `play_games` keeps a game that ended so; otherwise it plays another."""
        return self.is_over(position)

    def replay(self, text: str) -> list[Any]:
        """The n_plies + 1 positions of a written game, the start first. Raises IllegalMove."""
        return self._walk(text)[1]

    def record(self, texts: Sequence[str]) -> MoveRecord:
        """Written games as move codes. Raises IllegalMove at the first move that cannot be read or played."""
        return MoveRecord.of([self._walk(text)[0] for text in texts])

    def texts(self, record: MoveRecord) -> list[str]:
        """The games as written."""
        chars, _, offsets = self.characters(record)
        return [chars[a:b].tobytes().decode() for a, b in itertools.pairwise(offsets)]

    def pieces(self, moves: Sequence[int]) -> list[str]:
        """The text of a game cut at the end of each ply: joined, it is the game's text."""
        position, pieces = self.start(), []
        for move in moves:
            pieces.append(self.move_text(position, move))
            position = self.play(position, move)
        return pieces

    def characters(self, record: MoveRecord) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The games as text: (chars uint8, plies uint16, offsets int64 (n_games + 1)), all games one after another.

        chars: ASCII codes. plies: how many plies are complete once the character is read, so every character of
        ply k has k - 1 but the last, which has k.
        """
        games = [self.pieces(moves.tolist()) for moves in record]
        text = "".join("".join(pieces) for pieces in games)
        plies = [
            k + (i == len(piece) - 1) for pieces in games for k, piece in enumerate(pieces) for i in range(len(piece))
        ]
        offsets = np.cumsum([0, *(sum(map(len, pieces)) for pieces in games)], dtype=np.int64)
        return np.frombuffer(text.encode("ascii"), np.uint8), np.asarray(plies, np.uint16), offsets

    def move_tokens(self, record: MoveRecord) -> np.ndarray:
        """The games with one token a move: ids into `alphabet` (uint8, or uint16 if that is too small), flat."""
        ids = {token: i for i, token in enumerate(self.alphabet)}
        tokens = [ids[piece] for moves in record for piece in self.pieces(moves.tolist())]
        return np.asarray(tokens, np.uint8 if len(ids) <= 256 else np.uint16)

    def perft(self, depth: int) -> int:
        """How many sequences of `depth` plies the rules allow from the start: the usual check of a rules engine."""

        def count(position: Any, depth: int) -> int:
            if depth == 0:
                return 1
            return sum(count(self.play(position, move), depth - 1) for move in self.legal_moves(position))

        return count(self.start(), depth)

    def play_games(self, seeds_B: np.ndarray, epsilons: tuple[float, float] = (1.0, 1.0)) -> MoveRecord:
        """Epsilon-greedy games, one for each seed (uint64); the same seed always gives the same game.

        epsilons: of the player who begins and of the other. With probability epsilon a move is uniform over the
        legal ones, else uniform over those that leave the mover the greatest `evaluate`. (1, 1) is random play.
        Draws of `SplitMix64(seed)`: none where only one move is legal; else one if epsilon < 1 (the top 53 bits, as a
        fraction, below epsilon: random), then one that picks candidate `(top 32 bits * candidates) >> 32`, candidates
        rising by code. A game that the rules do not keep is followed by another from the same generator.
        Raises RuntimeError when MAX_TRIES games in a row are not kept.
        """
        return MoveRecord.of([self._play_game(SplitMix64(int(seed)), epsilons) for seed in seeds_B])

    def properties(self, level: str | None = None) -> tuple[BoardProperty, ...]:
        """The registered properties, all or of one level (`low`, `high`). Raises ValueError for another level."""
        return properties_of(self, level)

    def property(self, name: str) -> BoardProperty:
        """One property. Raises ValueError, with the closest names, when there is none of that name."""
        return property_of(self, name)

    def property_labels(self, boards: Boards, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Labels of a batch by property name: bool (len(boards), *shape). Raises ValueError for an unknown name."""
        return {name: self.property(name).evaluate(boards) for name in names}

    def labels(self, text: str, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Labels of a written game by property name: bool (n_plies + 1, *shape), row i after i plies.

        Raises IllegalMove, and ValueError for an unknown name.
        """
        return self.property_labels(self.boards(self.record([text])), names)

    def _walk(self, text: str) -> tuple[list[int], list[Any]]:
        """Moves and positions of a written game. Raises IllegalMove."""
        moves, positions = [], [self.start()]
        for ply, written in enumerate(self.split(text), 1):
            position = positions[-1]
            legal = self.legal_moves(position)
            try:
                move = self.parse_move(position, written)
            except ValueError:
                move = None
            if move not in legal:
                raise IllegalMove(self.name, text, ply, written, [self.move_text(position, m) for m in legal])
            moves.append(move)
            positions.append(self.play(position, move))
        return moves, positions

    def _play_game(self, random: SplitMix64, epsilons: tuple[float, float]) -> list[int]:
        for _ in range(MAX_TRIES):
            position, moves = self.start(), []
            while legal := self.legal_moves(position):
                moves.append(self._choose(position, legal, random, epsilons))
                position = self.play(position, moves[-1])
            if self.keeps(position):
                return moves
        raise RuntimeError(f"{self.name}: none of {MAX_TRIES} games in a row was one that the rules keep")

    def _choose(self, position: Any, legal: list[int], random: SplitMix64, epsilons: tuple[float, float]) -> int:
        if len(legal) == 1:
            return legal[0]
        epsilon = epsilons[0 if self.mover(position) else 1]
        if epsilon < 1 and (random.draw() >> 11) * 2.0**-53 >= epsilon:
            values = [self._value(position, move) for move in legal]
            best = max(values)
            legal = [move for move, value in zip(legal, values, strict=True) if value == best]
        return legal[((random.draw() >> 32) * len(legal)) >> 32]

    def _value(self, position: Any, move: int) -> int:
        """`evaluate` after a move, for the player who made it."""
        after = self.play(position, move)
        return self.evaluate(after) if self.mover(after) == self.mover(position) else -self.evaluate(after)


_FACTORIES: dict[str, Callable[..., Game]] = {}
_LOADED: dict[tuple[str, tuple[tuple[str, Any], ...]], Game] = {}


def register(name: str, factory: Callable[..., Game]) -> None:
    """Make a game known: `load_game(name, **options)` will call `factory(**options)`, once for the same options.

    Raises ValueError when the name is taken.
    """
    if name in _FACTORIES:
        raise ValueError(f"there already is a game {name!r}; choose another name")
    _FACTORIES[name] = factory


def games() -> tuple[str, ...]:
    """Names of the registered games."""
    return tuple(_FACTORIES)


def load_game(name: str, **options: Any) -> Game:
    """A game by name. Raises ValueError for an unknown name (with the closest ones) or an option it does not take."""
    if name not in _FACTORIES:
        close = difflib.get_close_matches(name, _FACTORIES) or games()
        raise ValueError(f"no game {name!r}; did you mean {', '.join(close)}?")
    try:
        inspect.signature(_FACTORIES[name]).bind(**options)
    except TypeError as error:
        raise ValueError(f"the game {name} does not take these options: {error}") from None
    key = (name, tuple(sorted(options.items())))
    if key not in _LOADED:
        _LOADED[key] = _FACTORIES[name](**options)
    return _LOADED[key]
