"""An endless stream of activations: fresh games are played, read by the GPT and discarded; nothing is stored on disk.

    block b of a stream    `rows_per_block` activations of games that are played in parts (b, 0), (b, 1), ...; they are
                           shuffled together in memory and cut into batches; what is left over is dropped; with `reuse`
                           the block is shuffled and cut that many times before the next is played

Batch number `step` depends only on the model, the hook point, the seeds and its number, so a resumed training just asks
for its next batch; any number of SAEs share one pass.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.activations.hook_points import hook_width
from boardgame_sae.activations.store import ActivationStore, harvest
from boardgame_sae.config import content_hash, seed_for
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.transcripts.corpus import Corpus
from boardgame_sae.transcripts.fresh import FreshGames

GAMES_PER_PART = 512
"""Games that are played together."""
BLOCK_BYTES = 2**27
"""Size of the activations that are shuffled together; memory holds them twice while they are."""
N_FOR_SCALE = 2**16
"""Activations over which the mean norm is measured, for trainings that divide by it."""
SCALE_BLOCK = 0
"""The number of the block they come from; training numbers its blocks by hashes."""


@dataclass(frozen=True)
class FreshActivations:
    """Activations of a GPT at a hook point, on games like those of a corpus.

    Raises HookError for a bad hook point, ConfigError as `FreshGames` does.
    """

    model: GameModel
    corpus: Corpus
    hook_name: str
    seed: int = 0
    """Which games are played; the order of the activations has its own seed."""
    reuse: int = 1
    """How often each activation is read; the GPT costs more than most SAEs, and this many times less if reused."""

    def __post_init__(self) -> None:
        _ = self.games, self.width

    @cached_property
    def games(self) -> FreshGames:
        """Where the games come from."""
        return FreshGames(self.corpus, GAMES_PER_PART, self.seed)

    @cached_property
    def width(self) -> int:
        """Length of an activation vector."""
        return hook_width(self.model.gpt, self.hook_name)

    @property
    def path(self) -> Path:
        """Path of the corpus whose kind of games is played, for messages."""
        return self.corpus.path

    @cached_property
    def rows_per_block(self) -> int:
        """Activations per block."""
        return BLOCK_BYTES // (4 * self.width)

    @cached_property
    def hash(self) -> str:
        """Hash of all that the activations depend on."""
        parts = {"games": self.games.hash, "model": self.model.hash, "hook_name": self.hook_name}
        reuse = {"reuse": self.reuse} if self.reuse > 1 else {}
        return content_hash({**parts, "rows_per_block": self.rows_per_block, **reuse})

    @property
    def content(self) -> dict[str, str]:
        """Hash of what the GPT holds; the games depend on the hash alone."""
        return {"model": self.model.content}

    @cached_property
    def mean_norm(self) -> float:
        """Root mean square of the norms of N_FOR_SCALE activations, from games outside every training block."""
        sample_ND = self._rows(SCALE_BLOCK, min(N_FOR_SCALE, self.rows_per_block)).astype(np.float64)
        return float(np.sqrt((sample_ND**2).sum(1).mean()))

    def stream(self, batch_size: int, seed: int) -> "FreshStream":
        """Shuffled batches. Raises ValueError for a batch larger than a block."""
        return FreshStream(self, batch_size, seed)

    def block(self, number: int) -> np.ndarray:
        """The activations of a block, game after game: float32 (rows_per_block, width)."""
        return self._rows(number, self.rows_per_block)

    def _rows(self, block: int, n_rows: int) -> np.ndarray:
        rows_ND, filled, part = np.empty((n_rows, self.width), np.float32), 0, 0
        while filled < n_rows:
            games = self.games.block(block, part)
            acts_ND = harvest(self.model, games, self.hook_name, games.games("train")).cpu().numpy()[: n_rows - filled]
            rows_ND[filled : filled + len(acts_ND)] = acts_ND
            filled, part = filled + len(acts_ND), part + 1
        return rows_ND


class FreshStream:
    """Shuffled batches of fresh activations; a batch depends only on its number."""

    def __init__(self, source: FreshActivations, batch_size: int, seed: int) -> None:
        """seed: of the order within blocks and of the choice of blocks: two seeds never share a game.

        Raises ValueError for a batch larger than a block.
        """
        if batch_size > source.rows_per_block:
            raise ValueError(
                f"a batch of {batch_size} activations is larger than a block of {source.rows_per_block}; take fewer"
            )
        self.source, self.batch_size, self.seed = source, batch_size, seed
        self.batches_per_block = source.rows_per_block // batch_size
        self._block: tuple[int, np.ndarray] | None = None
        self._shuffled: tuple[int, Tensor] | None = None

    @property
    def width(self) -> int:
        """Length of an activation vector."""
        return self.source.width

    @property
    def batches_per_pass(self) -> None:
        """None: the stream has no end."""
        return

    def batch(self, step: int) -> Tensor:
        """Batch number `step`, from 0: float32 (batch_size, width)."""
        number, place = divmod(step, self.batches_per_block)
        if self._shuffled is None or self._shuffled[0] != number:
            self._shuffled = None  # freed before the next is read, so that memory holds only one
            rows_ND = self._rows_of(number // self.source.reuse)
            order = np.random.default_rng(seed_for(self.seed, "rows", number)).permutation(len(rows_ND))
            self._shuffled = number, torch.from_numpy(rows_ND[order])
        return self._shuffled[1][place * self.batch_size : (place + 1) * self.batch_size]

    def _rows_of(self, number: int) -> np.ndarray:
        """The activations of the stream's block `number`, in the order they were played; kept while they are reused."""
        if self._block is not None and self._block[0] == number:
            return self._block[1]
        self._block = None
        rows_ND = self.source.block(seed_for(self.seed, "block", number))
        if self.source.reuse > 1:
            self._block = number, rows_ND
        return rows_ND


ActivationSource: TypeAlias = ActivationStore | FreshActivations
"""What SAEs train on: activations from disk, or of fresh games."""
