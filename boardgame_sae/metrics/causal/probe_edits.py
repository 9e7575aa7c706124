"""Edits through linear probes of the board: which layers, how far, at which tokens, chosen on validation games.

Families of interventions are tried apart, each over all it can set, and the best of each, by its errors on the edits of
validation games, is reported on test:

    fixed       a fixed length at one layer
    layers      a fixed length at several layers, one after another
    least       a multiple of the least change, at one layer
    everywhere  a fixed length at one layer, at every token at which boards are read
    here        a fixed length at the testbed's own hook point, where SAEs are put

Lengths are shares of the mean norm of the activations at each hook point.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.activations.hook_points import read
from boardgame_sae.activations.one_token import RESIDUAL
from boardgame_sae.metrics.causal.edits import Edits, drawn
from boardgame_sae.metrics.causal.inner_board import Intervention, along_probe, least_change
from boardgame_sae.probes.data import Targets
from boardgame_sae.probes.fit import whitening
from boardgame_sae.probes.probe import Probe
from boardgame_sae.runs import progress
from boardgame_sae.testbeds.testbed import Testbed

LENGTHS, SHORT_LENGTHS, EVERYWHERE_LENGTHS = (0.2, 0.3, 0.4, 0.6, 0.8), (0.1, 0.125, 0.15, 0.2), (0.2, 0.3, 0.4)
"""Of a fixed change at one layer, at each of several, and at every token, as shares of the mean norm."""
TIMES = (1.0, 2.0, 4.0, 6.0)
"""Of the least change."""
RIDGE = 1e-3
"""Of the probes: the floor of the whitening."""


class BoardProbes(NamedTuple):
    """Linear probes of the board by hook point, and the mean norm of the activations there."""

    probes: Mapping[str, Probe]
    norms: Mapping[str, float]


class ProbeEdit(NamedTuple):
    """One way to edit through probes."""

    hook_names: tuple[str, ...]
    way: str
    """`fixed` or `least`."""
    size: float
    """One of LENGTHS or of TIMES."""
    everywhere: bool = False

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return {**self._asdict(), "hook_names": list(self.hook_names)}


def board_probes(testbed: Testbed, n_games: int, names: tuple[str, ...] = ()) -> BoardProbes:
    """Fit probes of the board on train games: ask `testbed.once(board_probes, n_games)`.

    names: hook points, by default every layer's residual stream and the testbed's own. Raises HookError for a bad one.
    """
    gpt, corpus = testbed.model.gpt, testbed.corpus
    names = names or tuple(dict.fromkeys([*map(RESIDUAL.format, range(gpt.cfg.n_layers)), testbed.hook_name]))
    where = testbed.positions("train")
    where = where.rows(0, int(np.searchsorted(where.game_N, n_games)))
    boards = corpus.boards(where.games_B)
    prop = corpus.game.property(corpus.game.board_property)
    labels = prop.evaluate(boards[boards.rows(where.game_N, where.ply_N)])
    targets = Targets(len(prop.classes), none=False)
    classes_NS, probes, norms = targets.classes(labels).to(gpt.device), dict[str, Probe](), dict[str, float]()
    tokens_BL = torch.from_numpy(corpus.rows(where.games_B, gpt.cfg.n_ctx)[0][:, :-1]).to(gpt.device)
    acts = _read(testbed, tokens_BL, names)
    with progress(len(names), "board probes", "layers", leave=False) as bar:
        for name in names:
            acts_ND = acts.pop(name)[where.game_N, where.token_N].float()
            probes[name] = ridge_probe(acts_ND, classes_NS, targets)
            norms[name] = float(acts_ND.norm(dim=1).mean())
            bar.update(1)
    return BoardProbes(probes, norms)


@torch.no_grad()
def ridge_probe(acts_ND: Tensor, classes_NS: Tensor, targets: Targets) -> Probe:
    """Regression of every class of every square onto whitened activations, in closed form.

    It is for directions: a probe by iterations takes minutes for every layer, and its edits are hardly better.
    """
    mean_D, matrix_DE = (part.float().to(acts_ND.device) for part in whitening(acts_ND, RIDGE))
    white_ND = (acts_ND - mean_D) @ matrix_DE
    onehot_NP = F.one_hot(classes_NS, targets.n_classes).flatten(1).float()
    weight_DP = matrix_DE @ (white_ND.T @ (onehot_NP - onehot_NP.mean(0)) / len(acts_ND))
    weight_DSC = weight_DP.unflatten(1, (classes_NS.shape[1], targets.n_classes))
    bias_SC = (onehot_NP.mean(0) - mean_D @ weight_DP).view(weight_DSC.shape[1:])
    return Probe(weight_DSC, bias_SC, targets)


@torch.no_grad()
def _read(testbed: Testbed, tokens_BL: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    return read(testbed.model.gpt, tokens_BL, names)


def intervention(of: BoardProbes, edit: ProbeEdit) -> Intervention:
    """The changes that an edit makes."""
    changes = {
        name: along_probe(of.probes[name], edit.size * of.norms[name])
        if edit.way == "fixed"
        else least_change(of.probes[name], edit.size)
        for name in edit.hook_names
    }
    return Intervention(changes, edit.everywhere)


def families(of: BoardProbes, here: str) -> Iterator[tuple[str, ProbeEdit]]:
    """Every edit that is tried, by its family; `here` is the testbed's hook point."""
    layers = [name for name in of.probes if name.endswith("hook_resid_post")]
    for length in LENGTHS:
        yield "here", ProbeEdit((here,), "fixed", length)
        for name in layers:
            yield "fixed", ProbeEdit((name,), "fixed", length)
    for times, name in itertools.product(TIMES, layers):
        yield "least", ProbeEdit((name,), "least", times)
    for length, name in itertools.product(EVERYWHERE_LENGTHS, layers):
        yield "everywhere", ProbeEdit((name,), "fixed", length, everywhere=True)
    for length, (first, stop) in itertools.product(SHORT_LENGTHS, itertools.combinations(range(len(layers) + 1), 2)):
        if stop - first > 1 or len(layers) == 1:
            yield "layers", ProbeEdit(tuple(layers[first:stop]), "fixed", length)


class ProbeChoice(NamedTuple):
    """The best edit of each family, and the errors that each edit makes per validation edit."""

    of: BoardProbes
    best: Mapping[str, ProbeEdit]
    on_validation: list[tuple[ProbeEdit, float]]

    @property
    def chosen(self) -> ProbeEdit:
        """The best of all families."""
        errors = dict(self.on_validation)
        return min(self.best.values(), key=errors.__getitem__)


def choose_probe_edits(testbed: Testbed, n_train: int, n_games: int, seed: int, n_edits: int) -> ProbeChoice:
    """Try every edit on validation games: ask `testbed.once(choose_probe_edits, ...)`.

    n_train: games that probes are fitted on. n_games, n_edits: validation games, and edits of them.
    Raises UnscorableError as `drawn` does.
    """
    edits: Edits = testbed.once(drawn, "validation", n_games, seed, n_edits)
    of = testbed.once(board_probes, n_train)
    tried = list(families(of, testbed.hook_name))
    errors, best = dict[ProbeEdit, float](), dict[str, ProbeEdit]()
    with progress(len(tried), "edits through probes", "settings", leave=False) as bar:
        for family, edit in tried:
            if edit not in errors:
                errors[edit] = float(edits.outcomes(edits.ask(intervention(of, edit))).error_N.mean())
            if family not in best or errors[edit] < errors[best[family]]:
                best[family] = edit
            bar.update(1)
    return ProbeChoice(of, best, list(errors.items()))
