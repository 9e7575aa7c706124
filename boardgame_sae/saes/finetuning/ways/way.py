"""What fine-tuning may train: a GPT with an SAE spliced in, and the ways to put weights into it that learn.

A new way is one new file in this folder: a function under `@way` that gets a frozen splice, puts weights into it, and
returns them by name. A way that only changes the SAE gives an SAE; any other gives an addition, weights that belong to
one SAE and one GPT.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from boardgame_sae.model.gpt import GPT
from boardgame_sae.registry import Registry
from boardgame_sae.saes.sae import SAE
from boardgame_sae.saes.sparse.active_latents import Active
from boardgame_sae.testbeds.replaced import Batch


class Reconstruction(NamedTuple):
    """What a splice makes of some activations."""

    active: Active
    """Where latents may be on."""
    z: Tensor
    """Their activations there."""
    x_hat_ND: Tensor
    """The activations that the GPT goes on with."""


@dataclass(eq=False)
class Splice:
    """A GPT in which an SAE, and what may follow it, stands in for the activations of a hook point."""

    gpt: GPT
    sae: SAE
    hook_name: str
    after_sae: nn.Module
    """What the reconstruction goes through; the identity where there is no adapter."""
    scale: float = 1.0
    """What activations are divided by before the SAE reads them; its reconstruction is multiplied by it."""

    def reconstruct(self, x_ND: Tensor) -> Reconstruction:
        """Activations (N, D), divided by the scale, through the SAE and what follows it."""
        active = self.sae.activate(x_ND, self.sae.training_rule(0))
        z = self.sae.latents(active)
        return Reconstruction(active, z, self.after_sae(active.decode(z, self.sae.W_dec, self.sae.b_dec)))

    @torch.no_grad()
    def acts_for(self, batch: Batch) -> Tensor:
        """The activations (B, L, D) that the GPT goes on with, without gradient."""
        x_ND = batch.acts_BLD[batch.read_BL] / self.scale
        return batch.with_rows(self.reconstruct(x_ND).x_hat_ND * self.scale)


class Settings(NamedTuple):
    """What a way is told of the fine-tuning."""

    rank: int
    seed: int


Install = Callable[[Splice, Settings], dict[str, nn.Parameter]]
"""Puts weights into a frozen splice and returns those that learn, by name.

Raises ValueError, in words, for a splice in which it has nothing to train."""


@dataclass(frozen=True)
class Way:
    """One way to fine-tune."""

    name: str
    install: Install
    gives_sae: bool
    """Whether what comes out is an SAE. Else it is an addition: the weights that learned."""
    moves_reconstruction: bool
    """Whether it changes what the SAE reconstructs, so that a loss of MSE alone trains it."""
    constrained: bool
    """Whether the SAE's own weights learn, so that its constraints hold after each step."""

    @property
    def summary(self) -> str:
        """What it trains, in a line."""
        return (self.install.__doc__ or "").strip().partition("\n")[0]


_WAYS: Registry[Way] = Registry("way to fine-tune", "boardgame_sae.saes.finetuning.ways")


def way(
    name: str, *, gives_sae: bool = False, moves_reconstruction: bool = True, constrained: bool = False
) -> Callable[[Install], Install]:
    """Register a function as a way to fine-tune; see `Way`. Raises ValueError when the name is taken."""

    def register(install: Install) -> Install:
        _WAYS.add(name, Way(name, install, gives_sae, moves_reconstruction, constrained))
        return install

    return register


def ways() -> dict[str, Way]:
    """All ways to fine-tune, by name."""
    return _WAYS.all()


def find_way(name: str, source: str = "") -> Way:
    """The way of a name. Raises ConfigError with the closest names."""
    return _WAYS.find(name, source)


def drawn(shape: tuple[int, int], splice: Splice, seed: int) -> Tensor:
    """A matrix that maps vectors to vectors of about their size: random numbers of deviation 1 / sqrt(columns)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(splice.sae.device) / shape[1] ** 0.5
