import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from boardgame_sae.studies.over_games import auc_within, columns, difference, mean, ratio


def test_a_number_that_only_tells_the_stratum_tells_nothing_within_it():
    rng = np.random.default_rng(0)
    stratum_N, game_N = rng.choice(3, 900), rng.choice(50, 900)
    true_N = rng.random(900) < stratum_N / 2.5
    found = auc_within(stratum_N.astype(float), true_N, game_N, stratum_N)
    assert found is not None and found.value == 0.5
    across = auc_within(stratum_N.astype(float), true_N, game_N)
    assert across is not None and across.value > 0.6 and across.interval[0] < across.value < across.interval[1]


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=40))
def test_without_strata_it_is_the_area_under_the_roc_curve(pairs):
    score_N, true_N = (np.array(part) for part in zip(*pairs, strict=True))
    found = auc_within(score_N.astype(float), true_N, np.arange(len(score_N)))
    if true_N.all() or not true_N.any():
        assert found is None
    else:
        assert found is not None and found.value == pytest.approx(roc_auc_score(true_N, score_N))


def test_many_levels_are_ranked_into_some_and_hardly_change_it():
    rng = np.random.default_rng(1)
    true_N = rng.random(2000) < 0.5
    score_N = rng.normal(size=2000) + true_N
    found = auc_within(score_N, true_N, np.arange(2000))
    assert found is not None and found.value == pytest.approx(roc_auc_score(true_N, score_N), abs=0.002)


def test_means_ratios_and_differences_are_those_of_all_positions():
    value_N, game_N = np.array([1.0, 2.0, 3.0, 10.0]), np.array([7, 7, 3, 3])
    assert mean(value_N, game_N) == ratio(value_N, np.ones(4), game_N)
    found = mean(value_N, game_N)
    assert found is not None and found.value == 4 and found.interval == (1.5, 6.5)
    assert difference(value_N, np.array([True, False, True, False]), game_N).value == 2 - 6
    assert ratio(value_N, np.zeros(4), game_N) is None and mean(np.empty(0), np.empty(0)) is None
    assert columns("a", found) == {"a": 4, "a_low": 1.5, "a_high": 6.5} and columns("a", None) == {}
