"""What a step of a GPT's training reads: games of one corpus or, in equal parts, of several with the same tokens.

Nothing in the tokens tells which corpus a game is from; where they follow different rules, the GPT has to infer those.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from boardgame_sae.config import ConfigError
from boardgame_sae.model.legality import continuations
from boardgame_sae.transcripts.corpus import SPLITS, Corpus


class StepRows(NamedTuple):
    """The rows of a training step."""

    tokens_BL: Tensor
    """int64 (B, L): token ids."""
    present_BL: Tensor
    """bool (B, L): where a row has a token; the absent ones are at its end."""
    expected_BLV: Tensor | None = None
    """bool (B, L - 1, V): the tokens that were equally likely to come next; None: the target is what was played."""

    def to(self, device: torch.device) -> "StepRows":
        """The same on a device."""
        legal = None if self.expected_BLV is None else self.expected_BLV.to(device)
        return StepRows(self.tokens_BL.to(device), self.present_BL.to(device), legal)


def check_corpora(corpora: Sequence[Corpus], batch_size: int, *, expected: bool) -> None:
    """Raise ValueError when some corpora cannot be learned from, or not as one: with the same tokens, and an equal part
    of each step; ConfigError when one does not allow expected targets.
    """
    first = corpora[0]
    for corpus in corpora:
        for split in SPLITS:
            corpus.games(split, 1)
        if corpus.n_read(corpus.games("train")).max() < 2:
            raise ValueError(
                f"{corpus.path}: every train game is a single token, after which there is nothing to predict; give "
                "games of at least two plies"
            )
        if (corpus.alphabet, corpus.n_ctx) != (first.alphabet, first.n_ctx):
            raise ValueError(f"{corpus.path}: its tokens, or how many a game has, are not those of {first.path}")
        if expected:
            check_expected(corpus)
    if batch_size % len(corpora):
        raise ValueError(f"batch_size {batch_size} does not divide into {len(corpora)} corpora; give a multiple")


def check_expected(corpus: Corpus) -> None:
    """Raise ConfigError unless every legal continuation of the corpus's games was equally likely."""
    if not corpus.tokenizer.is_whole_move or not corpus.is_random_play:
        raise ConfigError(
            f"{corpus.path}: targets 'expected' need random players and one token per move; use targets 'sampled'"
        )


def step_rows(
    corpora: Sequence[Corpus], step: int, batch_size: int, seed: int, n_ctx: int, *, own: slice, expected: bool
) -> StepRows:
    """The rows of a step: a pure function of its arguments.

    batch_size: rows of each corpus. own: which of those are read here. expected: whether targets are the legal moves.
    """
    parts = [_of_corpus(corpus, step, batch_size, seed, n_ctx, own, expected) for corpus in corpora]
    tokens, present, legal = zip(*parts, strict=True)
    return StepRows(torch.cat(tokens), torch.cat(present), torch.cat(legal) if expected else None)


def _of_corpus(
    corpus: Corpus, step: int, batch_size: int, seed: int, n_ctx: int, own: slice, expected: bool
) -> StepRows:
    if not expected:
        tokens_BL, plies_BL = (part[own] for part in corpus.batch("train", step, batch_size, seed, n_ctx))
        return StepRows(torch.from_numpy(tokens_BL), torch.from_numpy(plies_BL >= 0))
    games_B = corpus.batch_games("train", step, batch_size, seed)[own]
    tokens_BL, plies_BL = corpus.rows(games_B, n_ctx)
    legal_BLV = continuations(corpus, games_B, tokens_BL, plies_BL)[0]
    return StepRows(torch.from_numpy(tokens_BL), torch.from_numpy(plies_BL >= 0), torch.from_numpy(legal_BLV))
