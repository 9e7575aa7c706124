"""p-annealing: a ReLU SAE whose penalty turns from L1 towards L0 as training goes on.

L1 is convex, trains well and shrinks latents; L0 is what is wanted and has no gradient. `p_anneal` starts with the
first and moves towards the second: with S_p = E sum_f z_f^p it minimises

    E|x - x_hat|^2 + coefficient_p S_p,     p falling from p_start to p_end,

and at each change of p multiplies the coefficient by mean(S_p) / mean(S_next p) over the last batches, so that the size
of the penalty does not jump. `penalty_norm: lp` takes S_p = E (sum_f z_f^p)^(1/p) in its place. Concave penalties leave
large latents alone and push small ones out. Source: Karvonen et al. 2024 (arXiv 2408.00113), section 4.

As published, the last update falls on a step that is never reached, and p = 0 divides by zero: here the last update is
reached, and p stays above zero.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from boardgame_sae.saes.architectures.relu import ReLUSAE
from boardgame_sae.saes.configs.p_anneal import AnnealingConfig, PAnnealConfig
from boardgame_sae.saes.registry import architecture, as_inference
from boardgame_sae.saes.sae import SAE, Loss
from boardgame_sae.saes.sparse.active_latents import Active


class Annealing(ReLUSAE):
    """A ReLU SAE whose penalty's exponent falls."""

    coefficient: Tensor
    stage: Tensor
    queue_2Q: Tensor
    n_queued: Tensor

    def __init__(self, cfg: AnnealingConfig) -> None:
        super().__init__(cfg)
        self.register_buffer("coefficient", torch.tensor(cfg.sparsity_coefficient))
        self.register_buffer("stage", torch.tensor(-1))
        self.register_buffer("queue_2Q", torch.zeros(2, cfg.queue_length))
        self.register_buffer("n_queued", torch.tensor(0))
        self.exponents = schedule(cfg)
        self.update_steps: list[int] = []

    @property
    def p(self) -> float:
        """The exponent in force."""
        return self.exponents[max(0, int(self.stage))]

    @property
    def next_p(self) -> float | None:
        """The exponent that comes next; None before the first update and after the last."""
        stage = int(self.stage)
        return self.exponents[stage + 1] if 0 <= stage < len(self.exponents) - 1 else None

    def begin_training(self, n_steps: int, first_ND: Tensor) -> None:
        """Lay out the updates over the steps of this training."""
        super().begin_training(n_steps, first_ND)
        start, end = self.cfg.anneal_start, self.cfg.anneal_end
        places = torch.linspace(start, end, len(self.exponents), dtype=torch.float64)
        self.update_steps = [int(place * n_steps + 1e-9) for place in places.tolist()]

    def penalty(self, active: Active, z: Tensor) -> Tensor:
        """The penalty with the exponent in force."""
        return self.coefficient * self.size(active, self.penalised(active, z), self.p)

    def size(self, active: Active, values: Tensor, p: float) -> Tensor:
        """S_p of non-negative values."""
        if self.cfg.penalty_norm == "lp_p":
            return power_sum(values, p) / max(1, active.shape[0])
        return active.row_sums(powers(values, p)).pow(1 / p).sum() / max(1, active.shape[0])

    @torch.no_grad()
    def after_step(self, step: int, loss: Loss) -> None:
        """Note the penalties under this exponent and the next; at an update step, go on to the next."""
        super().after_step(step, loss)
        due = self.update_steps[int(self.stage) + 1 :]
        if self.next_p is not None and due[0] - step < self.cfg.queue_length:
            self._note(loss)
        for update_step in due:
            if step >= update_step:
                if self.next_p is not None and not self.n_queued:  # two updates fall on one step
                    self._note(loss)
                self._update()

    def _note(self, loss: Loss) -> None:
        assert self.next_p is not None
        values = self.penalised(loss.active, loss.z)
        self.queue_2Q[:, :-1] = self.queue_2Q[:, 1:].clone()
        self.queue_2Q[0, -1] = self.size(loss.active, values, self.p)
        self.queue_2Q[1, -1] = self.size(loss.active, values, self.next_p)
        self.n_queued.add_(1).clamp_(max=self.cfg.queue_length)

    def _update(self) -> None:
        """Change the exponent to the next, and the coefficient with it."""
        n = int(self.n_queued)
        if self.next_p is not None and n:
            now, then = self.queue_2Q[:, -n:].mean(1)
            if now > 0 and then > 0:
                self.coefficient *= now / then
        self.stage += 1
        self.n_queued.zero_()


@architecture(PAnnealConfig, colour="#8C6D1F", marker="*")
class PAnnealSAE(Annealing):
    """ReLU latents whose penalty turns from L1 towards L0 during training.

    The penalty is coefficient E sum_f z_f^p, p falling from p_start to p_end.
    Source: Karvonen et al. 2024 (arXiv 2408.00113), section 4.
    """

    learning_rates: ClassVar[tuple[float, float, float]] = (3e-3, 1.5e-3, 7e-4)
    example: ClassVar[Mapping[str, Any]] = {"sparsity_coefficient": 0.1}

    def inference(self) -> SAE:
        """The standard SAE with these weights."""
        return as_inference(self, "relu")


def power_sum(values: Tensor, p: float) -> Tensor:
    """The sum of the p-th powers of non-negative values (0^p is 0, and its gradient 0)."""
    if p == 1:
        return values.sum()
    return values[values.detach() > 0].pow(p).sum()  # most of a dense tensor is zero, and not worth a power


def powers(values: Tensor, p: float) -> Tensor:
    """The p-th powers of non-negative values (0^p is 0, and its gradient 0)."""
    positive = values.detach() > 0
    return torch.where(positive, torch.where(positive, values, 1.0).pow(p), 0.0)


def schedule(cfg: AnnealingConfig) -> list[float]:
    """The exponents, in their order."""
    evenly = torch.linspace(cfg.p_start, cfg.p_end, cfg.n_updates, dtype=torch.float64).tolist()
    return list(cfg.exponents) or evenly
