"""What SAELens does to activations before they are encoded, and to latents before they are decoded.

    normalize_activations       each activation
    none                        as it is
    expected_average_only_in    times a factor of the training, kept beside a checkpoint as `activation_scaler.json`
    covariance_whitening        through a matrix of the training
    layer_norm                  less its mean, over its own standard deviation
    constant_norm_rescale       over its own norm, times the square root of its width

A factor is folded into the weights, as SAELens folds it. A matrix is folded by SAELens alone. Numbers of each single
activation cannot be folded into weights, and are needed again to decode: such an SAE is scored as the object, which
normalises inside. `finetuning_scaling_factor` (before version 6): each latent times a number before it is decoded,
which is the same as its decoder row times that number. `reshape_activations: hook_z`: the heads side by side, as
activations are here.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from boardgame_sae.files import RunError, read_json
from boardgame_sae.saes.exchange.fields import Fields

SCALER_FILE = "activation_scaler.json"
_LATENT_FACTORS = ("finetuning_scaling_factor", "scaling_factor")
"""Names of the tensor of a factor per latent."""


def scaled(weights: Mapping[str, Tensor], cfg: Fields, folder: Path) -> dict[str, Tensor]:
    """Weights, as read, that give the SAE's latents of activations as they are.

    Raises RunError naming the field where the SAE's own numbers do not suffice.
    """
    if cfg.text("reshape_activations", "none") not in ("none", "hook_z"):
        raise cfg.error("reshape_activations", "SAEs here take vectors, or the heads of hook_z side by side")
    factors = [weights[name] for name in _LATENT_FACTORS if name in weights]
    scaled = {name: weight for name, weight in weights.items() if name not in _LATENT_FACTORS}
    if factors and not torch.allclose(factors[0], torch.ones_like(factors[0])):
        if not cfg.flag("finetuning_scaling_factor", False):
            raise RunError(
                f"{cfg.source}: finetuning_scaling_factor is not true, but the weights hold factors of the latents; "
                "set it to true to apply them, or remove them from the weights"
            )
        scaled["W_dec"] = scaled["W_dec"] * factors[0][:, None]
    factor = _activation_factor(cfg, folder)
    if factor is None:
        return scaled
    inverse = {name: scaled[name] / factor for name in ("W_dec", "b_dec")}
    return {**scaled, "W_enc": scaled["W_enc"] * factor, **inverse}


def _activation_factor(cfg: Fields, folder: Path) -> float | None:
    """The factor of all activations; None for 1. Raises RunError for any other normalization."""
    kind = cfg.text("normalize_activations", "none")
    if kind == "none":
        return None
    if kind == "expected_average_only_in":
        if (folder / SCALER_FILE).exists():
            return _stored_factor(folder / SCALER_FILE)
        fix = (
            f"the factor is known to the training run alone, which keeps it in {SCALER_FILE}: put that beside it, or "
            "fold it in with SAELens (`sae.fold_activation_norm_scaling_factor(factor)`) and save the SAE again"
        )
    elif kind == "covariance_whitening":
        fix = "fold it in with SAELens (`sae.fold_activation_whitening(...)`) and save the SAE again"
    else:
        fix = (
            "each activation is normalised by numbers of its own, which SAEs here do not do; score the object itself, "
            f"which does: `evaluate(sae_lens.SAE.load_from_disk({str(folder)!r}), testbed)`"
        )
    raise cfg.error("normalize_activations", fix)


def _stored_factor(path: Path) -> float:
    stored = read_json(path)
    factor = stored.get("scaling_factor") if isinstance(stored, dict) else None
    if not isinstance(factor, int | float) or isinstance(factor, bool) or not 0 < factor < float("inf"):
        raise RunError(f"{path}: scaling_factor is {factor!r}, not a number above 0; restore it")
    return float(factor)
