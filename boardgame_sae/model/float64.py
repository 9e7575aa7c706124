"""Float64 also of what is on a device that has none, such as Apple's MPS: there it is computed on the CPU."""

from functools import cache

import torch
from torch import Tensor


@cache
def has_float64(device: torch.device) -> bool:
    """Whether tensors on a device can be float64."""
    try:
        torch.empty(0, dtype=torch.float64, device=device)
    except (TypeError, RuntimeError):
        return False
    return True


def exact(x: Tensor) -> Tensor:
    """The same numbers in float64: on their own device, or on the CPU where that device has no float64."""
    return (x if has_float64(x.device) else x.cpu()).double()
