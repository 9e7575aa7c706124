"""Matryoshka SAEs: nested dictionaries, each of which must reconstruct alone.

A wide dictionary splits general features into special ones and lets the general go missing where a special one fires
(absorption). Here the first 1/32, 1/16, ... of the latents are dictionaries of their own: with x_hat_i the
reconstruction by the latents of the i-th prefix, the error to minimise is the mean over prefixes

    mean_i E|x - x_hat_i|^2,

so that early latents must be general and late ones add detail. `matryoshka_batch_topk` chooses latents as BatchTopK
does, over all of them together, with AuxK on what the full dictionary misses; `matryoshka` has ReLU latents and the
standard SAE's L1 penalty. Source: Bussmann et al. 2025 (arXiv 2503.17547); fixed prefixes with ReLU: Nabeshima 2024,
"Matryoshka Sparse Autoencoders". (dictionary_learning divides twice by the number of prefixes, SAELens not at all.)
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from boardgame_sae.saes.architectures.relu import ReLUSAE
from boardgame_sae.saes.architectures.topk import BatchTopKSAE
from boardgame_sae.saes.configs.matryoshka import MatryoshkaBatchTopKConfig, MatryoshkaConfig
from boardgame_sae.saes.registry import architecture, as_inference
from boardgame_sae.saes.sae import SAE, squared_error
from boardgame_sae.saes.sparse.active_latents import Active


class Nested(SAE):
    """An SAE whose prefixes reconstruct, too."""

    def reconstruct(self, x_ND: Tensor, active: Active, z: Tensor) -> tuple[Tensor, Tensor]:
        """The full reconstruction (N, d_model), and the mean error of all prefixes."""
        x_hat_GND = active.decode_prefixes(z, self.W_dec, self.b_dec, self.cfg.ends)
        return x_hat_GND[-1], squared_error(x_hat_GND, x_ND.expand_as(x_hat_GND))


@architecture(MatryoshkaBatchTopKConfig, colour="#7A4FBF", marker="X")
class MatryoshkaBatchTopKSAE(Nested, BatchTopKSAE):
    """BatchTopK with nested dictionaries, each of which must reconstruct alone.

    Minimises the mean over prefixes of E|x - x_hat_i|^2, plus AuxK. Source: Bussmann et al. 2025 (arXiv 2503.17547).
    """

    example: ClassVar[Mapping[str, Any]] = {**BatchTopKSAE.example, "group_fractions": (0.75, 0.25)}


@architecture(MatryoshkaConfig, colour="#56B4E9", marker="P")
class MatryoshkaSAE(Nested, ReLUSAE):
    """The standard SAE with nested dictionaries, each of which must reconstruct alone.

    Minimises the mean over prefixes of E|x - x_hat_i|^2, plus coefficient E sum_f z_f.
    Source: Nabeshima 2024, "Matryoshka Sparse Autoencoders", prefixes fixed.
    """

    example: ClassVar[Mapping[str, Any]] = {**ReLUSAE.example, "group_fractions": (0.5, 0.5)}

    def inference(self) -> SAE:
        """The standard SAE with these weights."""
        return as_inference(self, "relu")
