import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from boardgame_sae.studies.over_games import Spread, auc_within, counted, difference, mean, over_seeds, ratio, row_of


def test_a_number_that_only_tells_the_stratum_tells_nothing_within_it():
    rng = np.random.default_rng(0)
    stratum_N, game_N = rng.choice(3, 900), rng.choice(50, 900)
    true_N = rng.random(900) < stratum_N / 2.5
    found = auc_within(stratum_N.astype(float), true_N, game_N, stratum_N)
    assert found is not None and found.value == 0.5
    across = auc_within(stratum_N.astype(float), true_N, game_N)
    assert across is not None and across.value > 0.6
    low, high = over_seeds([across]).interval
    assert low < across.value < high


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
    found, same = mean(value_N, game_N), ratio(value_N, np.ones(4), game_N)
    assert found is not None and same is not None and found.value == same.value == 4
    assert over_seeds([found]) == over_seeds([same]) == (4, (1.5, 6.5))
    assert difference(value_N, np.array([True, False, True, False]), game_N).value == 2 - 6
    assert ratio(value_N, np.zeros(4), game_N) is None and mean(np.empty(0), np.empty(0)) is None
    assert row_of([{"a": found, "b": None}]) == {"a": 4, "a_low": 1.5, "a_high": 6.5, "seeds": 1}


def test_a_mean_has_the_interval_of_its_games_not_of_its_positions():
    ten_games = mean(np.repeat([0.0, 1.0], 500), np.repeat(np.arange(10), 100))
    assert ten_games is not None
    value, (low, high) = over_seeds([ten_games])
    assert value == 0.5 and low < 0.3 and high > 0.7  # a thousand positions, drawn alone, would give .47 to .53
    value_U = np.random.default_rng(0).normal(size=400)
    units = mean(value_U, [f"pair {number}" for number in range(400)])
    assert units is not None and units.value == pytest.approx(value_U.mean())
    error = 1.96 * value_U.std() / 20
    assert over_seeds([units]).interval == pytest.approx((value_U.mean() - error, value_U.mean() + error), abs=0.02)


def test_several_seeds_are_one_row_with_a_wider_interval():
    game_N, rng = np.repeat(np.arange(40), 25), np.random.default_rng(0)
    answers = [
        {"value": mean(rng.random(1000) < chance, game_N), "on": "b", "latent": name, "by_ply": [chance, None, 1]}
        for chance, name in ((0.5, "3"), (0.6, "17"), (0.7, "8"))
    ]
    row, alone = row_of(answers), [row_of([answer]) for answer in answers]
    assert row["value"] == pytest.approx(np.mean([one["value"] for one in alone]))
    assert row["value_high"] - row["value_low"] > max(one["value_high"] - one["value_low"] for one in alone)
    assert (row["on"], row["latent"], row["seeds"]) == ("b", "3, 17, 8", 3)
    assert row["by_ply"] == [pytest.approx(0.6), None, 1]


def test_a_number_that_a_seed_lacks_is_that_of_the_others_and_a_spread_is_of_all():
    found = mean(np.array([1.0, 3.0]), np.arange(2))
    rows = [{"value": found, "alike": Spread([1.0, 2.0]), "n": 4}, {"value": None, "alike": Spread([6.0]), "n": 5}]
    row = row_of(rows)
    assert row["value"] == 2 and row["n"] == 4
    assert (row["alike"], row["alike_low"], row["alike_high"]) == (3, 1, 6)


def test_seeds_on_the_same_games_have_those_games_in_common_and_others_average_out():
    """One difficulty for each game, and nothing else: three seeds on the same games know no more than one."""
    rng = np.random.default_rng(0)
    hard_B = rng.normal(size=300)

    def width(games_of_seeds):
        values = [mean(hard_B[games_B], games_B) for games_B in games_of_seeds]
        low, high = over_seeds([value for value in values if value is not None]).interval
        return high - low

    first = np.arange(100)
    assert width([first, first, first]) == pytest.approx(width([first]))
    apart = width([first, first + 100, first + 200])
    assert apart > width([np.arange(300)]) * 0.9 and apart > 0.2  # between games and between seeds, not less than all


def test_games_that_only_some_seeds_have_are_aligned_by_name():
    one, other = (counted({"a": np.array(values)}, names, lambda sums: sums["a"][:, 0])
                  for values, names in (([1.0, 2.0], ["x", "y"]), ([5.0, 7.0], ["y", "z"])))  # fmt: skip
    assert over_seeds([one, other]).value == (3 + 12) / 2
    low, high = over_seeds([one, one]).interval
    assert (low, high) == over_seeds([one]).interval
