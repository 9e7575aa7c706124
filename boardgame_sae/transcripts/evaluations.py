"""What an engine thinks of the positions of a corpus: centipawns for the player to move, in a file of their own.

evaluations.h5   attributes: format, version, corpus (its hash), engine
    games        places in the corpus of the games evaluated, ascending
    offsets      where each one's positions begin: one per ply and one for the start
    centipawns   int16, clipped
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from boardgame_sae.config import content_hash
from boardgame_sae.files import new_hdf5, writing
from boardgame_sae.games import UNKNOWN_EVALUATION

EVALUATIONS_FILE, EVALUATIONS_FOLDER = "evaluations.h5", "evaluations"
FORMAT, VERSION = "boardgame_sae evaluations", 1
MAX_CENTIPAWNS = 32_000
"""Centipawns are clipped to this magnitude; a mate is beyond it."""


class EvaluationsError(ValueError):
    """A file that holds no usable evaluations of a corpus; the message names it and the fix."""


@dataclass(frozen=True, eq=False)
class Evaluations:
    """Evaluations of some games of a corpus."""

    corpus: str
    """Hash of the corpus."""
    engine: str
    """The player that evaluated."""
    games_B: np.ndarray
    """int64: places of the games in the corpus, ascending."""
    offsets: np.ndarray
    """int64 (B + 1): game b has `centipawns[offsets[b]:offsets[b + 1]]`, the start first."""
    centipawns: np.ndarray
    """int16, for the player to move."""

    @cached_property
    def hash(self) -> str:
        """Hash of what was evaluated, by whom, and how it came out."""
        digest = hashlib.sha256(self.games_B.tobytes() + self.offsets.tobytes() + self.centipawns.tobytes())
        return content_hash([self.corpus, self.engine, digest.hexdigest()])

    @classmethod
    def open(cls, path: str | Path, corpus: str) -> "Evaluations":
        """Read a file, or the run folder that holds it, of the corpus with some hash.

        Raises EvaluationsError, naming the file, when it is missing, damaged or of another corpus.
        """
        path = Path(path)
        path = path / EVALUATIONS_FILE if path.is_dir() else path
        if not path.exists():
            raise EvaluationsError(f"{path}: no such evaluations; `boardgame-sae annotate` makes them")
        try:
            with h5py.File(path, "r") as file:
                about: dict[str, Any] = dict(file.attrs)
                if (about.get("format"), about.get("version")) != (FORMAT, VERSION):
                    raise EvaluationsError(f"{path}: no evaluations of version {VERSION}; annotate the corpus again")
                arrays = [np.asarray(file[name]) for name in ("games", "offsets", "centipawns")]
        except (OSError, KeyError, RuntimeError) as error:
            raise EvaluationsError(f"{path}: damaged ({error}); restore it, or annotate the corpus again") from error
        if about["corpus"] != corpus:
            raise EvaluationsError(
                f"{path}: of the corpus {about['corpus']}, not of {corpus}; remove it, or annotate this corpus too"
            )
        return cls(corpus, about["engine"], *arrays)

    def write(self, path: Path) -> None:
        """Write a file, whole or not at all."""
        with writing(path) as temporary, new_hdf5(temporary) as file:
            file.attrs.update(format=FORMAT, version=VERSION, corpus=self.corpus, engine=self.engine)
            file["games"], file["offsets"], file["centipawns"] = self.games_B, self.offsets, self.centipawns

    def rows(self, games_B: np.ndarray, n_rows_B: np.ndarray) -> np.ndarray:
        """Centipawns of every position of some games, UNKNOWN_EVALUATION where nobody evaluated: int16.

        games_B: places in the corpus. n_rows_B: positions that each has.
        """
        ends_B = np.cumsum(n_rows_B)
        values_N = np.full(int(n_rows_B.sum()), UNKNOWN_EVALUATION, np.int16)
        places_B = np.searchsorted(self.games_B, games_B)
        for place, game, end, n in zip(places_B, games_B, ends_B, n_rows_B, strict=True):
            if place < len(self.games_B) and self.games_B[place] == game:
                values_N[end - n : end] = self.centipawns[self.offsets[place] : self.offsets[place + 1]]
        return values_N


def clip(centipawns: Any) -> np.ndarray:
    """Centipawns as they are stored."""
    return np.clip(centipawns, -MAX_CENTIPAWNS, MAX_CENTIPAWNS).astype(np.int16)
