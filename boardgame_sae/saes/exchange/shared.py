"""What every exchange of SAEs with another library needs: an SAE of ours from its tensors, and what it asks of ours.

Libraries differ in three conventions, none of which changes what an SAE computes: whether b_dec is taken from the input
(`encoder_shift_F` moves it into the encoder's bias), whether decoder rows have norm 1, and what a threshold below zero
means (elsewhere a ReLU follows, so that it acts as zero).
"""

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from boardgame_sae.config import ConfigError
from boardgame_sae.files import RunError
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.saes.sae import SAE

OURS = "boardgame_sae"
"""Where a foreign file keeps our own metadata."""


class Facts(NamedTuple):
    """What other libraries ask about where an SAE was trained."""

    architecture: str
    """What it was trained as."""
    hook_name: str | None
    layer: int | None
    model_name: str | None


def facts(sae: SAE) -> Facts:
    """Where an SAE was trained, as far as it remembers."""
    told = sae.metadata
    hook_name, layer = told.get("hook_name"), told.get("layer")
    number = re.search(r"\d+", str(hook_name)) if layer is None and hook_name else None
    model_name = told.get("model_name") or told.get("lm_name") or told.get("model")
    return Facts(sae.trained_as["architecture"], hook_name, int(number[0]) if number else layer, model_name)


def card(sae: SAE) -> dict[str, Any]:
    """All that an SAE remembers, to be kept in a foreign file under `OURS`."""
    return {**sae.metadata, "trained_as": sae.trained_as}


def exportable(sae: SAE, forms: Collection[str], library: str) -> SAE:
    """The inference form of an SAE, if it is one of some forms. Raises RunError that says why not."""
    simple = sae.inference()
    form = simple.cfg.architecture
    if form not in forms:
        if not getattr(simple, "calibrated", True):
            raise RunError(
                f"this {form} SAE has no threshold yet, so that its latents depend on their batch, which {library} "
                "cannot say; call `sae.calibrate(batches)` with some activations first"
            )
        raise RunError(f"{library} has no form for the architecture {form}; let its `inference()` give one of {forms}")
    if form == "jumprelu" and bool((simple.get_parameter("threshold") < 0).any()):
        raise RunError(
            f"this SAE has thresholds below 0, where latents are negative; {library} has none; call `sae.constrain()`"
        )
    return simple


def plain(found: Any) -> Any:
    """What was read from a JSON file, but null for NaN and Infinity, which ours may not hold."""
    return json.loads(json.dumps(found), parse_constant=lambda _: None)


def encoder_shift_F(sae: SAE) -> Tensor:
    """(F,) b_dec W_enc, on the CPU: what subtracting b_dec from the input takes from every pre-activation."""
    return (sae.b_dec.detach().cpu().double() @ sae.W_enc.detach().cpu().double()).to(sae.dtype)


def rows_of_norm_one(W_dec: Tensor) -> bool:
    """Whether all rows (F, D) have norm 1, to a few parts in 100,000."""
    norms_F = W_dec.detach().norm(dim=1)
    return torch.allclose(norms_F, torch.ones_like(norms_F))


@torch.no_grad()
def rebuild(source: Path, architecture: str, weights: Mapping[str, Tensor], **fields: Any) -> SAE:
    """An SAE of ours, in float32, with the parameters that were read from a file, under our names.

    fields: those of its config. Raises RunError naming the file and what does not fit.
    """
    try:
        sae = make_sae(architecture, **fields)
    except ConfigError as error:
        raise RunError(f"{source}: {error}; was the file written by another version?") from error
    wanted = {name: tuple(weight.shape) for name, weight in sae.named_parameters()}
    found = {name: tuple(weight.shape) for name, weight in weights.items()}
    if found != wanted:
        odd = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        told = ", ".join(f"{name} is {found.get(name, 'missing')}, not {wanted.get(name, 'known')}" for name in odd)
        raise RunError(f"{source}: not the tensors of this architecture ({told}); export the SAE again")
    for name, weight in sae.named_parameters():
        weight.copy_(weights[name])
    if architecture == "jumprelu":
        sae.get_parameter("threshold").clamp_(min=0)
    return sae.eval()


def remember(sae: SAE, foreign: dict[str, Any], ours: Any, told: Mapping[str, Any], **trained: Any) -> SAE:
    """Give an SAE that was read from a foreign file its metadata.

    ours: what an export from here kept in the file, else anything; told: what the library says about where it was
    trained; trained: about how. `foreign` is kept as it is.
    """
    kept = ours.get("trained_as") if isinstance(ours, dict) else None
    if not (isinstance(kept, dict) and "architecture" in kept):
        shared = {name: getattr(sae.cfg, name) for name in ("d_model", "n_latents", "subtract_b_dec")}
        ours = {**_known(told), "trained_as": {**shared, **_known(trained)}}
    sae.metadata = {**ours, "foreign": foreign}
    return sae


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
