"""Latents as compressed columns: for every latent, the positions at which it is on and how strongly.

An SAE leaves nearly every latent off at nearly every position, so all supervised metrics here walk one latent's
active positions instead of a dense (positions, latents) table. Thresholds are never negative and a latent is on only
above its threshold, so an entry that is zero or negative can never be on: such entries are accepted and dropped.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse
import torch
from numba import njit, prange

from boardgame_sae.launch import numba_threads
from boardgame_sae.saes.sparse.kernels import transpose


@dataclass(frozen=True, eq=False, slots=True)
class Latents:
    """Strictly positive activations of N positions by F latents, latent after latent, positions ascending in each.

    Made by `as_latents`; the Z entries of latent f are those from `indptr_F1[f]` to `indptr_F1[f + 1]`.
    """

    indptr_F1: np.ndarray
    """(F + 1,) int64: where each latent's entries start, and the end of the last."""
    rows_Z: np.ndarray
    """(Z,) int32: the position of each entry."""
    values_Z: np.ndarray
    """(Z,) float32 or float64: its activation, above zero."""
    shape: tuple[int, int]
    """(N positions, F latents)."""

    @property
    def n_positions(self) -> int:
        """N."""
        return self.shape[0]

    @property
    def n_latents(self) -> int:
        """F."""
        return self.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of memory (or disk) that it takes."""
        return self.indptr_F1.nbytes + self.rows_Z.nbytes + self.values_Z.nbytes

    def on_disk(self, stem: str | Path) -> "Latents":
        """The same with entries in the files `stem`.rows.npy and `stem`.values.npy, read as they are needed."""
        stored = []
        for name in ("rows", "values"):
            path = Path(f"{stem}.{name}.npy")
            np.save(path, getattr(self, f"{name}_Z"), allow_pickle=False)
            # copy on write: nothing writes, but writable arrays have the same type as those in memory
            stored.append(np.asarray(np.load(path, mmap_mode="c", allow_pickle=False)))
        return Latents(self.indptr_F1, stored[0], stored[1], self.shape)

    def max_F(self) -> np.ndarray:
        """(F,) in the dtype of the values: each latent's largest activation, 0 where it is never on."""
        max_F = np.zeros(self.n_latents, self.values_Z.dtype)
        alive_F = np.diff(self.indptr_F1) > 0
        if alive_F.any():
            max_F[alive_F] = np.maximum.reduceat(self.values_Z, self.indptr_F1[:-1][alive_F])
        return max_F

    def density_F(self) -> np.ndarray:
        """(F,) float64: the share of the positions at which each latent is on (0 where there is no position)."""
        return np.diff(self.indptr_F1) / max(self.n_positions, 1)

    def select_rows(self, mask_N: np.ndarray | torch.Tensor) -> "Latents":
        """The positions where mask_N (N,), bool, is true, renumbered. Raises ValueError on another shape or dtype."""
        mask_N = to_numpy(mask_N)
        if mask_N.dtype != np.bool_ or mask_N.ndim != 1:
            raise ValueError(f"a mask of positions is bool (N,), not {mask_N.dtype} {mask_N.shape}")
        if len(mask_N) != self.n_positions:
            raise ValueError(f"the latents have {self.n_positions} positions, the mask of valid ones has {len(mask_N)}")
        keep_Z = mask_N[self.rows_Z]
        number_N = (np.cumsum(mask_N) - 1).astype(np.int32)
        indptr_F1 = _prefix(keep_Z)[self.indptr_F1]
        shape = (int(mask_N.sum()), self.n_latents)
        return Latents(indptr_F1, number_N[self.rows_Z[keep_Z]], self.values_Z[keep_Z], shape)

    def columns(self, a: int, b: int) -> "Latents":
        """The latents a, ..., b - 1, as a view. Raises ValueError unless 0 <= a <= b <= F."""
        if not 0 <= a <= b <= self.n_latents:
            raise ValueError(f"columns {a}..{b} are not within the {self.n_latents} latents")
        first, last = self.indptr_F1[a], self.indptr_F1[b]
        indptr_F1 = self.indptr_F1[a : b + 1] - first
        return Latents(indptr_F1, self.rows_Z[first:last], self.values_Z[first:last], (self.n_positions, b - a))

    def to_dense(self) -> np.ndarray:
        """The latents as (N, F), zeros where they are not on."""
        dense_NF = np.zeros(self.shape, self.values_Z.dtype)
        dense_NF[self.rows_Z, np.repeat(np.arange(self.n_latents), np.diff(self.indptr_F1))] = self.values_Z
        return dense_NF

    def by_rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same entries position after position: indptr_N1 (N + 1,), latent_Z (Z,), order_Z (Z,).

        Entry z of position n's stretch belongs to latent latent_Z[z] and is entry order_Z[z] of `values_Z`.
        """
        indptr_N1, latent_Z, order_Z, _ = transpose(self.indptr_F1, self.rows_Z, self.n_positions)
        return indptr_N1, latent_Z, order_Z

    @staticmethod
    def concatenate(parts: "Sequence[Latents]") -> "Latents":
        """Positions of several batches one after another.

        Raises ValueError when no batch is given, or they differ in the number of latents or in dtype.
        """
        if not parts:
            raise ValueError("nothing to concatenate: give at least one batch of latents")
        for part in parts:
            if part.n_latents != parts[0].n_latents:
                raise ValueError(f"batches of {parts[0].n_latents} and of {part.n_latents} latents do not go together")
            if part.values_Z.dtype != parts[0].values_Z.dtype:
                raise ValueError(f"batches of {parts[0].values_Z.dtype} and of {part.values_Z.dtype} do not mix")
        indptr_F1 = np.stack([part.indptr_F1 for part in parts]).sum(axis=0)
        rows_Z = np.empty(indptr_F1[-1], np.int32)
        values_Z = np.empty(indptr_F1[-1], parts[0].values_Z.dtype)
        next_F, first_row = indptr_F1[:-1].copy(), 0
        for part in parts:
            n_F = np.diff(part.indptr_F1)
            place_Z = np.arange(len(part.rows_Z)) + np.repeat(next_F - part.indptr_F1[:-1], n_F)
            rows_Z[place_Z] = part.rows_Z + np.int32(first_row)
            values_Z[place_Z] = part.values_Z
            next_F += n_F
            first_row += part.n_positions
        return Latents(indptr_F1, rows_Z, values_Z, (first_row, parts[0].n_latents))


LatentsLike: TypeAlias = Latents | torch.Tensor | np.ndarray | scipy.sparse.spmatrix | scipy.sparse.sparray
"""What `as_latents` takes."""
LabelsLike: TypeAlias = torch.Tensor | np.ndarray
"""What `as_labels` takes."""


def as_latents(x: LatentsLike) -> Latents:
    """Compress activations (N positions, F latents) to their strictly positive entries, column by column.

    x: `Latents` (returned as it is); a dense torch tensor, on any device and of any stride, or numpy array; a sparse
        torch tensor (CSR; other layouts are converted) or scipy matrix (CSR, CSC; others are converted). float32 and
        float64 are kept; half precision becomes float32 and integers become float64, both exactly.
    Raises ValueError when x is not a matrix of numbers, holds NaN or infinity, or names an entry twice.
    """
    if isinstance(x, Latents):
        return x
    if scipy.sparse.issparse(x):
        return _from_scipy(x)
    if isinstance(x, torch.Tensor) and x.layout is not torch.strided:
        return _from_torch_sparse(x)
    dense_NF = to_numpy(x)
    if dense_NF.ndim != 2:
        raise ValueError(f"latents are a matrix (positions, latents), not of shape {dense_NF.shape}")
    return _from_dense(np.ascontiguousarray(_as_float(dense_NF)))


def lowest(x: Any) -> float:
    """The smallest latent of anything that `as_latents` takes, 0 where all are above; 0 of anything else."""
    if isinstance(x, Latents):
        values = x.values_Z
    elif isinstance(x, torch.Tensor):
        x, sparse = x.detach(), x.layout is not torch.strided
        values = (x.coalesce() if x.layout is torch.sparse_coo else x.to_sparse_csr()).values() if sparse else x
    elif scipy.sparse.issparse(x):
        values = scipy.sparse.csr_array(x).data
    else:
        values = x if isinstance(x, np.ndarray) and x.dtype.kind in "fiub" else np.zeros(0)
    return min(0.0, float(values.min())) if np.prod(values.shape) else 0.0


def both_signs(x: LatentsLike) -> Latents:
    """Latents of which some are below zero as classifiers: the positive parts (N, F), then the negative parts (N, F).

    Raises ValueError as `as_latents` does.
    """
    above, below = as_latents(x), as_latents(-x)  # pyright: ignore[reportOperatorIssue]
    indptr_F1 = np.concatenate([above.indptr_F1, below.indptr_F1[1:] + above.indptr_F1[-1]])
    rows_Z, values_Z = (
        np.concatenate(pair) for pair in ((above.rows_Z, below.rows_Z), (above.values_Z, below.values_Z))
    )
    return Latents(indptr_F1, rows_Z, values_Z, (above.n_positions, above.n_latents + below.n_latents))


def as_labels(x: LabelsLike) -> np.ndarray:
    """Labels of P properties at N positions as a C-contiguous bool array (N, P).

    x: torch tensor or numpy array (N, P), bool or integers 0 and 1.
    Raises ValueError for anything else.
    """
    labels_NP = to_numpy(x)
    if labels_NP.ndim != 2:
        raise ValueError(f"labels are a matrix (positions, properties), not of shape {labels_NP.shape}")
    if labels_NP.dtype != np.bool_:
        if labels_NP.dtype.kind not in "iu":
            raise ValueError(f"labels are bool, or integers 0 and 1, not {labels_NP.dtype}")
        if labels_NP.size and (labels_NP.min() < 0 or labels_NP.max() > 1):
            raise ValueError(f"labels are 0 and 1, but some are {labels_NP.min()} or {labels_NP.max()}")
    return np.ascontiguousarray(labels_NP, dtype=np.bool_)


def to_numpy(x: Any) -> np.ndarray:
    """A dense tensor on any device, or anything numpy reads, as a numpy array; bfloat16 becomes float32."""
    if isinstance(x, torch.Tensor):
        x = x.detach().cpu()
        return (x.float() if x.dtype is torch.bfloat16 else x).numpy()
    return np.asarray(x)


def threads_for(n_steps: int) -> AbstractContextManager[None]:
    """Run numba's parallel loops on one thread where they have few steps to take: on busy cores, waiting for a second
    thread can take longer than a million of them. Results do not depend on it.
    """
    return numba_threads(1 if n_steps < _STEPS_WORTH_A_THREAD else None)


_STEPS_WORTH_A_THREAD = 2**22


def _as_float(x: np.ndarray) -> np.ndarray:
    if x.dtype in (np.float32, np.float64):
        return x
    if x.dtype == np.float16:
        return x.astype(np.float32)
    if x.dtype.kind in "biu":
        return x.astype(np.float64)
    raise ValueError(f"latents are real numbers of at most 64 bits, not {x.dtype}")


def _prefix(keep_Z: np.ndarray) -> np.ndarray:
    """(Z + 1,) int64: how many entries are kept before each one, and in all."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(keep_Z, dtype=np.int64)])


_NOT_FINITE = "latents hold NaN or infinity; activations must be finite"


def _from_dense(dense_NF: np.ndarray) -> Latents:
    """Collect entries row by row, in slabs that fit into the cache, then sort them by latent."""
    n_positions, n_latents = dense_NF.shape
    n_rows = max(1, _SLAB // max(1, n_latents))
    positive_RF, n_N = np.empty((n_rows, n_latents), np.int32), np.zeros(n_positions, np.int64)
    cols, values = [np.empty(0, np.int32)], [np.empty(0, dense_NF.dtype)]
    with threads_for(dense_NF.size):
        for first in range(0, n_positions, n_rows):
            slab = slice(first, first + n_rows)
            if not _find_positive(dense_NF[slab], positive_RF, n_N[slab]):
                raise ValueError(_NOT_FINITE)
            ends_R = np.cumsum(n_N[slab])
            cols.append(np.empty(ends_R[-1], np.int32))
            values.append(np.empty(ends_R[-1], dense_NF.dtype))
            _copy_positive(dense_NF[slab], positive_RF, ends_R, cols[-1], values[-1])
    indptr_N1 = np.concatenate([np.zeros(1, np.int64), np.cumsum(n_N)])
    indptr_F1, rows_Z, values_Z, _ = _sort(indptr_N1, np.concatenate(cols), np.concatenate(values), n_latents)
    return Latents(indptr_F1, rows_Z, values_Z, (n_positions, n_latents))


_SLAB, _BLOCK = 2**20, 32
"""Dense activations per slab (4 MiB of float32), and rows that a thread takes at a time."""


def _from_scipy(x: Any) -> Latents:
    if len(x.shape) != 2:
        raise ValueError(f"latents are a matrix (positions, latents), not of shape {x.shape}")
    csr: Any = scipy.sparse.csr_array(x)
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    return _from_csr(csr.indptr, csr.indices, csr.data, csr.shape)


def _from_torch_sparse(x: torch.Tensor) -> Latents:
    if x.ndim != 2:
        raise ValueError(f"latents are a matrix (positions, latents), not of shape {tuple(x.shape)}")
    csr = x.detach().cpu()
    csr = csr if csr.layout is torch.sparse_csr else csr.to_sparse_csr()
    col_Z, values_Z = csr.col_indices().numpy(), to_numpy(csr.values())
    if len(col_Z) and (col_Z.min() < 0 or col_Z.max() >= x.shape[1]):
        raise ValueError(f"a sparse tensor of {x.shape[1]} latents names latent {col_Z.min()} or {col_Z.max()}")
    return _from_csr(csr.crow_indices().numpy(), col_Z, values_Z, (x.shape[0], x.shape[1]))


def _from_csr(indptr_N1: np.ndarray, col_Z: np.ndarray, values_Z: np.ndarray, shape: tuple[int, int]) -> Latents:
    values_Z = _as_float(values_Z)
    if not (values_Z < np.inf).all():
        raise ValueError(_NOT_FINITE)
    keep_Z = values_Z > 0
    if not keep_Z.all():
        indptr_N1, col_Z, values_Z = _prefix(keep_Z)[indptr_N1], col_Z[keep_Z], values_Z[keep_Z]
    rows = np.ascontiguousarray(indptr_N1, np.int64), np.ascontiguousarray(col_Z, np.int32)
    indptr_F1, rows_Z, values_Z, repeated = _sort(*rows, np.ascontiguousarray(values_Z), shape[1])
    if repeated:
        raise ValueError("a sparse tensor of latents names an entry twice; coalesce it first")
    return Latents(indptr_F1, rows_Z, values_Z, (shape[0], shape[1]))


@njit(cache=True, nogil=True)
def _sort(indptr_N1: Any, col_Z: Any, values_Z: Any, n_latents: int) -> Any:
    """Entries row by row, sorted by latent: `Latents`' three arrays, and whether a row names a latent twice.

    Like `kernels.transpose`, but the values are moved too.
    """
    indptr_F1 = np.zeros(n_latents + 1, np.int64)
    for z in range(len(col_Z)):
        indptr_F1[col_Z[z] + 1] += 1
    for f in range(n_latents):
        indptr_F1[f + 1] += indptr_F1[f]
    next_F, rows_Z, sorted_Z = indptr_F1[:-1].copy(), np.empty(len(col_Z), np.int32), np.empty_like(values_Z)
    repeated = False
    for n in range(len(indptr_N1) - 1):
        for z in range(indptr_N1[n], indptr_N1[n + 1]):
            f = col_Z[z]
            place = next_F[f]
            repeated |= place > indptr_F1[f] and rows_Z[place - 1] == n
            rows_Z[place], sorted_Z[place] = n, values_Z[z]
            next_F[f] = place + 1
    return indptr_F1, rows_Z, sorted_Z, repeated


@njit(parallel=True, cache=True, nogil=True)
def _find_positive(dense_RF: Any, positive_RF: Any, n_R: Any) -> Any:
    """Where each row is above zero, and at how many places; whether none is NaN or infinity.

    Comparisons are written as bytes, which is vectorised, and scanned eight at a time, as most are zero. NaN counts as
    above zero at first, so that one comparison finds every entry that must be examined.
    """
    n_rows, n_cols = dense_RF.shape
    n_blocks = (n_rows + _BLOCK - 1) // _BLOCK
    bad_K = np.zeros(n_blocks, np.bool_)
    for k in prange(n_blocks):
        words, positive_cols = np.zeros((n_cols + 7) // 8, np.uint64), np.empty(n_cols + 8, np.int32)
        above_F, bad = words.view(np.uint8), False
        for r in range(k * _BLOCK, min(n_rows, (k + 1) * _BLOCK)):
            row_F = dense_RF[r]
            for f in range(n_cols):
                above_F[f] = np.uint8(not (row_F[f] <= 0))
            n = np.uint64(0)
            for w in range(len(words)):
                if words[w] != np.uint64(0):
                    for f in range(8 * w, 8 * w + 8):
                        positive_cols[n] = f
                        n += np.uint64(above_F[f])
            for z in range(n):
                positive_RF[r, z] = positive_cols[z]
                bad |= not (row_F[positive_cols[z]] < np.inf)
            n_R[r] = n
        bad_K[k] = bad
    return not bad_K.any()


@njit(parallel=True, cache=True, nogil=True)
def _copy_positive(dense_RF: Any, positive_RF: Any, ends_R: Any, cols_Z: Any, values_Z: Any) -> None:
    """Write the columns of the positive entries and their activations, row after row."""
    for r in prange(len(dense_RF)):
        first = ends_R[r - 1] if r > 0 else 0
        for z in range(ends_R[r] - first):
            cols_Z[first + z] = positive_RF[r, z]
            values_Z[first + z] = dense_RF[r, positive_RF[r, z]]
