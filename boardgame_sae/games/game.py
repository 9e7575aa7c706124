"""A game: its rules, its notation and its boards, behind one interface that the rest of the package talks to.

Shared code never asks which game it has. A new game is a subclass of `Game` and a call of `register`.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from boardgame_sae.config import ConfigError, spec_of
from boardgame_sae.games.board_svg import EMPTY, DiscStyle, draw_discs
from boardgame_sae.games.property import BoardProperty, properties_of, property_of
from boardgame_sae.games.random_bits import SplitMix64
from boardgame_sae.games.record import PLAYER_COLUMNS, Boards, Column, IllegalMove, MoveRecord
from boardgame_sae.notebook import Picture, pictures

PHASES = ("opening", "middle", "end")
"""Parts of a game, in order."""
MAX_TRIES = 1000
"""Games that `play_games` plays for each one it keeps, before it gives up."""


class Game(ABC):
    """The rules of a game. Positions are immutable and know their `ply`; a move is a small integer code.

    Unless a game says otherwise, a move's code is its place in the alphabet, players take turns, and the board is drawn
    with discs.
    """

    name: str
    """The name that `load_game` takes."""
    options: Mapping[str, Any] = {}
    """`load_game(game.name, **game.options)` gives this game again. Options as by default are left out."""
    family: str
    """Games of a family share their properties."""
    shape: tuple[int, int]
    """(rows, columns)."""
    squares: tuple[str, ...]
    """Names of the squares, row by row."""
    alphabet: tuple[str, ...]
    """The moves as tokens; 0 is no move, written as nothing."""
    text_alphabet: tuple[str, ...]
    """The characters that a game's text is made of; only 0 may be none, written as nothing."""
    max_plies: int
    """No game is longer."""
    max_characters: int
    """Characters of the longest text a GPT reads at once."""
    max_written: int
    """Characters of the longest written move, with the one that ends it where the notation has one."""
    move_end: str = ""
    """The characters that end a written move; none where every move has `max_written` characters."""
    default_tokenization: str = "move"
    """How a corpus is tokenized unless its config says: a name that `transcripts.tokenization` knows."""
    text_start: str = ""
    """The character that begins every text, where the notation has one: then games may share a row."""
    places: Mapping[str, str] = {}
    """Places in a text where boards may be read, beside the end of each ply: the character that marks each, by name."""
    default_place: str = "ply"
    """Where boards are read from a text unless something else is asked for: `ply`, or one of `places`."""
    columns: Mapping[str, Column] = PLAYER_COLUMNS
    """What a corpus of it may keep of each game beside its moves, by name."""
    about: tuple[str, ...] = ()
    """The columns that `boards` uses, where the corpus has them."""
    board_property: str
    """The property that says what stands on every square: what is probed unless something else is asked for."""
    scored_properties: tuple[str, ...]
    """Properties an SAE is scored on; the first is the headline."""
    hierarchies: tuple[tuple[str, str], ...] = ()
    """Pairs of properties, parent and child: on one square a class of the child implies a class of the parent."""
    n_sample_games: int = 30
    """Random games that the contract tests play: enough for every property to be true somewhere, but those that need
    a column."""
    disc_style: DiscStyle = DiscStyle()
    """How the board is drawn, unless the game has a picture of its own."""
    first_row_on_top: bool = True
    """Whether boards are drawn with the first row on top; else it is at the bottom."""

    def __repr__(self) -> str:
        return f"load_game({self.spec!r})"

    def _repr_html_(self) -> str:
        return pictures([(self.picture(self.start()), repr(self))])

    @abstractmethod
    def start(self) -> Any:
        """The position before the first ply."""

    @abstractmethod
    def legal_moves(self, position: Any) -> list[int]:
        """Codes of the moves that the player to move has, ascending; none when the rules leave none."""

    @abstractmethod
    def play(self, position: Any, move: int) -> Any:
        """The position after a legal move (legality is not checked)."""

    @abstractmethod
    def evaluate(self, position: Any) -> int:
        """Material of the player to move minus the other's."""

    @abstractmethod
    def cells(self, position: Any) -> str:
        """The board as one character per square, row by row; `.` is an empty one."""

    @abstractmethod
    def boards(self, record: MoveRecord, about: Mapping[str, np.ndarray] | None = None) -> Boards:
        """Every position of every game. Raises IllegalMove at the first move that the rules forbid.

        about: what is known of the games by names of `Game.about`, any of which may be missing: arrays (n_games,), of
        a column per position (n_rows,).
        """

    @abstractmethod
    def legal_tokens(self, boards: Boards) -> np.ndarray:
        """Which moves continue each position legally: bool (len(boards), len(alphabet))."""

    @abstractmethod
    def outcomes(self, record: MoveRecord) -> dict[str, np.ndarray]:
        """What the rules say of each game's end: arrays (n_games,) by name, each one of `columns`."""

    @property
    def spec(self) -> str:
        """Name and options as one text that `load_game` takes: `othello`, `othello:passes=explicit`."""
        return spec_of(self.name, self.options)

    def mover(self, position: Any) -> bool:
        """Whether the player to move is the one who began."""
        return position.ply % 2 == 0

    def move_text(self, position: Any, move: int) -> str:  # noqa: ARG002
        """A move as written in this game's notation."""
        return self.alphabet[move]

    def parse_move(self, position: Any, text: str) -> int:  # noqa: ARG002
        """The code of a written move. Raises ValueError when the text is no move of this game."""
        if text not in self.alphabet[1:]:
            raise ValueError(f"{self.name}: {text!r} is no move; moves are written like {self.alphabet[1]!r}")
        return self.alphabet.index(text)

    def split(self, text: str) -> list[str]:
        """A game's text cut into moves: of `max_written` characters each, with spaces between them or not."""
        n = self.max_written
        return [part[i : i + n] for part in text.lower().split() for i in range(0, len(part), n)]

    def rings(self, position: Any) -> Sequence[int]:  # noqa: ARG002
        """Squares that the picture rings; none unless the game says which."""
        return ()

    def last_square(self, position: Any) -> int:  # noqa: ARG002
        """The square that the last move ended on, -1 where none is to be shown."""
        return -1

    def with_square(self, position: Any, square: int, content: str) -> Any:  # noqa: ARG002
        """The position with something else on one square; the same player is to move.

        content: a class of `board_property`, as the player to move sees it: `mine`, `empty`.
        Raises ValueError, in words, for a content that there is not, and where the rules know no such position.
        """
        raise ValueError(f"{self.name} does not say how a square is set: it has no `with_square`")

    @property
    def contents(self) -> tuple[str, ...]:
        """What may stand on a square, as the player to move sees it: the classes of `board_property`."""
        return self.property(self.board_property).classes

    def checked_content(self, content: str) -> str:
        """A content of a square. Raises ValueError, with those that there are, for another."""
        if content not in self.contents:
            raise ValueError(
                f"{self.name}: nothing called {content!r} stands on a square; {', '.join(self.contents)} do"
            )
        return content

    def picture(
        self,
        position: Any | None,
        *,
        marks: Mapping[int, str] | None = None,
        heat: np.ndarray | None = None,
        scale: float | None = None,
        last: int | None = None,
        size: int = 240,
    ) -> Picture:
        """The board as SVG, which a notebook draws; of no position (None) an empty board.

        marks: short texts on squares. heat: floats of the board's shape, laid over it in colour (positive warm,
        negative cold), opaque at `scale`, by default the largest magnitude. last: square of the last move, by default
        `last_square`; -1 marks none. size: width in pixels.
        Raises ValueError when `heat` does not have the board's shape.
        """
        cells, rings, played = EMPTY * len(self.squares), (), -1
        if position is not None:
            cells, played = self.cells(position), self.last_square(position)
            rings = [square for square in self.rings(position) if square not in (marks or {})]
        shown: dict[str, Any] = {"marks": marks, "heat": heat, "scale": scale, "size": size}
        shown |= {"rings": rings, "last": played if last is None else last, "first_row_on_top": self.first_row_on_top}
        return draw_discs(cells, self.shape[1], self.disc_style, **shown)

    def results(self, record: MoveRecord) -> np.ndarray:
        """Results by the board, as `Result` numbers them; int8 (n_games,).

        Raises ConfigError when the game's outcomes do not say who won.
        """
        outcomes = self.outcomes(record)
        if "result" not in outcomes:
            raise ConfigError(f"game {self.name}: its outcomes do not say who won; play a game whose outcomes do")
        return outcomes["result"]

    def published_size(self, name: str) -> int:
        """How many classes the published code divides a property's coverage by; by default as many as it has.

        Raises ValueError when there is no property of that name.
        """
        return self.property(name).size

    def prompt_length(self, piece: str) -> int:  # noqa: ARG002
        """How many characters of a ply's text, as `pieces` gives it, come before the move itself."""
        return 0

    def judge(self, position: Any, written: str) -> str:
        """What a written move is there: `legal`, `ambiguous`, `illegal`, or `unparsable` when it is no move at all."""
        try:
            move = self.parse_move(position, written)
        except ValueError:
            return "unparsable"
        return "legal" if move in self.legal_moves(position) else "illegal"

    def phase(self, position: Any) -> str:
        """The part of the game a position is in: `opening`, `middle` or `end`, a third of `max_plies` each."""
        return PHASES[min(3 * position.ply // self.max_plies, 2)]

    def is_over(self, position: Any) -> bool:
        """Whether there is nothing left to play."""
        return not self.legal_moves(position)

    def keeps(self, position: Any) -> bool:
        """Whether `play_games` keeps a game that ended so; otherwise it plays another."""
        return self.is_over(position)

    def positions(self, moves: Iterable[int]) -> Iterator[Any]:
        """The positions of a game of legal moves, given by their codes; the start first."""
        position = self.start()
        yield position
        for move in moves:
            position = self.play(position, move)
            yield position

    def position_after(self, moves: Iterable[int]) -> Any:
        """The position after some legal moves, given by their codes."""
        *_, position = self.positions(moves)
        return position

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
        return [self.move_text(*place) for place in zip(self.positions(moves), moves, strict=False)]

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
        """The games with one token per move: ids into `alphabet` (uint8, or uint16 if that is too small), flat."""
        return record.moves_M.astype(np.uint8 if len(self.alphabet) <= 256 else np.uint16)

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
        legal ones, else uniform over those that leave the mover the highest `evaluate`. (1, 1) is random play.
        Draws of `SplitMix64(seed)`: none where only one move is legal; else one if epsilon < 1 (the top 53 bits, as a
        fraction, below epsilon: random), then one that picks candidate `(top 32 bits * candidates) >> 32`, candidates
        in ascending order of their codes. A game that the rules do not keep is followed by another from the same
        generator.
        Raises RuntimeError when MAX_TRIES games in a row are not kept.
        """
        return MoveRecord.of([self._play_game(SplitMix64(int(seed)), epsilons) for seed in seeds_B])

    def properties(self, level: str | None = None) -> tuple[BoardProperty, ...]:
        """The registered properties, all or of one level (`low`, `high`). Raises ValueError for another level."""
        return properties_of(self, level)

    def property(self, name: str) -> BoardProperty:
        """One property. Raises ValueError, with the closest name, when there is none of that name."""
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
            while not self.is_over(position):
                moves.append(self.choose(position, self.legal_moves(position), random, epsilons))
                position = self.play(position, moves[-1])
            if self.keeps(position):
                return moves
        raise RuntimeError(f"{self.name}: none of {MAX_TRIES} games in a row was one that the rules keep")

    def choose(self, position: Any, legal: list[int], random: SplitMix64, epsilons: tuple[float, float]) -> int:
        """An epsilon-greedy move, with the draws that `play_games` states."""
        if len(legal) == 1:
            return legal[0]
        epsilon = epsilons[0 if self.mover(position) else 1]
        if epsilon < 1 and random.fraction() >= epsilon:
            values = [self._value(position, move) for move in legal]
            best = max(values)
            legal = [move for move, value in zip(legal, values, strict=True) if value == best]
        return legal[random.below(len(legal))]

    def _value(self, position: Any, move: int) -> int:
        """`evaluate` after a move, for the player who made it."""
        after = self.play(position, move)
        return self.evaluate(after) if self.mover(after) == self.mover(position) else -self.evaluate(after)
