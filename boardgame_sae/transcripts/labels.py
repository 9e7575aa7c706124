"""Property labels at chosen positions: computed once, stored packed.

A position is a token that the GPT reads: one that completes a ply or, if asked for, one that marks another place of
the notation, or any. Its label is the board after the plies complete there, stated for the player to move.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boardgame_sae.config import canonical_json
from boardgame_sae.files import writing
from boardgame_sae.games import Game
from boardgame_sae.hdf5.reader import Array, Format, read_hdf5
from boardgame_sae.hdf5.writer import new_hdf5
from boardgame_sae.transcripts.corpus import Corpus, CorpusError
from boardgame_sae.transcripts.tokenization import Tokenizer

LABELS = Format(
    "boardgame_sae labels",
    1,
    "labels",
    CorpusError,
    "remove it, and the labels are computed again",
    {"shapes": str, "content": str},
    {"*": Array(("u1",), "positions", rank=2)},
)
"""What a file of labels holds, and nothing else."""


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
    """Labels of a property, eight to a byte."""

    packed: np.ndarray
    """uint8 (N, bytes), in memory or mapped from a file."""
    shape: tuple[int, ...]
    """(N, *shape) of the labels."""

    @classmethod
    def of(cls, labels: np.ndarray) -> "PackedLabels":
        """Pack labels, bool (N, *shape)."""
        return cls(np.packbits(labels.reshape(len(labels), math.prod(labels.shape[1:])), axis=1), labels.shape)

    @classmethod
    def concatenate(cls, parts: "Sequence[PackedLabels]") -> "PackedLabels":
        """Further positions of the same property."""
        packed = [part.packed for part in parts]
        return cls(np.concatenate(packed), (sum(map(len, packed)), *parts[0].shape[1:]))

    def rows(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """bool (n, *shape): the labels of positions start, ..., stop - 1."""
        size = math.prod(self.shape[1:])
        return np.unpackbits(self.packed[start:stop], axis=1, count=size).view(np.bool_).reshape(-1, *self.shape[1:])


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


def write_labels(path: Path, labels: Mapping[str, PackedLabels], content: Mapping[str, str]) -> None:
    """Store labels packed. content: hash of what each thing holds that they depend on."""
    shapes = {name: values.shape for name, values in labels.items()}
    about = {"shapes": canonical_json(shapes), "content": canonical_json(content)}
    with writing(path) as temporary, new_hdf5(temporary) as file:
        file.attrs.update(format=LABELS.name, version=LABELS.version, **about)
        for name, values in labels.items():
            file[name] = values.packed


def open_labels(path: Path, content: Mapping[str, str]) -> dict[str, PackedLabels]:
    """The labels of a file by property name. content: as they were written with.

    Raises CorpusError when the file is damaged, or its labels depend on something else.
    """
    about, arrays = read_hdf5(path, LABELS)
    try:
        made_of, shapes = json.loads(about["content"]), json.loads(about["shapes"])
        labels = {name: PackedLabels(packed, tuple(map(int, shapes[name]))) for name, packed in arrays.items()}
        fits = all(_is_packed(values) for values in labels.values())
    except (ValueError, KeyError, TypeError, RecursionError):
        fits, made_of, labels = False, {}, {}
    if not fits:
        raise CorpusError(f"{path}: the shapes of its labels do not fit; {LABELS.fix}")
    for name, hash_ in content.items():
        if made_of.get(name) != hash_:
            raise CorpusError(f"{path}: labels of another {name} than this testbed's; {LABELS.fix}")
    return labels


def _is_packed(labels: PackedLabels) -> bool:
    """Whether the packed bytes are as many as the shape needs."""
    n, *axes = labels.shape
    return min(labels.shape) >= 0 and labels.packed.shape == (n, -(-math.prod(axes) // 8))
