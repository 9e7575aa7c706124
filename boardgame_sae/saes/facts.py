"""What is kept of an SAE beside its scores: what it is, how it was trained, and a hash that tells it from any other."""

from typing import Any

from boardgame_sae.config import content_hash, to_mapping
from boardgame_sae.saes.registry import sae_class
from boardgame_sae.saes.sae import SAE
from boardgame_sae.saes.training.recipe import RECIPE
from boardgame_sae.weights import tensors_hash


def sae_facts(sae: SAE, folder_name: str | None = None) -> dict[str, Any]:
    """Plain data about an SAE. folder_name: of the folder it is in, if it is in one.

    sae: its config as it was trained, with the recipe of its training where it was trained here, and its folder.
    content: hash of all that its scores depend on and say: what it computes, its weights as they are, its training.
    """
    inside = {} if folder_name is None else {"sae_folder": folder_name}
    content = content_hash([to_mapping(sae.cfg), sae.trained_as, tensors_hash(sae.state_dict())], 64)
    return {"sae": {**sae.trained_as, **_training(sae), **inside}, "content": content}


def _training(sae: SAE) -> dict[str, Any]:
    """The recipe that an SAE was trained by; nothing of one that was not trained here."""
    told = sae.metadata.get("training")
    if told is None or not sae_class(sae.trained_as["architecture"]).trains:
        return {}
    return {name: told[name] for name in RECIPE}
