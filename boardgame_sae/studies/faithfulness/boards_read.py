"""The boards that linear probes read at every layer, beside the true ones, and as positions that can be played on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.activations.hook_points import read
from boardgame_sae.activations.one_token import OUTPUT, RESIDUAL
from boardgame_sae.config import seed_for
from boardgame_sae.games import Game
from boardgame_sae.metrics.causal.boards import set_square
from boardgame_sae.metrics.causal.probe_edits import BoardProbes
from boardgame_sae.model.gpt import GPT
from boardgame_sae.studies.faithfulness.errors import elsewhere
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import Corpus
from boardgame_sae.transcripts.labels import Positions, positions

GAMES_AT_ONCE = 128
"""Games that are read together."""


@dataclass(frozen=True, eq=False)
class BoardsRead:
    """N positions of games, with the board that they have and those that each of H layers' probes read."""

    corpus: Corpus
    where: Positions
    positions: Sequence[Any]
    true_NS: np.ndarray
    """int64: what stands on each square, by its number among the game's contents, as the player to move sees it."""
    read_HNS: np.ndarray
    """int64: what each layer's probe reads."""
    sure_HN: np.ndarray
    """How far the probe's largest output is above the next, mean over squares."""
    logits_NV: Tensor
    """What the model predicts of the next token."""

    @property
    def right_H(self) -> np.ndarray:
        """The share of squares that each layer's probe reads right."""
        return (self.read_HNS == self.true_NS).mean((1, 2))

    def position_read(self, row: int, layer: int) -> Any:
        """The position that a layer's probe reads, as `position_with` makes it."""
        return self._position(row, self.read_HNS[layer, row])

    def positions_elsewhere(self, row: int, layer: int, n: int, seed: int) -> list[Any]:
        """Positions with the same mistakes as that one on other squares, drawn at random."""
        rng = np.random.default_rng(seed_for(seed, "elsewhere", int(row)))
        return [self._position(row, elsewhere(self.true_NS[row], self.read_HNS[layer, row], rng)) for _ in range(n)]

    def _position(self, row: int, content_S: np.ndarray) -> Any:
        wrong_S = np.flatnonzero(content_S != self.true_NS[row])
        return position_with(self.corpus.game, self.positions[row], wrong_S, content_S)


def position_with(game: Game, position: Any, squares: Sequence[int] | np.ndarray, content_S: np.ndarray) -> Any:
    """A position with what is read on some squares; a square stays as it is where the rules know no such position.

    content_S: what is read on every square.
    """
    left = list(squares)
    while left:  # what could not be set may be possible once others are: a king that no longer stands in check
        undone = []
        for square in left:
            changed = set_square(game, position, int(square), game.contents[content_S[square]])
            if changed is None:
                undone.append(square)
            else:
                position = changed
        if len(undone) == len(left):
            break
        left = undone
    return position


def layers(probes: BoardProbes) -> list[str]:
    """The layers whose residual streams are read, from the first."""
    return [name for name in map(RESIDUAL.format, range(len(probes.probes))) if name in probes.probes]


def chosen_positions(
    testbed: Testbed, split: str, n_games: int, per_game: int | None = None, seed: int = 0
) -> Positions:
    """Scored positions of the first games of a split that a move follows; of each game at most per_game at random.

    Where moves are written, any move must still fit into the model's context.
    """
    every, corpus = testbed.positions(split), testbed.corpus
    room = 1 if corpus.tokenizer.is_whole_move else corpus.game.max_written
    games_B = every.games_B[:n_games]
    lengths_B = corpus.record(games_B).lengths
    row_N = np.arange(np.searchsorted(every.game_N, n_games))
    row_N = row_N[every.ply_N[row_N] < lengths_B[every.game_N[row_N]]]
    row_N = row_N[every.token_N[row_N] + room <= testbed.model.gpt.cfg.n_ctx]
    if per_game is not None:
        row_N = np.random.default_rng(seed).permutation(row_N)
        row_N = row_N[np.argsort(every.game_N[row_N], kind="stable")]
        starts_B = np.searchsorted(every.game_N[row_N], np.arange(len(games_B)))
        row_N = np.sort(row_N[np.arange(len(row_N)) - starts_B[every.game_N[row_N]] < per_game])
    return Positions(games_B, every.game_N[row_N], every.token_N[row_N], every.ply_N[row_N])


def last_positions(testbed: Testbed, corpus: Corpus, ply_B: np.ndarray) -> Positions:
    """The scored position after ply_B[b] plies of the b-th game of a corpus, of those games that have one."""
    where = positions(corpus, np.arange(len(corpus)), testbed.read_at, testbed.model.gpt.cfg.n_ctx)
    here_N = where.ply_N == ply_B[where.game_N]
    return Positions(where.games_B, where.game_N[here_N], where.token_N[here_N], where.ply_N[here_N])


@torch.no_grad()
def boards_read(gpt: GPT, corpus: Corpus, where: Positions, probes: BoardProbes) -> BoardsRead:
    """Read boards at some positions of a corpus's games."""
    boards = corpus.boards(where.games_B)
    boards = boards[boards.rows(where.game_N, where.ply_N)]
    labels = corpus.game.property(corpus.game.board_property).evaluate(boards)
    true_NS = labels.reshape(len(where), len(corpus.game.squares), -1).argmax(-1)
    names, parts = layers(probes), list[tuple[np.ndarray, np.ndarray, Tensor]]()
    for first in range(0, len(where.games_B), GAMES_AT_ONCE):
        own_N = np.flatnonzero((where.game_N >= first) & (where.game_N < first + GAMES_AT_ONCE))
        tokens_BL = corpus.rows(where.games_B[first : first + GAMES_AT_ONCE], gpt.cfg.n_ctx)[0][:, :-1]
        own = where.game_N[own_N] - first, where.token_N[own_N]
        parts.append(_read(gpt, torch.from_numpy(tokens_BL), names, probes, *own))
    read_HNS, sure_HN, logits_NV = zip(*parts, strict=True)
    replayed = [list(corpus.game.positions(moves.tolist())) for moves in corpus.record(where.games_B)]
    return BoardsRead(
        corpus, where, [replayed[game][ply] for game, ply in zip(where.game_N, where.ply_N, strict=True)], true_NS,
        np.concatenate(read_HNS, 1), np.concatenate(sure_HN, 1), torch.cat(logits_NV),
    )  # fmt: skip


def _read(
    gpt: GPT, tokens_BL: Tensor, names: Sequence[str], probes: BoardProbes, game_N: np.ndarray, token_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Tensor]:
    found = read(gpt, tokens_BL.to(gpt.device), [*names, OUTPUT])
    outputs_HNSC = torch.stack([probes.probes[name].logits(found[name][game_N, token_N].float()) for name in names])
    top_HNS2 = outputs_HNSC.topk(2, -1).values
    logits_NV = gpt.unembed(found[OUTPUT][game_N, token_N])
    sure_HN = (top_HNS2[..., 0] - top_HNS2[..., 1]).mean(-1)
    return outputs_HNSC.argmax(-1).cpu().numpy(), sure_HN.cpu().numpy(), logits_NV.cpu().double()
