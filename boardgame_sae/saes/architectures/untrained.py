"""SAEs that are not trained: what a score gives to no decomposition at all, and to a random one.

`identity` has a latent for either sign of every channel: z = (ReLU(x), ReLU(-x)), an exact reconstruction by latents
that are dense and mean no more than the channels do. `random` has random directions, of which the k that x points
along most are on.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch

from boardgame_sae.config import Count, config
from boardgame_sae.saes.registry import architecture
from boardgame_sae.saes.sae import SAE, Form, SAEConfig
from boardgame_sae.saes.sparse.active_latents import Above, LargestOfEach, Rule


@config
class IdentityConfig(SAEConfig):
    """The channels themselves."""

    architecture: Literal["identity"] = "identity"  # pyright: ignore[reportIncompatibleVariableOverride]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_latents < 2 * self.d_model:
            raise ValueError(f"two latents per channel need n_latents of at least {2 * self.d_model}")


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


@config
class RandomConfig(SAEConfig):
    """Random directions."""

    sparsity_field: ClassVar[str | None] = "k"
    architecture: Literal["random"] = "random"  # pyright: ignore[reportIncompatibleVariableOverride]
    k: Count = 32
    """Latents that are on per position."""
    b_dec_start: Literal["zeros", "geometric_median"] = "geometric_median"
    """Initial value of b_dec: zeros, or the geometric median of the first training batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k > self.n_latents:
            raise ValueError(f"k must lie between 1 and n_latents ({self.n_latents}), not {self.k}")


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
