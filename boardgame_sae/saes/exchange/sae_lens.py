"""SAEs in SAELens' format: a folder of `cfg.json` and `sae_weights.safetensors`.

    architecture   tensors                                            z
    standard       W_enc W_dec b_enc b_dec                            ReLU(pre)
    topk           the same, k in the config                          the k largest of ReLU(pre)
    jumprelu       and threshold (F,)                                 ReLU(pre) 1[pre > threshold]
    gated          W_enc W_dec b_dec b_gate b_mag r_mag               as in `gated`

W_enc is (D, F), W_dec (F, D); pre = (x - b_dec) W_enc + b_enc, or without b_dec where `apply_b_dec_to_input` is false.
A topk config with `rescale_acts_by_decoder_norm` means pre |W_dec,f| for pre, and rows of norm 1 to decode. What was
trained as `batchtopk` or `matryoshka_batchtopk` is saved as jumprelu. `metadata` says where and how it was trained;
without a `sae_lens_version` of 6 there, names are those of before version 6, flat in the config.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from boardgame_sae.files import RunError, read_json, write_json, writing
from boardgame_sae.saes.exchange import shared
from boardgame_sae.saes.sae import SAE, Form
from boardgame_sae.saes.sae import WEIGHTS_FILE as OUR_WEIGHTS_FILE

WEIGHTS_FILE, CONFIG_FILE = "sae_weights.safetensors", "cfg.json"
VERSION = "6.0.0"
"""The first version with this format."""

_FORMS: dict[str, Form] = {"standard": "relu", "topk": "topk", "jumprelu": "jumprelu", "gated": "gated"}
"""Their architectures at inference, and the form of each."""
_TRAINED = {"standard": "relu", "batchtopk": "batch_topk", "matryoshka_batchtopk": "matryoshka_batch_topk"}
"""Their names of trained architectures that have another name here."""
_DTYPES = {str(dtype)[6:]: dtype for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16)}
_BEFORE_6 = {"hook_point": "hook_name", "activation_fn_str": "activation_fn"}
_KEPT = ("hook_name", "model_name", "context_size", "dataset_path", "l0")


def to_sae_lens(sae: SAE, folder: str | Path) -> None:
    """Write an SAE so that `sae_lens.SAE.load_from_disk(folder)` opens it, with the same latents.

    Raises RunError for an SAE of a form that SAELens does not have, for a BatchTopK SAE that is not calibrated, and
    where an SAE in our own format would be overwritten.
    """
    simple, form = shared.exportable(sae, _FORMS.values(), "SAELens")
    folder = Path(folder)
    _refuse_our_own(folder)
    architecture = next(theirs for theirs, ours in _FORMS.items() if ours == form)
    cfg, facts = simple.cfg, shared.facts(sae)
    weights = {
        _their_name(name, architecture): weight.detach().cpu().contiguous()
        for name, weight in simple.named_parameters()
    }
    metadata = {
        "sae_lens_version": VERSION,
        "sae_lens_training_version": None,
        "hook_name": facts.hook_name,
        "model_name": facts.model_name,
        "context_size": sae.metadata.get("context_size"),
        "training_architecture": facts.architecture,
        "l0": sae.metadata.get("inference", {}).get("l0", sae.metadata.get("l0")),
        shared.OURS: shared.card(sae),
    }
    theirs = {
        "architecture": architecture,
        "d_in": cfg.d_model,
        "d_sae": cfg.n_latents,
        "dtype": str(simple.dtype)[6:],
        "device": "cpu",
        "apply_b_dec_to_input": cfg.subtract_b_dec,
        "normalize_activations": "none",
        "reshape_activations": "none",
        **({"k": cfg.k, "rescale_acts_by_decoder_norm": False} if architecture == "topk" else {}),
        "metadata": metadata,
    }
    with writing(folder / WEIGHTS_FILE) as temporary:
        save_file(weights, temporary)
    write_json(folder / CONFIG_FILE, theirs)


def from_sae_lens(folder: str | Path) -> SAE:
    """Read an SAE in SAELens' format; its latents and reconstructions are those that SAELens computes.

    float16 and bfloat16 become float32. Raises RunError naming the file, the field and the fix for what is damaged or
    has no counterpart here: transcoders, matching pursuit, activations that are normalised or reshaped first.
    """
    folder = Path(folder)
    path = folder / CONFIG_FILE
    foreign = shared.plain(read_json(path))
    if not isinstance(foreign, dict) or not isinstance(foreign.get("metadata", {}), dict):
        raise RunError(f"{path}: not the config of a SAELens SAE; give the folder that `save_model` wrote")
    cfg = _as_of_version_6(foreign)
    architecture = _readable_architecture(cfg, path)
    weights = _read_weights(folder / WEIGHTS_FILE, _choice(cfg, "dtype", _DTYPES, path, "float32"))
    fields = {"d_model": cfg.get("d_in"), "n_latents": cfg.get("d_sae")}
    fields["subtract_b_dec"] = bool(cfg.get("apply_b_dec_to_input", True))
    if architecture == "topk":
        fields["k"] = cfg.get("k", 100)
    ours = {_our_name(name, architecture): weight for name, weight in weights.items()}
    sae = shared.rebuild(folder / WEIGHTS_FILE, _FORMS[architecture], ours, **fields)
    if architecture == "topk" and cfg.get("rescale_acts_by_decoder_norm", False):
        sae.fold_norms()
    metadata = cfg["metadata"]
    if shared.OURS in metadata:
        foreign = {**foreign, "metadata": {name: value for name, value in metadata.items() if name != shared.OURS}}
    trained = str(metadata.get("training_architecture") or architecture)
    details = metadata.get("training_architecture_details")
    return shared.remember(
        sae,
        foreign,
        metadata.get(shared.OURS),
        {name: metadata.get(name) for name in _KEPT},
        architecture=_TRAINED.get(trained, trained),
        k=details.get("k") if isinstance(details, dict) and "k" in details else cfg.get("k"),
    )


def _refuse_our_own(folder: Path) -> None:
    if (folder / OUR_WEIGHTS_FILE).exists():
        raise RunError(f"{folder}: holds an SAE in our format, whose {CONFIG_FILE} would be lost; give another folder")


def _their_name(name: str, architecture: str) -> str:
    return "b_gate" if (name, architecture) == ("b_enc", "gated") else name


def _our_name(name: str, architecture: str) -> str:
    return "b_enc" if (name, architecture) == ("b_gate", "gated") else name


def _as_of_version_6(foreign: dict[str, Any]) -> dict[str, Any]:
    """The config with the names of version 6, `metadata` filled."""
    version = foreign.get("metadata", {}).get("sae_lens_version") or foreign.get("sae_lens_version")
    major = str(version).split(".")[0]
    if major.isdigit() and int(major) >= 6:
        return {"metadata": {}, **foreign}
    cfg = {_BEFORE_6.get(name, name): value for name, value in foreign.items()}
    if cfg.get("activation_fn") == "topk":
        cfg.update(architecture="topk", k=(cfg.get("activation_fn_kwargs") or {}).get("k"))
    if isinstance(cfg.get("normalize_activations"), bool):
        cfg["normalize_activations"] = "expected_average_only_in" if cfg["normalize_activations"] else "none"
    if "hook_z" in str(cfg.get("hook_name")):
        cfg.setdefault("reshape_activations", "hook_z")
    return {"architecture": "standard", **cfg, "metadata": {**cfg, **cfg.get("metadata", {})}}


def _readable_architecture(cfg: dict[str, Any], path: Path) -> str:
    """The architecture. Raises RunError where something in the config has no counterpart here."""
    fixes = {
        "normalize_activations": ("none", "fold it in (`fold_activation_norm_scaling_factor`) and save it again"),
        "reshape_activations": ("none", "SAEs here take vectors; flatten the heads and save it without reshaping"),
        "activation_fn": ("relu", "latents here are ReLUs"),
        "finetuning_scaling_factor": (False, "multiply W_dec by it and save again"),
    }
    if cfg.get("architecture") == "topk":
        del fixes["activation_fn"]
    for field, (plain, fix) in fixes.items():
        if (cfg.get(field) or plain) != plain:
            raise RunError(f"{path}: {field} is {cfg[field]!r}, which SAEs here do not have; {fix}")
    fix = "a checkpoint of a training has to be saved with `save_inference_model`; other kinds have no counterpart"
    _choice(cfg, "architecture", _FORMS, path, None, fix)
    return cfg["architecture"]


def _choice(
    cfg: dict[str, Any], field: str, choices: Mapping[str, Any], path: Path, default: str | None, fix: str = ""
) -> Any:
    value = cfg.get(field, default)
    name = value.removeprefix("torch.") if isinstance(value, str) else value
    if not isinstance(name, str) or name not in choices:
        raise RunError(f"{path}: {field} is {value!r}, not one of {', '.join(choices)}" + (f"; {fix}" if fix else ""))
    return choices[name]


def _read_weights(path: Path, dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors as SAELens reads them, rounded to the config's dtype."""
    try:
        weights = {name: weight.to(dtype) for name, weight in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: missing or damaged ({error}); export the SAE again") from error
    scale = weights.get("scaling_factor")
    if scale is not None and torch.allclose(scale, torch.ones_like(scale)):
        del weights["scaling_factor"]
    return weights
