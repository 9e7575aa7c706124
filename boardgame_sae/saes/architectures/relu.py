"""ReLU SAEs: a penalty on the size of the latents keeps them few.

`relu` is the standard SAE. With z = ReLU((x - b_dec) W_enc + b_enc) and x_hat = z W_dec + b_dec it minimises

    E|x - x_hat|^2 + coefficient E sum_f z_f,

the rows of W_dec held at norm 1, or small latents and long rows would avoid the penalty. The L1 norm is the closest
convex stand-in for the number of latents on; its price is shrinkage, latents smaller than they should be. Latents that
have stopped firing can be resampled (`resample_every`). Source: Bricken et al. 2023, "Towards Monosemanticity".

`relu_april` frees the decoder and charges each latent what it adds to the output, z_f |W_dec,f|:

    E|x - x_hat|^2 + coefficient E sum_f z_f |W_dec,f|.

Short rows now gain nothing, so no constraint is needed; its latents are read after the norms are folded in. Source:
Conerly et al. 2024, "Update on how we train SAEs" (Transformer Circuits, April 2024).
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from boardgame_sae.saes.configs.relu import PenaltyConfig, ReLUAprilConfig, ReLUConfig
from boardgame_sae.saes.registry import architecture, as_inference
from boardgame_sae.saes.sae import SAE, Form
from boardgame_sae.saes.sparse.active_latents import Above, Active, Rule
from boardgame_sae.saes.training.adam import Adam
from boardgame_sae.saes.training.resample import resample_dead


class PenaltySAE(SAE):
    """An SAE with a sparsity penalty that rises in the first part of training."""

    def __init__(self, cfg: PenaltyConfig) -> None:
        super().__init__(cfg)

    def sparsity(self, active: Active, z: Tensor, step: int) -> Tensor:
        """The sparsity penalty, coefficient and warm-up included."""
        return self.warmup(step) * self.penalty(active, z)

    @abstractmethod
    def penalty(self, active: Active, z: Tensor) -> Tensor:
        """The sparsity penalty, coefficient included."""

    def warmup(self, step: int) -> float:
        """Share of the penalty that counts at a step."""
        rising = self.cfg.sparsity_warmup * self.n_steps
        return min(1.0, step / rising) if rising > 0 else 1.0


@architecture(ReLUConfig, colour="#882255", marker="s")
class ReLUSAE(PenaltySAE):
    """The standard SAE: ReLU latents with an L1 penalty.

    z = ReLU((x - b_dec) W_enc + b_enc), minimising E|x - x_hat|^2 + coefficient E sum_f z_f.
    Source: Bricken et al. 2023, "Towards Monosemanticity".
    """

    form: ClassVar[Form | None] = "relu"
    example: ClassVar[Mapping[str, Any]] = {"sparsity_coefficient": 0.15}
    learning_rates: ClassVar[tuple[float, float, float]] = (1e-2, 3e-3, 1e-3)
    encoder_scale: ClassVar[float] = 0.1

    def rule(self) -> Rule:
        """On where the pre-activation is positive."""
        return Above(0.0)

    def penalised(self, active: Active, z: Tensor) -> Tensor:  # noqa: ARG002 (gated penalises its gate)
        """The non-negative values whose size is penalised."""
        return z

    def penalty(self, active: Active, z: Tensor) -> Tensor:
        """The L1 penalty, coefficient included."""
        return self.cfg.sparsity_coefficient * self.penalised(active, z).sum() / max(1, active.shape[0])

    def refresh(self, step: int, x_ND: Tensor, optimizer: Adam) -> None:
        """Resample dead latents every `resample_every` steps."""
        every = self.cfg.resample_every
        if every and step and step % every == 0:
            resample_dead(self, self.dead_F(every * len(x_ND) // 2), x_ND, optimizer, seed=(self.cfg.seed, step))


@architecture(ReLUAprilConfig, colour="#332288", marker="^")
class ReLUAprilSAE(ReLUSAE):
    """The standard SAE as updated in April 2024: a free decoder, whose row norms the penalty counts.

    The penalty is coefficient E sum_f z_f |W_dec,f|.
    Source: Conerly et al. 2024, Transformer Circuits, April update; initial norms as in dictionary_learning.
    """

    unit_decoder: ClassVar[bool] = False
    grad_clip: ClassVar[float | None] = 1.0
    decoder_scale: ClassVar[float] = 0.1

    def penalised(self, active: Active, z: Tensor) -> Tensor:
        """Each latent times the norm of its decoder row."""
        return z * active.at(self.W_dec.norm(dim=1))

    def inference(self) -> SAE:
        """The standard SAE, norms folded into the latents."""
        simple = as_inference(self, "relu")
        simple.fold_norms()
        return simple
