"""What is scored: an SAE, or a baseline that it is compared with, on a testbed."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

import numpy as np

from boardgame_sae.metrics.counting.latent_columns import Latents
from boardgame_sae.metrics.latent_source import LatentSource, as_latent_source
from boardgame_sae.runs import progress
from boardgame_sae.testbeds.columns import Span
from boardgame_sae.testbeds.testbed import Testbed

ROWS_AT_ONCE = 1024
"""Positions that are encoded at once: their dense latents are small enough that the allocator reuses memory."""
MAX_BYTES = 2**31
"""Default memory, in bytes, for one subject's latents and counts."""
SHOWN_AFTER = 1.0
"""Seconds from which on a step of scoring has a progress bar of its own, below that of the scores."""
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(eq=False)
class Subject:
    """Something that turns a testbed's activations into latents."""

    name: str
    """What tables call it."""
    kind: str
    """`sae`, or the kind of baseline (`metrics.baselines`)."""
    given: Any
    """What is scored: anything that `as_latent_source` takes."""
    testbed: Testbed
    """Where its activations come from."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Plain data to keep with its scores: config, folder."""
    max_bytes: int = MAX_BYTES
    """Memory, in bytes, that its latents and their counts may take; see `evaluate`."""

    def __post_init__(self) -> None:
        self.source: LatentSource = as_latent_source(self.given, self.testbed, self.name)
        self._latents: dict[str, list[Latents]] = {}
        self._in_memory, self._folder = 0, None
        self._computed: dict[Any, Any] = {}

    def once(self, function: Callable[["Subject", *Ts], T], *args: *Ts) -> T:
        """A function's result for this subject and these arguments, computed once and shared by several scores."""
        key = (function, args)
        if key not in self._computed:
            self._computed[key] = function(self, *args)
        return self._computed[key]

    def latents(self, split: str) -> list[Latents]:
        """Its latents at a split's scored positions, for each of the testbed's spans; computed once.

        Those beyond half of `max_bytes` lie in temporary files.
        """
        if split not in self._latents:
            parts = []
            for number, span in enumerate(self.testbed.spans(split)):
                part = self._encode(self.testbed, split, span)
                self._in_memory += part.nbytes
                in_memory = self._in_memory <= self.max_bytes // 2
                parts.append(part if in_memory else part.on_disk(self._file(split, number)))
            self._latents[split] = parts
        return self._latents[split]

    @cached_property
    def l0(self) -> float:
        """Mean number of latents on at a scored test position."""
        parts = self.latents("test")
        return sum(len(part.values_Z) for part in parts) / sum(part.n_positions for part in parts)

    @cached_property
    def reference_max_F(self) -> np.ndarray:
        """m_f as published: each latent's largest activation at any token of half of the train games.

        For given latents, which are known at scored positions only, it is the largest at those of these games.
        """
        everywhere, scored = self.testbed.everywhere, self.testbed.positions("train").game_N
        n_scored = int(np.searchsorted(scored, everywhere.n_games))
        if self.source.is_given or n_scored == len(everywhere.positions("train")):
            parts = zip(self.testbed.spans("train"), self.latents("train"), strict=True)
            known = [latents.select_rows(np.arange(span.start, span.stop) < n_scored) for span, latents in parts]
            return np.max([part.max_F() for part in known], axis=0)
        return np.max([self._encode(everywhere, "train", span).max_F() for span in everywhere.spans("train")], axis=0)

    def _encode(self, testbed: Testbed, split: str, span: Span) -> Latents:
        if self.source.is_given:
            return self.source.read(split, span.start, span.stop)
        acts_ND, parts = testbed.read(split, span.start, span.stop), []
        with progress(len(acts_ND), f"{self.name}: encode {split}", "positions", leave=False, after=SHOWN_AFTER) as bar:
            for first in range(0, len(acts_ND), ROWS_AT_ONCE):
                slab_ND = acts_ND[first : first + ROWS_AT_ONCE]
                parts.append(self.source.read(split, first, first + len(slab_ND), slab_ND))
                bar.update(len(slab_ND))
        return Latents.concatenate(parts)

    def _file(self, split: str, number: int) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="latents-")
        return Path(self._folder.name) / f"{split}-{number}"
