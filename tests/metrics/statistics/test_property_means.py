import hypothesis
import numpy as np
from hypothesis import strategies as st

from boardgame_sae.metrics.counting.game_sums import CLASSIFIER
from boardgame_sae.metrics.statistics.property_means import PropertyMeans


def one_f1(hit, predicted, positives):
    return 2 * hit / (predicted + positives) if predicted + positives else 0.0


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else float("nan")


@st.composite
def examples(draw):
    """Property means, and sums of classifiers' counts, small so that they are often none or all."""
    levels = draw(st.lists(st.sampled_from(["low", "high"]), min_size=1, max_size=5))
    sizes = draw(st.lists(st.integers(1, 3), min_size=len(levels), max_size=len(levels)))
    layout = PropertyMeans(tuple(f"property {q}" for q in range(len(levels))), tuple(levels), tuple(sizes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_resamples, n_classes = 3, sum(sizes)
    positions_RQ = rng.integers(0, 4, (n_resamples, len(levels)))
    limit_RP = np.repeat(positions_RQ, sizes, axis=1)
    predicted_RP, positives_RP = rng.integers(0, limit_RP + 1), rng.integers(0, limit_RP + 1)
    hit_RP = rng.integers(0, np.minimum(predicted_RP, positives_RP) + 1)
    sums_RPX = np.stack([hit_RP, predicted_RP, positives_RP], axis=-1)
    assert sums_RPX.shape == (n_resamples, n_classes, 3)
    return layout, sums_RPX.astype(float), positions_RQ


def by_name(sums_RPX):
    """Sums as game sums give them: (R, P) by name."""
    return dict(zip(CLASSIFIER, np.moveaxis(np.asarray(sums_RPX, float), -1, 0), strict=True))


def with_positions(sums_RPX, positions_RQ):
    """One more column for each property: all its positions, always predicted and always true."""
    return np.concatenate([sums_RPX, np.repeat(positions_RQ[:, :, None], 3, axis=2).astype(float)], axis=1)


def by_loops(layout, sums_RPX, of_property):
    """(R, K): a number for each property of its classes' sums, then the plain means of low and of high ones."""
    rows = []
    for r, sums_PX in enumerate(sums_RPX):
        values, start = [], 0
        for q, size in enumerate(layout.sizes):
            values.append(of_property([tuple(each) for each in sums_PX[start : start + size]], r, q))
            start += size
        groups = []
        for level in ("low", "high"):
            members = [value for value, other in zip(values, layout.levels, strict=True) if other == level]
            groups += [mean(members)] if members else []
        rows.append([*values, *groups])
    return np.array(rows)


@hypothesis.given(examples())
@hypothesis.settings(max_examples=100)
def test_statistics_equal_loops_over_resamples_properties_and_classes(example):
    layout, sums_RPX, positions_RQ = example
    sums, with_counted = by_name(sums_RPX), by_name(with_positions(sums_RPX, positions_RQ))

    def mean_f1(classes, r, q):
        return mean(one_f1(*counts) for counts in classes)

    def mean_above_chance(classes, r, q):
        above = []
        for hit, predicted, positives in classes:
            share = positives / positions_RQ[r, q] if positions_RQ[r, q] else 0.0
            always = 2 * share / (1 + share)
            if always < 1:
                above.append((one_f1(hit, predicted, positives) - always) / (1 - always))
        return mean(above)

    def pooled_f1(classes, r, q):
        return one_f1(*(sum(counts[x] for counts in classes) for x in range(3)))

    close = {"rtol": 0, "atol": 1e-12, "equal_nan": True}
    for compute, columns, slow in (
        (layout.mean_f1, with_counted, mean_f1),
        (layout.mean_above_chance, with_counted, mean_above_chance),
        (layout.pooled_f1, sums, pooled_f1),
    ):
        np.testing.assert_allclose(compute(columns), by_loops(layout, sums_RPX, slow), **close)


def test_properties_come_in_order_then_the_groups_that_have_members():
    layout = PropertyMeans(("a", "b", "c"), ("high", "low", "high"), (2, 1, 3))
    assert PropertyMeans.of({"layout": [["a", "high", 2], ["b", "low", 1], ["c", "high", 3]]}) == layout
    assert layout.stops.tolist() == [2, 3, 6]
    assert layout.groups() == {"low": [1], "high": [0, 2]}
    assert layout.numbers() == ["a", "b", "c", "low", "high"]
    assert PropertyMeans(("a",), ("high",), (2,)).numbers() == ["a", "high"]
    assert [part.tolist() for part in layout.by_property(np.arange(7)[None])] == [[[0, 1]], [[2]], [[3, 4, 5]]]


def test_a_group_gives_each_property_weight_one_however_many_classes_it_has():
    layout = PropertyMeans(("a", "b"), ("low", "low"), (1, 3))
    sums_RPX = np.array([[[2, 2, 2], [0, 1, 1], [0, 1, 1], [0, 1, 1]]])
    assert layout.mean_f1(by_name(with_positions(sums_RPX, np.array([[4, 4]])))).tolist() == [[1, 0, 0.5]]
    assert layout.pooled_f1(by_name(sums_RPX)).tolist() == [[1, 0, 0.5]]


def test_above_chance_leaves_out_what_is_always_true_and_is_undefined_where_all_is():
    layout = PropertyMeans(("a", "b"), ("low", "low"), (2, 1))
    mixed, certain = [2, 2, 2], [4, 4, 4]
    sums_RPX = np.array([[certain, mixed, mixed], [certain, mixed, certain]])
    above_RK = layout.mean_above_chance(by_name(with_positions(sums_RPX, np.full((2, 2), 4))))
    assert above_RK[0].tolist() == [1, 1, 1]
    assert above_RK[1, 0] == 1 and np.isnan(above_RK[1, 1:]).all()
