"""The model above a testbed's hook point, at single positions: what it makes of activations that are put there.

Shared by the scores that intervene: keys and values of earlier tokens are read once per testbed.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.activations.one_token import OneToken, Read
from boardgame_sae.games import Boards
from boardgame_sae.metrics.score import UnscorableError
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.labels import Positions

AT_ONCE = 1024
"""Positions that pass through the model together."""


@dataclass(frozen=True, eq=False)
class Above:
    """The scored positions of the first games of a split, and the model above the hook point."""

    where: Positions
    boards: Boards
    """The board of each position."""
    next_N: np.ndarray
    """int64 (N,): the token that follows each position; that which fills a row after a game's end."""
    acts_ND: Tensor
    """The activations at the hook point."""
    legal_NV: np.ndarray | None
    """bool: which tokens continue each game legally; None where a token is not a whole move."""
    model: OneToken

    def __len__(self) -> int:
        return len(self.where)

    def read(self, row_N: np.ndarray, acts_ND: Tensor, *, logits: bool = False) -> Read:
        """What becomes of some positions with these activations; see `OneToken`."""
        game_N, token_N = (
            torch.from_numpy(part[row_N]).to(acts_ND.device) for part in (self.where.game_N, self.where.token_N)
        )
        return self.model(game_N, token_N, acts_ND, logits=logits)


def chunks(row_N: np.ndarray) -> list[np.ndarray]:
    """Rows, AT_ONCE at a time."""
    return [row_N[start : start + AT_ONCE] for start in range(0, len(row_N), AT_ONCE)]


@torch.no_grad()
def above(testbed: Testbed, split: str, n_games: int) -> Above:
    """At most n_games games of a split: ask `testbed.once(above, split, n_games)`.

    Raises UnscorableError for a hook point that is in no block.
    """
    if not testbed.hook_name.startswith("blocks."):
        raise UnscorableError(f"{testbed.hook_name} is in no block, so that no later layer can be read")
    every, corpus, gpt = testbed.positions(split), testbed.corpus, testbed.model.gpt
    n = int(np.searchsorted(every.game_N, n_games))
    where = Positions(every.games_B[:n_games], every.game_N[:n], every.token_N[:n], every.ply_N[:n])
    tokens_BL = corpus.rows(where.games_B, gpt.cfg.n_ctx)[0]
    boards = corpus.boards(where.games_B)
    boards = boards[boards.rows(where.game_N, where.ply_N)]
    whole_move = corpus.tokenizer.is_whole_move
    return Above(
        where,
        boards,
        tokens_BL[where.game_N, where.token_N + 1].astype(np.int64),
        testbed.activations(split)[:n].to(gpt.device),
        corpus.tokenizer.legal_tokens(corpus.game, boards) if whole_move else None,
        OneToken(gpt, torch.from_numpy(tokens_BL[:, :-1]).to(gpt.device), testbed.hook_name),
    )
