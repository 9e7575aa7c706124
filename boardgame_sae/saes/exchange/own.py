"""Our own format: `cfg.json` and `sae.safetensors`, as `SAE.save` writes them."""

import dataclasses
from pathlib import Path

from boardgame_sae.config import from_mapping
from boardgame_sae.files import RunError, read_json
from boardgame_sae.saes.exchange.library import Library, Sign, config_fields, register
from boardgame_sae.saes.registry import sae_class
from boardgame_sae.saes.sae import CONFIG_FILE, SAE, WEIGHTS_FILE
from boardgame_sae.weights import read_tensors, shapes_of, without_wrappers

_FIX = "restore it, or train or import the SAE again"
_SHAPE_LATENTS = ("d_model", "n_latents", "subtract_b_dec", "k")
"""Fields without which latents would be those of a default: never filled in."""


def read_sae(folder: str | Path) -> SAE:
    """Read a saved SAE of any registered architecture.

    Raises RunError naming the missing or damaged file, and ConfigError for an unknown architecture or field.
    """
    folder = Path(folder)
    path, weights = folder / CONFIG_FILE, folder / WEIGHTS_FILE
    card = read_json(path)
    if not isinstance(card, dict) or not isinstance(card.get("architecture"), str):
        raise RunError(f"{path}: not an SAE's config, it names no architecture; give the folder of a `train-sae` run")
    metadata = card.pop("metadata", {})
    if not isinstance(metadata, dict):
        raise RunError(f"{path}: field 'metadata' is no mapping; {_FIX}")
    cls = sae_class(card["architecture"], f"{path}: ")
    known = {field.name for field in dataclasses.fields(cls.Config)}
    if missing := [name for name in _SHAPE_LATENTS if name in known and name not in card]:
        raise RunError(f"{path}: field '{missing[0]}' is missing, which its latents depend on; {_FIX}")
    cfg = from_mapping(cls.Config, card, str(path))
    shape = without_wrappers(shapes_of(weights, _FIX)).get("W_enc")
    if shape != (cfg.d_model, cfg.n_latents):  # before anything of that size is made
        raise RunError(f"{weights}: W_enc is {shape or 'missing'}, not ({cfg.d_model}, {cfg.n_latents}); {_FIX}")
    sae, tensors = cls(cfg), without_wrappers(read_tensors(weights, _FIX, unset=cls.set_by_calibration))
    try:
        sae.load_state_dict(tensors)
    except RuntimeError as error:
        raise RunError(f"{weights}: not the tensors of this architecture ({error}); {_FIX}") from error
    sae.metadata = metadata
    return sae.eval()


def _sign(path: Path) -> Sign:
    if "n_latents" in config_fields(path):
        return Sign.CONFIG
    return Sign.WEIGHTS if (path / WEIGHTS_FILE).is_file() else Sign.NONE


register(Library("boardgame_sae", "ours", WEIGHTS_FILE, _sign, read_sae))
