"""Parents and children that a game itself gives: whenever a child is true, its parent is true too.

`Game.hierarchies` names pairs of properties. A class of the child belongs to the class of the parent on the same square
(or the same other place) that is true whenever it is; so `f3 my knight` is found to be a child of `f3 mine`.
"""

import itertools
import math
from collections import defaultdict
from typing import NamedTuple

import numpy as np

from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import SPLITS
from boardgame_sae.transcripts.labels import property_labels

LARGEST_SHARE = 0.95
"""A child that is true at more of its parent's positions is nearly the parent itself."""


class Truth(NamedTuple):
    """A class of a property, and where it is true."""

    name: str
    true: dict[str, np.ndarray]
    """bool (N,) by split: at which scored positions."""

    @property
    def rarer(self) -> int:
        """How often the rarer of true and false occurs, in the split where that is least."""
        return min(min(int(true_N.sum()), int((~true_N).sum())) for true_N in self.true.values())

    def implies(self, other: "Truth") -> bool:
        """Whether the other is true wherever this is, and clearly more often."""
        within = all(not (self.true[split] & ~other.true[split]).any() for split in SPLITS)
        return within and self.true["train"].sum() <= LARGEST_SHARE * other.true["train"].sum()


class Parent(NamedTuple):
    """A truth, and its children."""

    truth: Truth
    children: list[Truth]


def parents(testbed: Testbed, n: int, min_count: int = 20) -> list[Parent]:
    """At most n parents with two children or more, from each parent property in turn: those with the most children
    first, then the most balanced.

    min_count: how often a parent or child is true, and false, in every split, at least.
    """
    child_names = defaultdict[str, list[str]](list)
    for parent, child in testbed.corpus.game.hierarchies:
        child_names[parent].append(child)
    families = [_family(testbed, parent, children, min_count) for parent, children in child_names.items()]
    ranked = [sorted(family, key=lambda parent: (-len(parent.children), -parent.truth.rarer)) for family in families]
    turns = itertools.zip_longest(*ranked)
    return [parent for turn in turns for parent in turn if parent is not None][:n]


def _family(testbed: Testbed, parent: str, children: list[str], min_count: int) -> list[Parent]:
    """The parents of one property with the children that they have among some others."""
    truths = _truths(testbed, [parent, *children], min_count)
    family = [
        Parent(truth, [child for name in children for child in truths[name][place] if child.implies(truth)])
        for place, truths_there in enumerate(truths[parent])
        for truth in truths_there
    ]
    return [parent for parent in family if len(parent.children) > 1]


def _truths(testbed: Testbed, names: list[str], min_count: int) -> dict[str, list[list[Truth]]]:
    """By property, place by place, the classes that are true and false often enough.

    Places are what the shapes of all the properties begin with: the squares, or the columns of a board.
    """
    properties = {name: testbed.corpus.game.property(name) for name in names}
    shapes = [property_.shape for property_ in properties.values()]
    common = [sizes[0] for sizes in itertools.takewhile(lambda s: len(set(s)) == 1, zip(*shapes, strict=False))]
    labels = {split: _labels(testbed, split, names) for split in SPLITS}
    truths = {}
    for name, property_ in properties.items():
        class_names, n_classes = list(property_.class_names), property_.size // math.prod(common)
        columns = [
            Truth(class_names[column], {split: labels[split][name][:, column] for split in SPLITS})
            for column in range(property_.size)
        ]
        truths[name] = [
            [truth for truth in columns[first : first + n_classes] if truth.rarer >= min_count]
            for first in range(0, property_.size, n_classes)
        ]
    return truths


def _labels(testbed: Testbed, split: str, names: list[str]) -> dict[str, np.ndarray]:
    """bool (N, size) by property, at every scored position of a split."""
    where = testbed.positions(split)
    parts = [
        property_labels(testbed.corpus, where.rows(start, stop), names) for start, stop, *_ in testbed.spans(split)
    ]
    return {name: np.concatenate([part[name].reshape(len(part[name]), -1) for part in parts]) for name in names}
