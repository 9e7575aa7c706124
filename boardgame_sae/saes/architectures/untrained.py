"""SAEs that are not trained: what a score gives to no decomposition at all, and to a random one.

`identity` has a latent for either sign of every channel: z = (ReLU(x), ReLU(-x)), an exact reconstruction by latents
that are dense and mean no more than the channels do. `random` has random directions, of which the k that x points
along most are on.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from boardgame_sae.saes.configs.untrained import IdentityConfig, RandomConfig
from boardgame_sae.saes.registry import architecture
from boardgame_sae.saes.sae import SAE, Form
from boardgame_sae.saes.sparse.active_latents import Above, LargestOfEach, Rule


@architecture(IdentityConfig, colour="#CC79A7", marker="D")
class IdentitySAE(SAE):
    """The channels themselves, one latent for either sign; not trained, a floor of the scores.

    z = (ReLU(x), ReLU(-x)), x_hat = x; latents beyond 2 d_model never fire.
    """

    form: ClassVar[Form | None] = "relu"
    trains: ClassVar[bool] = False

    def __init__(self, cfg: IdentityConfig) -> None:
        super().__init__(cfg)
        eye_DD = torch.eye(cfg.d_model)
        signs_FD = torch.cat([eye_DD, -eye_DD])
        with torch.no_grad():
            self.W_dec[: len(signs_FD)] = signs_FD
            self.W_enc.zero_()[:, : len(signs_FD)] = signs_FD.T
        self.requires_grad_(False)

    def rule(self) -> Rule:
        """On where the channel has the latent's sign."""
        return Above(0.0)


@architecture(RandomConfig, colour="#44AA99", marker="o")
class RandomSAE(SAE):
    """The k of some random directions that x points along most; not trained, a floor of the scores.

    z = the k largest of ReLU((x - b_dec) W_enc), W_enc random unit columns and W_dec their transpose.
    """

    form: ClassVar[Form | None] = "topk"
    example: ClassVar[Mapping[str, Any]] = {"k": 2}
    trains: ClassVar[bool] = False

    def __init__(self, cfg: RandomConfig) -> None:
        super().__init__(cfg)
        self.requires_grad_(False)

    def rule(self) -> Rule:
        """On where it is among the k largest of its position."""
        return LargestOfEach(self.cfg.k)
