"""Linear probes of concepts on the activations that an SAE reads: the truth that SAEBench's ablations are judged by."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from boardgame_sae.metrics.saebench.data.concepts import Concept
from boardgame_sae.metrics.saebench.data.examples import Examples, Question
from boardgame_sae.metrics.saebench.data.linear import STRENGTHS, Classifier, fit_chosen
from boardgame_sae.testbeds.testbed import Testbed


class ConceptProbe(NamedTuple):
    """A concept, its examples, and a probe of it that was trained on them."""

    concept: Concept
    examples: Mapping[str, Examples]
    classifier: Classifier
    accuracy: float
    """On its validation examples."""


def concept_probes(testbed: Testbed, asked: Sequence[Question]) -> list[ConceptProbe]:
    """A logistic regression for each concept, its penalty chosen on validation games."""
    return [ConceptProbe(concept, examples, *fit_probe(testbed, examples)) for concept, examples in asked]


def fit_probe(testbed: Testbed, examples: Mapping[str, Examples]) -> tuple[Classifier, float]:
    """A probe of the truths of some examples, and its accuracy on those of validation."""
    (x_ND, true_N), (x_validation_ND, true_validation_N) = (
        (rows_of(testbed, split, examples[split].row_N), examples[split].true_N) for split in ("train", "validation")
    )
    classifier = fit_chosen(x_ND, true_N, x_validation_ND, true_validation_N, STRENGTHS)
    right_N = (classifier.logits(x_validation_ND) > 0) == true_validation_N
    return classifier, float(right_N.mean())


def rows_of(testbed: Testbed, split: str, row_N: np.ndarray) -> np.ndarray:
    """(N, D): the activations at some of a split's scored positions."""
    return testbed.activations(split)[row_N].numpy()
