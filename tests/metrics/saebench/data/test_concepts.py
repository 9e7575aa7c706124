"""Which truths are asked about: by rule, and only where there are enough examples."""

import numpy as np
import pytest

from boardgame_sae.metrics.saebench.data.concepts import concept_at, concepts, support, truth
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import SPLITS


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, "blocks.0.hook_resid_post", n_games=60)


def test_support_counts_what_the_labels_say(bed):
    counts = support(bed)
    for row, split in enumerate(SPLITS):
        labels_NP = bed.labels(split)
        assert np.array_equal(counts.true_SP[row], labels_NP.sum(0))
        for columns in bed.columns:
            known = columns.known(labels_NP).sum()
            assert (counts.known_SP[row, columns.start : columns.stop] == known).all()


def test_every_concept_has_enough_examples_and_squares_are_asked_about_once_per_property(bed):
    chosen = concepts(bed, 1000, min_count=30)
    assert len(chosen) > 10 and len({concept.column for concept in chosen}) == len(chosen)
    for split in SPLITS:
        labels_NP = bed.labels(split)[:, [concept.column for concept in chosen]]
        assert labels_NP.sum(0).min() >= 30 and (~labels_NP).sum(0).min() >= 30
    square_P = np.concatenate([columns.square_P for columns in bed.columns])
    asked = [(concept.property, square_P[concept.column]) for concept in chosen if square_P[concept.column] >= 0]
    assert len(set(asked)) == len(asked)


def test_the_most_balanced_come_first_from_each_property_in_turn(bed):
    chosen, balance_P = concepts(bed, 1000), np.abs(support(bed).prevalence_P - 0.5)
    for columns in bed.columns:
        own = [concept.column for concept in chosen if concept.property == columns.name]
        assert np.all(np.diff(balance_P[own]) >= 0)
    first = [concept.property for concept in chosen[: len({concept.property for concept in chosen})]]
    assert len(set(first)) == len(first)
    assert concepts(bed, 3) == chosen[:3]


def test_a_concept_says_which_column_it_is(bed):
    for columns in bed.columns:
        concept = concept_at(bed, columns.stop - 1)
        assert (concept.name, concept.property) == (columns.class_names[-1], columns.name)
    with pytest.raises(IndexError, match="no column"):
        concept_at(bed, bed.columns[-1].stop)


def test_truth_is_the_labels_of_some_columns_in_any_order(bed):
    columns = [bed.columns[-1].stop - 1, 0, 5]
    true_NK, known_NK = truth(bed, "validation", columns)
    assert np.array_equal(true_NK, bed.labels("validation")[:, columns])
    assert known_NK.all()
