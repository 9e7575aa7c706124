"""Does a model play what it holds to be good? Its own evaluation of each legal move, beside the one it writes.

Testbeds do not ship an engine's evaluations. The built-in search evaluates the positions of train games, and a linear
probe learns these from the residual stream after each ply; the layer is chosen on validation. Then every legal move is
appended to the game, and the probe, read where that move is complete, says what the model holds of it: the move's own
evaluation, as the player who makes it sees it. A move has a rank among the legal ones, 0 the worst and 1 the best; .5
is that of a move at random.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from boardgame_sae.activations.branches import Branches
from boardgame_sae.activations.hook_points import read
from boardgame_sae.activations.one_token import RESIDUAL
from boardgame_sae.games import Game
from boardgame_sae.players.registry import make_player
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.labels import positions

LIMIT = 1000
"""Evaluations beyond this, in hundredths of a pawn, count as this: mates."""
ALPHA = 10.0
"""The penalty of the regression, on activations divided by their standard deviations."""


class Evaluator(NamedTuple):
    """A linear probe of the evaluation, as the player to move sees it."""

    hook_name: str
    weight_D: np.ndarray
    bias: float
    explained: float
    """Share of the variance on validation that it explains."""

    def value(self, acts_ND: np.ndarray) -> np.ndarray:
        """(N,) in pawns."""
        return acts_ND @ self.weight_D + self.bias


def evaluator(testbed: Testbed, search: str, n_train: int, n_validation: int) -> Evaluator:
    """Fit a probe at every layer and keep the best on validation games: ask `testbed.once(evaluator, ...)`.

    search: a player that evaluates positions. Raises ConfigError as that does.
    """
    names = [RESIDUAL.format(layer) for layer in range(testbed.model.gpt.cfg.n_layers)]
    train = _evaluated(testbed, search, "train", n_train, names)
    validation = _evaluated(testbed, search, "validation", n_validation, names)
    return max((_fitted(name, train, validation) for name in names), key=lambda one: one.explained)


class Evaluated(NamedTuple):
    """Positions after each ply of some games."""

    acts: Mapping[str, np.ndarray]
    """(N, width) by hook point."""
    value_N: np.ndarray
    """The search's evaluations, in pawns."""


def _fitted(name: str, train: Evaluated, validation: Evaluated) -> Evaluator:
    scale_D = train.acts[name].std(0) + 1e-6
    fit = Ridge(alpha=ALPHA).fit(train.acts[name] / scale_D, train.value_N)
    explained = float(fit.score(validation.acts[name] / scale_D, validation.value_N))
    return Evaluator(name, fit.coef_ / scale_D, float(fit.intercept_), explained)


@torch.no_grad()
def _evaluated(testbed: Testbed, search: str, split: str, n_games: int, names: Sequence[str]) -> Evaluated:
    corpus, gpt = testbed.corpus, testbed.model.gpt
    games_B = corpus.games(split)[:n_games]
    record, where = corpus.record(games_B), positions(corpus, games_B, "ply", gpt.cfg.n_ctx)
    value_M = make_player(search).evaluate(corpus.game, record).clip(-LIMIT, LIMIT) / 100
    first_B = np.concatenate([[0], np.cumsum(record.lengths + 1)])
    acts = read(gpt, torch.from_numpy(corpus.rows(games_B, gpt.cfg.n_ctx)[0][:, :-1]).to(gpt.device), names)
    at_ply = {name: acts_BLD[where.game_N, where.token_N].float().cpu().numpy() for name, acts_BLD in acts.items()}
    return Evaluated(at_ply, value_M[first_B[where.game_N] + where.ply_N])


def own_values(
    of: Evaluator, testbed: Testbed, branches: Branches, game: int, token: int, texts: Sequence[str]
) -> np.ndarray:
    """What the model holds of each of some moves after a token of a game, as the player who makes it sees it: (M,).

    texts: the moves as a transcript has them, up to the character with which each is complete.
    """
    ids, device = {character: i for i, character in enumerate(testbed.corpus.alphabet)}, testbed.model.gpt.device
    longest, kept = max(map(len, texts)), dict[str, Tensor]()
    tokens_MT = torch.tensor([[ids[c] for c in text] + [0] * (longest - len(text)) for text in texts], device=device)
    game_M, start_M = (torch.full((len(texts),), value, device=device) for value in (game, token + 1))

    def keep(value: Tensor) -> None:
        kept[of.hook_name] = value

    branches(game_M, start_M, tokens_MT, {of.hook_name: keep})
    last_M = torch.tensor([len(text) - 1 for text in texts])
    acts_MD = kept[of.hook_name][torch.arange(len(texts)), last_M].float().cpu().numpy()
    return -of.value(acts_MD)


def rank(value: float, values: np.ndarray) -> float:
    """A number's place among some others, 0 the lowest and 1 the highest; equal ones share theirs."""
    below, equal = float((values < value).sum()), float((values == value).sum())
    return (below + equal / 2) / len(values)


def as_written(game: Game, position: Any, move: int) -> str:
    """A move with the character that completes its ply in a transcript."""
    return game.move_text(position, move) + game.move_end[:1]
