"""Which openings a GPT read while it was trained, and how often: its games are played again.

A testbed ships games that were held out; those that its GPT was trained on are not among them. But where they were
played by this program, the corpus's config and its seed say every one of them, the split which were for training, and
the card of the GPT which of those its steps read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from boardgame_sae.config import ConfigError, from_mapping, seed_for
from boardgame_sae.games.random_bits import GOLDEN, mix_words
from boardgame_sae.games.record import MoveRecord
from boardgame_sae.players.openings import make_opening
from boardgame_sae.players.play import game_seeds, play_games
from boardgame_sae.players.registry import make_player
from boardgame_sae.runs import progress
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import SPLITS, Corpus
from boardgame_sae.transcripts.corpus_writer import split_games
from boardgame_sae.transcripts.fresh import can_play_on
from boardgame_sae.transcripts.generate import GenerateConfig

GAMES_AT_ONCE = 100_000


def opening_keys(record: MoveRecord, n_plies: int) -> np.ndarray:
    """A word for the first n_plies moves of each game: uint64 (games,); equal openings have equal words.

    A game that ended before has a word of its own length.
    """
    key_B = np.zeros(len(record), np.uint64)
    for ply in range(n_plies):
        place_B = record.offsets[:-1] + ply
        there_B = place_B < record.offsets[1:]
        move_B = np.zeros(len(record), np.uint64)
        move_B[there_B] = record.moves_M[place_B[there_B]].astype(np.uint64) + np.uint64(1)
        key_B = mix_words(key_B + (move_B + np.uint64(1)) * GOLDEN)
    return key_B


@dataclass(frozen=True, eq=False)
class OpeningsRead:
    """How often a GPT read each opening."""

    n_read: int
    """Games that it read, each as often as it did."""
    keys: Mapping[int, np.ndarray]
    """The openings of each number of plies, ascending words of `opening_keys`."""
    counts: Mapping[int, np.ndarray]
    """How often each was read."""

    def count(self, record: MoveRecord, n_plies: int) -> np.ndarray:
        """How often the first n_plies moves of each game were read: int64 (games,)."""
        keys, wanted = self.keys[n_plies], opening_keys(record, n_plies)
        if not len(keys):
            return np.zeros(len(wanted), np.int64)
        place = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
        return np.where(keys[place] == wanted, self.counts[n_plies][place], 0)


def openings_read(testbed: Testbed, plies: tuple[int, ...]) -> OpeningsRead:
    """Play the games again that a testbed's GPT was trained on: ask `testbed.once(openings_read, plies)`.

    Raises ConfigError where that cannot be done: imported games, an engine's, or games that come out otherwise now.
    """
    corpus = testbed.corpus
    if not can_play_on(corpus):
        raise ConfigError(
            f"{corpus.path}: the games that the GPT was trained on cannot be played again (they were imported, or "
            "played by an engine), so that nothing says which openings it knows; give a testbed of this program's games"
        )
    cfg = from_mapping(GenerateConfig, corpus.config, str(corpus.path))
    keys: dict[int, list[np.ndarray]] = {ply: [] for ply in plies}
    splits, held_out = list[np.ndarray](), set[bytes]()
    with progress(cfg.n_games, "games of the training set", "games", leave=False) as bar:
        for first in range(0, cfg.n_games, GAMES_AT_ONCE):
            record = _played(corpus, cfg, first, min(first + GAMES_AT_ONCE, cfg.n_games))
            split_B = split_games(record, cfg.seed, cfg.validation_fraction, cfg.test_fraction)
            held_out |= {moves.tobytes() for moves in record[np.flatnonzero(split_B == SPLITS.index("test"))]}
            splits.append(split_B)
            for ply in plies:
                keys[ply].append(opening_keys(record, ply))
            bar.update(len(record))
    if not held_out.issuperset(moves.tobytes() for moves in corpus.record(corpus.games("test"))):
        raise ConfigError(f"{corpus.path}: its config does not give its games again; generate the corpus again")
    times_B = _times_read(testbed, np.concatenate(splits))
    counted = {ply: _counted(np.concatenate(keys.pop(ply)), times_B) for ply in plies}
    return OpeningsRead(
        int(times_B.sum()), {ply: one[0] for ply, one in counted.items()}, {ply: one[1] for ply, one in counted.items()}
    )


def _played(corpus: Corpus, cfg: GenerateConfig, first: int, last: int) -> MoveRecord:
    both = [make_player(text) for text in (cfg.players * 2)[:2]]
    opening = make_opening(cfg.opening) if cfg.opening else None
    seeds_B = game_seeds(cfg.seed, first, last)
    return play_games(corpus.game, both, seeds_B, opening=opening, max_plies=cfg.max_plies).record


def _times_read(testbed: Testbed, split_B: np.ndarray) -> np.ndarray:
    """How often the GPT's training read each game; all training games once where its card does not say."""
    training = testbed.model.card.get("training", {})
    if not {"n_steps", "batch_size", "seed"} <= set(training):
        return (split_B == SPLITS.index("train")).astype(np.int64)
    games = Corpus(testbed.corpus.path, testbed.corpus.attributes, {"split": split_B})
    n_rows, order = training["n_steps"] * training["batch_size"], seed_for(training["seed"], "order")
    return np.bincount(games.batch_games("train", 0, n_rows, order), minlength=len(split_B))


def _counted(key_B: np.ndarray, times_B: np.ndarray) -> Sequence[np.ndarray]:
    """The words that were read, ascending, and how often each."""
    keys, place_B = np.unique(key_B[times_B > 0], return_inverse=True)
    return keys, np.bincount(place_B, times_B[times_B > 0], len(keys)).astype(np.int64)
