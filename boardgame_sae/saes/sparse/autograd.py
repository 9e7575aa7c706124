"""The fast paths of a training step on a CPU: everything but the encoder product touches active latents alone.

A step of a dense SAE takes five products of the encoder's size: the encoder, the decoder, and the gradients of decoder,
latents and encoder. Where 64 of 4,096 latents are on, four of them shrink 64 times. What remains is to find the latents
that are on (without sorting), and to walk them once by position (decode) and once by latent (gradients). The loops are
in `kernels`; here they are given to torch's autograd, so that losses stay ordinary torch code. Exact: the same sums as
the dense products, in another order.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from boardgame_sae.launch import numba_threads
from boardgame_sae.saes.sparse import kernels

_SAMPLE = 1 << 16
"""Pre-activations sampled to guess how large the largest of a batch are."""
_SHARES_PER_THREAD = 4


@dataclass(frozen=True, eq=False)
class Entries:
    """Where latents are on: compressed rows of an (N, F) matrix, columns ascending in each."""

    indptr_N1: np.ndarray
    """(N + 1,) int64: where each position's entries start."""
    cols: np.ndarray
    """(Z,) int32: the latent of each entry."""
    shape: tuple[int, int]
    """(N positions, F latents)."""

    @cached_property
    def by_latent(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The entries in latent order (see `kernels`), and bounds of even shares of it."""
        ptr_F1, row_Z, entry_Z = kernels.transpose(self.indptr_N1, self.cols, self.shape[1])[:3]
        shares = kernels.even_shares(ptr_F1, _SHARES_PER_THREAD * torch.get_num_threads())
        return ptr_F1, row_Z, entry_Z, shares

    @cached_property
    def cols_Z(self) -> Tensor:
        """(Z,) int64: the latent of each entry."""
        return torch.from_numpy(self.cols.astype(np.int64))

    @cached_property
    def counts_N(self) -> Tensor:
        """(N,) int64: entries of each position."""
        return torch.from_numpy(np.diff(self.indptr_N1))

    @cached_property
    def rows_Z(self) -> Tensor:
        """(Z,) int64: the position of each entry."""
        return torch.repeat_interleave(self.counts_N)

    def counts_F(self, values_Z: Tensor) -> Tensor:
        """(F,) int64: how many of each latent's values are above zero."""
        return torch.from_numpy(kernels.counts_by_latent(self.cols, _array(values_Z), self.shape[1]))

    def keep(self, keep_Z: np.ndarray) -> "Entries":
        """Some of the entries, by a bool (Z,)."""
        before = np.concatenate([[0], np.cumsum(keep_Z)])
        return Entries(before[self.indptr_N1], self.cols[keep_Z], self.shape)


def entries_above(
    product_NF: Tensor, offset_F: Tensor, floor_F: Tensor, max_share: float
) -> tuple[Entries, Tensor] | None:
    """Entries where a pre-activation, product plus offset, exceeds its latent's floor, and those pre-activations.

    None if they are more than a share `max_share` of all.
    """
    product, offset, floor = product_NF.numpy(), offset_F.numpy(), floor_F.numpy()
    with numba_threads():
        indptr_N1 = _ends(kernels.count_above(product, offset, floor))
        if indptr_N1[-1] > max_share * product.size:
            return None
        cols, values = np.empty(indptr_N1[-1], np.int32), np.empty(indptr_N1[-1], product.dtype)
        kernels.fill_above(product, offset, floor, indptr_N1, cols, values)
    return Entries(indptr_N1, cols, product.shape), torch.from_numpy(values)


def largest_of_rows(product_NF: Tensor, offset_F: Tensor, k: int) -> tuple[Entries, Tensor]:
    """Entries of each row's k largest pre-activations above zero, and those values; among equal ones the first."""
    product = product_NF.numpy()
    cols_NK, values_NK = np.empty((len(product), k), np.int32), np.empty((len(product), k), product.dtype)
    with numba_threads():
        counts_N = kernels.row_largest(product, offset_F.numpy(), k, cols_NK, values_NK)
    indptr_N1 = _ends(counts_N)
    if indptr_N1[-1] == cols_NK.size:
        return Entries(indptr_N1, cols_NK.ravel(), product.shape), torch.from_numpy(values_NK.ravel())
    written_NK = np.arange(k) < counts_N[:, None]
    return Entries(indptr_N1, cols_NK[written_NK], product.shape), torch.from_numpy(values_NK[written_NK])


def largest_of_batch(product_NF: Tensor, offset_F: Tensor, n: int) -> tuple[Entries, Tensor]:
    """Entries of a batch's n largest pre-activations above zero, and those values; among equal ones the first.

    A sample gives a floor that a few more than n values exceed, so that only those have to be ranked. Where it is too
    high it is lowered until enough values exceed it: the result is exact.
    """
    floor = _guess_floor(product_NF.numpy(), offset_F.numpy(), n)
    while True:
        above = entries_above(product_NF, offset_F, torch.full_like(offset_F, floor), 1.0)
        assert above is not None
        entries, values = above
        if len(values) >= n or floor <= 0:
            break
        floor = floor / 2 if floor > 1e-30 else 0.0
    if len(values) <= n:
        return above
    ranked = values.numpy()
    least = np.partition(ranked, len(ranked) - n)[len(ranked) - n] if n else np.inf
    keep_Z = ranked > least
    equal_Z = np.flatnonzero(ranked == least)
    keep_Z[equal_Z[: n - int(keep_Z.sum())]] = True
    return entries.keep(keep_Z), torch.from_numpy(ranked[keep_Z])


def _guess_floor(product_NF: np.ndarray, offset_F: np.ndarray, n: int) -> float:
    size, n_latents = product_NF.size, product_NF.shape[1]
    stride = max(1, size // _SAMPLE) | 1  # odd, so that a sample meets all latents
    sample = product_NF.ravel()[::stride] + offset_F[np.arange(0, size, stride) % n_latents]
    wanted = n * len(sample) / max(1, size)
    rank = int(1.05 * wanted + 4 * wanted**0.5) + 1
    return max(0.0, float(np.partition(sample, len(sample) - rank)[len(sample) - rank])) if rank < len(sample) else 0.0


def _ends(counts_N: np.ndarray) -> np.ndarray:
    indptr_N1 = np.zeros(len(counts_N) + 1, np.int64)
    np.cumsum(counts_N, out=indptr_N1[1:])
    return indptr_N1


_kept = threading.local()
"""Where products are written: allocating 32 MiB each time takes a fifteenth of a step, so each thread keeps its own."""


@torch.no_grad()
def product(x_ND: Tensor, W_enc: Tensor) -> Tensor:
    """x W_enc (N, F) without gradient; valid until this thread's next call."""
    size = len(x_ND) * W_enc.shape[1]
    room: dict[torch.dtype, Tensor] = _kept.__dict__.setdefault("room", {})
    if x_ND.dtype not in room or room[x_ND.dtype].numel() < size:
        room[x_ND.dtype] = x_ND.new_empty(size)
    return torch.mm(x_ND, W_enc, out=room[x_ND.dtype][:size].view(len(x_ND), W_enc.shape[1]))


class _Plus(Function):
    """product + offset, where product is x W."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, W_enc: Tensor, offset_F: Tensor, product_NF: Tensor) -> Tensor:
        ctx.save_for_backward(x_ND, W_enc)
        return product_NF + offset_F

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x_ND, W_enc = ctx.saved_tensors
        grad_x = grads[0] @ W_enc.T if ctx.needs_input_grad[0] else None
        return grad_x, (grads[0].T @ x_ND).T, grads[0].sum(0), None


def plus(x_ND: Tensor, W_enc: Tensor, offset_F: Tensor, product_NF: Tensor) -> Tensor:
    """The dense x W_enc + offset, with its gradient; product_NF is x W_enc, already computed by `product`."""
    return _Plus.apply(x_ND, W_enc, offset_F, product_NF)  # pyright: ignore[reportReturnType]


class _PreActivations(Function):
    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        *tensors, entries, pre_Z = args
        ctx.save_for_backward(*tensors)
        ctx.entries = entries
        return pre_Z.view_as(pre_Z)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x_ND, W_enc, b_enc, shift = ctx.saved_tensors
        entries: Entries = ctx.entries
        grad_Z = grads[0].contiguous()
        shift_D = x_ND.new_zeros(x_ND.shape[1]) if shift is None else shift
        (d_model, n_latents), grad_b_F = W_enc.shape, torch.empty_like(b_enc)
        grad_W = torch.empty_strided((d_model, n_latents), (1, d_model), dtype=W_enc.dtype)  # latent by latent
        with numba_threads():
            given, grad = (grad_Z.numpy(), _array(x_ND), _array(shift_D)), (grad_W.T.numpy(), grad_b_F.numpy())
            kernels.encode_gradients(*entries.by_latent, *given, *grad)
            grad_x = None
            if ctx.needs_input_grad[0]:
                grad_x = torch.zeros_like(x_ND, memory_format=torch.contiguous_format)
                kernels.weighted_rows(entries.indptr_N1, entries.cols, grad_Z.numpy(), _array(W_enc.T), grad_x.numpy())
        grad_shift = None if shift is None else -(W_enc @ grad_b_F)
        return grad_x, grad_W, grad_b_F, grad_shift, None, None


def pre_activations(
    x_ND: Tensor, W_enc: Tensor, b_enc: Tensor, shift: Tensor | None, entries: Entries, pre_Z: Tensor
) -> Tensor:
    """pre_Z, the values of (x - shift) W_enc + b_enc at the entries, with their gradient."""
    return _PreActivations.apply(x_ND, W_enc, b_enc, shift, entries, pre_Z)  # pyright: ignore[reportReturnType]


class _Decode(Function):
    @staticmethod
    def forward(ctx: Any, values_Z: Tensor, W_dec: Tensor, b_dec: Tensor, entries: Entries) -> Tensor:
        ctx.save_for_backward(values_Z, W_dec)
        ctx.entries = entries
        out_ND = b_dec.detach().repeat(entries.shape[0], 1)
        with numba_threads():
            kernels.weighted_rows(entries.indptr_N1, entries.cols, _array(values_Z), _array(W_dec), out_ND.numpy())
        return out_ND

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        values_Z, W_dec = ctx.saved_tensors
        grad_ND = grads[0].contiguous()
        grad_values_Z, grad_W_dec = _decode_gradients(ctx.entries, values_Z, W_dec, grad_ND, ctx.needs_input_grad[1])
        return grad_values_Z, grad_W_dec, grad_ND.sum(0) if ctx.needs_input_grad[2] else None, None


def _decode_gradients(
    entries: Entries, values_Z: Tensor, W_dec: Tensor, grad_ND: Tensor, of_decoder: bool
) -> tuple[Tensor, Tensor | None]:
    grad_values_Z = torch.empty_like(values_Z, memory_format=torch.contiguous_format)
    with numba_threads():
        if not of_decoder:
            kernels.products_at(entries.indptr_N1, entries.cols, grad_ND.numpy(), _array(W_dec), grad_values_Z.numpy())
            return grad_values_Z, None
        grad_W_dec = torch.empty_like(W_dec, memory_format=torch.contiguous_format)
        values, W, grads = _array(values_Z), _array(W_dec), (grad_values_Z.numpy(), grad_W_dec.numpy())
        kernels.decode_gradients(*entries.by_latent, values, grad_ND.numpy(), W, *grads)
    return grad_values_Z, grad_W_dec


def decode(values_Z: Tensor, W_dec: Tensor, b_dec: Tensor, entries: Entries) -> Tensor:
    """(N, D) the values at the entries times the decoder (F, D), plus the bias (D,)."""
    return _Decode.apply(values_Z, W_dec, b_dec, entries)  # pyright: ignore[reportReturnType]


class _DecodePrefixes(Function):
    @staticmethod
    def forward(
        ctx: Any, values_Z: Tensor, W_dec: Tensor, b_dec: Tensor, entries: Entries, ends: Sequence[int]
    ) -> Tensor:
        ctx.save_for_backward(values_Z, W_dec)
        ctx.entries, ctx.ends = entries, ends
        out_GND = values_Z.new_empty(len(ends), entries.shape[0], W_dec.shape[1])
        args = (entries.indptr_N1, entries.cols, _array(values_Z), _array(W_dec), _array(b_dec), np.array(ends))
        with numba_threads():
            kernels.weighted_prefixes(*args, out_GND.numpy())
        return out_GND

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        values_Z, W_dec = ctx.saved_tensors
        ptr_F1, row_Z, entry_Z, shares = ctx.entries.by_latent
        grad_GND = grads[0].clone(memory_format=torch.contiguous_format)
        for g in range(len(grad_GND) - 2, -1, -1):  # a latent of group g counts in every prefix from g on
            grad_GND[g] += grad_GND[g + 1]
        grad_values_Z = torch.empty_like(values_Z, memory_format=torch.contiguous_format)
        grad_W_dec = torch.empty_like(W_dec, memory_format=torch.contiguous_format)
        with numba_threads():
            for start, end, grad_ND in zip((0, *ctx.ends[:-1]), ctx.ends, grad_GND, strict=True):
                bounds = kernels.even_shares(ptr_F1[start : end + 1], len(shares) - 1) + start
                kernels.decode_gradients(
                    ptr_F1, row_Z, entry_Z, bounds,
                    _array(values_Z), grad_ND.numpy(), _array(W_dec), grad_values_Z.numpy(), grad_W_dec.numpy(),
                )  # fmt: skip
        return grad_values_Z, grad_W_dec, grad_GND[0].sum(0), None, None


def decode_prefixes(values_Z: Tensor, W_dec: Tensor, b_dec: Tensor, entries: Entries, ends: Sequence[int]) -> Tensor:
    """(G, N, D) for each end the decoded values of the latents before it; ends ascend, and the last is n_latents."""
    return _DecodePrefixes.apply(values_Z, W_dec, b_dec, entries, ends)  # pyright: ignore[reportReturnType]


class _ValuesAt(Function):
    @staticmethod
    def forward(ctx: Any, values_F: Tensor, entries: Entries) -> Tensor:
        ctx.entries = entries
        return values_F[entries.cols_Z]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        ptr_F1, _, entry_Z, _ = ctx.entries.by_latent
        return torch.from_numpy(kernels.sums_by_latent(ptr_F1, entry_Z, _array(grads[0]))), None


def values_at(values_F: Tensor, entries: Entries) -> Tensor:
    """(Z,) for each entry the value of its latent."""
    return _ValuesAt.apply(values_F, entries)  # pyright: ignore[reportReturnType]


def _array(x: Tensor) -> np.ndarray:
    return x.detach().contiguous().numpy()


def drop_parallel(grad_FD: Tensor, unit_FD: Tensor) -> None:
    """Remove from each row of a gradient, in place, its part along a row of norm 1."""
    if _compiled(grad_FD, unit_FD):
        with numba_threads():
            kernels.drop_parallel(grad_FD.numpy(), unit_FD.detach().numpy())
        return
    grad_FD -= (grad_FD * unit_FD).sum(1, keepdim=True) * unit_FD


def normalize_rows(rows_FD: Tensor) -> None:
    """Give every row norm 1, in place."""
    if _compiled(rows_FD):
        with numba_threads():
            kernels.normalize_rows(rows_FD.detach().numpy())
        return
    rows_FD /= rows_FD.norm(dim=1, keepdim=True).clamp(min=1e-8)


def _compiled(*tensors: Tensor) -> bool:
    return all(
        tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64) and tensor.is_contiguous()
        for tensor in tensors
    )
