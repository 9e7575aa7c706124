import brute_force
import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment

from boardgame_sae.metrics.directions import direction_recovery, match

CLOSE = {"rtol": 0, "atol": 1e-12}


def vectors(n, width, largest=3):
    """Small integers, so that equal cosines, equal rows and rows of zeros abound."""
    return hnp.arrays(np.int64, (n, width), elements=st.integers(-largest, largest)).map(lambda x: x.astype(np.float64))


@st.composite
def problems(draw):
    n_latents, n_directions, width = draw(st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4)))
    decoder_FD, directions_PD = draw(vectors(n_latents, width)), draw(vectors(n_directions, width))
    directions_PD[~directions_PD.any(axis=1), 0] = 1
    alive_F = draw(st.none() | hnp.arrays(np.bool_, n_latents))
    if alive_F is not None:
        alive_F[draw(st.integers(0, n_latents - 1))] = True
    return decoder_FD, directions_PD, alive_F


def gaussian(n, width, seed):
    return np.random.default_rng(seed).standard_normal((n, width))


@hypothesis.given(problems())
@hypothesis.settings(max_examples=150, deadline=None)
def test_recovery_equals_the_best_of_all_matchings(problem):
    decoder_FD, directions_PD, alive_F = problem
    ours = direction_recovery(decoder_FD, directions_PD, alive_F=alive_F, n_random=1)
    alive = [f for f in range(len(decoder_FD)) if alive_F is None or alive_F[f]]
    cosine_PF = np.array([[brute_force.cosine(d, row) for row in decoder_FD] for d in directions_PD])
    expected = brute_force.best_matching(cosine_PF[:, alive]) / len(directions_PD)
    assert ours.value == pytest.approx(expected, abs=1e-12)
    matched = [f for f in ours.latent_P.tolist() if f >= 0]
    assert len(matched) == len(set(matched)) == min(len(alive), len(directions_PD))
    assert set(matched) <= set(alive)
    pairs = [cosine_PF[p, f] if f >= 0 else 0.0 for p, f in enumerate(ours.latent_P.tolist())]
    np.testing.assert_allclose(ours.cosine_P, pairs, **CLOSE)
    np.testing.assert_allclose(ours.nearest_P, cosine_PF[:, alive].max(axis=1), **CLOSE)
    assert ours.cosine_P.dtype == ours.nearest_P.dtype == torch.float64
    assert ours.latent_P.dtype == torch.int64


@st.composite
def weights(draw):
    n_rows, n_columns = draw(st.tuples(st.integers(1, 8), st.integers(1, 40)))
    elements = draw(st.sampled_from([st.integers(-3, 3), st.integers(-1000, 1000)]))  # exact sums; many ties or few
    weight_PF = draw(hnp.arrays(np.int64, (n_rows, n_columns), elements=elements))
    if draw(st.booleans()):  # rows that contend for the same columns, where leaving columns out matters
        weight_PF += draw(hnp.arrays(np.int64, n_columns, elements=st.integers(-5000, 5000)))
    return weight_PF.astype(draw(st.sampled_from([np.float32, np.float64])))


@hypothesis.given(weights())
@hypothesis.settings(max_examples=300, deadline=None)
def test_leaving_columns_out_costs_nothing(weight_PF):
    p, f = match(weight_PF)
    assert len(set(p.tolist())) == len(set(f.tolist())) == min(weight_PF.shape)
    assert weight_PF[p, f].sum() == weight_PF[linear_sum_assignment(weight_PF, maximize=True)].sum()


def test_columns_are_left_out_where_rows_contend_for_them():
    weight_PF = np.arange(100.0) + gaussian(5, 100, 0) / 100
    p, f = match(weight_PF)
    assert sorted(f) == [95, 96, 97, 98, 99]
    assert weight_PF[p, f].sum() == weight_PF[linear_sum_assignment(weight_PF, maximize=True)].sum()


@pytest.mark.parametrize("n_junk", [0, 60])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_planted_directions_are_all_recovered(n_junk, dtype):
    directions_PD, junk_FD = gaussian(20, 16, 0), gaussian(n_junk, 16, 1)
    order = np.random.default_rng(2).permutation(20 + n_junk)
    rows_FD = np.concatenate([directions_PD, junk_FD])[order] * np.exp(gaussian(20 + n_junk, 1, 3))
    ours = direction_recovery(torch.from_numpy(rows_FD).to(dtype).requires_grad_(), torch.from_numpy(directions_PD))
    assert ours.latent_P.tolist() == np.argsort(order)[:20].tolist()
    assert ours.value == pytest.approx(1, abs=1e-12)
    assert ours.cosine_P.max() <= 1
    assert ours.random_interval[0] <= ours.random <= ours.random_interval[1] < 0.8
    # with axes for directions nothing is rounded
    axes = direction_recovery(np.eye(6)[[3, 0, 5, 1, 4, 2]] * 7, np.eye(6))
    assert (axes.value, axes.latent_P.tolist()) == (1.0, [1, 3, 5, 0, 4, 2])


def test_a_row_that_points_the_opposite_way_does_not_count():
    negated = direction_recovery(-np.eye(5), np.eye(5))
    assert negated.value == 0.0  # each is given one at a right angle instead
    assert direction_recovery(-np.eye(1, 4), np.eye(1, 4)).value == -1.0
    both = direction_recovery(np.concatenate([-np.eye(5), np.eye(5)]), np.eye(5))
    assert (both.value, both.latent_P.tolist()) == (1.0, [5, 6, 7, 8, 9])


def test_one_row_does_not_stand_for_two_directions():
    ours = direction_recovery(np.array([[1.0, 0, 0], [0, 0, 1]]), np.array([[1.0, 0.1, 0], [1, -0.2, 0]]))
    assert ours.latent_P.tolist() == [0, 1]
    assert ours.cosine_P[1] == 0
    assert (ours.nearest_P > 0.9).all()


def test_scale_does_not_matter():
    decoder_FD, directions_PD = gaussian(30, 8, 0), gaussian(12, 8, 1)
    base = direction_recovery(decoder_FD, directions_PD)
    scale_F1, scale_P1 = np.exp2(np.arange(30) - 15)[:, None], np.exp2(np.arange(12) * 3 - 18)[:, None]
    scaled = direction_recovery(decoder_FD * scale_F1, directions_PD * scale_P1)
    for ours, other in zip(base, scaled, strict=True):
        np.testing.assert_array_equal(ours, other)
    for size in (1e-200, 1e200):  # whose squares are no numbers
        extreme = direction_recovery(decoder_FD * size, directions_PD / size)
        np.testing.assert_allclose(extreme.cosine_P, base.cosine_P, **CLOSE)


def test_dead_rows_are_never_matched_and_do_not_count_for_chance():
    directions_PD, junk_FD = gaussian(6, 8, 0), gaussian(20, 8, 1)
    decoder_FD, alive_F = np.concatenate([directions_PD, junk_FD]), np.arange(26) >= 6
    ours = direction_recovery(decoder_FD, directions_PD, alive_F=torch.from_numpy(alive_F))
    alone = direction_recovery(junk_FD, directions_PD)
    assert torch.equal(ours.latent_P, alone.latent_P + 6)
    assert ours.nearest_P.max() < 1
    assert (ours.value, ours.random, ours.random_interval) == (alone.value, alone.random, alone.random_interval)


def simulated(n_rows, directions_PD, n_draws, seed):
    """Mean matched cosines of random decoders, by the definition of a random direction and scipy's matching."""
    rng = np.random.default_rng(seed)
    unit_PD = directions_PD / np.linalg.norm(directions_PD, axis=1, keepdims=True)
    values = []
    for _ in range(n_draws):
        rows_FD = rng.standard_normal((n_rows, directions_PD.shape[1]))
        cosine_PF = unit_PD @ (rows_FD / np.linalg.norm(rows_FD, axis=1, keepdims=True)).T
        values.append(cosine_PF[linear_sum_assignment(-cosine_PF)].sum() / len(unit_PD))
    return np.array(values)


@pytest.mark.parametrize("n_rows", [40, 5])
def test_the_chance_level_is_what_random_decoders_reach(n_rows):
    directions_PD = gaussian(10, 12, 0) + 0.5
    ours = direction_recovery(gaussian(n_rows, 12, 1), directions_PD, n_random=400)
    values = simulated(n_rows, directions_PD, 2000, seed=5)
    assert ours.random == pytest.approx(values.mean(), abs=4 * values.std() * (1 / 400 + 1 / 2000) ** 0.5)
    low, high = ours.random_interval
    assert 0.92 < ((low <= values) & (values <= high)).mean() < 0.98
    assert low < ours.random < high
    again, other = (
        direction_recovery(gaussian(n_rows, 12, 2), directions_PD, n_random=400, seed=seed) for seed in (0, 1)
    )
    assert (again.random, again.random_interval) == (ours.random, ours.random_interval)
    assert other.random != ours.random


def test_chance_is_exact_in_one_dimension():
    """Eight random signs for one direction: one of them is right with probability 1 - 2^-8."""
    ours = direction_recovery(np.ones((8, 1)), np.ones((1, 1)), n_random=2000)
    assert ours.random == pytest.approx(1 - 2 * 2**-8, abs=0.01)
    one = direction_recovery(np.ones((8, 1)), np.ones((1, 1)), n_random=1)
    assert one.random_interval == (one.random, one.random)


def test_bad_input_is_named():
    rows_FD, directions_PD = gaussian(5, 4, 0), gaussian(3, 4, 1)
    bad_FD, zero_PD = rows_FD.copy(), directions_PD.copy()
    bad_FD[2, 1], zero_PD[1] = np.nan, 0
    with pytest.raises(ValueError, match="5 wide, directions 4"):
        direction_recovery(gaussian(5, 5, 0), directions_PD)
    for rows, directions, message in (
        (rows_FD, directions_PD[:0], "no directions"),
        (rows_FD[:0], directions_PD, "no decoder rows"),
        (rows_FD[:, :0], directions_PD[:, :0], r"no decoder rows: their shape is \(5, 0\)"),
        (bad_FD, directions_PD, "decoder rows must be finite, unlike row 2"),
        (rows_FD, torch.full((3, 4), torch.inf), "directions must be finite, unlike row 0"),
        (rows_FD, zero_PD, "direction 1 is zero"),
        (rows_FD[0], directions_PD, "decoder rows are a table of rank 2"),
        (rows_FD, directions_PD[None], "directions are a table of rank 2"),
    ):
        with pytest.raises(ValueError, match=message):
            direction_recovery(rows, directions)
    for alive_F, message in (
        (np.zeros(5, bool), "no decoder row is alive"),
        (np.ones(4, bool), r"bool \(5,\) for these rows, not bool \(4,\)"),
        (np.ones(5), "not float64"),
    ):
        with pytest.raises(ValueError, match=message):
            direction_recovery(rows_FD, directions_PD, alive_F=alive_F)
    with pytest.raises(ValueError, match="at least one draw, not 0"):
        direction_recovery(rows_FD, directions_PD, n_random=0)
