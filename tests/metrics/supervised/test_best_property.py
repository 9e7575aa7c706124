import brute_force
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from boardgame_sae.metrics.counting.sample import Sample
from boardgame_sae.metrics.counts import THRESHOLDS, count_task, task_blocks
from boardgame_sae.metrics.supervised.best_property import BestProperties, count_classifiers


def told(latents_NF, labels_NP, wanted_P=None, max_bytes=2**20, **options):
    """What each latent is found to tell."""
    task = count_task(Sample.of(latents_NF, labels_NP), **options)
    wanted_P = np.ones(task.sample.n_properties, bool) if wanted_P is None else wanted_P
    found = BestProperties(task, wanted_P)
    for first, counts in task_blocks(task, max_bytes):
        found.add(first, counts)
    return found


@st.composite
def examples(draw):
    """Latents on a coarse grid, so that ties and values at thresholds abound; some properties always or never true."""
    n_positions, n_latents, n_properties = draw(st.tuples(st.integers(1, 20), st.integers(1, 4), st.integers(1, 4)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    steps_NF = draw(hnp.arrays(np.int64, (n_positions, n_latents), elements=st.integers(-8, 10)))
    latents_NF = np.array(THRESHOLDS, dtype)[np.maximum(steps_NF, 0)] * dtype(draw(st.sampled_from([0.3, 1.0])))
    labels_NP = draw(hnp.arrays(np.bool_, (n_positions, n_properties)))
    labels_NP[:, draw(st.integers(0, n_properties - 1))] |= draw(st.booleans())
    wanted_P = draw(hnp.arrays(np.bool_, n_properties))
    grid = draw(st.sets(st.integers(0, 10), min_size=1).map(lambda s: tuple(THRESHOLDS[i] for i in sorted(s))))
    return latents_NF, labels_NP, wanted_P, grid


@hypothesis.given(examples(), st.sampled_from([1, 200, 2**20]))
@hypothesis.settings(max_examples=80)
def test_each_latent_gets_the_class_and_threshold_of_best_f1_above_chance(example, max_bytes):
    latents_NF, labels_NP, wanted_P, grid = example
    found = told(latents_NF, labels_NP, wanted_P, max_bytes, thresholds=grid)
    for f, own in enumerate(brute_force.tellings(latents_NF, labels_NP, wanted_P, thresholds=grid)):
        if not own:
            assert (found.property_F[f], found.t_F[f], found.above_F[f], found.f1_F[f]) == (-1, 0, -np.inf, 0)
            continue
        best = max(above for above, *_ in own)
        assert found.above_F[f] == pytest.approx(best, abs=1e-12)
        t, p = found.t_F[f], found.property_F[f]
        above, _, _, hit, n_on = next(each for each in own if each[1:3] == (t, p))
        assert above == pytest.approx(best, abs=1e-12)
        positives = labels_NP[:, p].sum()
        assert found.f1_F[f] == pytest.approx(brute_force.f1(hit, n_on, positives), abs=1e-12)
        # of exactly equal counts the smallest threshold, then the first class
        equal = [each for each in own if each[3:] == (hit, n_on) and labels_NP[:, each[2]].sum() == positives]
        assert equal[0][1:3] == (t, p)


@hypothesis.given(examples(), st.data())
@hypothesis.settings(max_examples=50)
def test_counts_of_classifiers_equal_a_loop_over_positions(example, data):
    latents_NF, labels_NP, _, _ = example
    n_latents, n_properties = latents_NF.shape[1], labels_NP.shape[1]
    property_F = data.draw(hnp.arrays(np.int64, n_latents, elements=st.integers(-1, n_properties - 1)))
    edge_F = data.draw(hnp.arrays(latents_NF.dtype, n_latents, elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])))
    cut = data.draw(st.integers(0, len(latents_NF)))
    parts = [Sample.of(latents_NF[rows], labels_NP[rows]).parts[0] for rows in (slice(cut), slice(cut, None))]
    for sample in (Sample(parts, n_properties), Sample.of(latents_NF, labels_NP)):
        counts = count_classifiers(sample, edge_F, property_F)
        for f in range(n_latents):
            on = [a > edge_F[f] for a in latents_NF[:, f]] if property_F[f] >= 0 else []
            true = labels_NP[:, property_F[f]]
            assert counts.predicted_positives_F[f] == sum(on)
            assert counts.true_positives_F[f] == sum(a and b for a, b in zip(on, true, strict=False))


def test_ties_take_the_smallest_threshold_then_the_first_class():
    truth_N = np.arange(20) % 2 == 0
    found = told(np.where(truth_N, 1.0, 0.0)[:, None], np.stack([~truth_N, truth_N, truth_N], axis=1))
    assert (found.property_F.tolist(), found.t_F.tolist(), found.above_F.tolist()) == ([1], [0], [1.0])


def test_what_is_nearly_always_true_does_not_come_first():
    """By plain F1 an always-on latent would tell the common class (18/19) better than the rare one, which it knows."""
    common_N, rare_N = np.arange(20) > 1, np.arange(20) < 4
    found = told((rare_N * 1.0)[:, None], np.stack([common_N, rare_N], axis=1))
    assert found.property_F.tolist() == [1]
    always = told(np.ones((20, 1)), np.stack([common_N, rare_N], axis=1))
    assert always.above_F == pytest.approx([0], abs=1e-12)


def test_a_latent_never_on_or_with_nothing_but_certainties_to_tell_has_no_class():
    truth_NP = np.array([[True, True], [True, False], [True, True], [True, False]])
    latents_NF = np.array([[0.0, 1.0], [0.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    assert told(latents_NF, truth_NP).property_F.tolist() == [-1, 1]
    assert told(latents_NF, truth_NP, np.array([True, False])).property_F.tolist() == [-1, -1]
    found = told(latents_NF, truth_NP)
    counts = count_classifiers(Sample.of(latents_NF, truth_NP), found.edges_F(), found.property_F)
    assert (counts.true_positives_F.tolist(), counts.predicted_positives_F.tolist()) == ([0, 2], [0, 2])
    assert told(np.zeros((4, 0)), truth_NP).property_F.tolist() == []
