"""Where a testbed's labels and positions are: the columns of a property, the positions of some games."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


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
