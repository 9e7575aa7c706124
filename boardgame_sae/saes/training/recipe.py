"""What a training that leaves its settings open takes for them: values that are good at its budget of activations.

A learning rate that helps a short training kills latents in a long one, so a setting belongs to a budget. The batch
size follows from the budget alone, so that SAEs on one stream share it; the peak learning rate is the one of the
architecture (`learning_rates` in its class). Between the budgets that settings are given for, both are interpolated on
logarithms; beyond them they stay. Those of the first two were chosen by the reconstruction of games that no training
reads, never by a supervised score; those of the last go on falling as they do: `experiments/recipes`.
"""

from collections.abc import Sequence

import numpy as np

RECIPE = ("n_activations", "batch_size", "lr")
"""What is kept beside an SAE's scores of how it was trained: differences in it decide more than architectures do."""
BUDGETS = (1_000_000, 10_000_000, 100_000_000)
"""Training activations that settings are given for."""
BATCH_SIZES = (512, 512, 1024)
"""Batch sizes that are good at these."""


def batch_size_for(n_activations: int) -> int:
    """The batch size that is good at a budget, a power of two."""
    return 2 ** round(float(_interpolated(n_activations, np.log2(BATCH_SIZES))))


def learning_rate_for(n_activations: int, learning_rates: Sequence[float]) -> float:
    """The peak learning rate at a budget, of an architecture whose own at BUDGETS are given; to two digits."""
    return float(f"{np.exp(_interpolated(n_activations, np.log(learning_rates))):.1e}")


def _interpolated(n_activations: int, values: Sequence[float] | np.ndarray) -> float:
    return float(np.interp(np.log(n_activations), np.log(BUDGETS), values))
