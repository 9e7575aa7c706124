import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from scipy.special import expit

from boardgame_sae import intervals
from boardgame_sae.intervals import bootstrap_interval, difference, estimates, pooled, resampled
from boardgame_sae.metrics.counting import game_sums
from boardgame_sae.metrics.counting.game_sums import CLASSIFIER, GameSums


def mean_f1(sums):
    """Mean F1 from (R, 3, P) true positives, predicted, positives."""
    return (2 * sums[:, 0] / (sums[:, 1] + sums[:, 2])).mean(1)


def example(n_games=200, n_properties=4, seed=0):
    rng = np.random.default_rng(seed)
    true_NP = rng.random((n_games * 10, n_properties)) < 0.4
    predicted_NP = true_NP ^ (rng.random(true_NP.shape) < 0.1)
    game_N = rng.permutation(np.repeat(np.arange(n_games) * 3 - 5, 10))
    return predicted_NP, true_NP, game_N


def by_game(n_games=200):
    """True positives, predicted positives and positives of each game, int64 (B, 3, P)."""
    counts = GameSums.of_classifiers(*example(n_games))
    return np.stack([part.toarray() for part in counts.parts.values()], 1).astype(np.int64)


def test_interval_equals_a_slow_loop_in_any_chunks(monkeypatch):
    counts_BX = by_game(30)
    slow = []
    for drawn_B in np.random.default_rng(5).integers(30, size=(200, 30)):
        hit, said, true = sum(counts_BX[b] for b in drawn_B)
        slow.append(np.mean(2 * hit / (said + true)))
    expected = np.quantile(slow, [0.05, 0.95])
    for n_bytes in (intervals._CHUNK_BYTES, 8 * 103 * 7, 1):
        monkeypatch.setattr(intervals, "_CHUNK_BYTES", n_bytes)
        ours = bootstrap_interval(mean_f1, counts_BX, n_resamples=200, seed=5, level=0.9)
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)


def test_interval_holds_the_estimate_and_depends_only_on_the_seed():
    counts_BX = by_game()
    (point,) = mean_f1(counts_BX.sum(0)[None].astype(float))
    low, high = bootstrap_interval(mean_f1, counts_BX)
    assert low < point < high
    assert high - low < 0.05
    assert bootstrap_interval(mean_f1, counts_BX) == (low, high)
    assert bootstrap_interval(mean_f1, counts_BX, seed=1) != (low, high)
    assert bootstrap_interval(mean_f1, counts_BX.astype(np.float32)) == (low, high)
    inner = bootstrap_interval(mean_f1, counts_BX, level=0.5)
    assert low < inner[0] < inner[1] < high


def test_width_is_that_of_the_normal_theory():
    values_B = np.random.default_rng(2).standard_normal(400)
    counts_BX = np.stack([values_B, np.ones(400)], axis=1)
    low, high = bootstrap_interval(lambda sums: sums[:, 0] / sums[:, 1], counts_BX, n_resamples=4000)
    assert high - low == pytest.approx(2 * 1.96 * values_B.std() / 20, rel=0.08)


def test_games_that_agree_have_no_width_and_undefined_is_nan():
    assert bootstrap_interval(lambda sums: sums[:, 0] / sums[:, 1], np.ones((8, 2))) == (1.0, 1.0)
    assert bootstrap_interval(lambda sums: sums, np.full(5, 2)) == (10.0, 10.0)
    with np.errstate(invalid="ignore"):
        ends = bootstrap_interval(lambda sums: sums[:, 0] / sums[:, 1], np.zeros((8, 2)))
    assert np.isnan(ends).all()


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="no game"):
        bootstrap_interval(mean_f1, np.zeros((0, 3, 2)))
    for options in ({"n_resamples": 0}, {"level": 1.0}, {"level": 0.0}):
        with pytest.raises(ValueError, match="must be positive"):
            bootstrap_interval(mean_f1, np.ones((4, 3, 2)), **options)
    with pytest.raises(ValueError, match="one number per resample"):
        bootstrap_interval(lambda sums: sums.mean(), np.ones((4, 2)))


def f1s(sums):
    """Mean F1 over properties, and micro F1."""
    hit_RP, predicted_RP, positives_RP = (sums[name] for name in CLASSIFIER)
    mean_R = (2 * hit_RP / np.maximum(predicted_RP + positives_RP, 1)).mean(-1)
    return np.stack([mean_R, 2 * hit_RP.sum(-1) / np.maximum((predicted_RP + positives_RP).sum(-1), 1)], -1)


def by_name(counts_X):
    """Counts whose last axis is true positives, predicted positives and positives, by these names."""
    return dict(zip(CLASSIFIER, np.moveaxis(counts_X, -1, 0), strict=True))


def counted(counts_BPX):
    return GameSums.dense(by_name(counts_BPX.astype(int)), same=("positives",))


@st.composite
def scored(draw, max_seeds=4):
    """(S, B, P, 3) counts of S seeds on the same games; among the properties some never or always true or said."""
    n_games, n_properties, n_seeds = draw(st.integers(1, 8)), draw(st.integers(1, 4)), draw(st.integers(1, max_seeds))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size_B1 = rng.integers(0, 30, (n_games, 1))
    shares = st.lists(st.sampled_from([0, 0.1, 0.6, 1]), min_size=n_properties, max_size=n_properties)
    true_BP = rng.binomial(size_B1, draw(shares), (n_games, n_properties))
    hit_SBP = rng.binomial(true_BP, draw(shares), (n_seeds, *true_BP.shape))
    wrong_SBP = rng.binomial(size_B1 - true_BP, draw(shares), hit_SBP.shape)
    return np.stack([hit_SBP, hit_SBP + wrong_SBP, np.broadcast_to(true_BP, hit_SBP.shape)], -1)


def by_hand(counts_SBPX, n_resamples, seed):
    """The statistics of every seed on all games (S, K) and on resamples (S, R, K), game by game."""
    n_games = counts_SBPX.shape[1]
    drawn_RB = np.random.default_rng(seed).integers(n_games, size=(n_resamples, n_games))
    values = [
        [f1s(by_name(sum(counts_BPX[b] for b in row)[None]))[0] for row in drawn_RB] for counts_BPX in counts_SBPX
    ]
    return f1s(by_name(counts_SBPX.sum(1))), np.array(values)


def t_by_hand(n_resamples, seed, freedom):
    share_R = (np.random.default_rng([seed, 1]).permutation(n_resamples) + 0.5) / n_resamples
    return scipy.stats.t.ppf(share_R, freedom)


def assert_estimates(found, value_K, values_RK, level):
    assert len(found) == len(value_K)
    for estimate, value, values_R in zip(found, value_K, values_RK.T, strict=True):
        assert estimate.value == pytest.approx(value, abs=1e-9)
        expected = np.quantile(values_R, [(1 - level) / 2, (1 + level) / 2])
        np.testing.assert_allclose(estimate.interval, expected, rtol=0, atol=1e-9)


@given(scored(max_seeds=1), st.integers(1, 12), st.integers(0, 3))
def test_resamples_equal_a_loop_over_games(counts_SBPX, n_resamples, seed):
    counts = counted(counts_SBPX[0])
    on_all_SK, slow_SRK = by_hand(counts_SBPX, n_resamples, seed)
    options = {"n_resamples": n_resamples, "seed": seed}
    np.testing.assert_allclose(resampled(counts, f1s, **options), slow_SRK[0], rtol=0, atol=1e-9)
    assert resampled(counts, lambda sums: f1s(sums)[:, 0], **options).shape == (n_resamples, 1)
    found = estimates(counts, f1s, level=0.8, **options)
    assert_estimates(found, on_all_SK[0], slow_SRK[0], 0.8)
    for k, estimate in enumerate(found):
        of_array = bootstrap_interval(lambda sums, k=k: f1s(by_name(sums))[:, k], counts_SBPX[0], level=0.8, **options)
        assert estimate.interval == pytest.approx(of_array, abs=1e-12)


def test_resamples_do_not_depend_on_chunks(monkeypatch):
    rng = np.random.default_rng(0)
    counts = GameSums.of_classifiers(rng.random((900, 5)) < 0.3, rng.random((900, 5)) < 0.3, np.arange(900) // 3)
    whole_RK = resampled(counts, f1s, n_resamples=50, seed=2)
    for n_bytes, n_games in ((8 * 3 * 305 * 7, 256), (1, 7), (2**26, 1)):
        monkeypatch.setattr(intervals, "_CHUNK_BYTES", n_bytes)
        monkeypatch.setattr(game_sums, "_GAMES_AT_ONCE", n_games)
        np.testing.assert_array_equal(resampled(counts, f1s, n_resamples=50, seed=2), whole_RK)
    assert not np.array_equal(resampled(counts, f1s, n_resamples=50, seed=3), whole_RK)


def variance_of_seeds_by_hand(value_SK, values_SRK):
    """Of the mean over seeds, less what resampled games do to single seeds; (K,), 0 for one seed."""
    n_seeds = len(value_SK)
    if n_seeds == 1:
        return np.zeros(value_SK.shape[1])
    own_K = sum((values_RK - values_SRK.mean(0)).var(0) for values_RK in values_SRK) / (n_seeds - 1)
    return np.maximum(0, value_SK.var(0, ddof=1) - own_K) / n_seeds


@given(scored(), st.integers(1, 12))
def test_pooled_equals_its_formula(counts_SBPX, n_resamples):
    n_seeds = len(counts_SBPX)
    value_SK, values_SRK = by_hand(counts_SBPX, n_resamples, seed=1)
    error_K = np.sqrt(variance_of_seeds_by_hand(value_SK, values_SRK))
    t_R1 = t_by_hand(n_resamples, 1, max(1, n_seeds - 1))[:, None]
    found = pooled([counted(each) for each in counts_SBPX], f1s, n_resamples=n_resamples, seed=1)
    assert_estimates(found, value_SK.mean(0), values_SRK.mean(0) + t_R1 * error_K, 0.95)
    if n_seeds == 1:
        assert found == estimates(counted(counts_SBPX[0]), f1s, n_resamples=n_resamples, seed=1)


@given(scored(max_seeds=6), st.integers(1, 6), st.integers(1, 12))
def test_difference_equals_its_formula(counts_SBPX, n_first, n_resamples):
    n_first = min(n_first, len(counts_SBPX))
    sides = [counts_SBPX[:n_first], counts_SBPX[n_first:] if n_first < len(counts_SBPX) else counts_SBPX[-1:]]
    (value_a, values_a), (value_b, values_b) = (by_hand(side, n_resamples, seed=1) for side in sides)
    values_RK = values_a.mean(0) - values_b.mean(0)
    variance_a, variance_b = (variance_of_seeds_by_hand(*each) for each in ((value_a, values_a), (value_b, values_b)))
    for k, (of_a, of_b) in enumerate(zip(variance_a, variance_b, strict=True)):
        if of_a + of_b > 1e-20:
            welch = (of_a + of_b) ** 2 / (of_a**2 / max(1, len(value_a) - 1) + of_b**2 / max(1, len(value_b) - 1))
            values_RK[:, k] += (of_a + of_b) ** 0.5 * t_by_hand(n_resamples, 1, welch)
    found = difference(*([counted(each) for each in side] for side in sides), f1s, n_resamples=n_resamples, seed=1)
    assert_estimates(found, value_a.mean(0) - value_b.mean(0), values_RK, 0.95)


@given(scored(max_seeds=1))
def test_nothing_differs_from_itself(counts_SBPX):
    counts = counted(counts_SBPX[0])
    assert difference([counts], [counts], f1s, n_resamples=20) == [(0.0, (0.0, 0.0))] * 2
    for estimate in difference([counts] * 3, [counts] * 3, f1s, n_resamples=20):
        assert (estimate.value, *estimate.interval) == pytest.approx((0, 0, 0), abs=1e-12)


def test_one_game_has_no_width_and_undefined_is_nan():
    one = GameSums.of_classifiers(np.ones((4, 1), bool), np.ones((4, 1), bool), np.zeros(4, int))
    assert estimates(one, f1s) == [(1.0, (1.0, 1.0))] * 2

    def precision(sums):
        with np.errstate(invalid="ignore"):
            return sums["true_positives"] / sums["predicted_positives"]

    never_NP = np.array([[True, False]] * 4)  # the second predicts nothing
    predicted = GameSums.of_classifiers(never_NP, np.ones((4, 2), bool), np.arange(4))
    for sides in ([predicted], [predicted, predicted]):
        defined, undefined = pooled(sides, precision, n_resamples=10)
        assert defined == (1.0, (1.0, 1.0))
        assert np.isnan([undefined.value, *undefined.interval]).all()
    assert np.isnan(difference([predicted], [predicted, predicted], precision, n_resamples=10)[1].interval).all()
    rare = GameSums.of_classifiers(np.arange(4)[:, None] == 0, np.ones((4, 1), bool), np.arange(4))
    (estimate,) = estimates(rare, precision)
    assert estimate.value == 1.0 and np.isnan(estimate.interval).all()


def test_bad_counts_are_named():
    rng = np.random.default_rng(0)
    predicted_NP, true_NP, game_N = rng.random((40, 2)) < 0.5, rng.random((40, 2)) < 0.5, np.arange(40) // 4
    counts = GameSums.of_classifiers(predicted_NP, true_NP, game_N)
    empty = GameSums.of_classifiers(predicted_NP[:0], true_NP[:0], game_N[:0])
    for call in (resampled, estimates):
        with pytest.raises(ValueError, match="no game"):
            call(empty, f1s)
        with pytest.raises(ValueError, match="must be positive"):
            call(counts, f1s, n_resamples=0)
        for wrong in (
            lambda sums: np.mean(sums["positives"]),
            lambda sums: np.stack(list(sums.values()), -1),
            lambda sums: sums["positives"][:-1],
        ):
            with pytest.raises(ValueError, match="one row per resample"):
                call(counts, wrong)
    for level in (0, 1):
        with pytest.raises(ValueError, match="between 0 and 1"):
            pooled([counts], f1s, level=level)
    strangers = {
        "not the same games": GameSums.of_classifiers(predicted_NP, true_NP, game_N, n_games=11),
        "2 columns, another on 1": counts.select([0]),
        "'positives' of some game differs": GameSums.of_classifiers(predicted_NP, true_NP, game_N[::-1]),
    }
    for message, stranger in strangers.items():
        with pytest.raises(ValueError, match=message):
            pooled([counts, stranger], f1s)
        with pytest.raises(ValueError, match=message):
            difference([counts], [stranger], f1s)
    for sides in (([], [counts]), ([counts], [])):
        with pytest.raises(ValueError, match="no seed"):
            difference(*sides, f1s)
    with pytest.raises(ValueError, match="no seed"):
        pooled([], f1s)


# Games whose positions hang together: u says how much is true in a game, v how hard it is; a property's log-odds of
# being true are TRUE + 0.7 u, of being found FOUND + 0.4 u + 0.6 v, of being said in vain WRONG + 0.6 u - 0.6 v. A
# training seed d adds d to the second and takes d / 2 from the third.
TRUE, FOUND, WRONG = np.array([0, -1.2, -2.2, -3.2]), np.array([2.5, 1.5, 0.5, 1]), np.array([-3, -2.5, -3.5, -4.5])
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(40)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def true_f1s(skill, spread):
    """The two F1 of the expected counts, averaged over seeds of skill + spread * normal: by Gaussian quadrature."""
    seed_R111, u, v = (skill + spread * NODES)[:, None, None, None], NODES[:, None], NODES
    over_games = WEIGHTS[:, None] * WEIGHTS
    log_odds = [each[:, None, None] for each in (TRUE, FOUND, WRONG)]
    true = expit(log_odds[0] + 0.7 * u)
    hit_RP = (over_games * true * expit(log_odds[1] + 0.4 * u + 0.6 * v + seed_R111)).sum((-1, -2))
    wrong_RP = (over_games * (1 - true) * expit(log_odds[2] + 0.6 * u - 0.6 * v - seed_R111 / 2)).sum((-1, -2))
    true_RP = np.broadcast_to((over_games * true).sum((-1, -2)), hit_RP.shape)
    return WEIGHTS @ f1s(by_name(1e9 * np.stack([hit_RP, hit_RP + wrong_RP, true_RP], -1)))


class Played:
    """Games drawn anew: about 20 positions each, of four properties."""

    def __init__(self, rng, n_games=200):
        self.rng, shape = rng, (n_games, 1)
        self.u, self.v, self.size = (
            rng.standard_normal(shape),
            rng.standard_normal(shape),
            10 + rng.binomial(20, 0.5, shape),
        )
        self.true_BP = rng.binomial(self.size, expit(TRUE + 0.7 * self.u))

    def scored(self, n_seeds, skill=0.0, spread=0.0):
        d_S11 = skill + spread * self.rng.standard_normal((n_seeds, 1, 1))
        hit_SBP = self.rng.binomial(self.true_BP, expit(FOUND + 0.4 * self.u + 0.6 * self.v + d_S11))
        wrong_SBP = self.rng.binomial(self.size - self.true_BP, expit(WRONG + 0.6 * self.u - 0.6 * self.v - d_S11 / 2))
        true_SBP = np.broadcast_to(self.true_BP, hit_SBP.shape)
        return [counted(each) for each in np.stack([hit_SBP, hit_SBP + wrong_SBP, true_SBP], -1)]


def holds(found, true_K):
    return [low <= true <= high for (_, (low, high)), true in zip(found, true_K, strict=True)]


def test_true_values_of_the_simulation_are_those_of_many_games():
    played = Played(np.random.default_rng(0), n_games=300_000)
    (counts,) = played.scored(1, skill=0.3)
    sums = {name: total_P[None] for name, total_P in counts.totals().items()}
    np.testing.assert_allclose(f1s(sums)[0], true_f1s(0.3, 0), atol=1.5e-3)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """A thousand times 200 games are played and scored: 95% intervals hold the truth 93 to 97 times in a hundred."""
    rng, held = np.random.default_rng(7), []
    true_a, true_b = true_f1s(0, 0), true_f1s(0.1, 0)
    for repeat in range(1000):
        played = Played(rng)
        a, b = played.scored(1), played.scored(1, skill=0.1)
        options = {"n_resamples": 400, "seed": repeat}
        held.append(
            holds(estimates(a[0], f1s, **options), true_a) + holds(difference(b, a, f1s, **options), true_b - true_a)
        )
    share_K = np.mean(held, axis=0)
    print("one, difference:", share_K)
    assert ((share_K >= 0.93) & (share_K <= 0.97)).all(), share_K


def coverage_with_seeds(n_seeds, spread, n_repeats=1000):
    """How often the intervals of `pooled` and `difference` hold the true values of both F1."""
    rng, held = np.random.default_rng(7), []
    true_a, true_b = true_f1s(0, spread), true_f1s(0.1, spread)
    for repeat in range(n_repeats):
        played = Played(rng)
        a, b = played.scored(n_seeds, spread=spread), played.scored(n_seeds, skill=0.1, spread=spread)
        options = {"n_resamples": 400, "seed": repeat}
        held.append(holds(pooled(a, f1s, **options), true_a) + holds(difference(b, a, f1s, **options), true_b - true_a))
    return np.mean(held, axis=0)


def test_intervals_over_three_seeds_hold_the_truth_as_often_as_they_say():
    share_K = coverage_with_seeds(3, spread=0.1)  # moves F1 as much as 200 games do
    print("pooled, difference:", share_K)
    assert ((share_K >= 0.93) & (share_K <= 0.97)).all(), share_K


@pytest.mark.slow
@pytest.mark.parametrize("n_seeds", [3, 5])
@pytest.mark.parametrize("spread", [0, 0.05, 0.2, 0.4])
def test_intervals_over_seeds_hold_at_any_spread(n_seeds, spread):
    share_K = coverage_with_seeds(n_seeds, spread)
    print(n_seeds, spread, "pooled, difference:", share_K)
    assert ((share_K >= 0.93) & (share_K <= 0.98)).all(), share_K


def test_pairing_makes_the_interval_narrower_where_games_are_hard_for_both():
    rng = np.random.default_rng(3)
    played = Played(rng, n_games=400)
    a, b = played.scored(1)[0], played.scored(1, skill=0.1)[0]
    paired = [high - low for _, (low, high) in difference([a], [b], f1s)]
    alone = [[high - low for _, (low, high) in estimates(each, f1s)] for each in (a, b)]
    unpaired = np.hypot(*alone)
    assert (paired < 0.9 * unpaired).all()
