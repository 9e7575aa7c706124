"""The architectures by name, and making SAEs of them. Every file of `architectures/` registers its own."""

import colorsys
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from boardgame_sae.config import from_mapping
from boardgame_sae.registry import Registry
from boardgame_sae.saes.sae import SAE, SAEConfig

T = TypeVar("T", bound=type[SAE])
_ARCHITECTURES: Registry[type[SAE]] = Registry("SAE architecture", "boardgame_sae.saes.architectures")


def architecture(config_class: type[SAEConfig]) -> Callable[[T], T]:
    """Register an SAE class under the architecture that its config class names.

    Raises ValueError when there already is one of that name.
    """

    def keep(cls: T) -> T:
        cls.Config = config_class
        _ARCHITECTURES.add(config_class.__dataclass_fields__["architecture"].default, cls)  # pyright: ignore[reportAttributeAccessIssue]
        return cls

    return keep


def architectures() -> tuple[str, ...]:
    """Names of the registered architectures, in alphabetical order."""
    return tuple(sorted(_ARCHITECTURES.names()))


def sae_class(architecture: str, source: str = "") -> type[SAE]:
    """The class of an architecture. source: what the error begins with. Raises ConfigError for an unknown one."""
    return _ARCHITECTURES.find(architecture, source)


def config_class(architecture: str) -> type[SAEConfig]:
    """The config class of an architecture. Raises ConfigError for an unknown one."""
    return sae_class(architecture).Config


def look(architecture: str) -> tuple[str, str]:
    """The colour and the marker of an architecture in every figure."""
    place = zlib.crc32(architecture.encode())
    rgb = colorsys.hls_to_rgb(place % 360 / 360, 0.42, 0.65)
    return "#" + "".join(f"{round(255 * part):02X}" for part in rgb), "os^DvPX*"[place // 360 % 8]


def sparsity_field(architecture: str, **fields: Any) -> str | None:
    """The field of an SAE's config that sets how sparse the SAE is; fields: the rest of the config."""
    known = config_class(architecture).__dataclass_fields__ if architecture in architectures() else {}  # pyright: ignore[reportAttributeAccessIssue]
    unused = "target_l0" if fields.get("sparsity_loss", "l0_target") != "l0_target" else ""
    return next((name for name in ("k", "target_l0", "sparsity_coefficient") if name in known and name != unused), None)


def sparsity_fields() -> tuple[str, ...]:
    """Every field that sets how sparse the SAEs of some architecture are, in alphabetical order."""
    return tuple(sorted({field for name in architectures() if (field := sparsity_field(name))}))


def sae_config(architecture: str, **fields: Any) -> SAEConfig:
    """The config of an architecture from plain fields. Raises ConfigError naming a bad one."""
    return from_mapping(config_class(architecture), {"architecture": architecture, **fields}, f"SAE {architecture}")


def sae_from_config(cfg: SAEConfig) -> SAE:
    """A new SAE with random weights."""
    return sae_class(cfg.architecture)(cfg)


def make_sae(architecture: str, **fields: Any) -> SAE:
    """A new SAE: `make_sae("topk", d_model=128, n_latents=1024, k=32)`. Raises ConfigError naming a bad field."""
    return sae_from_config(sae_config(architecture, **fields))


@torch.no_grad()
def as_inference(sae: SAE, architecture: str, **fields: Any) -> SAE:
    """A new SAE of a simpler architecture with the parameters it shares with another; fields: its own config fields."""
    shared = {name: getattr(sae.cfg, name) for name in SAEConfig.__dataclass_fields__ if name != "architecture"}  # pyright: ignore[reportAttributeAccessIssue]
    simple = make_sae(architecture, **shared, **fields).to(sae.device, sae.dtype)
    own = sae.state_dict()
    simple.load_state_dict({name: own.get(name, tensor) for name, tensor in simple.state_dict().items()})
    simple.metadata = {**sae.metadata, "trained_as": sae.trained_as}
    return simple.train(sae.training)
