"""Setting squares of the board that a model holds inside: changes of activations, and hooks that make them.

A change is a function of activations and of what is to stand where. Along a linear probe of the board the direction is
w(new) - w(old), the weights of what is to stand on the square less those of what stands there, and its length either a
fixed share of the mean norm of activations, or a multiple of the least that makes the probe answer otherwise:

    x' = x + length (w(new) - w(old)) / |w(new) - w(old)|
    x' = x + times (z(largest) - z(new)) / |w(new) - w(old)|^2 (w(new) - w(old)),    z = w x + b the probe's logits

It is made at the position's last token, also at every earlier one at which boards are read, at one layer or at several
on the way up. Where the other player is to move, what is mine is yours. Several squares are set one after another.
Source: Li et al. 2022 (arXiv 2210.13382); Nanda et al. 2023 (arXiv 2309.00941); Karvonen 2024 (arXiv 2403.15498).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.model.gpt import Hook
from boardgame_sae.probes.probe import Probe


class Setting(NamedTuple):
    """What is to stand where, at M tokens: int64 (M,)."""

    edit_M: Tensor
    """Which edit the token belongs to."""
    square_M: Tensor
    old_M: Tensor
    """What stands on the square, by its number among the board's classes, as the player to move there sees it."""
    new_M: Tensor
    """What is to stand there."""


Change = Callable[[Tensor, Setting], Tensor]
"""What is added to activations (M, width) to set squares: (M, width)."""


def probe_direction(probe: Probe, setting: Setting) -> Tensor:
    """(M, width): w(new) - w(old) of each square."""
    weight_SCD = probe.weight_DSC.permute(1, 2, 0)
    return weight_SCD[setting.square_M, setting.new_M] - weight_SCD[setting.square_M, setting.old_M]


def along_probe(probe: Probe, length: float) -> Change:
    """Activations move by a length along the probe's direction."""

    def change(x_MD: Tensor, setting: Setting) -> Tensor:
        return length * torch.nn.functional.normalize(probe_direction(probe, setting).to(x_MD), dim=1)

    return change


def least_change(probe: Probe, times: float) -> Change:
    """Activations move by a multiple of the least that makes the probe answer otherwise; nowhere if it already does."""

    def change(x_MD: Tensor, setting: Setting) -> Tensor:
        direction_MD = probe_direction(probe, setting).to(x_MD)
        logits_MC = probe.logits(x_MD)[torch.arange(len(x_MD), device=x_MD.device), setting.square_M]
        new_M1 = logits_MC.gather(1, setting.new_M[:, None])
        gap_M1 = logits_MC.max(1, keepdim=True).values - new_M1
        return times * gap_M1 / direction_MD.square().sum(1, keepdim=True).clamp(min=1e-12) * direction_MD

    return change


def random_direction(change: Change, seed: int) -> Change:
    """A change of the same norm, in a direction drawn at random for each edit."""

    def changed(x_MD: Tensor, setting: Setting) -> Tensor:
        n_edits = int(setting.edit_M.max()) + 1 if len(setting.edit_M) else 0
        generator = torch.Generator().manual_seed(seed)
        directions_ED = torch.nn.functional.normalize(torch.randn(n_edits, x_MD.shape[1], generator=generator), dim=1)
        return change(x_MD, setting).norm(dim=1, keepdim=True) * directions_ED.to(x_MD)[setting.edit_M]

    return changed


def other_square(change: Change, square_E: np.ndarray) -> Change:
    """The same change on another square of each edit."""

    def changed(x_MD: Tensor, setting: Setting) -> Tensor:
        square_M = torch.from_numpy(square_E).to(setting.edit_M.device)[setting.edit_M]
        return change(x_MD, setting._replace(square_M=square_M))

    return changed


def seen_by_the_other(contents: Sequence[str]) -> np.ndarray:
    """For each content of a square, its number as the other player sees it: what is mine is yours."""
    other = {"mine": "yours", "yours": "mine", "my": "your", "your": "my"}
    names = [" ".join(other.get(word, word) for word in content.split()) for content in contents]
    return np.array([list(contents).index(name) for name in names])


@dataclass(frozen=True, eq=False)
class Intervention:
    """Changes by hook point, and whether they are made at every token where boards are read or at the last alone."""

    changes: Mapping[str, Change]
    everywhere: bool = False


def hooks_that_set(
    changes: Mapping[str, Change], settings: Sequence[tuple[Setting, Setting]], mark_NT: Tensor
) -> dict[str, Hook]:
    """Hooks that set squares at the tokens of N edits.

    settings: of the N edits, and the same as the other player sees it; several where that many squares of each edit are
    set, one after another. mark_NT: 1 where the tokens' activations are changed, -1 where that is done as the other
    player sees it, 0 where nothing is; of further tokens, as of the last.
    """

    def hook_for(change: Change) -> Hook:
        def hook(value: Tensor) -> Tensor:
            n_more = value.shape[1] - mark_NT.shape[1]
            mark = torch.cat([mark_NT, mark_NT[:, -1:].expand(-1, max(n_more, 0))], 1)[:, : value.shape[1]]
            n, t = mark.nonzero(as_tuple=True)
            own_M = (mark[n, t] > 0).to(value.device)
            flat_NTD = value.flatten(2).clone()
            for both in settings:
                here = Setting(*(torch.where(own_M, a[n], b[n]) for a, b in zip(*both, strict=True)))
                flat_NTD[n, t] += change(flat_NTD[n, t], here)
            return flat_NTD.view(value.shape)

        return hook

    return {name: hook_for(change) for name, change in changes.items()}
