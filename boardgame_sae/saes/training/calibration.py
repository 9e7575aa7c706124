"""One threshold for all latents, set on data after training: BatchTopK's rule without a batch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from boardgame_sae.saes.sae import SAE
from boardgame_sae.saes.sparse.active_latents import LargestOfBatch


@torch.no_grad()
def threshold_for(sae: SAE, batches: Sequence[Tensor], k: float) -> float:
    """The largest threshold above which at least k latents are on per position, on average over some activations.

    Exact: just below the (k N)-th largest positive pre-activation of all N positions, so that it is included; 0 where
    fewer are positive. Each batch's largest values are kept, and more of them where those turn out to be too few.
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


def _largest(sae: SAE, x_ND: Tensor, k: float) -> Tensor:
    active = sae.activate(x_ND, LargestOfBatch(k))
    return active.pre[active.pre > 0]
