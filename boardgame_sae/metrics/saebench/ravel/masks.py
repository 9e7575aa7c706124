"""Differential binary masks: which latents carry an attribute, learned by swapping them (RAVEL's MDBM).

Latents of a base and a source position are mixed, f' = (1 - s) f(base) + s f(source), with one mask s per attribute:
s = sigmoid(m / T) in training, 1 where m > 0 afterwards. As a decoder is affine, the activation that is put in place is

    x' = x_hat(base) + sum over latents of s_j (f_j(source) - f_j(base)) d_j,

with x(base) in place of x_hat(base) where the error term is kept. m begins at 0 and T falls from 1 to 1e-4.
Source: Huang et al. 2024 (arXiv 2402.17700); SAEBench 0.6, `evals.ravel.mdbm`.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor

from boardgame_sae.config import seed_for
from boardgame_sae.metrics.saebench.data.above import AT_ONCE
from boardgame_sae.metrics.saebench.data.examples import latent_rows
from boardgame_sae.metrics.saebench.ravel.pairs import Pairs
from boardgame_sae.metrics.saebench.ravel.reading import Reading, Readings
from boardgame_sae.metrics.subject import Subject

FIRST_TEMPERATURE, LAST_TEMPERATURE = 1.0, 1e-4
"""As published, with logarithmic steps between."""


class Swaps:
    """A subject's latents, and what it makes of the activations, at the positions of a split."""

    @torch.no_grad()
    def __init__(self, subject: Subject, split: str, reading: Reading) -> None:
        source = subject.source
        assert source.W_dec is not None
        assert source.decode is not None
        self.reading, self.acts_ND = reading, reading.above.acts_ND
        self.W_dec = source.W_dec.to(self.acts_ND)
        self.latents_NF: csr_array = latent_rows(subject, split, np.arange(len(reading.above)))
        parts = [source.decode(source.encode(x_ND)) for x_ND in self.acts_ND.split(AT_ONCE)]
        self.rebuilt_ND = torch.cat(parts).to(self.acts_ND)

    def swapped(self, pairs: Pairs, masks_AF: Tensor, *, error: bool) -> Tensor:
        """(N, D): the activation that each pair's swap puts in place of the base's.

        masks_AF: each attribute's mask, with a gradient or not. error: whether the base's error term is kept.
        """
        difference_NF = csr_array(self.latents_NF[pairs.source_N] - self.latents_NF[pairs.base_N])
        latent_Z, offsets_N, values_Z = (
            torch.from_numpy(np.asarray(part, dtype)).to(self.W_dec.device)
            for part, dtype in (
                (difference_NF.indices, np.int64),
                (difference_NF.indptr[:-1], np.int64),
                (difference_NF.data, np.float32),
            )
        )
        attribute_Z = torch.from_numpy(np.repeat(pairs.attribute_N, np.diff(difference_NF.indptr))).to(latent_Z.device)
        weights_Z = masks_AF[attribute_Z, latent_Z] * values_Z
        change_ND = F.embedding_bag(latent_Z, self.W_dec, offsets_N, mode="sum", per_sample_weights=weights_Z)
        return (self.acts_ND if error else self.rebuilt_ND)[pairs.base_N] + change_ND


class Schedule(NamedTuple):
    """How masks are trained."""

    n_steps: int
    """Steps, whatever the number of pairs."""
    batch_size: int
    """Pairs of each attribute per step."""
    lr: float
    """Adam's learning rate."""
    seed: int


def train_masks(of: Readings, swaps: Swaps, pairs: Pairs, schedule: Schedule, *, error: bool) -> Tensor:
    """m (A, F) of every attribute, trained side by side.

    The loss is the mean cross-entropy of the source's state of the square, and that of the base's states of the others.
    """
    n_attributes, n_latents = int(pairs.attribute_N.max()) + 1, len(swaps.W_dec)
    m_AF = torch.zeros(n_attributes, n_latents, device=swaps.W_dec.device, requires_grad=True)
    optimizer = torch.optim.Adam([m_AF], lr=schedule.lr)
    rng = np.random.default_rng(seed_for(schedule.seed, "mask batches", "error" if error else "no error"))
    own = [np.flatnonzero(pairs.attribute_N == number) for number in range(n_attributes)]
    for temperature in np.geomspace(FIRST_TEMPERATURE, LAST_TEMPERATURE, schedule.n_steps).tolist():
        batch = pairs.rows(np.concatenate([rng.choice(rows, schedule.batch_size) for rows in own]))
        acts_ND = swaps.swapped(batch, torch.sigmoid(m_AF / temperature), error=error)
        later_ND = swaps.reading.above.read(batch.base_N, acts_ND).acts_ND
        loss = swap_loss(of.probe.logits(later_ND), batch, swaps.reading.classes_NS)
        (m_AF.grad,) = torch.autograd.grad(loss, [m_AF])
        optimizer.step()
    return m_AF.detach()


def swap_loss(logits_NSC: Tensor, pairs: Pairs, classes_NS: np.ndarray) -> Tensor:
    """Mean cross-entropy of the states that are wanted: the source's of the square, the base's of those to be kept."""
    device, row_N = logits_NSC.device, np.arange(len(pairs.base_N))
    source_N = torch.from_numpy(classes_NS[pairs.source_N, pairs.square_N]).to(device)
    cause = F.cross_entropy(logits_NSC[row_N, pairs.square_N], source_N)
    if not pairs.kept_NS.any():
        return cause
    n, s = np.nonzero(pairs.kept_NS)
    base_M = torch.from_numpy(classes_NS[pairs.base_N[n], s]).to(device)
    share_M = torch.from_numpy(1 / pairs.kept_NS.sum(1)[n]).to(logits_NSC)
    losses_M = F.cross_entropy(logits_NSC[n, s], base_M, reduction="none")
    return cause + (losses_M * share_M).sum() / len(np.unique(n))


def largest_of_mask(m_AF: Tensor, n: int | None) -> Tensor:
    """float (A, F) of 0 and 1: the latents with m > 0, at most the n of largest m; all of them for None."""
    positive_AF = m_AF > 0
    if n is not None and n < m_AF.shape[1]:
        rank_AF = m_AF.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        positive_AF = positive_AF & (rank_AF < n)
    return positive_AF.float()
