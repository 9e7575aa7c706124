"""What a probe of one game's board says in another: how much it reads, how its directions lie, and what its edits do.

Two games may keep their boards in the same directions of a GPT, or each in its own. A probe that is fitted on one and
asked about the other tells; so do the cosines of the directions of two probes, beside those of two probes of one game.
And an edit along a probe's directions shows whether the GPT uses them where it plays the other game.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.config import seed_for
from boardgame_sae.metrics.causal.edits import Edits, drawn
from boardgame_sae.metrics.causal.inner_board import Intervention, along_probe, other_square
from boardgame_sae.metrics.causal.probe_edits import LENGTHS, ridge_probe
from boardgame_sae.model.float64 import exact
from boardgame_sae.probes.data import Targets
from boardgame_sae.probes.fit import Probe
from boardgame_sae.studies.over_games import Counted, counted
from boardgame_sae.testbeds.testbed import Testbed

KINDS = ("replace", "remove")
"""Kinds of edits that are asked about: natural boards take long to find."""


class Data(NamedTuple):
    """Activations and classes at the positions of some games."""

    acts_ND: Tensor
    classes_NS: Tensor
    """int64 (N, squares)."""
    game_N: np.ndarray
    """The game of each position."""

    def at(self, chosen_N: np.ndarray) -> "Data":
        """Some of the positions, by a mask."""
        mask_N = torch.from_numpy(chosen_N)
        return Data(self.acts_ND[mask_N], self.classes_NS[mask_N], self.game_N[chosen_N])


def board_data(testbed: Testbed, split: str) -> tuple[Data, Targets]:
    """A testbed's activations and what stands on every square; its first property must be the board."""
    prop = testbed.corpus.game.property(testbed.properties[0])
    targets = Targets(len(prop.classes), none=False)
    classes_NS = targets.classes(testbed.labels(split))
    return Data(testbed.activations(split), classes_NS, testbed.positions(split).game_N), targets


def fitted(data: Data, targets: Targets) -> Probe:
    """The probe of some positions."""
    return ridge_probe(data.acts_ND, data.classes_NS, targets)


def halves(data: Data) -> tuple[Data, Data]:
    """The positions of every other game, and those of the rest."""
    odd_N = data.game_N % 2 == 1
    return data.at(~odd_N), data.at(odd_N)


def right(probe: Probe, data: Data) -> np.ndarray:
    """(N,) the share of squares that a probe reads right."""
    return exact(probe.logits(data.acts_ND).argmax(-1) == data.classes_NS).mean(1).cpu().numpy()


def majority(train: Data, test: Data) -> float:
    """The share of squares that are right when every one is called what it most often is on train."""
    return float(exact(train.classes_NS.mode(0).values == test.classes_NS).mean())


def cosine(a: Probe, b: Probe) -> float:
    """The mean cosine of two probes' directions of the same label, over the labels that both have one for."""
    a_PD, b_PD = a.directions(), b.directions()
    both_P = (a_PD.norm(dim=1) > 1e-6) & (b_PD.norm(dim=1) > 1e-6)
    return float(F.cosine_similarity(a_PD[both_P], b_PD[both_P]).mean())


@dataclass(frozen=True)
class Edit:
    """Where, and how far, a probe's directions are followed."""

    hook_name: str
    length: float
    """As a share of the mean norm of activations there."""

    def by(self, probe: Probe, norm: float) -> Intervention:
        """The edit along a probe's directions."""
        return Intervention({self.hook_name: along_probe(probe, self.length * norm)})


class Removed(NamedTuple):
    """What an edit does to the errors on edited boards."""

    share: Counted
    """Share of the errors of the GPT as it is that the edit removes."""
    other_square: float
    """The same of another square's direction, as long."""
    errors: tuple[float, float]
    """Errors per edit, before and after."""
    n_edits: int


def drawn_edits(testbed: Testbed, split: str, n_games: int, n_edits: int | None = None) -> Edits:
    """Edits of a split of a testbed's games. Raises UnscorableError where there are too few."""
    return testbed.once(drawn, split, n_games, 0, n_edits, KINDS)


def choose_edit(edits: Edits, probes: Sequence[tuple[str, Probe, float]]) -> Edit:
    """The layer and length that leave the fewest errors. probes: hook points, probes there, norms of activations."""
    errors = {}
    for name, probe, norm in probes:
        for length in LENGTHS:
            edit = Edit(name, length)
            errors[edit] = edits.outcomes(edits.ask(edit.by(probe, norm))).error_N.mean()
    return min(errors, key=errors.__getitem__)


def removed(edits: Edits, edit: Edit, probe: Probe, norm: float, seed: int = 0) -> Removed:
    """What an edit along a probe's directions does in some games, whichever the probe was fitted on."""
    before_N = edits.outcomes(edits.ask(None)).error_N
    change = edit.by(probe, norm)
    after_N = edits.outcomes(edits.ask(change)).error_N
    n_squares = len(edits.testbed.corpus.game.squares)
    shift_N = np.random.default_rng(seed_for(seed, "other squares")).integers(1, n_squares, len(edits))
    others = (edits.square_SN[0] + shift_N) % n_squares
    elsewhere = {name: other_square(one, others) for name, one in change.changes.items()}
    elsewhere_N = edits.outcomes(edits.ask(Intervention(elsewhere))).error_N
    parts = {"before": before_N, "after": after_N}
    return Removed(
        counted(parts, edits.game_N, lambda sums: 1 - sums["after"][:, 0] / sums["before"][:, 0]),
        1 - float(elsewhere_N.sum() / before_N.sum()),
        (float(before_N.mean()), float(after_N.mean())),
        len(edits),
    )
