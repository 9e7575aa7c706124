"""Gated SAEs: one path says which latents are on, another how strongly, so that the penalty does not shrink them.

With u = (x - b_dec) W_enc, a latent is on where its gate u + b_gate is positive, and then has the magnitude
ReLU(exp(r_mag) u + b_mag). The penalty sees only the gate's own activation pi = ReLU(u + b_gate), which would have no
other gradient, so that an auxiliary task asks it to reconstruct x through a frozen copy of the decoder:

    E|x - x_hat|^2 + coefficient E sum_f pi_f + E|x - (pi W_dec' + b_dec')|^2,     ' : no gradient.

Source: Rajamanoharan et al. 2024 (arXiv 2404.16014), section 3.2. SAELens lets the auxiliary task move the decoder.

`gated_p_anneal` puts p-annealing's penalty on pi. Source: Karvonen et al. 2024 (arXiv 2408.00113), appendix.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boardgame_sae.saes.architectures.p_anneal import Annealing
from boardgame_sae.saes.architectures.relu import ReLUSAE
from boardgame_sae.saes.configs.gated import GatedConfig, GatedPAnnealConfig
from boardgame_sae.saes.registry import architecture, as_inference
from boardgame_sae.saes.sae import SAE, Form, squared_error
from boardgame_sae.saes.sparse.active_latents import Active


@architecture(GatedConfig, colour="#D55E00", marker="s")
class GatedSAE(ReLUSAE):
    """One path decides which latents are on, another how strongly; the penalty sees only the first.

    z = 1[u + b_gate > 0] ReLU(exp(r_mag) u + b_mag), u = (x - b_dec) W_enc; b_enc is the gate's bias.
    Source: Rajamanoharan et al. 2024 (arXiv 2404.16014), equations 5 to 8; Adam's betas as in dictionary_learning.
    """

    form: ClassVar[Form | None] = "gated"
    example: ClassVar[Mapping[str, Any]] = {"sparsity_coefficient": 0.5}
    learning_rates: ClassVar[tuple[float, float, float]] = (3e-3, 1.5e-3, 5e-4)
    encoder_scale: ClassVar[float] = 1.0
    betas: ClassVar[tuple[float, float]] = (0.0, 0.999)
    per_latent: ClassVar[tuple[str, ...]] = ("b_enc", "b_mag")

    def __init__(self, cfg: GatedConfig) -> None:
        super().__init__(cfg)
        self.r_mag = nn.Parameter(torch.zeros(cfg.n_latents))
        self.b_mag = nn.Parameter(torch.zeros(cfg.n_latents))

    @property
    def b_gate(self) -> Tensor:
        """(n_latents,) the gate's bias."""
        return self.b_enc

    def latents(self, active: Active) -> Tensor:
        """The magnitudes of the latents whose gate is open."""
        u = active.pre - active.at(self.b_gate)
        return active.inside(F.relu(active.at(self.r_mag.exp()) * u + active.at(self.b_mag)))

    def penalised(self, active: Active, z: Tensor) -> Tensor:  # noqa: ARG002 (the base class's signature)
        """The gate's activations."""
        return active.pre

    def auxiliary(self, x_ND: Tensor, active: Active, x_hat_ND: Tensor, step: int) -> Tensor:  # noqa: ARG002
        """How badly the gate's activations reconstruct x."""
        return squared_error(active.decode(active.pre, self.W_dec.detach(), self.b_dec.detach()), x_ND)


@architecture(GatedPAnnealConfig, colour="#009E73", marker="^")
class GatedPAnnealSAE(Annealing, GatedSAE):
    """The gated SAE with p-annealing's penalty on the gate.

    The penalty is coefficient E sum_f pi_f^p, p falling from p_start to p_end.
    Source: Karvonen et al. 2024 (arXiv 2408.00113), appendix.
    """

    example: ClassVar[Mapping[str, Any]] = {"sparsity_coefficient": 0.4}

    def inference(self) -> SAE:
        """The gated SAE with these weights."""
        return as_inference(self, "gated")
