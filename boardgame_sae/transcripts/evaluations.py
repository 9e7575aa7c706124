"""What an engine thinks of the positions of a corpus: centipawns for the player to move, in a file of their own.

evaluations.h5   attributes: format, version, corpus (its hash), content (of the corpus), engine
    games        places in the corpus of the games evaluated, ascending
    offsets      where each one's positions begin: one per ply and one for the start
    centipawns   int16, clipped
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from boardgame_sae.config import content_hash
from boardgame_sae.files import writing
from boardgame_sae.games import UNKNOWN_EVALUATION
from boardgame_sae.hdf5.reader import Array, Format, read_hdf5
from boardgame_sae.hdf5.writer import new_hdf5
from boardgame_sae.runs.integrity import verified

EVALUATIONS_FILE, EVALUATIONS_FOLDER = "evaluations.h5", "evaluations"
FORMAT, VERSION = "boardgame_sae evaluations", 1
MAX_CENTIPAWNS = 32_000
"""Centipawns are clipped to this magnitude; a mate is beyond it."""


class EvaluationsError(ValueError):
    """A file that holds no usable evaluations of a corpus; the message names it and the fix."""


EVALUATIONS = Format(
    FORMAT,
    VERSION,
    "evaluations",
    EvaluationsError,
    "restore it, or annotate the corpus again",
    {"corpus": str, "engine": str},
    {
        "games": Array(("i8",), "games"),
        "offsets": Array(("i8",), "games", beyond=1),
        "centipawns": Array(("i2",), "positions"),
    },
)
"""What a file of evaluations holds, and nothing else."""


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
    content: str
    """Hash of what the corpus holds."""

    @cached_property
    def hash(self) -> str:
        """Hash of what was evaluated, by whom, and how it came out."""
        digest = hashlib.sha256(self.games_B.tobytes() + self.offsets.tobytes() + self.centipawns.tobytes())
        return content_hash([self.corpus, self.engine, digest.hexdigest()])

    @classmethod
    def open(cls, path: str | Path, corpus: str, content: str) -> "Evaluations":
        """Read a file, or the run folder that holds it, of the corpus with some hash and some content.

        Raises EvaluationsError, naming the file, when it is missing, damaged or of another corpus; RunError when a file
        of a finished run has changed since.
        """
        path = Path(path)
        verified(path)
        path = path / EVALUATIONS_FILE if path.is_dir() else path
        if not path.exists():
            raise EvaluationsError(f"{path}: no such evaluations; `boardgame-sae annotate` makes them")
        about, arrays = read_hdf5(path, EVALUATIONS)
        games_B, offsets, centipawns = (np.array(arrays[name]) for name in ("games", "offsets", "centipawns"))
        if offsets[0] != 0 or offsets[-1] != len(centipawns) or (np.diff(offsets) < 0).any():
            raise EvaluationsError(f"{path}: its offsets do not match its centipawns; {EVALUATIONS.fix}")
        for ours, theirs in ((corpus, about["corpus"]), (content, about.get("content", content))):
            if theirs != ours:
                raise EvaluationsError(
                    f"{path}: of the corpus {theirs}, not of {ours}; remove it, or annotate this corpus too"
                )
        return cls(corpus, about["engine"], games_B, offsets, centipawns, content)

    def write(self, path: Path) -> None:
        """Write a file, whole or not at all."""
        about = {"format": FORMAT, "version": VERSION, "corpus": self.corpus, "content": self.content}
        with writing(path) as temporary, new_hdf5(temporary) as file:
            file.attrs.update(**about, engine=self.engine)
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
                own = self.centipawns[self.offsets[place] : self.offsets[place + 1]]
                if len(own) != n:
                    raise EvaluationsError(
                        f"evaluations of the corpus {self.corpus}: {len(own)} of game {game}, which has {n} positions; "
                        f"{EVALUATIONS.fix}"
                    )
                values_N[end - n : end] = own
        return values_N


def clip(centipawns: Any) -> np.ndarray:
    """Centipawns as they are stored."""
    return np.clip(centipawns, -MAX_CENTIPAWNS, MAX_CENTIPAWNS).astype(np.int16)
