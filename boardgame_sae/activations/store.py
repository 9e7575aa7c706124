"""Harvest activations to disk once; stream them shuffled, any number of times.

    acts.h5    attributes: format, version, hook_name, model, corpus, split
        acts   (N, width) float16 or float32: every token that the GPT reads, game after game

The file has its full size from the start and is filled in place, so that a full disk is an error at once and a killed
run loses only the games since progress was last written.
"""

import json
import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import torch
from torch import Tensor

from boardgame_sae.activations.hook_points import hook_width, read
from boardgame_sae.config import ConfigError, content_hash, seed_for
from boardgame_sae.files import RunError, read_json, write_json, writing
from boardgame_sae.hdf5.reader import Array, Format, read_hdf5
from boardgame_sae.hdf5.writer import new_hdf5
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.runs import Run, progress
from boardgame_sae.runs.integrity import CARD_FILE, verified
from boardgame_sae.transcripts.corpus import Corpus

ACTS_FILE, PROGRESS_FILE = "acts.h5", "progress.json"
FORMAT, VERSION = "boardgame_sae activations", 1
ACTIVATIONS = Format(
    FORMAT,
    VERSION,
    "activations",
    RunError,
    "restore it, or move its folder away and harvest again",
    {},
    {"acts": Array(("f2", "f4"), "positions", rank=2)},
)
"""What a file of activations holds, and nothing else."""
GAMES_PER_BATCH = 512
"""Games that the GPT reads together."""
BLOCK_ROWS, BUFFER_BLOCKS = 4096, 64
"""Rows in a block that is read from disk at once, and blocks that are shuffled together in memory."""


def games_for(corpus: Corpus, split: str, n_activations: int, n_ctx: int | None = None) -> np.ndarray:
    """The first games of a split from which a GPT of context n_ctx reads at least n_activations tokens, or all games.

    Raises ValueError when the split is empty.
    """
    games_B = corpus.games(split)
    read_B = corpus.n_read(games_B, n_ctx)
    return games_B[: int(np.searchsorted(np.cumsum(read_B), n_activations)) + 1]


def harvest_run(
    model: GameModel,
    corpus: Corpus,
    hook_name: str,
    *,
    n_activations: int,
    split: str = "train",
    dtype: Literal["float16", "float32"] = "float32",
    out: str | Path | None = None,
) -> Path:
    """Write the activations at a hook point into a run folder and return it; reused when done, resumed when killed.

    n_activations: minimum number; whole games are read, and fewer activations only if the split has no more.
    Raises ConfigError for a number below 1, HookError for a bad hook point, RunError for a full disk or activations
    that float16 cannot hold.
    """
    width = hook_width(model.gpt, hook_name)
    if not isinstance(n_activations, int) or n_activations < 1:
        raise ConfigError(f"n_activations is {n_activations!r}: must be a whole number of at least 1")
    config = {"hook_name": hook_name, "n_activations": n_activations, "split": split, "dtype": dtype}
    inputs = {"model": model.hash, "corpus": corpus.hash}
    content = {"model": model.content, "corpus": corpus.content}
    with Run("activations", hook_name, config, inputs, out, content=content) as run:
        if run.done:
            return run.folder
        began = time.perf_counter()
        games_B = games_for(corpus, split, n_activations, model.gpt.cfg.n_ctx)
        n_rows = int(corpus.n_read(games_B, model.gpt.cfg.n_ctx).sum())
        path = run / ACTS_FILE
        if not (run / PROGRESS_FILE).exists():
            attributes = {**config, **inputs, "format": FORMAT, "version": VERSION}
            _allocate(path, (n_rows, width), dtype, attributes)
            write_json(run / PROGRESS_FILE, {"games": 0, "rows": 0})
        _fill(model, corpus, games_B, hook_name, path, run / PROGRESS_FILE)
        (run / PROGRESS_FILE).unlink()
        run.log_time("harvest", time.perf_counter() - began, rows=n_rows)
        run.finish(n_activations=n_rows, width=width)
        return run.folder


def _allocate(path: Path, shape: tuple[int, int], dtype: str, attributes: dict[str, Any]) -> None:
    with writing(path) as temporary:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        creation.set_obj_track_times(False)
        with new_hdf5(temporary) as file:
            space = h5py.h5s.create_simple(shape)
            kind = h5py.h5t.py_create(np.dtype(dtype))
            h5py.h5d.create(file.id, b"acts", kind, space, creation)
            file.attrs.update(attributes)
        with open(temporary, "r+b") as file:
            if not hasattr(os, "posix_fallocate"):  # macOS: a full disk is noticed only while filling
                return
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)


@torch.no_grad()
def _fill(
    model: GameModel, corpus: Corpus, games_B: np.ndarray, hook_name: str, path: Path, progress_path: Path
) -> None:
    done = json.loads(progress_path.read_text())
    first, row = done["games"], done["rows"]
    acts_ND: Any = read_hdf5(path, ACTIVATIONS, "r+").arrays["acts"]
    with progress(len(acts_ND), f"harvest {hook_name}", "acts", initial=row) as bar:
        for start in range(first, len(games_B), GAMES_PER_BATCH):
            part_B = games_B[start : start + GAMES_PER_BATCH]
            exact_ND = harvest(model, corpus, hook_name, part_B).cpu().numpy()
            if not np.isfinite(exact_ND).all():
                raise RunError(
                    f"{path}: the GPT's activations at {hook_name} are not finite numbers, so some of its weights are "
                    "not, or far too large; give a GPT whose training did not diverge"
                )
            new_ND = exact_ND.astype(acts_ND.dtype)
            if not np.isfinite(new_ND).all():
                raise RunError(f"{path}: an activation is too large for {acts_ND.dtype}; harvest with dtype=float32")
            acts_ND[row : row + len(new_ND)] = new_ND
            row += len(new_ND)
            bar.update(len(new_ND))
            if start // GAMES_PER_BATCH % 16 == 15:
                acts_ND.flush()
                write_json(progress_path, {"games": start + len(part_B), "rows": row})
    acts_ND.flush()


@torch.no_grad()
def harvest(model: GameModel, corpus: Corpus, hook_name: str, games_B: np.ndarray) -> Tensor:
    """The activations (N, width) at every token that the GPT reads of some games, one game after another.

    Raises HookError for a bad hook point.
    """
    rows = corpus.rows(games_B, model.gpt.cfg.n_ctx)
    tokens_BL, plies_BL = (torch.from_numpy(part[:, :-1]).to(model.gpt.device) for part in rows)
    return read(model.gpt, tokens_BL, [hook_name])[hook_name][plies_BL >= 0].float()


@dataclass(frozen=True, eq=False)
class ActivationStore:
    """A harvest on disk."""

    path: Path
    attributes: dict[str, Any]
    acts_ND: np.ndarray
    """(N, width), memory-mapped."""

    @classmethod
    def open(cls, folder: str | Path) -> "ActivationStore":
        """Open the run folder of a harvest (or its file). Raises RunError when it is missing, damaged or changed."""
        path = Path(folder)
        verified(path)
        path = path / ACTS_FILE if path.is_dir() else path
        attributes, arrays = read_hdf5(path, ACTIVATIONS)
        return cls(path, attributes, arrays["acts"])

    def __len__(self) -> int:
        return len(self.acts_ND)

    @property
    def width(self) -> int:
        """Length of an activation vector."""
        return self.acts_ND.shape[1]

    @property
    def hash(self) -> str:
        """Hash of what was harvested: hook point, model, corpus, split, size."""
        return content_hash({key: str(value) for key, value in sorted(self.attributes.items())})

    @property
    def content(self) -> dict[str, str]:
        """Hashes of what the GPT and the corpus held that it was made from, where its run says so."""
        card = self.path.parent / CARD_FILE
        return read_json(card).get("content", {}) if card.exists() else {}

    @cached_property
    def mean_norm(self) -> float:
        """Root mean square of the activations' norms, over the first 65,536."""
        sample = self.acts_ND[: 1 << 16].astype(np.float64)
        return float(np.sqrt((sample**2).sum(1).mean()))

    def stream(self, batch_size: int, seed: int) -> "ActivationStream":
        """Shuffled batches. Raises ValueError when the store is smaller than one batch."""
        return ActivationStream(self, batch_size, seed)


class ActivationStream:
    """Shuffled batches of a store. A batch depends only on the seed and its number, so a resumed run just asks for it.

    Each pass shuffles blocks of rows across the file and the rows of some blocks together in memory, so that a store
    larger than memory streams at the disk's own speed.
    """

    def __init__(self, store: ActivationStore, batch_size: int, seed: int) -> None:
        """Raises ValueError when the store is smaller than one batch."""
        if len(store) < batch_size:
            raise ValueError(
                f"{store.path}: {len(store)} activations, fewer than a batch of {batch_size}; harvest more"
            )
        self.store, self.batch_size, self.seed = store, batch_size, seed
        self.block = max(batch_size, min(BLOCK_ROWS, len(store)))
        self.n_blocks = len(store) // self.block
        self.batches_per_buffer = BUFFER_BLOCKS * self.block // batch_size
        rest = self.n_blocks % BUFFER_BLOCKS * self.block // batch_size
        self.batches_per_pass = self.n_blocks // BUFFER_BLOCKS * self.batches_per_buffer + rest
        self._loaded: tuple[tuple[int, int], np.ndarray] | None = None

    @property
    def width(self) -> int:
        """Length of an activation vector."""
        return self.store.width

    def batch(self, step: int) -> Tensor:
        """Batch number `step`, from 0: float32 (batch_size, width)."""
        pass_, batch = divmod(step, self.batches_per_pass)
        buffer, batch = divmod(batch, self.batches_per_buffer)
        if self._loaded is None or self._loaded[0] != (pass_, buffer):
            self._loaded = None  # freed before the next is read, so that memory holds only one
            self._loaded = ((pass_, buffer), self._load(pass_, buffer))
        rows = self._loaded[1][batch * self.batch_size : (batch + 1) * self.batch_size]
        return torch.from_numpy(rows)

    def _load(self, pass_: int, buffer: int) -> np.ndarray:
        order = np.random.default_rng(seed_for(self.seed, "blocks", pass_))
        start = int(order.integers(len(self.store) - self.n_blocks * self.block + 1))
        chosen = order.permutation(self.n_blocks)[buffer * BUFFER_BLOCKS : (buffer + 1) * BUFFER_BLOCKS]
        blocks = [self.store.acts_ND[start + b * self.block : start + (b + 1) * self.block] for b in chosen]
        rows = np.concatenate(blocks).astype(np.float32)
        return rows[np.random.default_rng(seed_for(self.seed, "rows", pass_, buffer)).permutation(len(rows))]
