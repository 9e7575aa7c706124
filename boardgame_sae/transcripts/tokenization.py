"""How games become tokens. A new tokenization is one class, here or in any module of this folder.

Configs, cards and files hold a tokenization's name, `move` or `char`; its tokenizer answers every question about it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from boardgame_sae.games import Boards, Game, MoveRecord
from boardgame_sae.registry import Registry


class Tokens(NamedTuple):
    """Games as tokens, one game after the other."""

    ids: np.ndarray
    """Places in the alphabet: uint8 or uint16."""
    plies: np.ndarray
    """Plies complete once each token is read: uint16."""
    offsets: np.ndarray
    """Where each game begins, and where the last one ends: int64 (n_games + 1)."""


class Tokenizer(ABC):
    """One way to write a game as tokens."""

    name: str
    """What configs, cards and files call it."""
    unit: str
    """What a token is, in prose: `move`, `character`."""
    is_whole_move: bool
    """Whether a token is a whole move: then a GPT's output is its probability of each move, and `legal_tokens` says
    which are legal. Else a GPT must be asked by having it write a move."""

    @abstractmethod
    def alphabet(self, game: Game) -> tuple[str, ...]:
        """What each token id stands for; 0 is also what fills a row after a game's end."""

    @abstractmethod
    def encode(self, game: Game, record: MoveRecord) -> Tokens:
        """Games as tokens. Raises IllegalMove when the rules forbid a move and the notation needs the board."""

    @abstractmethod
    def max_tokens(self, game: Game) -> int:
        """Tokens of the longest game."""

    def legal_tokens(self, game: Game, boards: Boards) -> np.ndarray:
        """Which tokens continue each position legally: bool (len(boards), alphabet).

        Raises ValueError where a token is not a whole move.
        """
        raise ValueError(f"{game.name}: {len(boards)} positions alone do not say which {self.unit} can come next")

    def has_start_token(self, game: Game) -> bool:  # noqa: ARG002
        """Whether every game begins with a token that is no part of a move: then games may share a row, and a GPT
        predicts the first move too."""
        return False

    def places(self, game: Game) -> Mapping[str, str]:  # noqa: ARG002
        """Tokens at which boards may be read, by name, beside the last of each ply and all of them."""
        return {}

    def default_place(self, game: Game) -> str:  # noqa: ARG002
        """Where boards are read unless something else is asked for."""
        return "ply"

    def n_ctx(self, game: Game) -> int:
        """Tokens that a GPT reads of the longest game: all but the last, after which nothing is predicted."""
        return self.max_tokens(game) - 1

    def first_predicted_ply(self, game: Game) -> int:
        """The first ply that a GPT predicts, the first of a game being 1."""
        return 1 if self.has_start_token(game) else 2


_TOKENIZERS: Registry[Tokenizer] = Registry("tokenization", "boardgame_sae.transcripts")


def register(cls: type[Tokenizer]) -> type[Tokenizer]:
    """Register a tokenizer under its name. Raises ValueError when the name is taken."""
    _TOKENIZERS.add(cls.name, cls())
    return cls


def find_tokenizer(name: str, source: str = "") -> Tokenizer:
    """The tokenizer of a name. source: what the error begins with. Raises ConfigError with the closest name."""
    return _TOKENIZERS.find(name, source)


def tokenizer_of(game: Game, name: str | None = None) -> Tokenizer:
    """The tokenizer of a name, by default the game's own. Raises ConfigError with the closest name."""
    return find_tokenizer(name or game.default_tokenization)


@register
class MoveTokens(Tokenizer):
    """One token per move."""

    name, unit, is_whole_move = "move", "move", True

    def alphabet(self, game: Game) -> tuple[str, ...]:
        return game.alphabet

    def encode(self, game: Game, record: MoveRecord) -> Tokens:
        starts_M = np.repeat(record.offsets[:-1], record.lengths)
        plies_M = (np.arange(len(record.moves_M)) - starts_M + 1).astype(np.uint16)
        return Tokens(game.move_tokens(record), plies_M, record.offsets)

    def legal_tokens(self, game: Game, boards: Boards) -> np.ndarray:
        return game.legal_tokens(boards)

    def max_tokens(self, game: Game) -> int:
        return game.max_plies


@register
class CharacterTokens(Tokenizer):
    """One token per character of the written game."""

    name, unit, is_whole_move = "char", "character", False

    def alphabet(self, game: Game) -> tuple[str, ...]:
        return game.text_alphabet

    def encode(self, game: Game, record: MoveRecord) -> Tokens:
        characters, plies, offsets = game.characters(record)
        id_of = np.zeros(256, dtype=np.uint8)
        for index, character in enumerate(game.text_alphabet):
            if character:
                id_of[ord(character)] = index
        return Tokens(id_of[characters], plies, offsets)

    def max_tokens(self, game: Game) -> int:
        return game.max_characters

    def has_start_token(self, game: Game) -> bool:
        return bool(game.text_start)

    def places(self, game: Game) -> Mapping[str, str]:
        return game.places

    def default_place(self, game: Game) -> str:
        return game.default_place
