"""Adapters: a small network on the SAE's reconstruction, which stays what it is while the adapter learns.

The part that is added begins at zero. Neither adapter has biases, so that it does the same at any scale.
Source: arXiv 2503.17272.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boardgame_sae.config import seed_for
from boardgame_sae.saes.finetuning.ways.way import Settings, Splice, drawn, way


class Adapter(nn.Module):
    """x + (x down) up, or with a ReLU between."""

    def __init__(self, down_DR: Tensor, up_RD: Tensor, *, relu: bool) -> None:
        super().__init__()
        self.down, self.up, self.relu = nn.Parameter(down_DR), nn.Parameter(up_RD), relu

    def forward(self, x_ND: Tensor) -> Tensor:
        """The reconstruction (N, D), adapted."""
        hidden_NR = x_ND @ self.down
        return x_ND + (F.relu(hidden_NR) if self.relu else hidden_NR) @ self.up


@way("linear_adapter")
def linear_adapter(splice: Splice, settings: Settings) -> dict[str, nn.Parameter]:
    """a linear map of low rank, added to the reconstruction; gives the weights"""
    return _adapt(splice, settings, relu=False)


@way("mlp_adapter")
def mlp_adapter(splice: Splice, settings: Settings) -> dict[str, nn.Parameter]:
    """a layer of `rank` ReLU units, added to the reconstruction; gives the weights"""
    return _adapt(splice, settings, relu=True)


def _adapt(splice: Splice, settings: Settings, *, relu: bool) -> dict[str, nn.Parameter]:
    width = splice.sae.cfg.d_model
    down_DR = drawn((settings.rank, width), splice, seed_for(settings.seed, "adapter")).T.contiguous()
    adapter = Adapter(down_DR, torch.zeros(settings.rank, width, device=down_DR.device), relu=relu)
    splice.after_sae = adapter
    return {"down": adapter.down, "up": adapter.up}
