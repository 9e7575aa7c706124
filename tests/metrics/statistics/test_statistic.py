"""Statistics of other kinds than F1: an accuracy, and a ratio of losses with a second number beside it."""

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings

from boardgame_sae.intervals import LEVEL, N_RESAMPLES, SEED, Estimate
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.statistics.statistic import Statistic, finite, placed

ACCURACY = Statistic(
    ("right", "asked"), lambda sums, details: {"accuracy": sums["right"].sum(1) / sums["asked"].sum(1)}, ("asked",)
)


def recovered(sums, details):
    zeroed_R, spliced_R, clean_R, n_R = (sums[name][:, 0] for name in RECOVERED_SUMS)
    return {
        "recovered": (zeroed_R - spliced_R) / (zeroed_R - clean_R),
        "per_token": details["scale"] * spliced_R / n_R,
    }


RECOVERED_SUMS = ("zeroed", "spliced", "clean", "tokens")
RECOVERED = Statistic(RECOVERED_SUMS, recovered, ("zeroed", "clean", "tokens"))
DETAILS = {"scale": 1 / np.log(2)}


def slow_accuracy(right_BP, asked_BP):
    return {"accuracy": sum(map(sum, right_BP)) / sum(map(sum, asked_BP))}


def slow_recovered(zeroed_B, spliced_B, clean_B, tokens_B):
    zeroed, spliced, clean = sum(zeroed_B), sum(spliced_B), sum(clean_B)
    return {
        "recovered": (zeroed - spliced) / (zeroed - clean),
        "per_token": DETAILS["scale"] * spliced / sum(tokens_B),
    }


@st.composite
def accuracies(draw, max_seeds=3):
    """For each of some seeds right answers and questions, each (B, 2): the same questions for all seeds."""
    n_games, n_seeds = draw(st.integers(1, 8)), draw(st.integers(1, max_seeds))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    asked_BP = rng.integers(1, 9, (n_games, 2))
    return [{"right": rng.integers(0, asked_BP + 1), "asked": asked_BP} for _ in range(n_seeds)]


@st.composite
def losses(draw, max_seeds=3):
    """For each of some seeds the losses of every game, (B,): all but the spliced ones the same for all seeds."""
    n_games, n_seeds = draw(st.integers(1, 8)), draw(st.integers(1, max_seeds))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tokens_B, clean_B = rng.integers(1, 60, n_games), rng.uniform(1, 9, n_games)
    zeroed_B = clean_B + rng.uniform(0.5, 5, n_games)
    spliced_SB = clean_B + rng.uniform(0, 1, (n_seeds, n_games)) * (zeroed_B - clean_B)
    return [{"zeroed": zeroed_B, "spliced": own_B, "clean": clean_B, "tokens": tokens_B} for own_B in spliced_SB]


KINDS = pytest.mark.parametrize(
    ("statistic", "slow", "cases"), [(ACCURACY, slow_accuracy, accuracies), (RECOVERED, slow_recovered, losses)]
)


def on_resamples(slow, seeds):
    """By name: each seed's number on all games (S,), and on every resample of them (S, R); one game after another."""
    n_games = len(next(iter(seeds[0].values())))
    drawn_RB = np.random.default_rng(SEED).integers(n_games, size=(N_RESAMPLES, n_games))
    whole = [slow(*parts.values()) for parts in seeds]
    resampled = [[slow(*([part[b] for b in row] for part in parts.values())) for row in drawn_RB] for parts in seeds]
    return {
        name: (np.array([own[name] for own in whole]), np.array([[one[name] for one in own] for own in resampled]))
        for name in whole[0]
    }


def variance_of_seeds(value_S, values_SR):
    """Of the mean over seeds, less what games do to one seed and not to another; 0 of one seed."""
    n_seeds = len(value_S)
    if n_seeds == 1:
        return 0.0
    own = sum((values_R - values_SR.mean(0)).var() for values_R in values_SR) / (n_seeds - 1)
    return max(0.0, value_S.var(ddof=1) - own) / n_seeds


def expected_of(sides):
    """Value and interval of one side's mean over seeds, or of the difference of two: (value_S, values_SR) of each."""
    signs, variances = (1, -1), [variance_of_seeds(*side) for side in sides]
    value = sum(sign * value_S.mean() for sign, (value_S, _) in zip(signs, sides, strict=False))
    values_R = sum(sign * values_SR.mean(0) for sign, (_, values_SR) in zip(signs, sides, strict=False))
    if sum(variances) > 1e-20:
        freedom = sum(variances) ** 2 / sum(v**2 / max(1, len(s[0]) - 1) for v, s in zip(variances, sides, strict=True))
        share_R = (np.random.default_rng([SEED, 1]).permutation(N_RESAMPLES) + 0.5) / N_RESAMPLES
        values_R = values_R + scipy.stats.t.ppf(share_R, freedom) * sum(variances) ** 0.5
    return value, np.quantile(values_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])


def assert_close(estimate, expected):
    value, interval = expected
    assert estimate.value == pytest.approx(value, abs=1e-9)
    np.testing.assert_allclose(estimate.interval, interval, rtol=0, atol=1e-9)


def sums_of(statistic, seeds):
    return [GameSums.dense(parts, statistic.same) for parts in seeds]


@KINDS
@settings(max_examples=15)
@given(data=st.data())
def test_values_and_intervals_of_one_or_more_seeds_equal_a_bootstrap_in_loops(statistic, slow, cases, data):
    seeds = data.draw(cases())
    estimates = statistic.estimates(sums_of(statistic, seeds), DETAILS)
    expected = on_resamples(slow, seeds)
    assert list(estimates) == list(expected)
    for name, side in expected.items():
        assert_close(estimates[name], expected_of([side]))


@KINDS
@settings(max_examples=15)
@given(data=st.data())
def test_differences_equal_a_bootstrap_in_loops_with_the_same_games_for_both_sides(statistic, slow, cases, data):
    seeds = data.draw(cases(max_seeds=5))
    n_first = data.draw(st.integers(1, len(seeds)))
    a, b = seeds[:n_first], seeds[n_first:] or seeds[-1:]
    differences = statistic.differences(sums_of(statistic, a), sums_of(statistic, b), DETAILS)
    sides = [on_resamples(slow, side) for side in (a, b)]
    assert list(differences) == list(sides[0])
    for name, difference in differences.items():
        assert_close(difference, expected_of([side[name] for side in sides]))


@KINDS
@settings(max_examples=5)
@given(data=st.data())
def test_a_score_has_the_first_number_as_its_value_the_others_as_parts_and_keeps_its_sums(statistic, slow, cases, data):
    seeds = data.draw(cases(max_seeds=1))
    (sums,) = sums_of(statistic, seeds)
    value = statistic.score(sums, {"mse": 0.25}, {**DETAILS, "note": "kept"})
    (_, headline), *others = on_resamples(slow, seeds).items()
    assert_close(Estimate(value.value, value.interval), expected_of([headline]))
    assert list(value.parts) == ["mse", *(name for name, _ in others)] and value.parts["mse"] == 0.25
    assert list(value.intervals) == [name for name, _ in others]
    for name, side in others:
        assert_close(Estimate(value.parts[name], value.intervals[name]), expected_of([side]))
    assert value.sums is sums and value.details == {**DETAILS, "note": "kept"}


def test_an_undefined_number_has_no_interval():
    """A game without a question: resamples of nothing but it have no accuracy."""
    with np.errstate(invalid="ignore"):
        value = ACCURACY.score(GameSums.dense({"right": np.array([0, 3]), "asked": np.array([0, 4])}))
    assert (value.value, value.interval) == (0.75, None)
    assert finite(Estimate(0.5, (0.4, float("inf")))) is None
    assert finite(Estimate(0.5, (0.4, 0.6))) == (0.4, 0.6)


def test_numbers_of_properties_and_groups_stand_in_the_details_too():
    estimates = {
        "board": Estimate(0.5, (0.4, 0.6)),
        "fork": Estimate(0.2, (0.1, float("nan"))),
        "low": Estimate(0.3, (0.2, 0.4)),
    }
    details = {"by_property": {"board": {"value": 0.0}, "fork": {"value": 0.0}}, "groups": {"low": {"members": ["x"]}}}
    value = placed(ScoreValue(0.0, None, {"kept": 1.0}, details), estimates)
    assert (value.value, value.interval) == (0.5, (0.4, 0.6))
    assert value.parts == {"kept": 1.0, "fork": 0.2, "low": 0.3}
    assert value.intervals == {"low": (0.2, 0.4)}
    assert value.details == {
        "by_property": {"board": {"value": 0.5, "interval": (0.4, 0.6)}, "fork": {"value": 0.2, "interval": None}},
        "groups": {"low": {"members": ["x"], "value": 0.3, "interval": (0.2, 0.4)}},
    }


def test_sums_of_another_kind_or_of_other_games_are_named():
    right_B, asked_B = np.array([1, 2, 3]), np.array([4, 4, 4])
    sums = GameSums.dense({"right": right_B, "asked": asked_B}, ACCURACY.same)
    other_games = GameSums.dense({"right": right_B, "asked": asked_B + 1}, ACCURACY.same)
    for parts in ({"right": right_B}, {"asked": asked_B, "right": right_B}, {"right": right_B, "tokens": asked_B}):
        other_kind = GameSums.dense(parts)
        match = f"sums of {', '.join(parts)}, where right, asked are needed; score again"
        for call in (
            lambda other=other_kind: ACCURACY.score(other),
            lambda other=other_kind: ACCURACY.estimates([sums, other], {}),
            lambda other=other_kind: ACCURACY.differences([sums], [other], {}),
            lambda other=other_kind: ACCURACY.differences([other], [sums], {}),
        ):
            with pytest.raises(ValueError, match=match):
                call()
    for call in (ACCURACY.estimates, lambda seeds, _: ACCURACY.differences(seeds[:1], seeds[1:], {})):
        with pytest.raises(ValueError, match="'asked' of some game differs"):
            call([sums, other_games], {})
    with pytest.raises(ValueError, match="no seed"):
        ACCURACY.estimates([], {})
