"""Counts per game, kept sparse: what the confidence interval of any score is resampled from, now or later.

Whatever a score makes of hits, of what was said and of what is true, summed over games, can be resampled from these
counts alone: no latent and no label is read again, and the counts of a whole evaluation fit in one small file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_array, hstack, vstack

from boardgame_sae.files import RunError, writing
from boardgame_sae.metrics.counting.latent_columns import LabelsLike, as_labels, to_numpy

_PARTS = ("hit", "said", "true")
_SLAB_BYTES = 2**26


@dataclass(frozen=True, eq=False, slots=True)
class GameCounts:
    """How P classifiers, each of its own property, did in each of B games; brought to one canonical form when made.

    Raises ValueError when the parts disagree in shape, are not whole numbers from 0 up, or claim more hits in a game
    than were said or are true there.
    """

    hit: csr_array
    """(B, P) int32: positions where it says yes and the truth is yes."""
    said: csr_array
    """(B, P) int32: positions where it says yes."""
    true: csr_array
    """(B, P) int32: positions where the truth is yes."""

    def __post_init__(self) -> None:
        shapes = [getattr(self, name).shape for name in _PARTS]
        if len(set(shapes)) > 1 or len(shapes[0]) != 2:
            raise ValueError(f"hit, said and true are (games, properties), all of one shape, not {shapes}")
        for name in _PARTS:
            object.__setattr__(self, name, _canonical(getattr(self, name), name))
        for name in ("said", "true"):
            if _any_negative(getattr(self, name) - self.hit):
                raise ValueError(f"more positions are hit than are {name} in some game")

    @classmethod
    def of(
        cls, predicted_NP: LabelsLike, true_NP: LabelsLike, game_N: LabelsLike, n_games: int | None = None
    ) -> "GameCounts":
        """Count the positions of every game.

        predicted_NP, true_NP: (N positions, P properties), bool or 0 and 1.
        game_N: (N,) int: the game of each position, in any order.
        n_games: B, where games are numbered 0 to B - 1 and may be without a position (a row of zeros); left out, game
        b is the b-th smallest number that occurs.
        Raises ValueError when shapes disagree, game_N is not int, or a game is not below n_games.
        """
        predicted, true, game = as_labels(predicted_NP), as_labels(true_NP), to_numpy(game_N)
        if predicted.shape != true.shape:
            raise ValueError(f"predictions have shape {predicted.shape}, truths {true.shape}")
        if game.shape != (len(true),) or game.dtype.kind not in "iu":
            raise ValueError(f"there are {len(true)} positions; their games are {game.dtype} of shape {game.shape}")
        if n_games is not None and len(game) and (game.min() < 0 or game.max() >= n_games):
            raise ValueError(f"games are numbered {game.min()} to {game.max()}, not from 0 to below {n_games}")
        row_N, n_rows = (game, n_games) if n_games is not None else _ranks(game)
        positions_N = np.arange(len(game))
        member_BN = csr_array((np.ones(len(game), np.int32), (row_N, positions_N)), shape=(n_rows, len(game)))
        # columns a slab at a time: as numbers, which the product needs, all labels would take four times their bytes
        width = max(1, _SLAB_BYTES // (7 * len(game) + 4 * n_rows + 1))
        slabs: list[list[csr_array]] = []
        for first in range(0, max(1, true.shape[1]), width):
            said_NP, true_slab_NP = (held[:, first : first + width] for held in (predicted, true))
            held_by_part = said_NP & true_slab_NP, said_NP, true_slab_NP
            slabs.append([csr_array(member_BN @ held_NP.astype(np.int32)) for held_NP in held_by_part])
        return cls(*(csr_array(hstack(part)) for part in zip(*slabs, strict=True)))

    @staticmethod
    def concatenate(parts: "Sequence[GameCounts]") -> "GameCounts":
        """Further properties of the same games, side by side. Raises ValueError when there is no part, or B differs."""
        if len({part.n_games for part in parts}) != 1:
            raise ValueError(f"properties of {[part.n_games for part in parts]} games cannot stand side by side")
        return GameCounts(*(csr_array(hstack([getattr(part, name) for part in parts])) for name in _PARTS))

    @staticmethod
    def stack(parts: "Sequence[GameCounts]") -> "GameCounts":
        """Further games, one part after another. Raises ValueError when there is no part, or P differs."""
        if len({part.n_properties for part in parts}) != 1:
            raise ValueError(f"games of {[part.n_properties for part in parts]} properties cannot stand in one list")
        return GameCounts(*(csr_array(vstack([getattr(part, name) for part in parts])) for name in _PARTS))

    def select(self, columns: Sequence[int] | np.ndarray) -> "GameCounts":
        """The classifiers `columns`: numbers in any order, or a bool mask (P,).

        Raises IndexError when one does not exist or a mask has another length.
        """
        chosen = np.asarray(columns)
        if chosen.dtype == np.bool_:
            if chosen.shape != (self.n_properties,):
                raise IndexError(f"a mask of properties has shape ({self.n_properties},), not {chosen.shape}")
            chosen = np.flatnonzero(chosen)
        if chosen.size and chosen.dtype.kind not in "iu":
            raise IndexError(f"properties are chosen by number or by a mask, not by {chosen.dtype}")
        chosen = chosen.astype(np.int64)  # numpy calls an empty list float64
        return GameCounts(*(getattr(self, name)[:, chosen] for name in _PARTS))

    @property
    def n_games(self) -> int:
        """B."""
        return self._shape[0]

    @property
    def n_properties(self) -> int:
        """P."""
        return self._shape[1]

    @property
    def _shape(self) -> tuple[int, int]:
        n_games, n_properties = self.true.shape or (0, 0)  # scipy's types allow for no shape at all
        return n_games, n_properties

    def totals(self) -> np.ndarray:
        """(P, 3) int64: hit, said and true over all games."""
        parts = self.hit, self.said, self.true
        sums = [np.bincount(part.indices, weights=part.data, minlength=self.n_properties) for part in parts]
        return np.stack(sums, axis=-1).astype(np.int64)  # float64 holds them exactly

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, whole or not at all; equal counts make equal bytes.

        Counts of one game are small: they and the columns are written in the fewest bytes that hold the largest.
        """
        arrays: dict[str, np.ndarray] = {"shape": np.array(self._shape, np.int64)}
        for name in _PARTS:
            part: csr_array = getattr(self, name)
            arrays[f"{name}.data"] = part.data
            arrays |= {f"{name}.indices": part.indices, f"{name}.indptr": part.indptr}
        with writing(Path(path)) as temporary:
            save_file(arrays, temporary)

    @classmethod
    def load(cls, path: str | Path) -> "GameCounts":
        """Read what `save` wrote. Raises RunError naming the file when it is missing, damaged or something else."""
        try:
            arrays = load_file(Path(path))
            n_games, n_properties = arrays["shape"].tolist()
            return cls(*(_read(arrays, name, (n_games, n_properties)) for name in _PARTS))
        except FileNotFoundError:
            raise RunError(f"{path}: no such file; run the evaluation again to count the games anew") from None
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise RunError(f"{path}: damaged or no counts of games ({error}); remove it and evaluate again") from error


def _ranks(game_N: np.ndarray) -> tuple[np.ndarray, int]:
    """Each game's place among those that occur, in ascending order of their numbers, and how many occur."""
    numbers_B, rank_N = np.unique(game_N, return_inverse=True)
    return rank_N, len(numbers_B)


def _read(arrays: dict[str, np.ndarray], name: str, shape: tuple[int, int]) -> csr_array:
    data, indices, indptr = (arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
    if (data.dtype, indices.dtype, indptr.dtype) != (np.int32, np.int32, np.int32):
        raise ValueError(f"{name} has types {data.dtype}, {indices.dtype}, {indptr.dtype}")
    found = csr_array((data, indices, indptr), shape=shape)
    found.check_format(full_check=True)
    return found


def _small(numbers: np.ndarray) -> np.ndarray:
    """Numbers from 0 up in the fewest bytes that hold the largest."""
    return numbers.astype(np.min_scalar_type(numbers.max(initial=0)))


def _canonical(part: csr_array, name: str) -> csr_array:
    """The same counts as int32, columns ascending in each row, each at most once, no stored zero; a copy if need be."""
    if part.dtype.kind not in "iu":
        raise ValueError(f"counts are whole numbers; {name} is {part.dtype}")
    tidy = part.dtype == np.int32 and part.has_canonical_format and not (part.data == 0).any()
    found = csr_array(part, dtype=np.int32, copy=not tidy)
    if not tidy:
        found.sum_duplicates()
        found.eliminate_zeros()
    found.indices, found.indptr = (index.astype(np.int32, copy=False) for index in (found.indices, found.indptr))
    if _any_negative(found):
        raise ValueError(f"{name} holds a count below 0")
    return found


def _any_negative(part: csr_array) -> bool:
    return bool((part.data < 0).any())
