"""What every exchange of SAEs with another library needs: an SAE of ours from its tensors, and what it asks of ours.

What can be written depends on an SAE's `form`, not on its name. Libraries differ in three conventions, none of which
changes what an SAE computes: whether b_dec is subtracted from the input (`with_b_dec` moves it into the encoder's
biases), whether decoder rows have norm 1, and what a threshold below zero means (elsewhere a ReLU follows, so it acts
as zero).
"""

import copy
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from boardgame_sae.config import ConfigError
from boardgame_sae.files import RunError
from boardgame_sae.saes.exchange.library import config_fields
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.saes.sae import CONFIG_FILE, SAE, Form
from boardgame_sae.testbeds.shipped import context_size_of

OURS = "boardgame_sae"
"""Where a foreign file keeps our own metadata."""
ROUNDING = 2**-10
"""How far half precision moves the norm of a decoder row of norm 1, at most; 1.2e-4 was measured."""


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
    context_size: int | None
    """Tokens that the model reads at once."""
    prepend_bos: bool
    """Whether a token that begins texts goes before those of a game; games here have none."""


def facts(sae: SAE) -> Facts:
    """How and where an SAE was trained, as far as its metadata says."""
    metadata = sae.metadata
    hook_name, layer = metadata.get("hook_name"), metadata.get("layer")
    number = re.search(r"\d+", str(hook_name)) if layer is None and hook_name else None
    model_name = metadata.get("model_name") or metadata.get("lm_name") or metadata.get("model")
    context_size = metadata.get("context_size") or context_size_of(metadata.get("model"))
    layer = int(number[0]) if number else layer
    architecture, prepend_bos = sae.trained_as["architecture"], bool(metadata.get("prepend_bos", False))
    return Facts(architecture, hook_name, layer, model_name, context_size, prepend_bos)


def card(sae: SAE) -> dict[str, Any]:
    """All of an SAE's metadata, to be kept in a foreign file under `OURS`."""
    return {**sae.metadata, "trained_as": sae.trained_as}


def exportable(sae: SAE, forms: Collection[Form], library: str) -> tuple[SAE, Form]:
    """What stands for an SAE at inference, and its form, if it is one of `forms`; decoder rows as they were trained.

    Raises RunError that says why not: of another form, not calibrated, or with a threshold below zero.
    """
    simple = sae.inference()
    architecture, form = simple.cfg.architecture, simple.form
    if form is None or form not in forms:
        if not simple.calibrated:
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
    return _unrounded(simple, form), form


@torch.no_grad()
def _unrounded(simple: SAE, form: Form) -> SAE:
    """An SAE whose rows half precision moved off norm 1 with rows of norm 1, in float32; any other as it is.

    A row's norm goes to its latent, so that the reconstruction stays; not among the k largest of a position, where it
    could change which are the largest: there the latents stay.
    """
    off = (simple.W_dec.float().norm(dim=1) - 1).abs().max()
    if not 1e-6 < off < ROUNDING:
        return simple
    exact = copy.deepcopy(simple).float()
    if form == "topk":
        exact.W_dec /= exact.W_dec.norm(dim=1, keepdim=True)
    else:
        exact.fold_norms()
    return exact


def refuse_other_config(folder: Path, field: str) -> None:
    """Raise RunError where writing a cfg.json would overwrite one of something else, which has no such field."""
    if (folder / CONFIG_FILE).exists() and field not in config_fields(folder):
        raise RunError(f"{folder}: holds another {CONFIG_FILE}, which would be lost; give another folder")


def plain(value: Any) -> Any:
    """What was read from a JSON file, with null for NaN and Infinity, which our files may not hold."""
    return json.loads(json.dumps(value), parse_constant=lambda _: None)


def with_b_dec(sae: SAE, *, subtracted: bool) -> dict[str, Tensor]:
    """The parameters, on the CPU, of an equal SAE that subtracts b_dec from its input, or does not."""
    state = {name: weight.detach().cpu() for name, weight in sae.named_parameters()}
    if subtracted != sae.cfg.subtract_b_dec:
        shift_F = (state["b_dec"].double() @ state["W_enc"].double()).to(sae.dtype) * (1 if subtracted else -1)
        state["b_enc"] = state["b_enc"] + shift_F
        if "b_mag" in state:
            state["b_mag"] = state["b_mag"] + state["r_mag"].exp() * shift_F
    return state


def two_sided(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of an SAE with a latent for either sign of each latent of one whose latents may be below zero.

    Latent f is the positive part of latent f there, latent F + f its negative part: both are classifiers. Among the k
    largest by size there are the k largest here.
    """
    sides = {
        "W_enc": torch.cat([weights["W_enc"], -weights["W_enc"]], dim=1),
        "W_dec": torch.cat([weights["W_dec"], -weights["W_dec"]]),
        "b_enc": torch.cat([weights["b_enc"], -weights["b_enc"]]),
    }
    return {**weights, **sides}


def rows_of_norm_one(W_dec: Tensor) -> bool:
    """Whether all rows (F, D) have norm 1, to a few parts in 100,000."""
    norms_F = W_dec.detach().norm(dim=1)
    return torch.allclose(norms_F, torch.ones_like(norms_F))


def require(source: Path, weights: Mapping[str, Tensor], *names: str) -> None:
    """Raise RunError naming the file where tensors are missing."""
    if missing := [name for name in names if name not in weights]:
        held = ", ".join(sorted(weights)) or "nothing"
        raise RunError(f"{source}: {', '.join(missing)} is missing, it holds {held}; export the SAE again")


@torch.no_grad()
def rebuild(source: Path, architecture: str, weights: Mapping[str, Tensor], **fields: Any) -> SAE:
    """An SAE of ours, in float32, with the parameters that were read from a file, under our names.

    fields: those of its config. Raises RunError naming the file and what does not fit.
    """
    shape, d_model, n_latents = tuple(weights["W_enc"].shape), fields["d_model"], fields["n_latents"]
    if shape != (d_model, n_latents):  # before anything of that size is made
        raise RunError(f"{source}: the encoder is {shape}, not ({d_model}, {n_latents}); export the SAE again")
    try:
        sae = make_sae(architecture, **fields)
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
    if architecture == "jumprelu":
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
