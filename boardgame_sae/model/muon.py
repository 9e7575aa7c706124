"""Muon that orthogonalises in the weights' own precision.

torch.optim.Muon runs its Newton-Schulz iteration in bfloat16, which on a CPU without bfloat16 units is many times
slower than float32. On such a device this subclass runs the same iteration in float32, matrices of one shape together.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Muon(torch.optim.Muon):
    """torch.optim.Muon with a float32 step for weights on the CPU; elsewhere torch's own."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update. Same state, learning-rate scaling and weight decay as torch.optim.Muon."""
        if any(weight.device.type != "cpu" for group in self.param_groups for weight in group["params"]):
            return super().step(closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        momentum, lr = group["momentum"], float(group["lr"])
        by_shape: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for weight in group["params"]:
            if weight.grad is None:
                continue
            state = self.state[weight]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(weight.grad, memory_format=torch.preserve_format)
            average = state["momentum_buffer"].lerp_(weight.grad, 1 - momentum)
            update = weight.grad.lerp(average, momentum) if group["nesterov"] else average
            wide = update.T if update.shape[0] > update.shape[1] else update
            by_shape[wide.shape[0], wide.shape[1]].append((weight, wide))
        for pairs in by_shape.values():
            directions = orthogonalise(
                torch.stack([wide for _, wide in pairs]), group["ns_coefficients"], group["ns_steps"], group["eps"]
            )
            for (weight, _), direction in zip(pairs, directions, strict=True):
                rows, columns = weight.shape
                like_adamw = group["adjust_lr_fn"] == "match_rms_adamw"
                scale = 0.2 * max(rows, columns) ** 0.5 if like_adamw else max(1.0, rows / columns) ** 0.5
                weight.mul_(1 - lr * group["weight_decay"])
                weight.add_(direction.T if rows > columns else direction, alpha=-lr * scale)


def orthogonalise(matrices: Tensor, coefficients: tuple[float, float, float], n_steps: int, eps: float) -> Tensor:
    """Drive every singular value of some matrices towards 1, by a quintic Newton-Schulz iteration.

    matrices: (n, rows, columns) with rows <= columns.
    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
    """
    a, b, c = coefficients
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    # A step multiplies x by q = a + b g + c g^2, where g = x x^T; so g becomes q g q, and x waits until the end.
    gram, product = x @ x.mT, None
    for step in range(n_steps):
        q = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        q.diagonal(dim1=1, dim2=2).add_(a)
        product = q if product is None else q @ product
        if step < n_steps - 1:
            gram = q @ gram @ q
    return x if product is None else product @ x
