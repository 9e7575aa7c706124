"""Openings that a GPT read often, never, and such as no game has; and pairs of kinds that differ in nothing else.

All come from fresh games of the training set's players, each game giving one opening of one number of plies. An
impossible one is a copy with one move of its past exchanged for one that the rules forbid there, on a square that it
does not use elsewhere.

A kind must not be told by its ply: two kinds are compared ply by ply, with as many of each. Nor need it be told by
memory: an opening with few choices on its way is played more often, so that its board shows how often it was read.
Random play tells these apart. The chance of an opening is known, the product of one over the number of legal moves,
and whether an opening of a certain chance was in the training set, and how often, is luck. `alike in chance` compares
openings of exactly equal chance: what tells those apart has to remember.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from boardgame_sae.config import seed_for
from boardgame_sae.studies.familiarity.training_set import OpeningsRead, opening_keys, openings_read
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import SPLITS, Corpus
from boardgame_sae.transcripts.fresh import FreshGames


@dataclass(frozen=True, eq=False)
class Openings:
    """N possible openings, and a copy of each with an illegal move in its past: rows N, ..., 2 N - 1."""

    tokens_NL: np.ndarray
    """int64 (2 N, longest): filled up with 0."""
    ply_N: np.ndarray
    """Plies of each."""
    game_N: np.ndarray
    """The game each is of."""
    count_N: np.ndarray
    """How often the GPT read each in training; 0 of an impossible one."""
    expected_N: np.ndarray
    """How often it was to be expected, by its chance in random play."""
    legal_NV: np.ndarray
    """bool: the tokens that continue it legally; of an impossible one those of what it was copied from."""

    @property
    def possible_N(self) -> np.ndarray:
        """bool (2 N,)."""
        return np.arange(len(self.ply_N)) < len(self.ply_N) // 2


class Kinds(NamedTuple):
    """Two kinds of openings to be told apart, with as many of each at every number of plies."""

    row_N: np.ndarray
    """Which openings."""
    first_N: np.ndarray
    """bool: whether each is of the first kind."""


CONTRASTS: Mapping[str, tuple[str, str]] = {
    "as played": ("often", "never"),
    "alike in chance": ("often", "never"),
    "possible or not": ("possible", "impossible"),
}
"""What is compared, and what its two kinds are called."""


def drawn_openings(testbed: Testbed, plies: tuple[int, ...], n_games: int, seed: int, split: str) -> Openings:
    """Openings of fresh games, no two alike: ask `testbed.once(drawn_openings, ...)`.

    n_games: games that are played for a split; the i-th gives its opening of the i-th of `plies`, in turn.
    Raises ConfigError as `openings_read` does.
    """
    read: OpeningsRead = testbed.once(openings_read, plies)
    corpus = FreshGames(testbed.corpus, n_games, seed_for(seed, "openings")).block(SPLITS.index(split))
    record = corpus.record(np.arange(len(corpus)))
    wanted_B = np.array(plies)[np.arange(len(record)) % len(plies)]
    parts = []
    for ply in plies:
        games = np.flatnonzero((wanted_B == ply) & (record.lengths > ply))
        games = games[np.sort(np.unique(opening_keys(record[games], ply), return_index=True)[1])]
        parts.append(_of_ply(corpus, games, ply, max(plies), read, np.random.default_rng(seed_for(seed, split, ply))))
    possible, impossible = zip(*parts, strict=True)
    return Openings(*(np.concatenate(arrays) for arrays in zip(*possible, *impossible, strict=True)))


def _of_ply(
    corpus: Corpus, games: np.ndarray, ply: int, longest: int, read: OpeningsRead, rng: np.random.Generator
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """The fields of the openings of some games, and of their impossible copies."""
    record = corpus.record(games)
    boards = corpus.game.boards(record.cut(ply))
    rows = boards.rows(np.arange(len(games))[:, None], np.arange(ply + 1)[None])
    legal_NLV = corpus.tokenizer.legal_tokens(corpus.game, boards[rows.ravel()]).reshape(*rows.shape, -1)
    chance_N = (1 / legal_NLV[:, :-1].sum(-1)).prod(1)
    tokens_NL = np.zeros((len(games), longest), np.int64)
    tokens_NL[:, :ply] = corpus.rows(games, ply)[0][:, :ply]
    legal_NV, plies_N = legal_NLV[:, -1], np.full(len(games), ply)
    possible = (tokens_NL, plies_N, games, read.count(record, ply), read.n_read * chance_N, legal_NV)
    broken_NL = with_illegal_move(tokens_NL, ply, legal_NLV, rng)
    zeros_N = np.zeros(len(games), np.int64)
    return possible, (broken_NL, plies_N, games, zeros_N, np.zeros(len(games)), legal_NV)


def with_illegal_move(tokens_NL: np.ndarray, ply: int, legal_NLV: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Copies of openings with one move, neither the first nor the last, exchanged for an illegal one.

    legal_NLV: the legal tokens after 0, 1, ... moves. What is put there is used nowhere else in the opening.
    """
    broken_NL = tokens_NL.copy()
    for row, tokens_L in enumerate(tokens_NL):
        place = rng.integers(1, ply - 1)
        allowed_V = ~legal_NLV[row, place]
        allowed_V[0], allowed_V[tokens_L[:ply]] = False, False
        broken_NL[row, place] = rng.choice(np.flatnonzero(allowed_V))
    return broken_NL


def kinds(openings: Openings, contrast: str, often: int, n_pairs: int, seed: int) -> Kinds:
    """The openings of a contrast.

    often: an opening counts as read often from this number on. n_pairs: maximum number of possible openings that are
    compared with their impossible copies.
    """
    rng = np.random.default_rng(seed_for(seed, contrast))
    possible_N = openings.possible_N
    if contrast == "possible or not":
        own_N = np.sort(rng.permutation(len(possible_N) // 2)[:n_pairs])
        return Kinds(np.concatenate([own_N, own_N + len(possible_N) // 2]), np.arange(2 * len(own_N)) < len(own_N))
    often_N, never_N = openings.count_N >= often, possible_N & (openings.count_N == 0)
    stratum_N = openings.ply_N
    if contrast == "alike in chance":
        own_N2 = np.stack([openings.ply_N, openings.expected_N.round(9)], 1)
        stratum_N = np.unique(own_N2, axis=0, return_inverse=True)[1]
    return equal_numbers(often_N, never_N, stratum_N, rng)


def equal_numbers(first_N: np.ndarray, second_N: np.ndarray, stratum_N: np.ndarray, rng: np.random.Generator) -> Kinds:
    """As many of either kind as of the other in every stratum, drawn at random. first_N, second_N: bool."""
    kept = [np.empty(0, np.int64)]
    for stratum in np.unique(stratum_N[first_N | second_N]):
        both = [rng.permutation(np.flatnonzero(kind_N & (stratum_N == stratum))) for kind_N in (first_N, second_N)]
        kept += [rows[: min(map(len, both))] for rows in both]
    row_N = np.sort(np.concatenate(kept))
    return Kinds(row_N, first_N[row_N])
