"""What a model still knows of the board above a hook point: linear probes of every square, at the next residual stream.

They are fitted once per testbed, on what the model itself makes of the testbed's activations.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.activations.one_token import OneToken
from boardgame_sae.games import Boards
from boardgame_sae.metrics.score import UnscorableError
from boardgame_sae.probes.data import Targets
from boardgame_sae.probes.fit import Probe, whitening
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import SPLITS
from boardgame_sae.transcripts.labels import Positions

AT_ONCE = 1024
"""Positions that pass through the model together."""
RIDGE, PENALTY, N_ITERATIONS = 1e-3, 1e-4, 15
"""Of the probes: the floor of the whitening, the L2 penalty on weights, and iterations of L-BFGS."""


class Reading(NamedTuple):
    """The positions of some games of a split, and what is read of them above the hook point."""

    where: Positions
    kind_N: np.ndarray
    """int64 (N,): equal where equally many plies were played and the same player is to move."""
    classes_NS: np.ndarray
    """int64: the state of each square."""
    right_NS: np.ndarray
    """bool: whether the square's probe tells it."""
    acts_ND: Tensor
    """The activations at the hook point."""
    rest: OneToken
    """The model above it."""
    legal_NV: Tensor | None
    """bool: which tokens continue the game legally; None where a token is not a whole move."""


class Readings(NamedTuple):
    """The reading of every split by one set of probes."""

    of: Mapping[str, Reading]
    probe: Probe
    states: list[list[str]]
    """The names of each square's states: `d3 mine`."""


@torch.no_grad()
def readings(testbed: Testbed, n_games: int) -> Readings:
    """Read at most n_games games per split. Raises UnscorableError for a hook point that no block follows."""
    if not testbed.hook_name.startswith("blocks."):
        raise UnscorableError(f"{testbed.hook_name} is in no block, so that no later layer can be read")
    prop, device = testbed.corpus.game.property(testbed.corpus.game.board_property), testbed.model.gpt.device
    where = {split: _first_games(testbed.positions(split), n_games) for split in SPLITS}
    boards = {split: _boards(testbed, where[split]) for split in SPLITS}
    labels = {split: prop.evaluate(boards[split]) for split in SPLITS}
    targets = Targets.of(prop, labels["train"])
    classes = {split: targets.classes(labels[split]) for split in SPLITS}
    acts = {split: testbed.activations(split)[: len(where[split])].to(device) for split in SPLITS}
    rests = {split: _rest(testbed, where[split]) for split in SPLITS}
    later = {split: _passed(rests[split], where[split], acts[split]) for split in SPLITS}
    probe = fit_squares(later["train"], classes["train"].to(device), targets)
    of = {
        split: Reading(
            where[split],
            2 * where[split].ply_N.astype(np.int64) + boards[split].mover_N,
            classes[split].numpy(),
            (probe.logits(later[split]).argmax(-1).cpu() == classes[split]).numpy(),
            acts[split],
            rests[split],
            _legal(testbed, boards[split]),
        )
        for split in SPLITS
    }
    starts = range(0, prop.size, targets.group)
    states = [["none"] * targets.none + prop.class_names[start : start + targets.group] for start in starts]
    return Readings(of, probe, states)


def _first_games(where: Positions, n_games: int) -> Positions:
    n = int(np.searchsorted(where.game_N, n_games))
    return Positions(where.games_B[:n_games], where.game_N[:n], where.token_N[:n], where.ply_N[:n])


def _boards(testbed: Testbed, where: Positions) -> Boards:
    boards = testbed.corpus.boards(where.games_B)
    return boards[boards.rows(where.game_N, where.ply_N)]


def _rest(testbed: Testbed, where: Positions) -> OneToken:
    gpt = testbed.model.gpt
    tokens_BL = torch.from_numpy(testbed.corpus.rows(where.games_B, gpt.cfg.n_ctx)[0][:, :-1])
    return OneToken(gpt, tokens_BL.to(gpt.device), testbed.hook_name)


def _passed(rest: OneToken, where: Positions, acts_ND: Tensor) -> Tensor:
    """What the model makes of the activations, at the next residual stream."""
    rows = np.split(np.arange(len(where)), range(AT_ONCE, len(where), AT_ONCE))
    return torch.cat([rest(*places(where, row_N, acts_ND.device), acts_ND[row_N]).acts_ND for row_N in rows])


def places(where: Positions, row_N: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """The game and the token of some of the positions."""
    return torch.from_numpy(where.game_N[row_N]).to(device), torch.from_numpy(where.token_N[row_N]).to(device)


def _legal(testbed: Testbed, boards: Boards) -> Tensor | None:
    corpus = testbed.corpus
    if not corpus.tokenizer.is_whole_move:
        return None
    return torch.from_numpy(corpus.tokenizer.legal_tokens(corpus.game, boards)).to(testbed.model.gpt.device)


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
