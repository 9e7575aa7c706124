"""The weights of another library's GPT, out of whatever it was saved in: a file or mapping of them, wrapped, prefixed.

They are found by a name that the library gives one of them, its marker. So it does not matter whether a checkpoint
calls them `model`, `state_dict` or `model_state_dict`, nor what a training loop, data-parallel training or
torch.compile put before their names. Files are opened as tensors and plain data only; anything else in a pickle is
refused and never run.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from boardgame_sae.files import RunError
from boardgame_sae.weights import check_finite, read_pt, read_tensors, without_wrappers

Library = Literal["nanoGPT", "minGPT", "TransformerLens"]
MARKERS: dict[Library, str] = {
    "nanoGPT": "transformer.wte.weight",
    "minGPT": "tok_emb.weight",
    "TransformerLens": "embed.W_E",
}
"""The name of each library's token embedding."""
SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
"""What files of weights are called."""
DEPTH = 3
"""Mappings inside each other down to which weights are looked for."""
SETTINGS = ("model_args", "hyper_parameters", "config")
"""Where checkpoints of nanoGPT, Lightning and others keep the shape of their model."""
HEADS = ("n_head", "n_heads", "num_heads")
"""What they call the number of attention heads."""
_BUFFERS = re.compile(r"\.attn\.(bias|masked_bias|mask|IGNORE)$")
"""Names of masks, which are not weights."""


def opened(source: Any) -> tuple[Mapping[str, Any], str]:
    """The content of a file or mapping, and its name in messages. Raises RunError when it cannot be read safely."""
    if isinstance(source, Mapping):
        return source, "the weights given"
    path = Path(source)
    if not path.is_file():
        raise RunError(f"{path}: no such file; give the file that holds the weights")
    how = "with safetensors' `save_file` or `torch.save(model.state_dict(), path)`"
    if path.suffix == ".safetensors":
        return read_tensors(path, f"save its weights again, {how}", finite=False), str(path)
    content = read_pt(path, f"if you trust it, save its weights alone, {how}")
    if not isinstance(content, Mapping):
        raise RunError(f"{path}: holds a {type(content).__name__}, not weights by name; save the model's state dict")
    return content, str(path)


def library_in(content: Mapping[str, Any]) -> Library | None:
    """The library whose GPT is in a file's content; None if none's is."""
    return next((library for library, marker in MARKERS.items() if any(_places(content, marker))), None)


def foreign_weights(source: Any, library: Library) -> "ForeignWeights":
    """The weights of a library's GPT in a file or mapping.

    Raises RunError naming the file that cannot be read, holds no such GPT or several, or something beside tensors.
    """
    content, label = opened(source)
    places = list(_places(content, MARKERS[library]))
    if not places:
        has = ", ".join(sorted(map(str, content))[:3]) or "nothing"
        raise RunError(f"{label}: has no {MARKERS[library]}, so it is not of {library} (it has {has}, ...)")
    if len(places) > 1:
        names = ", ".join(place.name or "the top" for place in places)
        raise RunError(f"{label}: holds several GPTs, at {names}; save the weights of one alone")
    return ForeignWeights(places[0].weights, label, library, _settings(content))


class _Place(NamedTuple):
    """Where in a file's content a GPT is."""

    name: str
    """The keys that lead to it, and the prefix of its weights' names."""
    weights: Mapping[str, Any]
    """By the library's own names."""


def _places(content: Mapping[Any, Any], marker: str, name: str = "", depth: int = DEPTH) -> Iterator[_Place]:
    """Everywhere in a mapping, and in the mappings inside it, that a weight has the marker's name."""
    named = without_wrappers({key: value for key, value in content.items() if isinstance(key, str)})
    for key in named:
        if key == marker or key.endswith(f".{marker}"):
            prefix = key.removesuffix(marker)
            weights = {other.removeprefix(prefix): named[other] for other in named if other.startswith(prefix)}
            yield _Place(name + prefix, weights)
    for key, inner in content.items():
        if depth > 1 and isinstance(inner, Mapping):
            yield from _places(inner, marker, f"{name}{key}.", depth - 1)


def _settings(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a checkpoint states of its model beside the weights; empty where it states nothing."""
    return next((value for key in SETTINGS if isinstance(value := content.get(key), Mapping)), {})


class ForeignWeights:
    """Weights by their foreign names, each taken once, as float32 on the CPU; missing or misshapen ones are errors."""

    def __init__(self, weights: Mapping[str, Any], label: str, library: Library, settings: Mapping[str, Any]) -> None:
        """label: the file they are from, for messages. settings: what it states of the model beside them."""
        self.label, self.library, self.settings = label, library, settings
        self.left = {name: weight for name, weight in weights.items() if not _BUFFERS.search(name)}
        others = sorted(name for name, value in self.left.items() if not isinstance(value, Tensor))
        if others:
            raise RunError(f"{label}: {', '.join(others)}: not tensors; give a state dict of {library}")

    def shape(self, name: str, rank: int = 2) -> tuple[int, ...]:
        """The shape of a tensor from which the model's shape follows. Raises RunError where missing or misshapen."""
        if name not in self.left:
            raise RunError(f"{self.label}: {name} is missing, so this is not a whole {self.library} model")
        shape = tuple(self.left[name].shape)
        if len(shape) != rank or 0 in shape:
            raise RunError(f"{self.label}: {name} is {shape}; it should have {rank} axes, none empty")
        return shape

    def count(self, pattern: str) -> int:
        """How many blocks there are: one more than the largest number in the names that begin with a pattern."""
        numbers = {int(match[1]) for name in self.left if (match := re.match(pattern, name))}
        return max(numbers, default=-1) + 1

    def heads(self, n_heads: int | None) -> int:
        """The attention heads: as the file states, else as given. Raises RunError where neither says."""
        heads = next((self.settings[name] for name in HEADS if name in self.settings), n_heads)
        if not isinstance(heads, int):
            raise RunError(
                f"{self.label}: does not say how many attention heads it has; pass n_heads (--n-heads; the published "
                "ones have 8)"
            )
        return heads

    def has(self, name: str) -> bool:
        """Whether there is such a tensor."""
        return name in self.left

    def take(self, name: str, *shape: int, absent: float | None = None) -> Tensor:
        """A tensor of a known shape; if it is missing and `absent` is given, a tensor filled with that.

        Raises RunError when it is missing, of another shape or not finite.
        """
        if name not in self.left and absent is not None:
            return torch.full(shape, absent)
        if name not in self.left:
            raise RunError(f"{self.label}: {name} is missing, so this is not a whole {self.library} model")
        weight = self.left.pop(name)
        if tuple(weight.shape) != shape:
            raise RunError(f"{self.label}: {name} is {tuple(weight.shape)}; our GPT of this width needs {shape}")
        weight = weight.detach().to("cpu", torch.float32)
        check_finite(self.label, {name: weight})
        return weight

    def check_all_taken(self) -> None:
        """Raise RunError for weights that our GPT has no place for."""
        if self.left:
            names = ", ".join(sorted(self.left)[:5])
            raise RunError(f"{self.label}: has weights that our GPT has no place for: {names}")
