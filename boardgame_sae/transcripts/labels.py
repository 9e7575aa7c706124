"""Property labels at chosen positions: computed once, stored packed.

A position is a token that the GPT reads: one that completes a ply or, if asked for, one that marks another place of
the notation. Its label is the board after the plies complete there, stated for the player to move.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from boardgame_sae.games import Game
from boardgame_sae.runs import new_hdf5, writing
from boardgame_sae.transcripts.corpus import Corpus, CorpusError


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


def place_name(game: Game, tokenization: str, place: str | None = None) -> str:
    """The name of the place where boards are read: the one asked for, or the game's default.

    Raises ValueError, with those there are, for a place that the game's tokens do not show.
    """
    known = ("ply", *game.places) if tokenization == "char" else ("ply",)
    if place is None:
        return game.default_place if tokenization == "char" else "ply"
    if place not in known:
        raise ValueError(f"{game.name} has no positions '{place}'; with one token a {tokenization}: {', '.join(known)}")
    return place


def positions(corpus: Corpus, games_B: np.ndarray, place: str | None = None, n_ctx: int | None = None) -> Positions:
    """Every position of some games, as far as a GPT of that context (default: the corpus's) reads.

    place: `ply`, the last token of each ply, or one of the game's `places`, every token of its character; by default
    the game's own. Raises ValueError, with those there are, for another.
    """
    place = place_name(corpus.game, corpus.tokenization, place)
    tokens_BL, plies_BL = (part[:, :-1] for part in corpus.rows(games_B, n_ctx))
    if place == "ply":
        before_BL = np.concatenate([np.zeros_like(plies_BL[:, :1]), plies_BL[:, :-1]], axis=1)
        here_BL = plies_BL > before_BL
    else:
        mark = corpus.alphabet.index(corpus.game.places[place])
        here_BL = (tokens_BL == mark) & (plies_BL >= 0)
    game_N, token_N = np.nonzero(here_BL)
    return Positions(np.asarray(games_B), game_N, token_N, plies_BL[game_N, token_N])


def property_labels(corpus: Corpus, where: Positions, names: Sequence[str]) -> dict[str, np.ndarray]:
    """For each named property, its labels at some positions: bool (N, *shape)."""
    boards = corpus.boards(where.games_B)
    return corpus.game.property_labels(boards[boards.rows(where.game_N, where.ply_N)], names)


def write_labels(path: Path, labels: dict[str, np.ndarray]) -> None:
    """Store labels packed, eight to a byte."""
    with writing(path) as temporary, new_hdf5(temporary) as file:
        for name, values in labels.items():
            file[name] = np.packbits(values.reshape(len(values), math.prod(values.shape[1:])), axis=1)
            file[name].attrs["shape"] = values.shape


def read_labels(path: Path) -> dict[str, np.ndarray]:
    """Read packed labels: bool (N, *shape) by property name. Raises CorpusError when the file is damaged."""
    try:
        with h5py.File(path, "r") as file:
            return {str(name): _unpack(file[name]) for name in file}
    except (OSError, KeyError, RuntimeError) as error:
        raise CorpusError(f"{path}: not a readable label file ({error}); remove it, it is computed again") from error


def _unpack(packed: Any) -> np.ndarray:
    shape = tuple(int(n) for n in packed.attrs["shape"])
    size = int(np.prod(shape[1:], dtype=np.int64))
    return np.unpackbits(packed[()], axis=1, count=size).astype(bool).reshape(shape)
