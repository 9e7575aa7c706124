"""The data that probes are fitted on: activations at the positions of games, and the true classes there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.activations.hook_points import read
from boardgame_sae.games import BoardProperty, Boards
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.transcripts.corpus import Corpus
from boardgame_sae.transcripts.labels import Positions, positions, resolve_read_at

KEPT_BYTES = 2**30
"""Bytes of activations that stay in memory for other probes of the same games; beyond that they are read again."""


@dataclass(frozen=True)
class Targets:
    """How a property's labels become the classes of probes.

    Labels that exclude each other (mine, yours) form one group with one probe; any other label has its own probe, with
    the classes false and true.
    """

    group: int
    """Labels in a group; 1 where every label has its own probe."""
    none: bool
    """Whether a group may have no true label, which is then class 0."""

    @classmethod
    def of(cls, prop: BoardProperty, labels: np.ndarray) -> "Targets":
        """Decide from what the property declares and, where it declares nothing, from some labels, bool (N, *shape).

        For a property that needs something known about the games, leave out positions where it is unknown.
        """
        group = len(prop.classes) or 1
        true_NS = _grouped(labels, group).sum(-1)
        exclusive = true_NS.max(initial=0) <= 1 if prop.exclusive is None else prop.exclusive
        if group == 1 or not exclusive:
            return cls(1, True)
        return cls(group, not prop.needs and bool((true_NS == 0).any()))

    @property
    def n_classes(self) -> int:
        """Number of classes of a group."""
        return self.group + self.none

    def classes(self, labels: np.ndarray) -> Tensor:
        """Labels (N, *shape) as the true class of each group, int64 (N, groups).

        Raises ValueError when a group has no true label and no class for that.
        """
        grouped_NSC = torch.from_numpy(_grouped(labels, self.group))
        if not self.none and not grouped_NSC.any(-1).all():
            raise ValueError(f"none of {self.group} classes is true somewhere, though one of them was in other games")
        return grouped_NSC.int().argmax(-1) + (grouped_NSC.any(-1).long() if self.none else 0)

    def columns(self, probabilities_NSC: Tensor) -> Tensor:
        """Class probabilities (N, groups, classes) as the probability of each label, (N, size)."""
        return probabilities_NSC[..., int(self.none) :].flatten(1)


def _grouped(labels: np.ndarray, group: int) -> np.ndarray:
    """Labels (N, *shape), of any number of positions, as (N, groups, group)."""
    return labels.reshape(len(labels), math.prod(labels.shape[1:]) // group, group)


class _Read(NamedTuple):
    """Boards, and a model's activations, at every position of some games."""

    where: Positions
    boards: Boards
    acts: list[Tensor]
    """(N, width) at each hook point."""

    @property
    def n_bytes(self) -> int:
        """Approximate memory that it takes."""
        arrays = [array for array in vars(self.boards).values() if isinstance(array, np.ndarray)]
        return sum(array.nbytes for array in (*self.acts, *arrays))


class BoardReader:
    """Boards, and activations at some hook points, at every position of games.

    It stays in memory, up to a limit, for the next probe of the same games.
    """

    def __init__(
        self, model: GameModel, corpus: Corpus, names: Sequence[str], read_at: str | None = None, kept_bytes: int = 0
    ) -> None:
        self.model, self.corpus, self.names = model, corpus, tuple(names)
        self.read_at = resolve_read_at(corpus.game, corpus.tokenizer, read_at)
        self._bytes_left, self._kept = kept_bytes, dict[bytes, _Read]()

    def __call__(self, games_B: np.ndarray) -> _Read:
        key = games_B.tobytes()
        if key in self._kept:
            return self._kept[key]
        read_games = self._read(games_B)
        if read_games.n_bytes <= self._bytes_left:
            self._kept[key], self._bytes_left = read_games, self._bytes_left - read_games.n_bytes
        return read_games

    def boards(self, games_B: np.ndarray) -> tuple[Positions, Boards]:
        """The positions of some games, and their boards."""
        where = positions(self.corpus, games_B, self.read_at, self.model.gpt.cfg.n_ctx)
        boards = self.corpus.boards(games_B)
        return where, boards[boards.rows(where.game_N, where.ply_N)]

    @torch.no_grad()
    def _read(self, games_B: np.ndarray) -> _Read:
        gpt = self.model.gpt
        where, boards = self.boards(games_B)
        tokens_BL = torch.from_numpy(self.corpus.rows(games_B, gpt.cfg.n_ctx)[0][:, :-1]).to(gpt.device)
        acts_by_name = read(gpt, tokens_BL, self.names)
        game_N, token_N = (torch.from_numpy(part).to(gpt.device) for part in (where.game_N, where.token_N))
        return _Read(where, boards, [acts_by_name[name][game_N, token_N].float() for name in self.names])


class ProbeData:
    """Activations at all probed hook points, and the true classes, at the probed positions of some games."""

    def __init__(self, reading: BoardReader, prop: BoardProperty, min_ply: int = 0) -> None:
        self.reading, self.corpus, self.prop, self.min_ply = reading, reading.corpus, prop, min_ply
        self.targets = Targets.of(prop, self.labels(reading.boards(self.corpus.games("train")[:256])[1]))

    def labels(self, boards: Boards) -> np.ndarray:
        """The property's labels."""
        return self.corpus.game.property_labels(boards, [self.prop.name])[self.prop.name]

    def __call__(self, games_B: np.ndarray) -> tuple[list[Tensor], Tensor]:
        """Activations (N, width) at each hook point, and classes (N, groups)."""
        return self.with_places(games_B)[:2]

    def with_places(self, games_B: np.ndarray) -> tuple[list[Tensor], Tensor, np.ndarray, np.ndarray]:
        """The same, and for each position its game (0..B-1) and the number of plies before it."""
        where, boards, acts = self.reading(games_B)
        labels = self.labels(boards)
        keep_N = where.ply_N >= self.min_ply
        if self.prop.needs:
            keep_N &= labels.any(axis=tuple(range(1, labels.ndim)))
        classes_NS = self.targets.classes(labels[keep_N]).to(acts[0].device)
        if keep_N.all():
            return acts, classes_NS, where.game_N, where.ply_N
        kept_N = torch.from_numpy(keep_N).to(acts[0].device)
        return [acts_ND[kept_N] for acts_ND in acts], classes_NS, where.game_N[keep_N], where.ply_N[keep_N]

    def nothing_left(self, split: str) -> ValueError:
        """The error to raise when no position of a split can be probed."""
        fewer = f" with {self.min_ply} plies or more" if self.min_ply else ""
        known = f" whose '{self.prop.needs}' is known ({self.prop.source})" if self.prop.needs else ""
        return ValueError(
            f"{self.corpus.path}: nothing to probe '{self.prop.name}' on: the {split} games that are read have no "
            f"position{fewer}{known}"
        )


def check_known(prop: BoardProperty, corpus: Corpus) -> None:
    """Raise ValueError, with a way to get it, when a corpus lacks what a property needs to know about its games."""
    if prop.needs and not corpus.knows(prop.needs):
        advice = f"; it comes from {prop.source}" if prop.source else ""
        raise ValueError(
            f"{corpus.path}: the property '{prop.name}' needs '{prop.needs}', which is not known of these games{advice}"
        )
