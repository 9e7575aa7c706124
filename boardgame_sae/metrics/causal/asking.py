"""Asking a model for its next move at some positions of games, while hooks change what it holds of them.

A model whose tokens are whole moves answers with its probability of every move. One that writes characters writes its
most probable move, and some by sampling; hooks see the characters that it writes too.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.activations.branches import Branches
from boardgame_sae.config import seed_for
from boardgame_sae.games import MoveRecord
from boardgame_sae.model.float64 import exact
from boardgame_sae.model.gpt import Hook
from boardgame_sae.model.sampling import choose
from boardgame_sae.testbeds.testbed import Testbed

AT_ONCE = 128
"""Positions that are asked about together."""
NUMBER = 4
"""Characters that may come before a written move: its number."""


class Hooked(NamedTuple):
    """Hooks for some positions."""

    own: Mapping[str, Hook]
    """Called with the activations (n, tokens, ...) of each position's last token, and of those written after it."""
    past: Mapping[str, Hook] | None = None
    """Called with the activations (n, tokens, ...) of each position's game; None leaves what comes before as it is."""


HooksOf = Callable[[np.ndarray], Hooked]
"""The hooks for some of the positions, given by their numbers."""


class Answers(NamedTuple):
    """What a model answers at N positions."""

    logits_NV: Tensor | None
    """Of the next move; None where moves are written."""
    written: list[list[str]]
    """The texts of written moves, the most probable first and then those sampled; empty where logits are known."""


def unchanged(rows: np.ndarray) -> Hooked:  # noqa: ARG001
    """No hooks: the model as it is."""
    return Hooked({})


class Asking:
    """A testbed's model on some games."""

    def __init__(self, testbed: Testbed, tokens_BL: np.ndarray) -> None:
        """tokens_BL: the games as the model reads them."""
        self.gpt, self.corpus = testbed.model.gpt, testbed.corpus
        self.tokens_BL = torch.from_numpy(tokens_BL.astype(np.int64)).to(self.gpt.device)
        self._branches = Branches(self.gpt, self.tokens_BL)

    @classmethod
    def of_games(cls, testbed: Testbed, games_B: np.ndarray) -> "Asking":
        """On games of the testbed's corpus."""
        return cls(testbed, testbed.corpus.rows(games_B, testbed.model.gpt.cfg.n_ctx)[0][:, :-1])

    @property
    def logits_BLV(self) -> Tensor:
        """The model's logits after every token, as it is."""
        return self._branches.logits_BLV

    @torch.no_grad()
    def __call__(
        self,
        game_N: np.ndarray,
        token_N: np.ndarray,
        hooks_of: HooksOf = unchanged,
        *,
        n_samples: int = 0,
        seed: int = 0,
    ) -> Answers:
        """The model's answers after token `token_N[n]` of game `game_N[n]`.

        n_samples: moves that are sampled, where moves are written. seed: of what is sampled.
        """
        logits, written = [], list[list[str]]()
        for start in range(0, len(game_N), AT_ONCE):
            rows = np.arange(start, min(start + AT_ONCE, len(game_N)))
            game, token = (torch.from_numpy(part[rows]).to(self.gpt.device) for part in (game_N, token_N))
            own, past = hooks_of(rows)
            branches = self._branches
            if past is not None:
                longest = int(token.max()) + 1
                branches, game = Branches(self.gpt, self.tokens_BL[game, :longest], past), torch.arange(len(rows))
                game = game.to(token.device)
            last_N1 = self.tokens_BL[torch.from_numpy(game_N[rows]).to(token.device), token][:, None]
            if self.corpus.tokenizer.is_whole_move:
                logits.append(branches(game, token, last_N1, own)[:, 0])
                continue
            numbers = [(int(game_N[row]), int(token_N[row])) for row in rows]
            texts = [self._written(branches, game, token, last_N1, own, None)]
            for sample in range(n_samples):
                seeds = [seed_for(seed, "moves", *number, sample) for number in numbers]
                uniform = np.stack([np.random.default_rng(one).random(self._n_new) for one in seeds])
                texts.append(self._written(branches, game, token, last_N1, own, torch.from_numpy(uniform)))
            written += [list(of_one) for of_one in zip(*texts, strict=True)]
        return Answers(torch.cat(logits) if logits else None, written)

    @property
    def _n_new(self) -> int:
        return self.corpus.game.max_written + NUMBER

    def _written(
        self,
        branches: Branches,
        game_N: Tensor,
        start_N: Tensor,
        last_N1: Tensor,
        hooks: Mapping[str, Hook],
        uniform_NT: Tensor | None,
    ) -> list[str]:
        """The move that each branch writes: the most probable, or one drawn by uniform numbers."""
        game, alphabet = self.corpus.game, self.corpus.alphabet
        tokens_NT, texts = last_N1, [""] * len(game_N)
        open_N = np.ones(len(texts), bool)
        for step in range(min(self._n_new, self.gpt.cfg.n_ctx - int(start_N.max()))):
            logits_NV = branches(game_N, start_N, tokens_NT, hooks)[:, -1]
            draw_N = None if uniform_NT is None else uniform_NT[:, step]
            next_N = choose(logits_NV, 0.0 if draw_N is None else 1.0, draw_N)
            for row in np.flatnonzero(open_N).tolist():
                character = alphabet[int(next_N[row])]
                texts[row] += character
                open_N[row] = bool(character) and character not in game.move_end and not self._is_whole(texts[row])
            if not open_N.any():
                break
            tokens_NT = torch.cat([tokens_NT, next_N[:, None]], 1)
        return [next(iter(game.split(text)), "") for text in texts]

    def _is_whole(self, text: str) -> bool:
        """Whether a move of a notation without end marks is complete."""
        game = self.corpus.game
        return not game.move_end and len(text) >= game.max_written


def chances(testbed: Testbed, answers: Answers) -> dict[str, float]:
    """At the first position asked about, the probability of every move, by its name as it is written.

    Where moves are written character by character it is the share of those sampled.
    """
    if answers.logits_NV is None:
        sampled = answers.written[0][1:]
        return {move: sampled.count(move) / len(sampled) for move in sampled}
    chances_V = exact(answers.logits_NV[0]).softmax(-1).tolist()
    return dict(zip(testbed.corpus.alphabet, chances_V, strict=True))


def move_names(testbed: Testbed, position: Any, codes: list[int]) -> dict[str, int]:
    """The codes of some moves, by their names as `chances` has them."""
    game, alphabet = testbed.corpus.game, testbed.corpus.alphabet
    if not testbed.corpus.tokenizer.is_whole_move:
        return {game.move_text(position, code): code for code in codes}
    return {alphabet[token]: code for token, code in zip(game.move_tokens(MoveRecord.of([codes])), codes, strict=True)}
