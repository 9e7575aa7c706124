"""Sums per game, kept sparse: what the confidence interval of any score is resampled from, now or later.

Any number that a score computes from sums over games (of true positives, losses, right answers) can be resampled from
these sums alone: no latent and no label is read again, and the sums of a whole evaluation fit in one small file.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save
from scipy.sparse import csr_array, hstack, vstack

from boardgame_sae.config import canonical_json
from boardgame_sae.files import RunError, write_bytes
from boardgame_sae.metrics.counting.latent_columns import LabelsLike, as_labels, to_numpy

CLASSIFIER = ("true_positives", "predicted_positives", "positives")
"""What is counted for the classifier of each property."""
_ABOUT = "sums"
"""The entry of a file's metadata that says which parts it holds."""
_SLAB_BYTES = 2**26
_GAMES_AT_ONCE = 256


@dataclass(frozen=True, eq=False, slots=True)
class GameSums:
    """Several numbers for each of P columns in each of B games; brought to one canonical form when made.

    Raises ValueError when the parts disagree in shape or hold anything but finite numbers, or a whole number beyond 32
    bits.
    """

    parts: Mapping[str, csr_array]
    """(B, P) by name: int32, or float64 where they are not whole numbers."""
    same: tuple[str, ...] = ()
    """The parts that depend only on the games: equal for everything that is scored on the same games."""

    def __post_init__(self) -> None:
        shapes = {part.shape for part in self.parts.values()}
        if len(shapes) != 1 or any(shape is None or len(shape) != 2 for shape in shapes):
            raise ValueError(f"sums are (games, columns), all of one shape, not {sorted(map(str, shapes))}")
        canonical = {name: _canonical(part, name) for name, part in self.parts.items()}
        object.__setattr__(self, "parts", canonical)

    @classmethod
    def dense(cls, parts: Mapping[str, np.ndarray], same: Sequence[str] = ()) -> "GameSums":
        """Sums from dense arrays (B games, P columns), or (B,) for one column, by name."""
        columns = {name: np.asarray(part).reshape(len(part), -1) for name, part in parts.items()}
        return cls({name: csr_array(part) for name, part in columns.items()}, tuple(same))

    @classmethod
    def of_classifiers(
        cls, predicted_NP: LabelsLike, true_NP: LabelsLike, game_N: LabelsLike, n_games: int | None = None
    ) -> "GameSums":
        """Count, per game, the true positives, predicted positives and positives of P classifiers, one per property.

        predicted_NP, true_NP: (N positions, P properties), bool or 0 and 1.
        game_N: (N,) int: the game of each position, in any order.
        n_games: B, where games are numbered 0 to B - 1 and may have no position (a row of zeros); by default game b is
        the one with the b-th smallest number that occurs.
        Raises ValueError when shapes disagree, game_N is not int, or a game is not below n_games.
        """
        predicted, labels, game = as_labels(predicted_NP), as_labels(true_NP), to_numpy(game_N)
        if predicted.shape != labels.shape:
            raise ValueError(f"predictions have shape {predicted.shape}, labels {labels.shape}")
        if game.shape != (len(labels),) or game.dtype.kind not in "iu":
            raise ValueError(f"there are {len(labels)} positions; their games are {game.dtype} of shape {game.shape}")
        if n_games is not None and len(game) and (game.min() < 0 or game.max() >= n_games):
            raise ValueError(f"games are numbered {game.min()} to {game.max()}, not from 0 to below {n_games}")
        row_N, n_rows = (game, n_games) if n_games is not None else _ranks(game)
        positions_N = np.arange(len(game))
        member_BN = csr_array((np.ones(len(game), np.int32), (row_N, positions_N)), shape=(n_rows, len(game)))
        # columns a slab at a time: as numbers, which the product needs, all labels would take four times their bytes
        width = max(1, _SLAB_BYTES // (7 * len(game) + 4 * n_rows + 1))
        slabs: list[list[csr_array]] = []
        for first in range(0, max(1, labels.shape[1]), width):
            predicted_slab_NP, labels_slab_NP = predicted[:, first : first + width], labels[:, first : first + width]
            counted = predicted_slab_NP & labels_slab_NP, predicted_slab_NP, labels_slab_NP
            slabs.append([csr_array(member_BN @ counted_NP.astype(np.int32)) for counted_NP in counted])
        columns = (csr_array(hstack(part)) for part in zip(*slabs, strict=True))
        return cls(dict(zip(CLASSIFIER, columns, strict=True)), ("positives",))

    @staticmethod
    def concatenate(several: "Sequence[GameSums]") -> "GameSums":
        """The columns of several sums, side by side. Raises ValueError when there are none or B differs."""
        if len({sums.n_games for sums in several}) != 1:
            raise ValueError(f"columns of {[sums.n_games for sums in several]} games cannot stand side by side")
        return _joined(several, hstack)

    @staticmethod
    def stack(several: "Sequence[GameSums]") -> "GameSums":
        """The games of several sums, one after another. Raises ValueError when there are none or P differs."""
        if len({sums.n_columns for sums in several}) != 1:
            raise ValueError(f"games of {[sums.n_columns for sums in several]} columns cannot stand in one list")
        return _joined(several, vstack)

    def select(self, columns: Sequence[int] | np.ndarray) -> "GameSums":
        """Some of the columns: numbers in any order, or a bool mask (P,).

        Raises IndexError when one does not exist or a mask has another length.
        """
        chosen = np.asarray(columns)
        if chosen.dtype == np.bool_:
            if chosen.shape != (self.n_columns,):
                raise IndexError(f"a mask of columns has shape ({self.n_columns},), not {chosen.shape}")
            chosen = np.flatnonzero(chosen)
        if chosen.size and chosen.dtype.kind not in "iu":
            raise IndexError(f"columns are chosen by number or by a mask, not by {chosen.dtype}")
        chosen = chosen.astype(np.int64)  # numpy calls an empty list float64
        return GameSums({name: csr_array(part[:, chosen]) for name, part in self.parts.items()}, self.same)

    @property
    def n_games(self) -> int:
        """B."""
        return self._shape[0]

    @property
    def n_columns(self) -> int:
        """P."""
        return self._shape[1]

    @property
    def _shape(self) -> tuple[int, int]:
        n_games, n_columns = next(iter(self.parts.values())).shape or (0, 0)  # scipy's types allow for no shape at all
        return n_games, n_columns

    def totals(self) -> dict[str, np.ndarray]:
        """(P,) by name: the sums over all games, int64 where they are whole numbers."""
        totals = {}
        for name, part in self.parts.items():
            total_P = np.bincount(part.indices, weights=part.data, minlength=self.n_columns)
            totals[name] = total_P.astype(np.int64 if part.dtype.kind == "i" else np.float64)  # exact below 2^53
        return totals

    def drawn(self, weights_RB: np.ndarray) -> dict[str, np.ndarray]:
        """(R, P) float64 by name: in each of R draws, the sums over games weighted by how often each is drawn."""
        drawn = {}
        for name, part in self.parts.items():
            drawn[name] = np.zeros((len(weights_RB), self.n_columns))
            for first in range(0, self.n_games, _GAMES_AT_ONCE):
                # a few games made dense: BLAS beats scipy's products with sparse matrices at the densities met here
                drawn[name] += weights_RB[:, first : first + _GAMES_AT_ONCE] @ _dense(part, first, self.n_columns)
        return drawn

    def check_same_games(self, other: "GameSums") -> None:
        """Raise ValueError unless both are sums of the same kind over the same games."""
        if other.n_games != self.n_games:
            raise ValueError(f"one was scored on {self.n_games} games, another on {other.n_games}: not the same games")
        if other.n_columns != self.n_columns:
            raise ValueError(f"one was scored on {self.n_columns} columns, another on {other.n_columns}")
        if tuple(other.parts) != tuple(self.parts):
            raise ValueError(f"one has sums of {', '.join(self.parts)}, another of {', '.join(other.parts)}")
        for name in self.same:
            own, others = ((part.indptr, part.indices, part.data) for part in (self.parts[name], other.parts[name]))
            if not all(map(np.array_equal, own, others)):  # in canonical form equal sums have equal arrays
                raise ValueError(f"'{name}' of some game differs: they were not scored on the same games and columns")

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, whole or not at all: the bytes of `to_bytes`."""
        write_bytes(Path(path), self.to_bytes())

    def to_bytes(self) -> bytes:
        """A safetensors file's bytes; equal sums make equal bytes."""
        arrays: dict[str, np.ndarray] = {"shape": np.array(self._shape, np.int64)}
        for name, part in self.parts.items():
            arrays |= {f"{name}.data": part.data, f"{name}.indices": part.indices, f"{name}.indptr": part.indptr}
        # one entry: safetensors writes several in random order
        about = {_ABOUT: canonical_json({"parts": list(self.parts), "same": list(self.same)})}
        return save(arrays, about)

    @classmethod
    def load(cls, path: str | Path) -> "GameSums":
        """Read what `save` wrote. Raises RunError naming the file when it is missing, damaged or something else."""
        try:
            return cls.from_bytes(Path(path).read_bytes())
        except FileNotFoundError:
            raise RunError(f"{path}: no such file; run the evaluation again") from None
        except (OSError, ValueError) as error:
            raise RunError(
                f"{path}: damaged or not a file of sums over games ({error}); remove it and evaluate again"
            ) from error

    @classmethod
    def from_bytes(cls, data: bytes) -> "GameSums":
        """Read what `to_bytes` wrote. Raises ValueError when it is damaged or something else."""
        try:
            arrays = load(data)  # checks the header before we read it
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            about = json.loads(header["__metadata__"][_ABOUT])
            n_games, n_columns = arrays["shape"].tolist()
            read = {name: _read(arrays, name, (n_games, n_columns)) for name in about["parts"]}
            return cls(read, tuple(about["same"]))
        except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
            ) from error


def _joined(several: Sequence[GameSums], join: Callable[..., Any]) -> GameSums:
    first = several[0]
    return GameSums({name: csr_array(join([sums.parts[name] for sums in several])) for name in first.parts}, first.same)


def _dense(part: csr_array, first: int, n_columns: int) -> np.ndarray:
    """The sums of at most `_GAMES_AT_ONCE` games, starting with `first`, (games, P) float64."""
    indptr = part.indptr[first : first + _GAMES_AT_ONCE + 1]  # slicing a scipy matrix costs more than the sum
    dense_BP = np.zeros((len(indptr) - 1, n_columns))
    entries = slice(indptr[0], indptr[-1])
    dense_BP[np.repeat(np.arange(len(dense_BP)), np.diff(indptr)), part.indices[entries]] = part.data[entries]
    return dense_BP


def _ranks(game_N: np.ndarray) -> tuple[np.ndarray, int]:
    """Each game's place among those that occur, in ascending order of their numbers, and how many occur."""
    numbers_B, rank_N = np.unique(game_N, return_inverse=True)
    return rank_N, len(numbers_B)


def _read(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, int]) -> csr_array:
    data, indices, indptr = (arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
    if data.dtype not in (np.int32, np.float64) or (indices.dtype, indptr.dtype) != (np.int32, np.int32):
        raise ValueError(f"'{name}' has types {data.dtype}, {indices.dtype}, {indptr.dtype}")
    part = csr_array((data, indices, indptr), shape=shape)
    part.check_format(full_check=True)
    return part


def _canonical(part: csr_array, name: str) -> csr_array:
    """The same sums as int32 or float64, columns ascending in each row, no stored zero; a copy if need be."""
    if part.dtype.kind not in "iuf":
        raise ValueError(f"sums are numbers; '{name}' is {part.dtype}")
    dtype = np.float64 if part.dtype.kind == "f" else np.int32
    tidy = part.dtype == dtype and part.has_canonical_format and not (part.data == 0).any()
    canonical = csr_array(part, copy=not tidy)
    if not tidy:
        canonical.sum_duplicates()
        canonical.eliminate_zeros()
    if not np.isfinite(canonical.data).all():
        raise ValueError(f"'{name}' holds a sum that is not finite")
    if dtype == np.int32 and (canonical.data != canonical.data.astype(np.int32)).any():
        raise ValueError(f"'{name}' holds a whole number beyond 32 bits; give such sums as float64")
    canonical.data = canonical.data.astype(dtype, copy=False)
    canonical.indices, canonical.indptr = (
        index.astype(np.int32, copy=False) for index in (canonical.indices, canonical.indptr)
    )
    return canonical
