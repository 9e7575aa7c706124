"""Games packed into rows of one length, as GPTs on written games are trained: rows are full, however long games are.

A pass over the games is one stream of their texts, cut into blocks. Each block begins with the start of a game; the
last game of a block is cut at its end, and what is left of it is dropped.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Packing:
    """The blocks of one pass over some games."""

    starts_B: np.ndarray
    """Where each game begins among a corpus's tokens, in the order of the pass."""
    ends_B: np.ndarray
    """Tokens before each game of the pass, and of the whole pass: (n_games + 1)."""
    first_R: np.ndarray
    """The game that begins each block, as its number in the pass."""
    size: int
    """Tokens of a block."""

    @classmethod
    def of(cls, starts_B: np.ndarray, lengths_B: np.ndarray, size: int) -> "Packing":
        """Cut a pass over games of these lengths into blocks. One that is not full is left out, unless it is alone."""
        ends_B = np.concatenate([[0], np.cumsum(lengths_B, dtype=np.int64)])
        following = np.searchsorted(ends_B, ends_B[:-1] + size).tolist()  # the game that begins the next block
        first, game, n_games = [0], 0, len(following)
        while (game := following[game]) < n_games:
            first.append(game)
        if game > n_games and len(first) > 1:
            first.pop()
        return cls(starts_B, ends_B, np.array(first), size)

    def __len__(self) -> int:
        return len(self.first_R)

    def places(self, blocks: slice | np.ndarray) -> np.ndarray:
        """The corpus's token at each place of some blocks: int64 (R, size), -1 where the pass has ended."""
        begin_R = self.ends_B[self.first_R[blocks]]
        stream_RL = begin_R[:, None] + np.arange(self.size)
        game_RL = np.searchsorted(self.ends_B, stream_RL, side="right") - 1
        inside_RL = game_RL < len(self.starts_B)
        game_RL[~inside_RL] = 0
        return np.where(inside_RL, self.starts_B[game_RL] + stream_RL - self.ends_B[game_RL], -1)
