import numpy as np
import pytest
import torch

from boardgame_sae.metrics import bootstrap
from boardgame_sae.metrics.bootstrap import bootstrap_interval, counts_by_game


def mean_f1(sums):
    """Mean F1 from (R, 3, P) true positives, predicted, positives."""
    return (2 * sums[:, 0] / (sums[:, 1] + sums[:, 2])).mean(1)


def example(n_games=200, n_properties=4, seed=0):
    rng = np.random.default_rng(seed)
    true_NP = rng.random((n_games * 10, n_properties)) < 0.4
    predicted_NP = true_NP ^ (rng.random(true_NP.shape) < 0.1)
    game_N = rng.permutation(np.repeat(np.arange(n_games) * 3 - 5, 10))
    return predicted_NP, true_NP, game_N


def test_counts_by_game_equal_a_loop():
    predicted_NP, true_NP, game_N = example(n_games=7)
    ours = counts_by_game(torch.from_numpy(predicted_NP), true_NP, game_N)
    for b, game in enumerate(sorted(set(game_N.tolist()))):
        rows = [n for n in range(len(game_N)) if game_N[n] == game]
        for p in range(true_NP.shape[1]):
            assert ours[0][b, p] == sum(bool(predicted_NP[n, p] and true_NP[n, p]) for n in rows)
            assert ours[1][b, p] == sum(bool(predicted_NP[n, p]) for n in rows)
            assert ours[2][b, p] == sum(bool(true_NP[n, p]) for n in rows)
    assert all(len(counts_BP) == 7 and counts_BP.dtype == torch.int64 for counts_BP in ours)
    nothing = counts_by_game(predicted_NP[:0], true_NP[:0], game_N[:0])
    assert [tuple(counts_BP.shape) for counts_BP in nothing] == [(0, 4)] * 3


def test_interval_equals_a_slow_loop_in_any_chunks(monkeypatch):
    counts_BX = torch.stack(counts_by_game(*example(n_games=30)), 1).numpy()
    slow = []
    for drawn_B in np.random.default_rng(5).integers(30, size=(200, 30)):
        hit, said, true = sum(counts_BX[b] for b in drawn_B)
        slow.append(np.mean(2 * hit / (said + true)))
    expected = np.quantile(slow, [0.05, 0.95])
    for n_bytes in (bootstrap._CHUNK_BYTES, 8 * 103 * 7, 1):
        monkeypatch.setattr(bootstrap, "_CHUNK_BYTES", n_bytes)
        ours = bootstrap_interval(mean_f1, counts_BX, n_resamples=200, seed=5, level=0.9)
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)


def test_interval_holds_the_estimate_and_depends_only_on_the_seed():
    counts_BX = torch.stack(counts_by_game(*example()), 1)
    point = float(mean_f1(counts_BX.sum(0)[None].double()))
    low, high = bootstrap_interval(mean_f1, counts_BX)
    assert low < point < high
    assert high - low < 0.05
    assert bootstrap_interval(mean_f1, counts_BX) == (low, high)
    assert bootstrap_interval(mean_f1, counts_BX, seed=1) != (low, high)
    assert bootstrap_interval(mean_f1, counts_BX.numpy()) == pytest.approx((low, high), abs=1e-12)
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
    predicted_NP, true_NP, game_N = example(n_games=3)
    with pytest.raises(ValueError, match="predictions have shape"):
        counts_by_game(predicted_NP[:, :2], true_NP, game_N)
    with pytest.raises(ValueError, match="their games"):
        counts_by_game(predicted_NP, true_NP, game_N[:-1])
