import itertools

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from boardgame_sae.metrics.counting.latent_columns import as_latents
from boardgame_sae.metrics.counting.sample import Part, Sample, label_words
from boardgame_sae.metrics.counts import THRESHOLDS, count_latents, count_task, task_blocks
from boardgame_sae.metrics.coverage import BestLatents
from boardgame_sae.metrics.reconstruction import agreement, classifiers


def in_parts(latents_NF, labels_NP, cuts):
    """The same positions in several parts, some of them perhaps empty."""
    edges = [0, *sorted(cuts), len(latents_NF)]
    parts = [
        Part(as_latents(latents_NF[a:b]), lambda own_NP=labels_NP[a:b]: own_NP) for a, b in itertools.pairwise(edges)
    ]
    return Sample(parts, labels_NP.shape[1])


@st.composite
def examples(draw):
    n_positions, n_latents, n_properties = draw(st.tuples(st.integers(1, 20), st.integers(1, 4), st.integers(1, 17)))
    steps_NF = draw(hnp.arrays(np.int64, (n_positions, n_latents), elements=st.integers(-8, 10)))
    latents_NF = np.array(THRESHOLDS, np.float32)[np.maximum(steps_NF, 0)]
    labels_NP = draw(hnp.arrays(np.bool_, (n_positions, n_properties)))
    return latents_NF, labels_NP, draw(st.lists(st.integers(0, n_positions), max_size=3))


@hypothesis.given(hnp.arrays(np.bool_, st.tuples(st.integers(0, 5), st.integers(1, 20))))
def test_words_hold_a_property_to_a_byte_and_zeros_at_the_end(labels_NP):
    words_NW = label_words(labels_NP)
    n_positions, n_properties = labels_NP.shape
    assert words_NW.dtype == np.uint64 and words_NW.shape == (n_positions, -(-n_properties // 8))
    for n, w in np.ndindex(*words_NW.shape):
        for i, byte in enumerate(int(words_NW[n, w]).to_bytes(8, "little")):
            p = 8 * w + i
            assert byte == (p < n_properties and labels_NP[n, p])


@hypothesis.given(examples(), st.sampled_from([1, 300, 2**20]))
def test_positions_in_parts_count_as_positions_in_one(example, max_bytes):
    latents_NF, labels_NP, cuts = example
    sample, whole = in_parts(latents_NF, labels_NP, cuts), count_latents(latents_NF, labels_NP)
    assert (sample.n_positions, sample.n_latents) == latents_NF.shape
    assert sample.positives_P.tolist() == labels_NP.sum(0).tolist()
    assert sample.max_F().tolist() == np.maximum(latents_NF.max(0), 0).tolist()
    np.testing.assert_array_equal(sample.labels_NP, labels_NP)
    task = count_task(sample)
    blocks = [counts for _, counts in task_blocks(task, max_bytes)]
    assert torch.equal(torch.cat([counts.on_TFP for counts in blocks], dim=1), whole.on_TFP)
    assert torch.equal(torch.cat([counts.n_on_TF for counts in blocks], dim=1), whole.n_on_TF)
    one = count_task(Sample.of(latents_NF, labels_NP))
    words_FTW = classifiers(task, 0.6, 1).words_FTW
    np.testing.assert_array_equal(words_FTW, classifiers(one, 0.6, 1).words_FTW)
    np.testing.assert_array_equal(agreement(task, words_FTW), agreement(one, words_FTW))


@pytest.mark.parametrize("n_on", [254, 255, 256, 510, 511, 1000])
def test_a_byte_of_a_word_never_overflows(n_on):
    latents_NF, labels_NP = np.zeros((1100, 2), np.float32), np.ones((1100, 9), bool)
    latents_NF[:n_on, 1] = 1
    labels_NP[:, 3] = False
    counts = count_latents(latents_NF, labels_NP)
    assert counts.n_on_TF[:10].tolist() == [[0, n_on]] * 10 and not counts.n_on_TF[10].any()
    assert counts.on_TFP[0, 1].tolist() == [n_on] * 3 + [0] + [n_on] * 5


def test_valid_positions_alone_remain():
    latents_NF, labels_NP = np.arange(6.0)[:, None], np.arange(6)[:, None] % 2 == 0
    sample = Sample.of(latents_NF, labels_NP, np.array([True, False, False, False, True, False]))
    assert (sample.n_positions, sample.max_F().tolist(), sample.positives_P.tolist()) == (2, [4.0], [2])


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="without any part"):
        Sample([], 3)
    with pytest.raises(ValueError, match="5 positions, the labels 4"):
        Sample.of(np.ones((5, 2)), np.ones((4, 1), bool))
    with pytest.raises(ValueError, match="no latents"):
        BestLatents(count_task(Sample.of(np.ones((5, 0)), np.ones((5, 1), bool))))
