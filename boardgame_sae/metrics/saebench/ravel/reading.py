"""What a model still knows of the board above a hook point: linear probes of every square, at the next residual stream.

They are fitted once per testbed, on what the model itself makes of the testbed's activations.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.metrics.saebench.data.above import Above, above, chunks
from boardgame_sae.probes.data import Targets
from boardgame_sae.probes.fit import whitening
from boardgame_sae.probes.probe import Probe
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import SPLITS

RIDGE, PENALTY, N_ITERATIONS = 1e-3, 1e-4, 15
"""Of the probes: the floor of the whitening, the L2 penalty on weights, and iterations of L-BFGS."""


class Reading(NamedTuple):
    """The positions of some games of a split, and what is read of them above the hook point."""

    above: Above
    kind_N: np.ndarray
    """int64 (N,): equal where equally many plies were played and the same player is to move."""
    classes_NS: np.ndarray
    """int64: the state of each square."""
    right_NS: np.ndarray
    """bool: whether the square's probe tells it."""


class Readings(NamedTuple):
    """The reading of every split by one set of probes."""

    of: Mapping[str, Reading]
    probe: Probe
    states: list[list[str]]
    """The names of each square's states: `d3 mine`."""


@torch.no_grad()
def readings(testbed: Testbed, n_games: int) -> Readings:
    """Read at most n_games games per split. Raises UnscorableError for a hook point that is in no block."""
    prop = testbed.corpus.game.property(testbed.corpus.game.board_property)
    parts = {split: testbed.once(above, split, n_games) for split in SPLITS}
    labels = {split: prop.evaluate(part.boards) for split, part in parts.items()}
    targets = Targets.of(prop, labels["train"])
    classes = {split: targets.classes(labels[split]) for split in SPLITS}
    later = {split: _passed(part) for split, part in parts.items()}
    probe = fit_squares(later["train"], classes["train"].to(later["train"].device), targets)
    of = {}
    for split, part in parts.items():
        kind_N = 2 * part.where.ply_N.astype(np.int64) + part.boards.mover_N
        right_NS = probe.logits(later[split]).argmax(-1).cpu() == classes[split]
        of[split] = Reading(part, kind_N, classes[split].numpy(), right_NS.numpy())
    starts = range(0, prop.size, targets.group)
    states = [["none"] * targets.none + prop.class_names[start : start + targets.group] for start in starts]
    return Readings(of, probe, states)


def _passed(part: Above) -> Tensor:
    """What the model makes of the activations of all positions, at the next residual stream."""
    return torch.cat([part.read(row_N, part.acts_ND[row_N]).acts_ND for row_N in chunks(np.arange(len(part)))])


@torch.enable_grad()
def fit_squares(acts_ND: Tensor, classes_NS: Tensor, targets: Targets) -> Probe:
    """Multinomial logistic regressions, one per square, on whitened activations, by L-BFGS."""
    mean_D, matrix_DE = (part.float().to(acts_ND.device) for part in whitening(acts_ND, RIDGE))
    white_ND, n_squares = (acts_ND - mean_D) @ matrix_DE, classes_NS.shape[1]
    weight = acts_ND.new_zeros(acts_ND.shape[1], n_squares, targets.n_classes).requires_grad_()
    bias = acts_ND.new_zeros(n_squares, targets.n_classes).requires_grad_()
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=N_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits_NSC = (white_ND @ weight.flatten(1)).unflatten(1, weight.shape[1:]) + bias
        value = F.cross_entropy(logits_NSC.flatten(0, 1), classes_NS.flatten()) + PENALTY * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    raw_DSC = torch.einsum("de,esc->dsc", matrix_DE, weight.detach())
    return Probe(raw_DSC, bias.detach() - torch.einsum("d,dsc->sc", mean_D, raw_DSC), targets)
