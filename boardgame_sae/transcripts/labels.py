"""Property labels at chosen positions: computed once, stored packed.

A position is a token that the GPT reads: one that completes a ply or, if asked for, one that marks another place of
the notation, or any. Its label is the board after the plies complete there, stated for the player to move.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from boardgame_sae.files import new_hdf5, writing
from boardgame_sae.games import Game
from boardgame_sae.transcripts.corpus import Corpus, CorpusError
from boardgame_sae.transcripts.tokenization import Tokenizer


@dataclass(frozen=True, eq=False)
class Positions:
    """Where labels are read: N tokens of B games."""

    games_B: np.ndarray
    """Places of the games in their corpus."""
    game_N: np.ndarray
    """For each position, which of those games (0..B-1)."""
    token_N: np.ndarray
    """Its token within the game."""
    ply_N: np.ndarray
    """Plies complete there: row `ply` of the game's replay is its board."""

    def __len__(self) -> int:
        return len(self.game_N)

    def rows(self, start: int, stop: int) -> "Positions":
        """Positions start, ..., stop - 1, with the games that they are of."""
        games_B, game_N = np.unique(self.game_N[start:stop], return_inverse=True)
        return Positions(self.games_B[games_B], game_N, self.token_N[start:stop], self.ply_N[start:stop])


@dataclass(frozen=True, eq=False)
class PackedLabels:
    """Labels of a property, eight to a byte, in memory or in a file."""

    packed: np.ndarray | tuple[Path, str]
    """uint8 (N, bytes); or the label file they are in, and their name there."""
    shape: tuple[int, ...]
    """(N, *shape) of the labels."""

    @classmethod
    def of(cls, labels: np.ndarray) -> "PackedLabels":
        """Pack labels, bool (N, *shape)."""
        return cls(np.packbits(labels.reshape(len(labels), math.prod(labels.shape[1:])), axis=1), labels.shape)

    @classmethod
    def concatenate(cls, parts: "Sequence[PackedLabels]") -> "PackedLabels":
        """Further positions of the same property, of labels in memory."""
        packed = [part.packed for part in parts if isinstance(part.packed, np.ndarray)]
        return cls(np.concatenate(packed), (sum(map(len, packed)), *parts[0].shape[1:]))

    def rows(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """bool (n, *shape): the labels of positions start, ..., stop - 1. Raises CorpusError when damaged."""
        stop = self.shape[0] if stop is None else stop
        if isinstance(self.packed, np.ndarray):
            packed = self.packed[start:stop]
        else:
            packed = _stored_rows(*self.packed, start, stop)
        size = math.prod(self.shape[1:])
        return np.unpackbits(packed, axis=1, count=size).view(np.bool_).reshape(-1, *self.shape[1:])


def resolve_read_at(game: Game, tokenizer: Tokenizer, read_at: str | None = None) -> str:
    """Where boards are read: the one asked for, or the game's default.

    Raises ValueError, with those there are, for a place that the game's tokens do not show.
    """
    known = ("ply", "token", *tokenizer.places(game))
    if read_at is None:
        return tokenizer.default_place(game)
    if read_at not in known:
        advice = f"with one token per {tokenizer.unit}: {', '.join(known)}"
        raise ValueError(f"{game.name} has no positions '{read_at}'; {advice}")
    return read_at


def positions(corpus: Corpus, games_B: np.ndarray, read_at: str | None = None, n_ctx: int | None = None) -> Positions:
    """Every position of some games, as far as a GPT of that context (default: the corpus's) reads.

    read_at: `ply`, the last token of each ply, `token`, every token, or one of the game's `places`, every token of its
    character; by default the game's own. Raises ValueError, with those there are, for another.
    """
    read_at = resolve_read_at(corpus.game, corpus.tokenizer, read_at)
    tokens_BL, plies_BL = (part[:, :-1] for part in corpus.rows(games_B, n_ctx))
    if read_at == "ply":
        before_BL = np.concatenate([np.zeros_like(plies_BL[:, :1]), plies_BL[:, :-1]], axis=1)
        here_BL = plies_BL > before_BL
    elif read_at == "token":
        here_BL = plies_BL >= 0
    else:
        mark = corpus.alphabet.index(corpus.tokenizer.places(corpus.game)[read_at])
        here_BL = (tokens_BL == mark) & (plies_BL >= 0)
    game_N, token_N = np.nonzero(here_BL)
    return Positions(np.asarray(games_B), game_N, token_N, plies_BL[game_N, token_N])


def property_labels(corpus: Corpus, where: Positions, names: Sequence[str]) -> dict[str, np.ndarray]:
    """For each named property, its labels at some positions: bool (N, *shape)."""
    boards = corpus.boards(where.games_B)
    return corpus.game.property_labels(boards[boards.rows(where.game_N, where.ply_N)], names)


def write_labels(path: Path, labels: Mapping[str, PackedLabels]) -> None:
    """Store labels packed."""
    with writing(path) as temporary, new_hdf5(temporary) as file:
        for name, values in labels.items():
            assert isinstance(values.packed, np.ndarray)
            file[name] = values.packed
            file[name].attrs["shape"] = values.shape


def open_labels(path: Path) -> dict[str, PackedLabels]:
    """The labels of a file by property name, read when asked for. Raises CorpusError when the file is damaged."""
    try:
        with h5py.File(path, "r") as file:
            shapes: dict[str, Any] = {str(name): file[name].attrs["shape"] for name in file}
    except (OSError, KeyError, RuntimeError) as error:
        raise _damaged(path, error) from error
    return {name: PackedLabels((path, name), tuple(int(n) for n in shape)) for name, shape in shapes.items()}


def _stored_rows(path: Path, name: str, start: int, stop: int) -> np.ndarray:
    try:
        with h5py.File(path, "r") as file:
            stored: Any = file[name]
            return stored[start:stop]
    except (OSError, KeyError, RuntimeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CorpusError:
    return CorpusError(f"{path}: not a readable label file ({error}); remove it, and it is computed again")
