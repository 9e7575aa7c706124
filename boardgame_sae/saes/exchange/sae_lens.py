"""SAEs in SAELens' format: a folder of `cfg.json` and `sae_weights.safetensors`.

    architecture   tensors                                            z
    standard       W_enc W_dec b_enc b_dec                            ReLU(pre)
    topk           the same, k in the config                          the k largest of ReLU(pre)
    abstopk        the same                                           the k largest of pre by size, of either sign
    jumprelu       and threshold (F,)                                 ReLU(pre) 1[pre > threshold]
    gated          W_enc W_dec b_dec b_gate b_mag r_mag               as in `gated`

W_enc is (D, F), W_dec (F, D); pre = (x - b_dec) W_enc + b_enc, or without b_dec where `apply_b_dec_to_input` is false.
A topk config with `rescale_acts_by_decoder_norm` means pre |W_dec,f| for pre, and rows of norm 1 to decode. An abstopk
SAE is read as a topk one with a latent for either sign. What was trained as `batchtopk` or `matryoshka_batchtopk` is
saved as jumprelu. `metadata` says where and how it was trained. Configs of before version 6 are those of
`sae_lens_versions`; what is done to activations first, and to latents last, is `sae_lens_scales`.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from boardgame_sae.files import write_json
from boardgame_sae.saes.exchange import shared
from boardgame_sae.saes.exchange.fields import Fields
from boardgame_sae.saes.exchange.library import Library, Sign, config_fields, register
from boardgame_sae.saes.exchange.sae_lens_scales import scaled
from boardgame_sae.saes.exchange.sae_lens_versions import as_of_version_6
from boardgame_sae.saes.sae import SAE, Form
from boardgame_sae.weights import read_tensors, without_wrappers, write_tensors

WEIGHTS_FILE, CONFIG_FILE = "sae_weights.safetensors", "cfg.json"
VERSION = "6.0.0"
"""The first version with this format."""

_FORMS: dict[str, Form] = {"standard": "relu", "topk": "topk", "jumprelu": "jumprelu", "gated": "gated"}
"""Their architectures at inference, and the form of each."""
_READ: dict[str, Form] = {**_FORMS, "abstopk": "topk"}
_TRAINED = {"standard": "relu", "batchtopk": "batch_topk", "matryoshka_batchtopk": "matryoshka_batch_topk"}
"""Their names of trained architectures that have another name here."""
_DTYPES = {
    prefix + str(dtype)[6:]: dtype
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16)
    for prefix in ("", "torch.")
}
_KEPT = ("hook_name", "model_name", "context_size", "prepend_bos", "dataset_path", "l0")
_FIX = "give the folder that `save_model` wrote"


def to_sae_lens(sae: SAE, folder: str | Path) -> None:
    """Write an SAE so that `sae_lens.SAE.load_from_disk(folder)` opens it, with the same latents.

    Raises RunError for an SAE of a form that SAELens does not have, for a BatchTopK SAE that is not calibrated, and
    where the folder holds another `cfg.json`.
    """
    simple, form = shared.exportable(sae, _FORMS.values(), "SAELens")
    folder = Path(folder)
    shared.refuse_other_config(folder, "d_sae")
    architecture = next(theirs for theirs, ours in _FORMS.items() if ours == form)
    cfg, facts = simple.cfg, shared.facts(sae)
    metadata = {
        "sae_lens_version": VERSION,
        "sae_lens_training_version": None,
        "hook_name": facts.hook_name,
        "model_name": facts.model_name,
        "context_size": facts.context_size,
        "prepend_bos": facts.prepend_bos,
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
    weights = {_their_name(name, architecture): weight for name, weight in simple.named_parameters()}
    write_tensors(folder / WEIGHTS_FILE, weights)
    write_json(folder / CONFIG_FILE, theirs)


def from_sae_lens(folder: str | Path) -> SAE:
    """Read an SAE in SAELens' format; its latents and reconstructions are those that SAELens computes.

    float16 and bfloat16 become float32. Raises RunError naming the file, the field and the fix for what is damaged or
    has no counterpart here: transcoders, matching pursuit, activations that are each normalised first.
    """
    folder = Path(folder)
    path = folder / WEIGHTS_FILE
    foreign = Fields.read(folder / CONFIG_FILE, _FIX)
    cfg = as_of_version_6(foreign)
    fix = "a checkpoint of a training has to be saved with `save_inference_model`; other kinds have no counterpart"
    form, architecture = cfg.choice("architecture", _READ, fix), cfg.text("architecture", "")
    dims = {"d_model": cfg.number("d_in", _FIX), "n_latents": cfg.number("d_sae", _FIX)}
    weights = {_our_name(name, architecture): weight for name, weight in _read_weights(path, cfg).items()}
    weights = scaled(weights, cfg, folder)
    shared.require(path, weights, "W_enc", "W_dec", "b_enc", "b_dec")
    if architecture == "abstopk":
        weights, dims["n_latents"] = _sides(weights, cfg), 2 * dims["n_latents"]
    k = {"k": cfg.number("k", "it says how many latents are on")} if form == "topk" else {}
    subtract = cfg.flag("apply_b_dec_to_input", True)
    sae = shared.rebuild(path, form, weights, **dims, **k, subtract_b_dec=subtract)
    if architecture == "topk" and cfg.flag("rescale_acts_by_decoder_norm", False):
        sae.fold_norms()
    return _remember(sae, foreign, cfg, architecture)


def _remember(sae: SAE, foreign: Fields, cfg: Fields, architecture: str) -> SAE:
    metadata, told = cfg.mapping("metadata"), dict(foreign.values)
    if shared.OURS in metadata:
        told["metadata"] = {name: value for name, value in metadata.items() if name != shared.OURS}
    trained = str(metadata.get("training_architecture") or architecture)
    details = metadata.get("training_architecture_details")
    return shared.remember(
        sae,
        told,
        metadata.get(shared.OURS),
        {name: metadata.get(name) for name in _KEPT},
        architecture=_TRAINED.get(trained, trained),
        k=details.get("k") if isinstance(details, dict) and "k" in details else cfg.get("k"),
    )


def _sides(weights: dict[str, Tensor], cfg: Fields) -> dict[str, Tensor]:
    """A latent for either sign, norms first: they decide which latents are the largest."""
    if cfg.flag("rescale_acts_by_decoder_norm", False):
        norms_F = weights["W_dec"].norm(dim=1).clamp(min=1e-8)
        folded = {"W_enc": weights["W_enc"] * norms_F, "b_enc": weights["b_enc"] * norms_F}
        weights = {**weights, **folded, "W_dec": weights["W_dec"] / norms_F[:, None]}
    return shared.two_sided(weights)


def _their_name(name: str, architecture: str) -> str:
    return "b_gate" if (name, architecture) == ("b_enc", "gated") else name


def _our_name(name: str, architecture: str) -> str:
    return "b_enc" if (name, architecture) == ("b_gate", "gated") else name


def _read_weights(path: Path, cfg: Fields) -> dict[str, Any]:
    """The tensors as SAELens reads them, rounded to the config's dtype; as they are stored where it names none."""
    dtype = cfg.choice("dtype", _DTYPES) if "dtype" in cfg.values else None
    tensors = without_wrappers(read_tensors(path, "download or export the SAE again"))
    return {name: (tensor if dtype is None else tensor.to(dtype)).float() for name, tensor in tensors.items()}


def _sign(path: Path) -> Sign:
    if "d_sae" in config_fields(path):
        return Sign.CONFIG
    return Sign.WEIGHTS if (path / WEIGHTS_FILE).is_file() else Sign.NONE


register(Library("sae_lens", "SAELens", WEIGHTS_FILE, _sign, from_sae_lens, to_sae_lens, tuple(_FORMS.values())))
