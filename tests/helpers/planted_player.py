"""A model that plays by the board it holds: its activations are planted, and it reads the board back out of them."""

import numpy as np
import torch
from planted import PlantedTestbed

from boardgame_sae.metrics.causal import edits, probe_edits
from boardgame_sae.metrics.causal.asking import Answers, Asking, unchanged


class RulePlayer(Asking):
    """Asks a planted testbed, whose property is the board; the answer follows the rules on the board that it holds."""

    spoilt = False
    """Whether it answers nonsense."""

    def __init__(self, testbed, tokens_BL, games_B):
        self.testbed, self.tokens_BL = testbed, torch.from_numpy(tokens_BL.astype(np.int64))
        self.corpus, self.games_B = testbed.corpus, games_B
        self.split = next(s for s in ("train", "validation", "test") if games_B[0] in testbed.corpus.games(s))
        self.record = testbed.corpus.record(games_B)

    @classmethod
    def of_games(cls, testbed, games_B):
        if not isinstance(testbed, PlantedTestbed):
            return Asking.of_games(testbed, games_B)
        return cls(testbed, testbed.corpus.rows(games_B, testbed.model.gpt.cfg.n_ctx)[0][:, :-1], games_B)

    @property
    def logits_BLV(self):
        where = self.testbed.positions(self.split)
        where = where.rows(0, int(np.searchsorted(where.game_N, len(self.games_B))))
        logits_BLV = torch.zeros(*self.tokens_BL.shape, len(self.corpus.alphabet))
        logits_BLV[where.game_N, where.token_N] = self(where.game_N, where.token_N).logits_NV
        return logits_BLV

    def __call__(self, game_N, token_N, hooks_of=unchanged, **_):
        own, _ = hooks_of(np.arange(len(game_N)))
        game, rows = self.corpus.game, []
        where, acts_ND = self.testbed.positions(self.split), self.testbed.activations(self.split)
        for b, token in zip(game_N, token_N, strict=True):
            rows.append(int(np.flatnonzero((where.game_N == b) & (where.token_N == token))[0]))
        value = acts_ND[rows][:, None]
        for hook in own.values():
            value = hook(value)
        read_NSC = (value[:, 0] @ self.testbed.directions_PD.T).view(len(rows), len(game.squares), -1)
        logits_NV = torch.full((len(rows), len(self.corpus.alphabet)), -5.0)
        positions = [list(game.positions(moves.tolist())) for moves in self.record]
        for n, (row, content_S) in enumerate(zip(rows, read_NSC.argmax(-1).tolist(), strict=True)):
            position = positions[where.game_N[row]][where.ply_N[row]]
            for square, content in enumerate(content_S):
                position = game.with_square(position, square, game.contents[content])
            legal_V = edits.legal_tokens(self.testbed, [game.legal_moves(position)])[0]
            logits_NV[n, torch.from_numpy(legal_V)] = 5.0
        return Answers(-logits_NV if self.spoilt else logits_NV, [])


def plays_by_its_board(monkeypatch):
    """Have planted testbeds asked so, and their probes fitted on planted activations."""
    monkeypatch.setattr(edits, "Asking", RulePlayer)

    def planted_acts(testbed, tokens_BL, names):
        where, acts_ND = testbed.positions("train"), testbed.activations("train")
        acts_BLD = torch.zeros(*tokens_BL.shape, testbed.width)
        kept = where.game_N < len(tokens_BL)
        acts_BLD[where.game_N[kept], where.token_N[kept]] = acts_ND[torch.from_numpy(kept)]
        return dict.fromkeys(names, acts_BLD)

    monkeypatch.setattr(probe_edits, "_read", planted_acts)
