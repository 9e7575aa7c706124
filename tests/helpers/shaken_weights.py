"""Modules whose weights are away from their start, so that a parameter that is left out or swapped shows."""

import torch


@torch.no_grad()
def shaken(module, seed=0, size=0.3):
    """A module with Gaussian noise added to every parameter."""
    generator = torch.Generator().manual_seed(seed)
    for weight in module.parameters():
        weight += size * torch.randn(weight.shape, generator=generator).to(weight)
    return module
