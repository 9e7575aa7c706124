"""Loops over the latents that are on, compiled; `autograd` gives them to torch.

Pre-activations come as a product and an offset, pre_NF = product_NF + offset_F: adding them inside a loop is free, a
second matrix is not. Entries are compressed rows: the latents of position n are cols_Z[indptr_N1[n] : indptr_N1[n+1]].
The same entries in latent order are `ptr_F1` (where each latent's begin), `row_Z` (their positions) and `entry_Z` (the
index of each in row order). Every loop over positions or latents is parallel, and each output is summed in one order,
so that results do not depend on the number of threads.
"""

from typing import Any

import numpy as np
from numba import njit, prange

_SUMS: Any = {"reassoc", "contract", "nsz", "arcp"}
"""Sums in any order (vectorised, fused multiply-add); NaN and infinity keep their meaning."""


@njit(cache=True, parallel=True)
def count_above(product_NF: np.ndarray, offset_F: np.ndarray, floor_F: np.ndarray) -> np.ndarray:
    """(N,) int64: how many pre-activations of each row exceed their column's floor."""
    n_rows, n_cols = product_NF.shape
    counts_N = np.zeros(n_rows, np.int64)
    for n in prange(n_rows):
        count = np.int32(0)
        for f in range(n_cols):
            count += np.int32(product_NF[n, f] + offset_F[f] > floor_F[f])
        counts_N[n] = count
    return counts_N


@njit(cache=True, parallel=True)
def fill_above(
    product_NF: np.ndarray, offset_F: np.ndarray, floor_F: np.ndarray, indptr_N1: np.ndarray, cols_Z: np.ndarray,
    values_Z: np.ndarray,
) -> None:  # fmt: skip
    """Write the columns and values that `count_above` counted."""
    for n in prange(len(product_NF)):
        first, last = indptr_N1[n], indptr_N1[n + 1]
        row_F, cols, values = product_NF[n], cols_Z[first:last], values_Z[first:last]
        pre_F, on_F = np.empty(len(row_F), row_F.dtype), np.empty(len(row_F), np.uint8)
        for f in range(len(row_F)):
            pre_F[f] = row_F[f] + offset_F[f]
            on_F[f] = np.uint8(pre_F[f] > floor_F[f])
        indices_F = np.empty(len(row_F) + 1, np.int32)
        _indices_of_ones(on_F, indices_F)
        for z in range(len(cols)):
            cols[z] = indices_F[z]
            values[z] = pre_F[indices_F[z]]


@njit(cache=True)
def _indices_of_ones(on_F: np.ndarray, indices: np.ndarray) -> Any:
    """Write the indices of the ones among zeros and ones, and return how many; `indices` has room for one more.

    Without a branch: each index is written, and kept if it is a one's.
    """
    n = np.uint64(0)
    for f in range(len(on_F)):
        indices[n] = f
        n += np.uint64(on_F[f])
    return np.int64(n)


@njit(cache=True)
def _kth_largest(values: np.ndarray, n: int, k: int) -> Any:
    """The k-th largest (from 1) of values[:n], which are reordered (Hoare's selection)."""
    low, high, goal = 0, n - 1, k - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if goal <= j:
            high = j
        elif goal >= i:
            low = i
        else:
            break
    return values[goal]


@njit(cache=True, parallel=True)
def row_largest(
    product_NF: np.ndarray, offset_F: np.ndarray, k: int, cols_NK: np.ndarray, values_NK: np.ndarray
) -> np.ndarray:
    """Write each row's k largest values above zero, columns ascending; among equal ones at the floor the first.

    Returns (N,) int64: how many there are. Columns are dealt into about 2k groups, and the k-th largest of the groups'
    maxima is found first: at least k values are as large as that, and few more, so that only those have to be ranked.
    """
    n_rows, n_cols = product_NF.shape
    n_groups = n_cols
    while n_groups >= 4 * k and n_groups % 2 == 0:
        n_groups //= 2
    counts_N = np.zeros(n_rows, np.int64)
    zero = product_NF.dtype.type(0)
    for n in prange(n_rows):
        row_F = product_NF[n]
        maxima = np.zeros(n_groups, product_NF.dtype)
        for start in range(0, n_cols, n_groups):
            part, offset = row_F[start : start + n_groups], offset_F[start : start + n_groups]
            for g in range(n_groups):
                maxima[g] = max(part[g] + offset[g], maxima[g])
        bound = _kth_largest(maxima, n_groups, k)
        pre_F, large_F, indices = (
            np.empty(n_cols, row_F.dtype),
            np.empty(n_cols, np.uint8),
            np.empty(n_cols + 1, np.int32),
        )
        for f in range(n_cols):
            pre_F[f] = row_F[f] + offset_F[f]
            large_F[f] = np.uint8(pre_F[f] >= bound) & np.uint8(pre_F[f] > zero)
        n_large = _indices_of_ones(large_F, indices)
        candidates = pre_F[indices[:n_large]]
        counts_N[n] = _keep_largest(candidates, indices[:n_large], k, cols_NK[n], values_NK[n])
    return counts_N


@njit(cache=True)
def _keep_largest(values: np.ndarray, cols: np.ndarray, k: int, cols_K: np.ndarray, values_K: np.ndarray) -> int:
    """Copy the k largest of some positive values, in their order; among equal ones at the floor the first."""
    floor, equal = values.dtype.type(0), 0
    if len(values) > k:
        floor = _kth_largest(values.copy(), len(values), k)
        equal = k
        for value in values:
            equal -= np.int64(value > floor)
    z = 0
    for c in range(len(values)):
        keep = values[c] > floor
        if values[c] == floor and equal > 0:
            keep, equal = True, equal - 1
        if keep:
            cols_K[z], values_K[z] = cols[c], values[c]
            z += 1
    return z


@njit(cache=True, nogil=True)
def transpose(indptr_R1: Any, minor_Z: Any, n_minor: int) -> Any:
    """Turn entries grouped by one axis into the same entries grouped by the other, in order: a counting sort.

    Returns where each group starts, the other axis's index of each entry, which entry it was, and whether any
    (group, index) pair occurs twice.
    """
    start_C1 = np.zeros(n_minor + 1, np.int64)
    for z in range(len(minor_Z)):
        start_C1[minor_Z[z] + 1] += 1
    for c in range(n_minor):
        start_C1[c + 1] += start_C1[c]
    next_C = start_C1[:-1].copy()
    major_Z, order_Z = np.empty(len(minor_Z), np.int32), np.empty(len(minor_Z), np.int64)
    repeated = False
    for r in range(len(indptr_R1) - 1):
        for z in range(indptr_R1[r], indptr_R1[r + 1]):
            place = next_C[minor_Z[z]]
            repeated |= place > start_C1[minor_Z[z]] and major_Z[place - 1] == r
            major_Z[place] = r
            order_Z[place] = z
            next_C[minor_Z[z]] = place + 1
    return start_C1, major_Z, order_Z, repeated


@njit(cache=True)
def even_shares(ptr_F1: np.ndarray, n_shares: int) -> np.ndarray:
    """(n_shares + 1,) bounds of ranges of latents with about equally many entries each."""
    bounds = np.searchsorted(ptr_F1, np.linspace(ptr_F1[0], ptr_F1[-1], n_shares + 1))
    bounds[0], bounds[-1] = 0, len(ptr_F1) - 1
    return bounds


@njit(cache=True, parallel=True, fastmath=_SUMS)
def weighted_rows(
    indptr_N1: np.ndarray, cols_Z: np.ndarray, values_Z: np.ndarray, rows_FD: np.ndarray, out_ND: np.ndarray
) -> None:
    """out_ND[n] += sum over the entries of position n of its value times rows_FD[its latent]."""
    width = rows_FD.shape[1]
    for n in prange(len(indptr_N1) - 1):
        end = indptr_N1[n + 1]
        z = indptr_N1[n]
        out_D = out_ND[n]
        while z + 4 <= end:
            a, b, c, d = rows_FD[cols_Z[z]], rows_FD[cols_Z[z + 1]], rows_FD[cols_Z[z + 2]], rows_FD[cols_Z[z + 3]]
            p, q, r, s = values_Z[z], values_Z[z + 1], values_Z[z + 2], values_Z[z + 3]
            for i in range(width):
                out_D[i] += p * a[i] + q * b[i] + r * c[i] + s * d[i]
            z += 4
        while z < end:
            a, p = rows_FD[cols_Z[z]], values_Z[z]
            for i in range(width):
                out_D[i] += p * a[i]
            z += 1


@njit(cache=True, parallel=True, fastmath=_SUMS)
def weighted_prefixes(
    indptr_N1: np.ndarray, cols_Z: np.ndarray, values_Z: np.ndarray, rows_FD: np.ndarray, first_D: np.ndarray,
    ends: np.ndarray, out_GND: np.ndarray,
) -> None:  # fmt: skip
    """out_GND[g, n] = first_D + the weighted rows of the entries of position n whose latent comes before ends[g]."""
    width = rows_FD.shape[1]
    for n in prange(len(indptr_N1) - 1):
        z, last = indptr_N1[n], indptr_N1[n + 1]
        before_D = first_D
        for g in range(len(ends)):
            out_D = out_GND[g, n]
            for i in range(width):
                out_D[i] = before_D[i]
            while z < last and cols_Z[z] < ends[g]:
                atom_D, value = rows_FD[cols_Z[z]], values_Z[z]
                for i in range(width):
                    out_D[i] += value * atom_D[i]
                z += 1
            before_D = out_D


@njit(cache=True, parallel=True, fastmath=_SUMS)
def decode_gradients(
    ptr_F1: np.ndarray, row_Z: np.ndarray, entry_Z: np.ndarray, bounds: np.ndarray,
    values_Z: np.ndarray, grad_ND: np.ndarray, W_dec: np.ndarray, grad_values_Z: np.ndarray, grad_W_dec: np.ndarray,
) -> None:  # fmt: skip
    """For out = values W_dec, the gradients of every value and of W_dec, both overwritten."""
    width = W_dec.shape[1]
    for share in prange(len(bounds) - 1):
        for f in range(bounds[share], bounds[share + 1]):
            atom_D, sum_D = W_dec[f], grad_W_dec[f]
            for i in range(width):
                sum_D[i] = 0
            place, end = ptr_F1[f], ptr_F1[f + 1]
            while place + 2 <= end:
                first, second = entry_Z[place], entry_Z[place + 1]
                one_D, two_D, p, q = grad_ND[row_Z[place]], grad_ND[row_Z[place + 1]], values_Z[first], values_Z[second]
                dot_one, dot_two = W_dec.dtype.type(0), W_dec.dtype.type(0)
                for i in range(width):
                    dot_one += one_D[i] * atom_D[i]
                    dot_two += two_D[i] * atom_D[i]
                    sum_D[i] += p * one_D[i] + q * two_D[i]
                grad_values_Z[first], grad_values_Z[second] = dot_one, dot_two
                place += 2
            if place < end:
                last, one_D, dot_one = entry_Z[place], grad_ND[row_Z[place]], W_dec.dtype.type(0)
                p = values_Z[last]
                for i in range(width):
                    dot_one += one_D[i] * atom_D[i]
                    sum_D[i] += p * one_D[i]
                grad_values_Z[last] = dot_one


@njit(cache=True, parallel=True, fastmath=_SUMS)
def products_at(
    indptr_N1: np.ndarray, cols_Z: np.ndarray, rows_ND: np.ndarray, columns_FD: np.ndarray, out_Z: np.ndarray
) -> None:
    """out_Z: for every entry the product of rows_ND[its position] and columns_FD[its latent]."""
    width = rows_ND.shape[1]
    for n in prange(len(indptr_N1) - 1):
        row_D = rows_ND[n]
        for z in range(indptr_N1[n], indptr_N1[n + 1]):
            column_D = columns_FD[cols_Z[z]]
            dot = rows_ND.dtype.type(0)
            for i in range(width):
                dot += row_D[i] * column_D[i]
            out_Z[z] = dot


@njit(cache=True, parallel=True, fastmath=_SUMS)
def encode_gradients(
    ptr_F1: np.ndarray, row_Z: np.ndarray, entry_Z: np.ndarray, bounds: np.ndarray,
    grad_Z: np.ndarray, x_ND: np.ndarray, shift_D: np.ndarray, grad_W_FD: np.ndarray, grad_b_F: np.ndarray,
) -> None:  # fmt: skip
    """For pre = (x - shift) W + b at the entries, the gradients of W (latent by latent) and b, both overwritten."""
    width = x_ND.shape[1]
    for share in prange(len(bounds) - 1):
        for f in range(bounds[share], bounds[share + 1]):
            sum_D = grad_W_FD[f]
            total = x_ND.dtype.type(0)
            for i in range(width):
                sum_D[i] = 0
            place, end = ptr_F1[f], ptr_F1[f + 1]
            while place + 4 <= end:
                a, b = x_ND[row_Z[place]], x_ND[row_Z[place + 1]]
                c, d = x_ND[row_Z[place + 2]], x_ND[row_Z[place + 3]]
                p, q = grad_Z[entry_Z[place]], grad_Z[entry_Z[place + 1]]
                r, s = grad_Z[entry_Z[place + 2]], grad_Z[entry_Z[place + 3]]
                total += p + q + r + s
                for i in range(width):
                    sum_D[i] += p * a[i] + q * b[i] + r * c[i] + s * d[i]
                place += 4
            while place < end:
                a, p = x_ND[row_Z[place]], grad_Z[entry_Z[place]]
                total += p
                for i in range(width):
                    sum_D[i] += p * a[i]
                place += 1
            for i in range(width):
                sum_D[i] -= total * shift_D[i]
            grad_b_F[f] = total


@njit(cache=True)
def counts_by_latent(cols_Z: np.ndarray, values_Z: np.ndarray, n_latents: int) -> np.ndarray:
    """(F,) int64: how many of each latent's values are above zero."""
    counts_F = np.zeros(n_latents, np.int64)
    for z in range(len(cols_Z)):
        counts_F[cols_Z[z]] += values_Z[z] > 0
    return counts_F


@njit(cache=True)
def sums_by_latent(ptr_F1: np.ndarray, entry_Z: np.ndarray, values_Z: np.ndarray) -> np.ndarray:
    """(F,) the sum of each latent's values."""
    out_F = np.zeros(len(ptr_F1) - 1, values_Z.dtype)
    for f in range(len(out_F)):
        for place in range(ptr_F1[f], ptr_F1[f + 1]):
            out_F[f] += values_Z[entry_Z[place]]
    return out_F


@njit(cache=True, parallel=True, fastmath=_SUMS)
def drop_parallel(grad_FD: np.ndarray, unit_FD: np.ndarray) -> None:
    """Remove from each row of a gradient its part along a row of norm 1."""
    for f in prange(len(unit_FD)):
        along = grad_FD.dtype.type(0)
        for i in range(unit_FD.shape[1]):
            along += grad_FD[f, i] * unit_FD[f, i]
        for i in range(unit_FD.shape[1]):
            grad_FD[f, i] -= along * unit_FD[f, i]


@njit(cache=True, parallel=True, fastmath=_SUMS)
def normalize_rows(rows_FD: np.ndarray) -> None:
    """Give every row norm 1 (rows of norm below 1e-8 stay short)."""
    for f in prange(len(rows_FD)):
        square = rows_FD.dtype.type(0)
        for i in range(rows_FD.shape[1]):
            square += rows_FD[f, i] * rows_FD[f, i]
        scale = rows_FD.dtype.type(1 / max(np.sqrt(square), 1e-8))
        for i in range(rows_FD.shape[1]):
            rows_FD[f, i] *= scale
