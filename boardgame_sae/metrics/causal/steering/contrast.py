"""Positions apart by one thing that is true of them, such as the skill of the player to move, and activations there."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.games import BoardProperty
from boardgame_sae.probes.data import BoardReader, check_known
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import Corpus

GAMES_AT_ONCE = 256


@dataclass(frozen=True)
class Contrast:
    """What two sides of positions differ in."""

    prop: BoardProperty
    high: int
    """The label, by its number among the property's, that is true on the high side."""
    low: int | None
    """The label that is true on the low side; None for every position at which `high` is false."""

    @property
    def words(self) -> str:
        """`skill 5 less skill 0`."""
        names = self.prop.class_names
        return f"{names[self.high]} less {f'not {names[self.high]}' if self.low is None else names[self.low]}"

    def sides(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """bool (N,) twice: which positions are on the high side, and which on the low. labels: (N, *shape)."""
        labels_NP = labels.reshape(len(labels), self.prop.size)
        known_N = labels_NP.any(1) if self.prop.needs else np.ones(len(labels_NP), bool)
        high_N = labels_NP[:, self.high]
        return high_N, known_N & ~high_N if self.low is None else labels_NP[:, self.low]


def find_contrast(corpus: Corpus, name: str) -> Contrast:
    """The contrast of a property whose classes rank whole positions (`skill`: the last class that occurs less the
    first), or of a label (`check`, `e4 my_pawn`: true less false).

    Raises ValueError for another name, and for what is not known of the corpus's games.
    """
    game, wanted = corpus.game, " ".join(name.replace("_", " ").split())
    by_label = {
        label.replace("_", " "): (prop, n) for prop in game.properties() for n, label in enumerate(prop.class_names)
    }
    ranked = {prop.title: prop for prop in game.properties() if prop.exclusive and prop.shape == (len(prop.classes),)}
    if wanted not in by_label and wanted not in ranked:
        near = difflib.get_close_matches(wanted, [*ranked, *by_label], n=3, cutoff=0.5) or [*ranked, *by_label][:3]
        raise ValueError(f"{game.name}: nothing called '{name}' is true or false of a position; try {', '.join(near)}")
    prop = ranked[wanted] if wanted in ranked else by_label[wanted][0]
    check_known(prop, corpus)
    if wanted in by_label:
        return Contrast(prop, by_label[wanted][1], None)
    boards = corpus.boards(corpus.games("train")[:GAMES_AT_ONCE])
    occurring = np.flatnonzero(prop.evaluate(boards).any(0))
    if len(occurring) < 2:
        raise ValueError(f"{corpus.path}: its games have fewer than two classes of '{prop.name}'; nothing to contrast")
    return Contrast(prop, int(occurring[-1]), int(occurring[0]))


@dataclass(frozen=True, eq=False)
class Sides:
    """Activations on both sides of a contrast, at some hook points: N positions."""

    acts: dict[str, Tensor]
    """(N, width) by hook point."""
    high_N: np.ndarray
    """bool: on the high side."""
    game_N: np.ndarray
    """The game of each position, 0 .. n_games - 1."""
    n_games: int

    def at(self, hook_name: str) -> tuple[Tensor, Tensor]:
        """Activations (n, width) on the high side, and on the low."""
        high_N = torch.from_numpy(self.high_N)
        return self.acts[hook_name][high_N], self.acts[hook_name][~high_N]


def read_sides(
    testbed: Testbed, contrast: Contrast, hook_names: Sequence[str], split: str, n_games: int, min_ply: int = 0
) -> Sides:
    """Read the first games of a split. min_ply: positions after fewer plies are left out.

    Raises HookError for a bad hook point, ValueError where one side has no position.
    """
    games_B = testbed.corpus.games(split)[:n_games]
    reading = BoardReader(testbed.model, testbed.corpus, hook_names, testbed.read_at)
    parts: list[list[Tensor]] = []
    high, game = [np.zeros(0, bool)], [np.zeros(0, np.int64)]
    for first in range(0, len(games_B), GAMES_AT_ONCE):
        where, boards, acts = reading(games_B[first : first + GAMES_AT_ONCE])
        high_N, low_N = contrast.sides(contrast.prop.evaluate(boards))
        kept_N = (high_N | low_N) & (where.ply_N >= min_ply)
        parts.append([acts_ND[torch.from_numpy(kept_N).to(acts_ND.device)].cpu() for acts_ND in acts])
        high.append(high_N[kept_N])
        game.append(where.game_N[kept_N] + first)
    high_N = np.concatenate(high)
    if not 0 < high_N.sum() < len(high_N):
        raise ValueError(
            f"{testbed.corpus.path}: of {len(games_B)} {split} games no position with {min_ply} plies or more is on "
            f"one side of '{contrast.words}'; read more games, or fewer plies before"
        )
    acts = {name: torch.cat(tensors) for name, tensors in zip(hook_names, zip(*parts, strict=True), strict=True)}
    return Sides(acts, high_N, np.concatenate(game), len(games_B))
