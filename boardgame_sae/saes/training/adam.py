"""Adam in one fused pass over weights, gradients and moments, for weights stored in either order.

torch's fused Adam copies a transposed weight, its gradient and its moments into row order and back at every step. An
SAE's encoder is transposed on purpose (latent by latent); here the optimiser gets the row-ordered view of it.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class Adam(torch.optim.Adam):
    """torch's fused Adam; the same numbers."""

    def __init__(self, weights: Iterable[Tensor], lr: float, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.weights = list(weights)
        super().__init__([_row_ordered(weight) for weight in self.weights], lr=lr, betas=betas, fused=True)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step with the weights' gradients. Raises RuntimeError when a weight was moved or converted meanwhile."""
        for weight, rows in zip(self.weights, self.param_groups[0]["params"], strict=True):
            if rows is not weight:
                if rows.data_ptr() != weight.data_ptr():
                    raise RuntimeError("a weight was moved or converted after its optimiser was made; make a new one")
                rows.grad = None if weight.grad is None else weight.grad.T.contiguous()
        return super().step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients."""
        super().zero_grad(set_to_none)
        for weight in self.weights:
            weight.grad = None

    def moments(self, weight: Tensor) -> list[Tensor]:
        """The moments of a weight, of its own shape; none before the first step.

        Raises KeyError for a weight that it does not optimise.
        """
        for own, rows in zip(self.weights, self.param_groups[0]["params"], strict=True):
            if own is weight:
                moments = [self.state[rows][name] for name in ("exp_avg", "exp_avg_sq") if name in self.state[rows]]
                return moments if rows is weight else [moment.T for moment in moments]
        raise KeyError("not a weight of this optimiser")


def _row_ordered(weight: Tensor) -> Tensor:
    return weight if weight.is_contiguous() else weight.detach().T
