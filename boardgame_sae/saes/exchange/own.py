"""Our own format: `cfg.json` and `sae.safetensors`, as `SAE.save` writes them."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from boardgame_sae.config import from_mapping
from boardgame_sae.files import RunError, read_json
from boardgame_sae.saes.registry import sae_class
from boardgame_sae.saes.sae import CONFIG_FILE, SAE, WEIGHTS_FILE


def read_sae(folder: str | Path) -> SAE:
    """Read a saved SAE of any registered architecture.

    Raises RunError naming the missing or damaged file, and ConfigError for an unknown architecture or field.
    """
    folder = Path(folder)
    card = read_json(folder / CONFIG_FILE)
    if not isinstance(card, dict) or "architecture" not in card:
        raise RunError(f"{folder / CONFIG_FILE}: not an SAE's config; give the folder of a `train-sae` run")
    metadata = card.pop("metadata", {})
    try:
        cls = sae_class(card["architecture"], f"{folder / CONFIG_FILE}: ")
        sae = cls(from_mapping(cls.Config, card, str(folder / CONFIG_FILE)))
        sae.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise RunError(
            f"{folder / WEIGHTS_FILE}: missing, truncated or of another shape ({error}); train it again"
        ) from error
    sae.metadata = metadata
    return sae.eval()
