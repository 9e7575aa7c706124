"""The regimes, and the positions of which each draws its examples.

Under covariate shift train and validation examples are of one kind of position, test examples of another: games with
another first move, later plies, games of another player.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np

from boardgame_sae.config import seed_for
from boardgame_sae.metrics.saebench.data.concepts import Concept, truth
from boardgame_sae.players.play import game_seeds, play_games
from boardgame_sae.players.registry import make_player
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import SPLITS
from boardgame_sae.transcripts.fresh import in_memory

Shift = Literal["openings", "plies", "player"]


class Case(NamedTuple):
    """One setting of a regime."""

    regime: str
    setting: str
    """What tables call it."""
    n: int
    """Labelled examples to train on, and as many to choose on."""
    share: float = 0.5
    """Share of them that are true; of test examples it is always one half, which areas do not depend on."""
    flipped: float = 0.0
    """Share of their labels that are wrong; those of test examples never are."""
    shift: Shift | None = None


class Place(NamedTuple):
    """Where examples may be drawn."""

    testbed: Testbed
    split: str
    allowed_N: np.ndarray
    """bool (N,): at which of the split's scored positions."""


class Examples(NamedTuple):
    """Positions of a place, as they are labelled."""

    place: Place
    row_N: np.ndarray
    """Ascending."""
    label_N: np.ndarray
    """bool (N,)."""


def places(testbed: Testbed, shift: Shift | None, player: str, seed: int) -> dict[str, Place]:
    """The place of each split's examples. Raises ConfigError when the player cannot play the testbed's game."""
    everywhere = {split: np.ones(len(testbed.positions(split)), bool) for split in SPLITS}
    if shift == "player":
        other = testbed.once(played_by, player, seed)
        return {
            **{split: Place(testbed, split, everywhere[split]) for split in ("train", "validation")},
            "test": Place(other, "train", np.ones(len(other.positions("train")), bool)),
        }
    if shift is None:
        return {split: Place(testbed, split, allowed_N) for split, allowed_N in everywhere.items()}
    like_train = LIKE_TRAIN[shift](testbed)
    return {split: Place(testbed, split, like_train(split) == (split != "test")) for split in SPLITS}


def _with_first_move(testbed: Testbed) -> Callable[[str], np.ndarray]:
    """Whether the game of each position begins as most train games do."""

    def first_N(split: str) -> np.ndarray:
        where = testbed.positions(split)
        record = testbed.corpus.record(where.games_B)
        return record.moves_M[record.offsets[:-1]][where.game_N]  # a game with a position has a move

    moves, counts = np.unique(first_N("train"), return_counts=True)
    return lambda split: first_N(split) == moves[counts.argmax()]


def _early(testbed: Testbed) -> Callable[[str], np.ndarray]:
    """Whether a position is of the earlier half."""
    middle = np.median(testbed.positions("train").ply_N)
    return lambda split: testbed.positions(split).ply_N <= middle


LIKE_TRAIN: Mapping[str, Callable[[Testbed], Callable[[str], np.ndarray]]] = {
    "openings": _with_first_move,
    "plies": _early,
}
"""Shifts within a testbed: which positions of a split, bool (N,), are like those to train on."""


def played_by(testbed: Testbed, player: str, seed: int) -> Testbed:
    """The same model and truth on as many games of another player; all of them its split `train`."""
    corpus, one = testbed.corpus, make_player(player)
    seeds_B = game_seeds(seed_for(seed, "another player"), 0, testbed.n_games)
    record = play_games(corpus.game, [one, one], seeds_B, max_plies=corpus.config.get("max_plies")).record
    of_player = in_memory(record, corpus)
    own = {"properties": testbed.properties, "n_games": testbed.n_games, "positions": testbed.read_at}
    return Testbed(testbed.model, of_player, testbed.hook_name, **own)


Drawn = dict[str, Examples]
"""Examples by split."""


def draw(case: Case, concept: Concept, where: Mapping[str, Place], n_test: int, seed: int) -> Drawn | None:
    """Examples of a concept in each split; None where a place has too few true or false ones.

    Those of test depend on the shift alone, so that settings are compared on the same ones.
    """
    drawn = {}
    for split, place in where.items():
        labelled = split != "test"
        n, share, flipped = (case.n, case.share, case.flipped) if labelled else (n_test, 0.5, 0.0)
        key = (case.regime, case.setting) if labelled else (str(case.shift),)
        rng = np.random.default_rng(seed_for(seed, concept.name, split, *key))
        rows = _drawn(place, concept, max(2, round(n * share)), max(2, n - round(n * share)), rng)
        if rows is None:
            return None
        drawn[split] = Examples(place, rows[0], with_wrong_labels(rows[1], flipped, rng))
    return drawn


def with_wrong_labels(true_N: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """The truths, bool (N,), with this share of the true and of the false ones turned round."""
    label_N = true_N.copy()
    for rows in (np.flatnonzero(true_N), np.flatnonzero(~true_N)):
        wrong = rng.choice(rows, round(share * len(rows)), replace=False)
        label_N[wrong] = ~label_N[wrong]
    return label_N


def _drawn(
    place: Place, concept: Concept, n_true: int, n_false: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray] | None:
    true_NK, known_NK = place.testbed.once(truth, place.split, (concept.column,))
    true_N, allowed_N = true_NK[:, 0], known_NK[:, 0] & place.allowed_N
    kinds = [(np.flatnonzero(true_N & allowed_N), n_true), (np.flatnonzero(~true_N & allowed_N), n_false)]
    if any(len(rows) < n for rows, n in kinds):
        return None
    row_N = np.sort(np.concatenate([rng.choice(rows, n, replace=False) for rows, n in kinds]))
    return row_N, true_N[row_N]
