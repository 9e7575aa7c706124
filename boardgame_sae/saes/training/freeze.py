"""Training that leaves one part of an SAE as it was drawn: what the other part learns by itself.

    decoder        W_dec stays
    soft_decoder   every row of W_dec keeps a cosine of at least 0.8 with the row that was drawn
    encoder        W_enc and b_enc stay; what else decides how latents are on, thresholds and a gated SAE's magnitudes,
                   is trained, and so is b_dec. Where only a penalty makes latents few, it has nothing left to act on

Whatever moves a frozen weight in a step (the optimiser, the norm of decoder rows, resampling) is undone at its end. The
weights that were drawn depend on the SAE's config alone, so that a resumed training needs no record of them.
Source: arXiv 2602.14111.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.saes.configs.training import Frozen
from boardgame_sae.saes.registry import sae_from_config
from boardgame_sae.saes.sae import SAE, SAEConfig

MIN_COSINE = 0.8
"""Of a softly frozen decoder row and the row that was drawn."""
ROUNDING = 1e-6
"""By how much rows are put further inside, so that float32 does not leave them a little outside."""
OPPOSITE = 1e-6
"""Of a row's norm: less than this beside its drawn direction is rounding. Such a row is turned to that direction."""
_HELD = {"": (), "decoder": ("W_dec",), "soft_decoder": (), "encoder": ("W_enc", "b_enc")}
"""Names of the weights that do not change at all."""


def check_freezable(cfg: SAEConfig, frozen: Frozen) -> None:
    """Raise ValueError, in words, for an SAE of which that part cannot be frozen while another is trained."""
    if not frozen:
        return
    sae = sae_from_config(cfg)
    if not sae.trains:
        raise ValueError(f"SAEs of the architecture '{cfg.architecture}' are not trained, so nothing of them is frozen")
    own = {name for name, weight in sae.named_parameters() if weight.requires_grad}  # a shared one is named once
    tied = [name for name in ("W_enc", "W_dec", "b_enc") if name not in own]
    if tied:
        raise ValueError(
            f"SAEs of the architecture '{cfg.architecture}' have no {tied[0]} of their own, so that their encoder and "
            "decoder cannot be trained one without the other"
        )


class FrozenWeights:
    """The frozen weights of one SAE, as they were drawn."""

    def __init__(self, sae: SAE, frozen: Frozen) -> None:
        """sae: as drawn, before a saved state is loaded; its frozen weights get no gradient from now on."""
        self.sae = sae
        self._start = {name: sae.get_parameter(name).detach().clone() for name in _HELD[frozen]}
        self._rows_FD = F.normalize(sae.W_dec.detach(), dim=1) if frozen == "soft_decoder" else None
        for name in self._start:
            sae.get_parameter(name).requires_grad_(False)

    @torch.no_grad()
    def hold(self) -> None:
        """Put them back where they must be; called at the end of each step."""
        for name, start in self._start.items():
            self.sae.get_parameter(name).copy_(start)
        if self._rows_FD is not None:
            self.sae.W_dec.copy_(within_cosine(self.sae.W_dec, self._rows_FD, MIN_COSINE + ROUNDING))


def within_cosine(rows_FD: Tensor, unit_FD: Tensor, min_cosine: float) -> Tensor:
    """Rows turned, at the same norm, to the nearest direction whose cosine with their unit row is at least that."""
    norms_F1 = rows_FD.norm(dim=1, keepdim=True)
    along_F1 = (rows_FD * unit_FD).sum(1, keepdim=True)
    across_FD = rows_FD - along_F1 * unit_FD
    is_noise_F1 = across_FD.norm(dim=1, keepdim=True) < OPPOSITE * norms_F1  # every edge is as near as the others
    across_FD = F.normalize(across_FD.masked_fill(is_noise_F1, 0), dim=1)
    edge_FD = F.normalize(min_cosine * unit_FD + math.sqrt(1 - min_cosine**2) * across_FD, dim=1)
    return torch.where(along_F1 < min_cosine * norms_F1, norms_F1 * edge_FD, rows_FD)
