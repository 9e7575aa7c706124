"""LoRA: a matrix W stays, and what learns is added to it, W + up down, of low rank.

`down` is drawn at random and `up` begins at zero, so that fine-tuning begins where training ended. There is no dropout
and no factor alpha / rank: Adam's steps do not depend on the second, and without the first a seed gives one result.
Source: Hu et al. 2021 (arXiv 2106.09685); as used in arXiv 2503.17272.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from boardgame_sae.activations.hook_points import layer_of
from boardgame_sae.config import seed_for
from boardgame_sae.saes.finetuning.ways.way import Settings, Splice, drawn, way

LINEAR = ("attn.q", "attn.k", "attn.v", "attn.out", "mlp.up", "mlp.down")
"""The matrices of a block."""


class LowRank(nn.Module):
    """W + up down; of rows of norm 1 where W has such rows, and stored by columns where W is."""

    def __init__(self, up: Tensor, down: Tensor, *, unit_rows: bool = False, by_columns: bool = False) -> None:
        super().__init__()
        self.up, self.down = nn.Parameter(up), nn.Parameter(down)
        self.unit_rows, self.by_columns = unit_rows, by_columns

    def forward(self, weight: Tensor) -> Tensor:
        """The matrix that is used."""
        moved = weight + ((self.down.T @ self.up.T).T if self.by_columns else self.up @ self.down)
        return F.normalize(moved, dim=1) if self.unit_rows else moved


@way("lora_sae", gives_sae=True)
def lora_sae(splice: Splice, settings: Settings) -> dict[str, nn.Parameter]:
    """LoRA on the SAE's encoder and decoder, merged into them; gives an SAE"""
    sae = splice.sae
    own = {name for name, _ in sae.named_parameters()}
    if not sae.trains or not {"W_enc", "W_dec"} <= own:
        raise ValueError(
            f"SAEs of the architecture '{sae.cfg.architecture}' have no encoder and decoder that can be trained; an "
            "adapter or LoRA on the model can be trained beside one"
        )
    learns = _add(splice, sae, "W_enc", settings, "W_enc", by_columns=True)
    return learns | _add(splice, sae, "W_dec", settings, "W_dec", unit_rows=sae.unit_decoder)


@way("lora_model", moves_reconstruction=False)
def lora_model(splice: Splice, settings: Settings) -> dict[str, nn.Parameter]:
    """LoRA on the GPT's blocks above the hook point, the SAE frozen in place; gives the weights"""
    first, n_layers = layer_of(splice.hook_name) + 1, splice.gpt.cfg.n_layers
    if first == n_layers:
        raise ValueError(
            f"{splice.hook_name} is in the last of {n_layers} blocks: there is no block above it to train; choose "
            "an adapter, or fine-tune an SAE of a lower block"
        )
    learns: dict[str, nn.Parameter] = {}
    for layer in range(first, n_layers):
        for name in LINEAR:
            path = f"blocks.{layer}.{name}"
            learns |= _add(splice, splice.gpt.get_submodule(path), "weight", settings, path)
    return learns


def merge(module: nn.Module) -> None:
    """Make what was added to a module's own weights part of them."""
    for name in list(getattr(module, "parametrizations", {})):
        parametrize.remove_parametrizations(module, name, leave_parametrized=True)


def _add(
    splice: Splice, module: nn.Module, tensor: str, settings: Settings, name: str, **how: bool
) -> dict[str, nn.Parameter]:
    """Let a weight of a module be itself plus a product of low rank; returns the factors."""
    n_rows, n_columns = module.get_parameter(tensor).shape
    down = drawn((settings.rank, n_columns), splice, seed_for(settings.seed, "LoRA", name))
    added = LowRank(torch.zeros(n_rows, settings.rank, device=down.device), down, **how)
    parametrize.register_parametrization(module, tensor, added)
    return {f"{name}.up": added.up, f"{name}.down": added.down}
