"""The architectures by name, and making SAEs of them. Every file of `architectures/` registers its own."""

import colorsys
import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from boardgame_sae.config import from_mapping, seed_for
from boardgame_sae.registry import Registry
from boardgame_sae.saes.sae import SAE, SAEConfig

T = TypeVar("T", bound=type[SAE])
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""The markers that figures have, in matplotlib's words."""
_ARCHITECTURES: Registry[type[SAE]] = Registry("SAE architecture", "boardgame_sae.saes.architectures")


def architecture(
    config_class: type[SAEConfig], *, colour: str | None = None, marker: str | None = None
) -> Callable[[T], T]:
    """Register an SAE class under the architecture that its config class names.

    colour, marker: how figures draw it, `#RRGGBB` and one of MARKERS; by default what its name alone decides.
    Raises ValueError when there already is an architecture of that name.
    """

    def register(cls: T) -> T:
        name = config_class.__dataclass_fields__["architecture"].default  # pyright: ignore[reportAttributeAccessIssue]
        own_colour, own_marker = _look_of_name(name)
        cls.Config, cls.colour, cls.marker = config_class, colour or own_colour, marker or own_marker
        return _ARCHITECTURES.add(name, cls)  # pyright: ignore[reportReturnType]

    return register


def architectures() -> tuple[str, ...]:
    """Names of the registered architectures, in alphabetical order."""
    return tuple(sorted(_ARCHITECTURES.names()))


def sae_class(architecture: str, source: str = "") -> type[SAE]:
    """The class of an architecture. source: what the error begins with. Raises ConfigError for an unknown one."""
    return _ARCHITECTURES.find(architecture, source)


def config_class(architecture: str) -> type[SAEConfig]:
    """The config class of an architecture. Raises ConfigError for an unknown one."""
    return sae_class(architecture).Config


def summary(architecture: str) -> str:
    """What an architecture is, in a line: the first of its class's docstring. Raises ConfigError for an unknown one."""
    return (sae_class(architecture).__doc__ or "").strip().partition("\n")[0]


def look(architecture: str) -> tuple[str, str]:
    """The colour and the marker of an architecture in every figure; of an unknown one, what its name alone decides."""
    if architecture not in _ARCHITECTURES.names():
        return _look_of_name(architecture)
    cls = sae_class(architecture)
    return cls.colour, cls.marker


def _look_of_name(name: str) -> tuple[str, str]:
    number = seed_for(0, "look", name)
    rgb = colorsys.hls_to_rgb(number % 360 / 360, 0.42, 0.65)
    return "#" + "".join(f"{round(255 * part):02X}" for part in rgb), MARKERS[number // 360 % len(MARKERS)]


def sparsity_field(architecture: str, **fields: Any) -> str | None:
    """The field of an SAE's config that sets how sparse the SAE is: `k`, `target_l0`, `sparsity_coefficient`, ...

    fields: the rest of the config, as plain data, since for some it depends on another field. None where no field sets
    it, and for an architecture that is unknown here.
    """
    known = architecture in _ARCHITECTURES.names()
    return config_class(architecture).sparsity_field_of(fields) if known else None


def sparsity_fields() -> tuple[str, ...]:
    """Every field that sets how sparse the SAEs of some architecture are, in alphabetical order."""
    return tuple(sorted({field for name in architectures() if (field := config_class(name).sparsity_field)}))


def sae_config(architecture: str, **fields: Any) -> SAEConfig:
    """The config of an architecture from plain fields. Raises ConfigError for an unknown one and for a bad field."""
    return from_mapping(config_class(architecture), {"architecture": architecture, **fields}, f"SAE {architecture}")


def sae_from_config(cfg: SAEConfig) -> SAE:
    """A new SAE with random weights. Raises ConfigError for an unknown architecture."""
    return sae_class(cfg.architecture)(cfg)


def make_sae(architecture: str, **fields: Any) -> SAE:
    """A new SAE: `make_sae("topk", d_model=128, n_latents=1024, k=32)`.

    fields: those of the architecture's config class, which `help(config_class("topk"))` lists.
    Raises ConfigError for an unknown architecture and for a bad field.
    """
    return sae_from_config(sae_config(architecture, **fields))


@torch.no_grad()
def as_inference(sae: SAE, architecture: str, **fields: Any) -> SAE:
    """A new SAE of a simpler architecture with the parameters it shares with another; fields: its own config fields."""
    names = {field.name for field in dataclasses.fields(SAEConfig)} - {"architecture"}
    shared = {name: getattr(sae.cfg, name) for name in names}
    simple = make_sae(architecture, **shared, **fields).to(sae.device, sae.dtype)
    own = sae.state_dict()
    simple.load_state_dict({name: own.get(name, tensor) for name, tensor in simple.state_dict().items()})
    simple.metadata = {**sae.metadata, "trained_as": sae.trained_as}
    return simple.train(sae.training)
