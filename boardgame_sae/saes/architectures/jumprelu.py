"""JumpReLU SAEs: a learned threshold for each latent, trained through its own step.

z = pre 1[pre > threshold], with pre = x W_enc + b_enc: below its threshold a latent is off, above it is not shrunk. The
number of latents on, L0 = E sum_f 1[pre_f > threshold_f], is penalised itself; its step has no gradient, so that the
thresholds get the gradient of a step blurred by a rectangle of width epsilon (the bandwidth),

    d z_f / d threshold_f = -(threshold_f / epsilon) 1[|pre_f - threshold_f| < epsilon / 2]
    d L0  / d threshold_f = -(1 / epsilon)           1[|pre_f - threshold_f| < epsilon / 2].

`sparsity_loss` says what is added to E|x - x_hat|^2: `l0_target` coefficient (L0 / target - 1)^2, which ends at a
wanted L0; `l0` coefficient L0, as in the paper; `tanh` coefficient E sum_f tanh(tanh_scale z_f |W_dec,f|), whose
gradient reaches the encoder too (Anthropic, January 2025).

Source: Rajamanoharan et al. 2024 (arXiv 2407.14435), sections 3 and 4. dictionary_learning steps the latents after the
jump, so that only the upper half of the rectangle counts and thresholds move half as much (below epsilon / 2 every
latent that is off counts as near, and they move far too much); and lets them go below zero.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd import Function

from boardgame_sae.saes.architectures.relu import PenaltySAE
from boardgame_sae.saes.configs.jumprelu import JumpReLUConfig
from boardgame_sae.saes.registry import architecture
from boardgame_sae.saes.sae import Form
from boardgame_sae.saes.sparse.active_latents import Above, Active, Rule


@architecture(JumpReLUConfig, colour="#E69F00", marker="v")
class JumpReLUSAE(PenaltySAE):
    """A learned threshold for each latent; the number of latents on is what is penalised.

    z = pre 1[pre > threshold], pre = x W_enc + b_enc (with x - b_dec for x where `subtract_b_dec` is set). Also the
    inference form of the batch-wise TopK SAEs, with one threshold for all latents.
    Source: Rajamanoharan et al. 2024 (arXiv 2407.14435); target, betas and defaults as in dictionary_learning.
    """

    form: ClassVar[Form | None] = "jumprelu"
    example: ClassVar[Mapping[str, Any]] = {
        "sparsity_coefficient": 0.3, "target_l0": 2.0, "bandwidth": 0.1, "threshold_start": 0.05
    }  # fmt: skip
    learning_rates: ClassVar[tuple[float, float, float]] = (3e-3, 1.5e-3, 5e-4)
    grad_clip: ClassVar[float | None] = 1.0
    betas: ClassVar[tuple[float, float]] = (0.0, 0.999)
    per_latent: ClassVar[tuple[str, ...]] = ("b_enc", "threshold")

    def __init__(self, cfg: JumpReLUConfig) -> None:
        super().__init__(cfg)
        self.threshold = nn.Parameter(torch.full((cfg.n_latents,), cfg.threshold_start))

    def rule(self) -> Rule:
        """On where the pre-activation exceeds the latent's threshold."""
        return Above(self.threshold.detach())

    def training_rule(self, step: int) -> Rule:  # noqa: ARG002 (the base class's signature)
        """Also those a little below, whose thresholds get a gradient."""
        return Above(self.threshold.detach() - self.cfg.bandwidth / 2)

    def latents(self, active: Active) -> Tensor:
        """The pre-activations above their threshold."""
        threshold = active.at(self.threshold).expand_as(active.pre)
        return active.inside(_Jump.apply(active.pre, threshold, self.cfg.bandwidth))  # pyright: ignore[reportArgumentType]

    def penalty(self, active: Active, z: Tensor) -> Tensor:
        """The penalty of this SAE's kind, coefficient included."""
        n, cfg = max(1, active.shape[0]), self.cfg
        if cfg.sparsity_loss == "tanh":
            smooth = torch.tanh(cfg.tanh_scale * z * active.at(self.W_dec.norm(dim=1)))
            return cfg.sparsity_coefficient * smooth.sum() / n
        threshold = active.at(self.threshold).expand_as(active.pre)
        steps = _Step.apply(active.pre, threshold, cfg.bandwidth)
        l0 = active.inside(steps).sum() / n  # pyright: ignore[reportArgumentType]
        return cfg.sparsity_coefficient * (l0 if cfg.sparsity_loss == "l0" else (l0 / cfg.target_l0 - 1) ** 2)

    @torch.no_grad()
    def constrain(self) -> None:
        """Decoder rows of norm 1, thresholds not below 0."""
        super().constrain()
        self.threshold.clamp_(min=0)


class _Jump(Function):
    """pre 1[pre > threshold]."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return torch.where(pre > threshold, pre, 0.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        pre, threshold = ctx.saved_tensors
        near = (pre - threshold).abs() < ctx.bandwidth / 2
        return (
            torch.where(pre > threshold, grads[0], 0.0),
            torch.where(near, grads[0] * threshold * (-1 / ctx.bandwidth), 0.0),
            None,
        )


class _Step(Function):
    """1[pre > threshold]; no gradient reaches pre."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return (pre > threshold).to(pre.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        pre, threshold = ctx.saved_tensors
        near = (pre - threshold).abs() < ctx.bandwidth / 2
        return None, torch.where(near, grads[0] * (-1 / ctx.bandwidth), 0.0), None
