"""Bins of strength: equal shares of both sides' known values, each value its own bin where there are few."""

import numpy as np
import pytest

from boardgame_sae.players.skill_bins import skill_bins

NAN = float("nan")


@pytest.mark.parametrize(
    ("first", "second", "bins"),
    [
        ([1500.0, 1800.0], [1800.0, 2100.0], ([0, 1], [1, 2])),
        ([1500.0, NAN], [NAN, 1500.0], ([0, -1], [-1, 0])),
        ([NAN], [NAN], ([-1], [-1])),
        ([], [], ([], [])),
        ([-6.0, -5.0, -4.0], [-3.0, -2.0, -1.0], ([0, 1, 2], [3, 4, 5])),
        ([np.inf, 1.0], [2.0, -np.inf], ([-1, 0], [1, -1])),
    ],
)
def test_few_values_are_their_own_bins_in_rising_order_and_the_unknown_have_none(first, second, bins):
    found = skill_bins(np.array(first), np.array(second), 6)
    assert [side.tolist() for side in found] == [list(side) for side in bins]
    assert all(side.dtype == np.int8 for side in found)


def test_many_values_are_shared_out_equally_over_both_sides_together():
    ratings = np.random.default_rng(0).permutation(6000).reshape(2, 3000).astype(np.float32)
    first, second = skill_bins(*ratings, 6)
    assert np.bincount(np.concatenate([first, second])).tolist() == [1000] * 6
    assert np.array_equal(np.stack([first, second]), ratings // 1000)


@pytest.mark.parametrize("common", [0.0, 50.0, 100.0])
def test_bins_are_consecutive_and_rise_with_the_value_however_common_one_value_is(common):
    values = np.concatenate([np.full(1000, common), np.arange(0.0, 100.0, 2.0)])
    bins, _ = skill_bins(values, values, 6)
    order = np.argsort(values, kind="stable")
    assert (np.diff(bins[order]) >= 0).all()
    assert np.unique(bins).tolist() == list(range(bins.max() + 1)) and bins.max() >= 1
    assert len({*bins[values == common]}) == 1
