"""Additions: weights that learned beside an SAE, of LoRA on a GPT or of an adapter, in one safetensors file.

The file's metadata say which way made them, and of which SAE, GPT and hook point they are; they go back only
there.
"""

import copy
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from boardgame_sae.config import Count, HookName, canonical_json, content_hash, record, to_mapping
from boardgame_sae.files import RunError, as_record
from boardgame_sae.runs.integrity import verified
from boardgame_sae.saes.finetuning.ways.way import Settings, Splice, find_way
from boardgame_sae.saes.sae import SAE
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.weights import read_metadata, read_tensors, tensors_hash, write_tensors

ADDITION_FILE = "addition.safetensors"
_FIX = "restore it, or fine-tune again"


@record
class AdditionRecord:
    """What the file says of its weights."""

    how: str
    """The way that made them."""
    rank: Count
    sae: str
    """Hash of what the SAE computes."""
    model: str
    """Hash of what the GPT computes."""
    hook_name: HookName


def sae_content(sae: SAE) -> str:
    """Hash of what an SAE computes, however it was made."""
    return content_hash([to_mapping(sae.cfg), tensors_hash(sae.state_dict())], 64)


def frozen_splice(sae: SAE, testbed: Testbed) -> Splice:
    """Copies of a testbed's GPT and of an SAE, the one spliced into the other, in which nothing learns."""
    gpt = copy.deepcopy(testbed.model.gpt).requires_grad_(False)
    sae = copy.deepcopy(sae).to(gpt.device, torch.float32).requires_grad_(False).eval()
    return Splice(gpt, sae, testbed.hook_name, nn.Identity())


def write_addition(folder: Path, about: AdditionRecord, weights: dict[str, Tensor]) -> None:
    """Write what learned, and what it belongs to. Raises RunError when the disk is full."""
    write_tensors(folder / ADDITION_FILE, weights, {"addition": canonical_json(to_mapping(about))})


def load_addition(folder: str | Path, sae: SAE, testbed: Testbed) -> Splice:
    """The GPT with an SAE spliced in and a saved addition where it belongs; `Splice.acts_for` runs it.

    Raises RunError when the file is missing or damaged, or belongs to another SAE, GPT or hook point.
    """
    folder = Path(folder)
    path = folder / ADDITION_FILE
    verified(folder)
    about = _read_about(path)
    here = {"sae": sae_content(sae), "model": testbed.model.content, "hook_name": testbed.hook_name}
    for part, own in here.items():
        if getattr(about, part) != own:
            raise RunError(f"{path}: belongs to another {part} ({getattr(about, part)}, not {own}); give its own")
    splice, tensors = frozen_splice(sae, testbed), read_tensors(path, _FIX)
    learned = find_way(about.how, f"{path}: ").install(splice, Settings(about.rank, 0))
    shapes = {name: tuple(weight.shape) for name, weight in learned.items()}
    if shapes != {name: tuple(tensor.shape) for name, tensor in tensors.items()}:
        raise RunError(f"{path}: does not hold the weights of '{about.how}' at rank {about.rank}; {_FIX}")
    with torch.no_grad():
        for name, weight in learned.items():
            weight.copy_(tensors[name])
            weight.requires_grad_(False)
    return splice


def _read_about(path: Path) -> AdditionRecord:
    try:
        about = json.loads(read_metadata(path, _FIX)["addition"])
    except (KeyError, ValueError) as error:
        raise RunError(f"{path}: does not say what it is of ({error}); {_FIX}") from error
    return as_record(AdditionRecord, about, str(path), _FIX)
