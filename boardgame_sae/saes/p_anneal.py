"""p-annealing: the standard SAE whose penalty turns from L1 towards L0 as training goes on."""

from typing import Literal

import torch
from torch import Tensor

from boardgame_sae.config import config
from boardgame_sae.saes.relu import ReLUConfig, ReLUSAE
from boardgame_sae.saes.sae import Loss, architecture


@config
class PAnnealConfig(ReLUConfig):
    """p-annealing, with the paper's Othello and chess settings as defaults."""

    architecture: Literal["p_anneal"] = "p_anneal"  # pyright: ignore[reportIncompatibleVariableOverride]
    p_start: float = 1.0
    """The penalty's exponent at first."""
    p_end: float = 0.2
    """The exponent at the end; above 0, where the penalty would count latents and have no gradient."""
    n_updates: int = 10
    """Values the exponent takes, evenly spaced; the first is p_start."""
    anneal_start: float = 0.273
    """Share of training at which the first update falls (10,000 of 36,621 steps as published)."""
    anneal_end: float = 0.9
    """Share at which the last falls. As published it is 1, a step that is never reached."""
    queue_length: int = 10
    """Batches whose penalties the coefficient is rescaled by."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.p_end <= self.p_start:
            raise ValueError("the exponents must obey 0 < p_end <= p_start")
        if not 0 <= self.anneal_start < self.anneal_end <= 1 or self.n_updates < 2 or self.queue_length < 1:
            raise ValueError("0 <= anneal_start < anneal_end <= 1, n_updates >= 2 and queue_length >= 1 must hold")


@architecture(PAnnealConfig)
class PAnnealSAE(ReLUSAE):
    """The ReLU SAE with penalty coefficient E sum_f z_f^p, p falling from p_start to p_end.

    At each change of p the coefficient is multiplied by mean(S_p) / mean(S_next p) over the last batches, S_p being
    E sum_f z_f^p, so that the size of the penalty does not jump.
    Source: Karvonen et al. 2024 (arXiv 2408.00113), section 4.
    """

    coefficient: Tensor
    stage: Tensor
    queue_2Q: Tensor
    n_queued: Tensor

    def __init__(self, cfg: PAnnealConfig) -> None:
        super().__init__(cfg)
        self.register_buffer("coefficient", torch.tensor(cfg.sparsity_coefficient))
        self.register_buffer("stage", torch.tensor(-1))
        self.register_buffer("queue_2Q", torch.zeros(2, cfg.queue_length))
        self.register_buffer("n_queued", torch.tensor(0))
        self.exponents = torch.linspace(cfg.p_start, cfg.p_end, cfg.n_updates, dtype=torch.float64).tolist()
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
        places = torch.linspace(self.cfg.anneal_start, self.cfg.anneal_end, self.cfg.n_updates, dtype=torch.float64)
        self.update_steps = [int(place * n_steps) for place in places.tolist()]

    def penalty(self, z_NF: Tensor) -> Tensor:
        """coefficient E sum_f z_f^p."""
        return self.coefficient * power_sum(z_NF, self.p)

    @torch.no_grad()
    def after_step(self, step: int, loss: Loss) -> None:
        """Note the penalties under this exponent and the next; at an update step, go on to the next."""
        super().after_step(step, loss)
        due = self.update_steps[int(self.stage) + 1 :]
        if self.next_p is not None and due[0] - step < self.cfg.queue_length:
            self._note(loss.latents_NF)
        for update_step in due:
            if step >= update_step:
                if self.next_p is not None and not self.n_queued:  # two updates fall on one step
                    self._note(loss.latents_NF)
                self._update()

    def _note(self, z_NF: Tensor) -> None:
        assert self.next_p is not None
        self.queue_2Q[:, :-1] = self.queue_2Q[:, 1:].clone()
        self.queue_2Q[0, -1] = power_sum(z_NF, self.p)
        self.queue_2Q[1, -1] = power_sum(z_NF, self.next_p)
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


def power_sum(z_NF: Tensor, p: float) -> Tensor:
    """S_p: mean over the batch of the sum over latents of z^p, for z >= 0 (0^p is 0, and its gradient 0)."""
    if p == 1:
        return z_NF.sum(1).mean()
    flat = z_NF.flatten()
    on = flat.detach().nonzero()[:, 0]  # most are zero: only the others are worth a power
    return flat[on].pow(p).sum() / len(z_NF)
