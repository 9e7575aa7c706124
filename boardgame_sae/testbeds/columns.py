"""Where a testbed's labels and positions are: the columns of a property, the positions of some games."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

MIN_COUNT = 10
"""A class is scored when it is true, and false, at least this often in every split."""


@dataclass(frozen=True)
class PropertyColumns:
    """The columns of the labels that hold a property's classes."""

    name: str
    level: str
    start: int
    stop: int
    class_names: tuple[str, ...]
    """What each column is true of: `d3 mine`."""
    square_P: np.ndarray
    """The square each column is about; -1 where it is about the whole position."""
    partial: bool = False
    """Whether the truth is unknown at some positions, those where no column is true; these do not count."""

    def known(self, labels_NP: np.ndarray) -> np.ndarray:
        """bool (N,): at which positions the truth is known. labels_NP: the labels of all columns of the testbed."""
        known_N = np.ones(len(labels_NP), bool)
        if self.partial:
            labels_NP[:, self.start : self.stop].any(axis=1, out=known_N)
        return known_N


class Span(NamedTuple):
    """A range of a split's scored positions: those of some consecutive games."""

    start: int
    """Its first position."""
    stop: int
    """One past its last position."""
    first_game: int
    """Its first game, as `Positions.game_N` counts."""
    n_games: int
    """Number of games."""


def few_of(name: str, n_scored: int, n_classes: int) -> str:
    """What to warn of where a tenth of a property's classes or fewer are scored; nothing where there are more."""
    if 10 * n_scored > n_classes:
        return ""
    return (
        f"only {n_scored} of {n_classes} classes of {name} are true, and false, at least {MIN_COUNT} times in every "
        "split, and scores rest on these alone; use more games, or hold out a larger fraction of them"
    )
