"""Examples are balanced, of their own split, and the same for every subject."""

import numpy as np
import pytest
from planted import planted, random_sae

from boardgame_sae.metrics.saebench.data.concepts import concepts
from boardgame_sae.metrics.saebench.data.examples import latent_rows, questions
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.transcripts.corpus import SPLITS

SIZES = {"train": 60, "validation": 30, "test": 10**6}


@pytest.fixture(scope="module")
def bed(tiny_corpus):
    return planted(tiny_corpus, n_games=60)


@pytest.fixture(scope="module")
def asked(bed):
    return questions(bed, concepts(bed, 6), SIZES)


def test_half_of_the_examples_are_true_and_they_are_what_the_labels_say(bed, asked):
    for concept, examples in asked:
        for split in SPLITS:
            part, true_N = examples[split], bed.labels(split)[:, concept.column]
            assert np.array_equal(part.true_N, true_N[part.row_N]) and part.true_N.sum() * 2 == len(part.row_N)
            assert np.array_equal(part.game_N, bed.positions(split).game_N[part.row_N])
            assert np.all(np.diff(part.row_N) > 0)
            assert len(part.row_N) == 2 * min(SIZES[split] // 2, true_N.sum(), (~true_N).sum())


def test_a_draw_depends_on_the_concept_and_the_seed_and_not_on_what_else_is_asked(bed, asked):
    alone = questions(bed, [asked[2][0]], SIZES)[0][1]["train"]
    assert np.array_equal(alone.row_N, asked[2][1]["train"].row_N)
    other = questions(bed, [asked[2][0]], SIZES, seed=1)[0][1]["train"]
    assert not np.array_equal(alone.row_N, other.row_N)


@pytest.mark.parametrize("split", SPLITS)
def test_latent_rows_are_the_latents_at_those_positions(bed, split):
    subject = Subject("random", "sae", random_sae(bed), bed)
    row_N = np.sort(np.random.default_rng(0).choice(len(bed.positions(split)), 40, replace=False))
    dense_NF = np.concatenate([part.to_dense() for part in subject.latents(split)])
    assert np.array_equal(latent_rows(subject, split, row_N).toarray(), dense_NF[row_N])
