"""One threshold for all latents, set on data after training: BatchTopK's rule without a batch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from boardgame_sae.saes.sparse.active_latents import LargestOfBatch

if TYPE_CHECKING:
    from boardgame_sae.saes.sae import SAE


@torch.no_grad()
def threshold_for(sae: "SAE", batches: Sequence[Tensor], k: float) -> float:
    """The greatest threshold above which at least k latents are on at a position, in the mean over some activations.

    Exact: the (k N)-th largest positive pre-activation of all N positions, or a little less than it, so that it counts
    itself; 0 where fewer are positive. Each batch's largest values are kept, more of them if they should not reach.
    batches: (N, d_model) each. Raises ValueError when there is none.
    """
    n_positions = sum(len(x_ND) for x_ND in batches)
    if not n_positions:
        raise ValueError("a threshold is set on activations; give at least one batch")
    wanted = max(1, int(k * n_positions))
    share = 2.0
    while True:
        kept, floor = [], 0.0
        for x_ND in batches:
            values = _largest(sae, x_ND, min(share * k, sae.cfg.n_latents))
            kept.append(values)
            if share * k < sae.cfg.n_latents and len(values) == int(share * k * len(x_ND)):  # there may be more
                floor = max(floor, float(values.min()) if len(values) else torch.inf if len(x_ND) else 0.0)
        values = torch.cat(kept)
        least = values.topk(wanted, sorted=False).values.min() if len(values) >= wanted else values.new_zeros(())
        if float(least) >= floor:
            return max(0.0, float(torch.nextafter(least, least.new_tensor(-torch.inf))))
        share *= 2


def _largest(sae: "SAE", x_ND: Tensor, k: float) -> Tensor:
    active = sae.activate(x_ND, LargestOfBatch(k))
    return active.pre[active.pre > 0]
