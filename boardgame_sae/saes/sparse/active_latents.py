"""The latents of a batch that may be on, and where: what every loss is written on.

An SAE has thousands of latents, of which a few dozen are on at a position. `activate` computes all pre-activations (a
dense product that cannot be avoided) and a rule says which of them count; from there on a loss sees an `Active`, which
is either *dense* (tensors (N, F), zero where a latent is off; any device) or *sparse* (tensors (Z,), one entry for each
latent that is on; the CPU). Both give the same loss and the same gradients, so a loss is written once:

    active = activate(x, W_enc, b_enc, b_dec, Above(0.0))      active.pre    pre-activations of the latents that are on
    x_hat  = active.decode(active.pre, W_dec, b_dec)           active.at(v)  v[latent] at each of them
    loss   = ((x - x_hat) ** 2).sum() / N + coefficient * active.pre.sum() / N
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from scipy.sparse import csr_array
from torch import Tensor

from boardgame_sae.saes.sparse import autograd as sparse
from boardgame_sae.saes.sparse.autograd import Entries

Way: TypeAlias = Literal["auto", "dense", "sparse"]
"""Which kind of `Active` to compute with; `auto` takes the faster."""
MAX_SPARSE_SHARE = 0.2
"""Share of latents on above which the dense products are as fast: a sparse step takes 0.6 to 1.1 of the time of a dense
one there, and 0.3 to 0.5 at a share of 0.04 (width 512 with 4,096 latents, 128 with 1,024; 1 and 2 threads)."""


class Active(ABC):
    """Latents that may be on. Values that belong to them have the shape of `pre`."""

    shape: tuple[int, int]
    """(N positions, F latents)."""
    pre: Tensor
    """Their pre-activations, with gradient."""

    @abstractmethod
    def at(self, values_F: Tensor) -> Tensor:
        """For each entry the value of its latent, to be multiplied or compared with values there."""

    @abstractmethod
    def inside(self, values: Tensor) -> Tensor:
        """The values, zero where a latent cannot be on."""

    @abstractmethod
    def decode(self, values: Tensor, W_dec: Tensor, b_dec: Tensor) -> Tensor:
        """(N, D) values times the decoder, plus the bias."""

    @abstractmethod
    def decode_prefixes(self, values: Tensor, W_dec: Tensor, b_dec: Tensor, ends: Sequence[int]) -> Tensor:
        """(G, N, D) the reconstructions of the first `ends[g]` latents, for ascending ends."""

    @abstractmethod
    def row_sums(self, values: Tensor) -> Tensor:
        """(N,) the sum of the values of each position."""

    @abstractmethod
    def counts_F(self, values: Tensor) -> Tensor:
        """(F,) int64: at how many positions a latent's value is above zero."""

    @abstractmethod
    def to_dense(self, values: Tensor) -> Tensor:
        """(N, F) the values, zero elsewhere."""

    @abstractmethod
    def to_matrix(self, values: Tensor) -> Tensor | csr_array:
        """(N, F) the values, zero elsewhere: dense, or compressed rows, whichever needs no conversion."""

    def l0(self, values: Tensor) -> float:
        """Mean number of values above zero at a position."""
        return float((values > 0).sum()) / max(1, self.shape[0])


class Rule(ABC):
    """Which latents are on, by their pre-activations (N, F)."""

    @abstractmethod
    def mask(self, pre_NF: Tensor) -> Tensor:
        """bool (N, F): on."""

    @abstractmethod
    def entries(self, product_NF: Tensor, offset_F: Tensor, max_share: float) -> tuple[Entries, Tensor] | None:
        """The entries that are on of product_NF + offset_F, and the pre-activations there.

        None if they are more than a share `max_share` of all.
        """


class Above(Rule):
    """On where the pre-activation is above a floor: a number, or one per latent (F,)."""

    def __init__(self, floor: float | Tensor) -> None:
        self.floor = floor

    def mask(self, pre_NF: Tensor) -> Tensor:
        """bool (N, F): on."""
        return pre_NF > self.floor

    def entries(self, product_NF: Tensor, offset_F: Tensor, max_share: float) -> tuple[Entries, Tensor] | None:
        """The entries that are on and their pre-activations; None if they are too many."""
        floor_F = torch.as_tensor(self.floor, dtype=offset_F.dtype).expand_as(offset_F).contiguous()
        return sparse.entries_above(product_NF, offset_F, floor_F, max_share)


class LargestOfEach(Rule):
    """On where the pre-activation is above zero and among the k largest of its position."""

    def __init__(self, k: int) -> None:
        self.k = k

    def mask(self, pre_NF: Tensor) -> Tensor:
        """bool (N, F): on."""
        positive = pre_NF > 0
        if pre_NF.device.type == "cpu" and 2 * self.k >= pre_NF.shape[1] and bool((positive.sum(1) <= self.k).all()):
            return positive  # no position has too many, so nothing needs to be sorted
        return positive & torch.zeros_like(positive).scatter(-1, pre_NF.topk(self.k, sorted=False).indices, True)

    def entries(self, product_NF: Tensor, offset_F: Tensor, max_share: float) -> tuple[Entries, Tensor] | None:
        """The entries that are on and their pre-activations; None if they are too many."""
        return sparse.largest_of_rows(product_NF, offset_F, self.k) if self.k <= max_share * len(offset_F) else None


class LargestOfBatch(Rule):
    """On where the pre-activation is above zero and among the k N largest of the batch; k may be fractional."""

    def __init__(self, k: float) -> None:
        self.k = k

    def mask(self, pre_NF: Tensor) -> Tensor:
        """bool (N, F): on."""
        kept = torch.zeros(pre_NF.numel(), dtype=torch.bool, device=pre_NF.device)
        kept[pre_NF.flatten().topk(self._n_kept(pre_NF), sorted=False).indices] = True
        return kept.view_as(pre_NF) & (pre_NF > 0)

    def entries(self, product_NF: Tensor, offset_F: Tensor, max_share: float) -> tuple[Entries, Tensor] | None:
        """The entries that are on and their pre-activations; None if they are too many."""
        n = self._n_kept(product_NF)
        return sparse.largest_of_batch(product_NF, offset_F, n) if n <= max_share * product_NF.numel() else None

    def _n_kept(self, pre_NF: Tensor) -> int:
        return min(pre_NF.numel(), int(self.k * len(pre_NF)))


def activate(x_ND: Tensor, W_enc: Tensor, b_enc: Tensor, shift: Tensor | None, rule: Rule, way: Way = "auto") -> Active:
    """The latents that a rule turns on among the pre-activations (x - shift) W_enc + b_enc.

    x_ND: (N, D). W_enc: (D, F). b_enc: (F,). shift: (D,) subtracted from x first, or None. way: dense, sparse or auto.
    Raises ValueError when `sparse` is asked for off the CPU or in half precision.
    """
    possible = x_ND.device.type == "cpu" and x_ND.dtype == W_enc.dtype and x_ND.dtype in (torch.float32, torch.float64)
    if way == "sparse" and not possible:
        raise ValueError(f"the sparse path takes float32 or float64 on the CPU, not {x_ND.dtype} on {x_ND.device}")
    offset_F = b_enc if shift is None else b_enc - shift @ W_enc  # so that x itself needs no gradient
    if possible and way != "dense":
        product_NF = sparse.product(x_ND, W_enc)
        on = rule.entries(product_NF, offset_F.detach(), 1.0 if way == "sparse" else MAX_SPARSE_SHARE)
        if on is not None:
            return SparseActive(sparse.pre_activations(x_ND, W_enc, b_enc, shift, *on), on[0])
        pre_NF = sparse.plus(x_ND, W_enc, offset_F, product_NF)
    else:
        pre_NF = torch.nn.functional.linear(x_ND, W_enc.T, offset_F)
    return DenseActive(pre_NF, rule.mask(pre_NF.detach()))


class DenseActive(Active):
    """Every latent of every position has an entry; those that are off are masked."""

    def __init__(self, pre_NF: Tensor, mask_NF: Tensor) -> None:
        self.mask_NF = mask_NF
        self.shape = (pre_NF.shape[0], pre_NF.shape[1])
        self.pre = self.inside(pre_NF)

    def at(self, values_F: Tensor) -> Tensor:
        """(F,), which broadcasts."""
        return values_F

    def inside(self, values: Tensor) -> Tensor:
        """The values where the mask is."""
        return torch.where(self.mask_NF, values, 0.0)

    def decode(self, values: Tensor, W_dec: Tensor, b_dec: Tensor) -> Tensor:
        """(N, D) values times the decoder, plus the bias."""
        return torch.addmm(b_dec, values, W_dec)

    def decode_prefixes(self, values: Tensor, W_dec: Tensor, b_dec: Tensor, ends: Sequence[int]) -> Tensor:
        """(G, N, D) the reconstructions of the first `ends[g]` latents."""
        starts = (0, *ends[:-1])
        parts = [values[:, a:b] @ W_dec[a:b] for a, b in zip(starts, ends, strict=True)]
        return torch.stack(parts).cumsum(0) + b_dec

    def row_sums(self, values: Tensor) -> Tensor:
        """(N,) the sum of the values of each position."""
        return values.sum(1)

    def counts_F(self, values: Tensor) -> Tensor:
        """(F,) int64: at how many positions a latent's value is above zero."""
        return (values > 0).sum(0)

    def to_dense(self, values: Tensor) -> Tensor:
        """The values."""
        return values

    def to_matrix(self, values: Tensor) -> Tensor:
        """The values."""
        return values


class SparseActive(Active):
    """One entry for each latent that is on at a position, position after position."""

    def __init__(self, pre_Z: Tensor, entries: Entries) -> None:
        self.entries, self.shape, self.pre = entries, entries.shape, pre_Z

    def at(self, values_F: Tensor) -> Tensor:
        """(Z,) the value of the latent of each entry."""
        return sparse.values_at(values_F, self.entries)

    def inside(self, values: Tensor) -> Tensor:
        """The values: there are no others."""
        return values

    def decode(self, values: Tensor, W_dec: Tensor, b_dec: Tensor) -> Tensor:
        """(N, D) values times the decoder, plus the bias."""
        return sparse.decode(values, W_dec, b_dec, self.entries)

    def decode_prefixes(self, values: Tensor, W_dec: Tensor, b_dec: Tensor, ends: Sequence[int]) -> Tensor:
        """(G, N, D) the reconstructions of the first `ends[g]` latents."""
        return sparse.decode_prefixes(values, W_dec, b_dec, self.entries, ends)

    def row_sums(self, values: Tensor) -> Tensor:
        """(N,) the sum of the values of each position."""
        return torch.segment_reduce(values, "sum", lengths=self.entries.counts_N, unsafe=True)

    def counts_F(self, values: Tensor) -> Tensor:
        """(F,) int64: at how many positions a latent's value is above zero."""
        return self.entries.counts_F(values)

    def to_dense(self, values: Tensor) -> Tensor:
        """(N, F) the values, zero elsewhere."""
        flat_Z = self.entries.rows_Z * self.shape[1] + self.entries.cols_Z
        dense = values.new_zeros(self.shape[0] * self.shape[1])
        return dense.index_copy(0, flat_Z, values).view(self.shape)

    def to_matrix(self, values: Tensor) -> csr_array:
        """(N, F) the values as compressed rows."""
        return csr_array((values.numpy(), self.entries.cols, self.entries.indptr_N1), self.shape)
