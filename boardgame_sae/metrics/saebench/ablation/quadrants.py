"""Pairs of concepts that are made to coincide, and examples of their four combinations.

A pair is chosen by rule: on different squares, with enough positions of all four combinations, and first those whose
probes are equally accurate. Where one concept is much easier than the other, a probe of both together reads the easy
one alone, and nothing is left to remove.
"""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from boardgame_sae.config import seed_for
from boardgame_sae.metrics.saebench.data.concepts import Concept, concepts, truth
from boardgame_sae.metrics.saebench.data.examples import Examples, questions
from boardgame_sae.metrics.saebench.data.probes import ConceptProbe, concept_probes
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import SPLITS

N_CANDIDATES = 24
"""Concepts among which pairs are sought."""
COMBINATIONS = ((True, True), (True, False), (False, True), (False, False))


class Pair(NamedTuple):
    """Two concepts, and positions of their four combinations."""

    concepts: tuple[Concept, Concept]
    accuracies: tuple[float, float]
    """Of their probes, on validation: how hard each is."""
    balanced: tuple[Mapping[str, Examples], Mapping[str, Examples]]
    """As many of each combination: examples of the first concept, and of the second."""
    biased: Mapping[str, Examples]
    """Only positions where both are true, or both false: as many in all."""


def pairs(testbed: Testbed, n: int, sizes: Mapping[str, int], seed: int = 0, min_count: int = 10) -> list[Pair]:
    """At most n pairs, no concept in two of them; sizes: examples in each split, a quarter of each combination.

    min_count: positions of the rarest combination that a pair must have in every split.
    """
    probes = concept_probes(testbed, questions(testbed, concepts(testbed, N_CANDIDATES), sizes, seed))
    known = {split: truth(testbed, split, [probe.concept.column for probe in probes]) for split in SPLITS}
    squares = np.concatenate([columns.square_P for columns in testbed.columns])
    ranked = sorted(
        itertools.combinations(range(len(probes)), 2),
        key=lambda ab: (round(abs(probes[ab[0]].accuracy - probes[ab[1]].accuracy), 2), *ab),
    )
    chosen, used = list[Pair](), set[int]()
    for a, b in ranked:
        square_a, square_b = (squares[probes[k].concept.column] for k in (a, b))
        if len(chosen) == n or used & {a, b} or square_a == square_b:
            continue
        rows = {split: _combinations(*known[split], a, b) for split in SPLITS}
        if min(len(part) for parts in rows.values() for part in parts) >= min_count:
            chosen.append(_pair(testbed, probes[a], probes[b], rows, sizes, seed))
            used |= {a, b}
    return chosen


def _combinations(true_NK: np.ndarray, known_NK: np.ndarray, a: int, b: int) -> list[np.ndarray]:
    known_N = known_NK[:, a] & known_NK[:, b]
    return [np.flatnonzero(known_N & (true_NK[:, a] == x) & (true_NK[:, b] == y)) for x, y in COMBINATIONS]


def _pair(
    testbed: Testbed,
    first: ConceptProbe,
    second: ConceptProbe,
    rows: Mapping[str, list[np.ndarray]],
    sizes: Mapping[str, int],
    seed: int,
) -> Pair:
    balanced, biased = ({}, {}), {}
    for split in SPLITS:
        rng = np.random.default_rng(seed_for(seed, "pair", first.concept.name, second.concept.name, split))
        game_N, quarter = testbed.positions(split).game_N, min(sizes[split] // 4, *map(len, rows[split]))
        drawn = [rng.choice(part, quarter, replace=False) for part in rows[split]]
        for which in range(2):
            truths = [np.full(quarter, combination[which]) for combination in COMBINATIONS]
            balanced[which][split] = _examples(drawn, truths, game_N)
        half = min(2 * quarter, len(rows[split][0]), len(rows[split][3]))
        together = [rng.choice(rows[split][k], half, replace=False) for k in (0, 3)]
        biased[split] = _examples(together, [np.ones(half, bool), np.zeros(half, bool)], game_N)
    return Pair((first.concept, second.concept), (first.accuracy, second.accuracy), balanced, biased)


def _examples(rows: list[np.ndarray], truths: list[np.ndarray], game_N: np.ndarray) -> Examples:
    row_N = np.concatenate(rows)
    order = np.argsort(row_N, kind="stable")
    return Examples(row_N[order], np.concatenate(truths)[order], game_N[row_N[order]])
