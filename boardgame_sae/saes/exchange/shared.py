"""What every exchange of SAEs with another library needs: an SAE of ours from its tensors, and what it asks of ours.

What can be written depends on an SAE's `form`, not on its name. Libraries differ in three conventions, none of which
changes what an SAE computes: whether b_dec is subtracted from the input (`encoder_shift_F` moves it into the encoder's
bias), whether decoder rows have norm 1, and what a threshold below zero means (elsewhere a ReLU follows, so it acts as
zero).
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
from boardgame_sae.saes.sae import SAE, Form

OURS = "boardgame_sae"
"""Where a foreign file keeps our own metadata."""


class Facts(NamedTuple):
    """What other libraries ask about how and where an SAE was trained."""

    architecture: str
    """The architecture it was trained as."""
    hook_name: str | None
    """The hook point whose activations it was trained on."""
    layer: int | None
    """That hook point's block."""
    model_name: str | None
    """The model."""


def facts(sae: SAE) -> Facts:
    """How and where an SAE was trained, as far as its metadata says."""
    metadata = sae.metadata
    hook_name, layer = metadata.get("hook_name"), metadata.get("layer")
    number = re.search(r"\d+", str(hook_name)) if layer is None and hook_name else None
    model_name = metadata.get("model_name") or metadata.get("lm_name") or metadata.get("model")
    return Facts(sae.trained_as["architecture"], hook_name, int(number[0]) if number else layer, model_name)


def card(sae: SAE) -> dict[str, Any]:
    """All of an SAE's metadata, to be kept in a foreign file under `OURS`."""
    return {**sae.metadata, "trained_as": sae.trained_as}


def exportable(sae: SAE, forms: Collection[Form], library: str) -> tuple[SAE, Form]:
    """What stands for an SAE at inference, and its form, if it is one of `forms`.

    Raises RunError that says why not: of another form, not calibrated, or with a threshold below zero.
    """
    simple = sae.inference()
    architecture, form = simple.cfg.architecture, simple.form
    if form is None or form not in forms:
        if not getattr(simple, "calibrated", True):
            raise RunError(
                f"this {architecture} SAE has no threshold yet, so its latents depend on the rest of the batch, which "
                f"{library} cannot express; call `sae.calibrate(batches)` with some activations first"
            )
        raise RunError(
            f"the {architecture} SAE computes nothing that {library} knows; where it does, its class says so by "
            f"`form`, one of {', '.join(forms)}"
        )
    if form == "jumprelu" and bool((simple.get_parameter("threshold") < 0).any()):
        raise RunError(
            f"this SAE has thresholds below 0, where latents are negative, which {library} does not have; call "
            "`sae.constrain()` first"
        )
    return simple, form


def plain(value: Any) -> Any:
    """What was read from a JSON file, with null for NaN and Infinity, which our files may not hold."""
    return json.loads(json.dumps(value), parse_constant=lambda _: None)


def encoder_shift_F(sae: SAE) -> Tensor:
    """(F,) b_dec W_enc, on the CPU: what subtracting b_dec from the input subtracts from every pre-activation."""
    return (sae.b_dec.detach().cpu().double() @ sae.W_enc.detach().cpu().double()).to(sae.dtype)


def rows_of_norm_one(W_dec: Tensor) -> bool:
    """Whether all rows (F, D) have norm 1, to a few parts in 100,000."""
    norms_F = W_dec.detach().norm(dim=1)
    return torch.allclose(norms_F, torch.ones_like(norms_F))


@torch.no_grad()
def rebuild(source: Path, form: Form, weights: Mapping[str, Tensor], **fields: Any) -> SAE:
    """An SAE of ours, in float32, with the parameters that were read from a file, under our names.

    fields: those of its config. Raises RunError naming the file and what does not fit.
    """
    try:
        sae = make_sae(form, **fields)
    except ConfigError as error:
        raise RunError(f"{source}: {error}; was the file written by another version?") from error
    ours = {name: tuple(weight.shape) for name, weight in sae.named_parameters()}
    theirs = {name: tuple(weight.shape) for name, weight in weights.items()}
    if theirs != ours:
        names = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        faults = ", ".join(f"{name} is {theirs.get(name, 'missing')}, not {ours.get(name, 'known')}" for name in names)
        raise RunError(f"{source}: not the tensors of this architecture ({faults}); export the SAE again")
    for name, weight in sae.named_parameters():
        weight.copy_(weights[name])
    if form == "jumprelu":
        sae.get_parameter("threshold").clamp_(min=0)
    return sae.eval()


def remember(sae: SAE, foreign: dict[str, Any], ours: Any, where: Mapping[str, Any], **trained_as: Any) -> SAE:
    """Give an SAE that was read from a foreign file its metadata, and return it.

    foreign: the file's own metadata, kept as it is. ours: what an export from here kept in the file, if anything.
    where, trained_as: what the library says about where the SAE was trained, and about how; used if there is no `ours`.
    """
    kept = ours.get("trained_as") if isinstance(ours, dict) else None
    if not (isinstance(kept, dict) and "architecture" in kept):
        shared = {name: getattr(sae.cfg, name) for name in ("d_model", "n_latents", "subtract_b_dec")}
        ours = {**_known(where), "trained_as": {**shared, **_known(trained_as)}}
    sae.metadata = {**ours, "foreign": foreign}
    return sae


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
