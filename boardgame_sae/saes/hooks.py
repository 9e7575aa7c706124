"""Hooks that put an SAE into a GPT: its reconstruction in place of the activations, or some latents set otherwise.

    hooks = {testbed.hook_name: ablate(sae, [17, 23])}
    testbed.run_with_hooks("d3c5f6", hooks)          # logits without what latents 17 and 23 add

Any object with `encode` and `decode` will do, of whatever library, or the folder or shipped name of an SAE.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from boardgame_sae.model.gpt import Hook
from boardgame_sae.plain_data import whole_number
from boardgame_sae.saes.load import load_sae


def splice(sae: Any) -> Hook:
    """A hook that replaces activations (games, tokens, width) by the SAE's reconstruction of them.

    sae: anything with `encode` and `decode`, or an SAE's folder or shipped name.
    Raises ValueError for something without `encode` and `decode`; the hook does for activations of another width.
    """
    sae = _with_decoder(sae)

    def hook(value: Tensor) -> Tensor:
        x_BLD = value.flatten(2)
        return sae.decode(sae.encode(x_BLD)).to(value).view(value.shape)

    return hook


def set_latents(sae: Any, values: Mapping[int, float]) -> Hook:
    """A hook that sets latents to values at every token, and keeps what the SAE does not reconstruct:
    x' = x + decode(z') - decode(z).

    sae: anything with `encode` and `decode`, or an SAE's folder or shipped name. values: activations, by latent.
    Raises ValueError for something without `encode` and `decode` and for what is no latent or no finite number; the
    hook does for activations of another width, and raises IndexError for a latent that there is not.
    """
    sae = _with_decoder(sae)
    if not isinstance(values, Mapping):
        raise ValueError(f"{values!r}: give a value for each latent, as in {{17: 5.0}}")
    latents = [whole_number(latent, "a latent") for latent in values]
    for latent, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"latent {latent}: {value} is not a finite number")

    def hook(value: Tensor) -> Tensor:
        x_BLD = value.flatten(2)
        z_BLF = sae.encode(x_BLD)
        if absent := [latent for latent in latents if not 0 <= latent < z_BLF.shape[-1]]:
            raise IndexError(f"{type(sae).__name__} has latents 0 to {z_BLF.shape[-1] - 1}, none is {absent[0]}")
        own_BLD = sae.decode(z_BLF)
        set_BLF = z_BLF.clone()
        set_BLF[..., latents] = z_BLF.new_tensor(list(values.values()))
        return (x_BLD + (sae.decode(set_BLF) - own_BLD).to(value)).view(value.shape)

    return hook


def ablate(sae: Any, latents: Iterable[int]) -> Hook:
    """A hook that takes away what latents add, at every token: `set_latents` to 0.

    sae: anything with `encode` and `decode`, or an SAE's folder or shipped name. latents: their numbers.
    Raises ValueError for something without `encode` and `decode` and for what is no latent; the hook does for
    activations of another width, and raises IndexError for a latent that there is not.
    """
    if isinstance(latents, str) or not isinstance(latents, Iterable):
        raise ValueError(f"{latents!r}: give latents as a list, as in [17, 23]")
    return set_latents(sae, dict.fromkeys(latents, 0.0))


def _with_decoder(sae: Any) -> Any:
    sae = load_sae(sae) if isinstance(sae, str | Path) else sae
    if not (callable(getattr(sae, "encode", None)) and callable(getattr(sae, "decode", None))):
        raise ValueError(
            f"{type(sae).__name__} has no `encode` and `decode`; give an SAE, or its folder or shipped name"
        )
    return sae
