import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_array

from boardgame_sae.files import RunError
from boardgame_sae.metrics.counting import game_counts
from boardgame_sae.metrics.counting.game_counts import GameCounts

PARTS = ("hit", "said", "true")


def dense(counts):
    """(3, B, P)."""
    return np.stack([getattr(counts, name).toarray() for name in PARTS])


def assert_canonical(counts):
    for name in PARTS:
        part = getattr(counts, name)
        assert isinstance(part, csr_array) and part.dtype == np.int32 and part.indices.dtype == np.int32
        assert part.has_sorted_indices and (part.data > 0).all()


@st.composite
def positions(draw):
    """Predictions, truths and games of up to 30 positions, some games without any."""
    n_games, n_properties = draw(st.integers(1, 6)), draw(st.integers(0, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(st.integers(0, 30))
    predicted_NP, true_NP = (rng.random((size, n_properties)) < draw(st.sampled_from([0, 0.4, 1])) for _ in range(2))
    return predicted_NP, true_NP, rng.integers(n_games, size=size), n_games


@given(positions(), st.booleans())
def test_counts_equal_a_loop_over_games(case, as_tensors):
    predicted_NP, true_NP, game_N, n_games = case
    given_as = torch.from_numpy if as_tensors else np.asarray
    by_number = GameCounts.of(*map(given_as, (predicted_NP, true_NP, game_N)), n_games=n_games)
    by_rank = GameCounts.of(*map(given_as, (predicted_NP, true_NP, game_N * 3 - 7)))
    slow_XBP = np.zeros((3, n_games, true_NP.shape[1]), int)
    for said_P, true_P, game in zip(predicted_NP, true_NP, game_N, strict=True):
        for p, (says, truth) in enumerate(zip(said_P, true_P, strict=True)):
            slow_XBP[:, game, p] += [bool(says and truth), says, truth]
    np.testing.assert_array_equal(dense(by_number), slow_XBP)
    np.testing.assert_array_equal(dense(by_rank), slow_XBP[:, np.unique(game_N)])
    assert (by_number.n_games, by_number.n_properties) == slow_XBP.shape[1:]
    assert by_rank.n_games == len(np.unique(game_N))
    totals = by_number.totals()
    assert totals.dtype == np.int64
    np.testing.assert_array_equal(totals, slow_XBP.sum(1).T)
    assert_canonical(by_number), assert_canonical(by_rank)


def test_slabs_of_columns_do_not_change_the_counts(monkeypatch):
    rng = np.random.default_rng(0)
    predicted_NP, true_NP, game_N = rng.random((50, 7)) < 0.3, rng.random((50, 7)) < 0.3, rng.integers(5, size=50)
    whole = dense(GameCounts.of(predicted_NP, true_NP, game_N))
    for n_bytes in (1, 3 * 7 * 50):
        monkeypatch.setattr(game_counts, "_SLAB_BYTES", n_bytes)
        np.testing.assert_array_equal(dense(GameCounts.of(predicted_NP, true_NP, game_N)), whole)


@given(positions(), st.data())
def test_parts_go_together_and_apart(case, data):
    predicted_NP, true_NP, game_N, n_games = case
    counts = GameCounts.of(predicted_NP, true_NP, game_N, n_games)
    column = data.draw(st.integers(0, counts.n_properties))
    halves = [counts.select(np.arange(column)), counts.select(range(column, counts.n_properties))]
    np.testing.assert_array_equal(dense(GameCounts.concatenate(halves)), dense(counts))
    if counts.n_properties:
        order = data.draw(st.lists(st.integers(0, counts.n_properties - 1), max_size=6))
        np.testing.assert_array_equal(dense(counts.select(order)), dense(counts)[:, :, order])
        assert_canonical(counts.select(order))
        mask_P = np.arange(counts.n_properties) % 2 == 0
        np.testing.assert_array_equal(dense(counts.select(mask_P)), dense(counts)[:, :, mask_P])
    early_N = game_N < n_games // 2
    parts = [
        GameCounts.of(predicted_NP[early_N], true_NP[early_N], game_N[early_N], n_games // 2),
        GameCounts.of(
            predicted_NP[~early_N], true_NP[~early_N], game_N[~early_N] - n_games // 2, n_games - n_games // 2
        ),
    ]
    np.testing.assert_array_equal(dense(GameCounts.stack(parts)), dense(counts))
    assert_canonical(GameCounts.stack(parts))


@given(positions())
def test_saved_counts_come_back_and_equal_counts_make_equal_bytes(tmp_path_factory, case):
    folder = tmp_path_factory.mktemp("counts")
    counts = GameCounts.of(*case)
    counts.save(folder / "a.safetensors")
    back = GameCounts.load(str(folder / "a.safetensors"))
    np.testing.assert_array_equal(dense(back), dense(counts))
    assert_canonical(back)
    untidy = GameCounts(*(csr_array(part.astype(np.int64)) for part in dense(counts)))
    for again in (counts, back, untidy):
        again.save(folder / "b.safetensors")
        assert (folder / "b.safetensors").read_bytes() == (folder / "a.safetensors").read_bytes()
    assert {path.name for path in folder.iterdir()} == {"a.safetensors", "b.safetensors"}


def test_stored_zeros_disorder_and_doubles_are_tidied_and_the_input_is_left_alone():
    messy = csr_array((np.array([1, 0, 2, 3]), np.array([2, 1, 0, 0]), np.array([0, 2, 4])), shape=(2, 3))
    counts = GameCounts(messy, messy.copy(), messy)
    assert_canonical(counts)
    np.testing.assert_array_equal(counts.true.toarray(), [[0, 0, 1], [5, 0, 0]])
    np.testing.assert_array_equal(messy.indices, [2, 1, 0, 0])


@pytest.fixture
def saved(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "counts.safetensors"
    GameCounts.of(rng.random((60, 3)) < 0.5, rng.random((60, 3)) < 0.5, rng.integers(4, size=60)).save(path)
    return path


def test_damage_is_named_with_its_file(saved):
    whole, arrays = saved.read_bytes(), load_file(saved)
    damaged = [whole[: len(whole) // 2], b"", b"{}" + whole, whole + b"more"]
    for data in damaged:
        saved.write_bytes(data)
        with pytest.raises(RunError, match=r"counts\.safetensors: damaged"):
            GameCounts.load(saved)
    changes = {
        "shape": np.array([4]),
        "hit.data": -arrays["hit.data"],
        "said.data": arrays["said.data"][:-1],
        "true.data": arrays["true.data"].astype(np.float32),
        "true.indices": arrays["true.indices"] + np.int32(1),
        "said.indptr": arrays["said.indptr"][::-1].copy(),
        "hit.indptr": None,
    }
    for name, array in changes.items():
        save_file({key: value for key, value in {**arrays, name: array}.items() if value is not None}, saved)
        with pytest.raises(RunError, match=r"counts\.safetensors: damaged"):
            GameCounts.load(saved)
    saved.unlink()
    with pytest.raises(RunError, match=r"counts\.safetensors: no such file"):
        GameCounts.load(saved)


def test_bad_input_is_named():
    some_NP, game_N = np.ones((4, 2), bool), np.array([0, 1, 1, 2])
    with pytest.raises(ValueError, match="predictions have shape"):
        GameCounts.of(some_NP[:, :1], some_NP, game_N)
    for games in (game_N[:-1], game_N.astype(float)):
        with pytest.raises(ValueError, match="their games"):
            GameCounts.of(some_NP, some_NP, games)
    for games in (game_N, game_N - 1):
        with pytest.raises(ValueError, match="not from 0 to below 2"):
            GameCounts.of(some_NP, some_NP, games, n_games=2)
    counts = GameCounts.of(some_NP, some_NP, game_N)
    one, two = csr_array(np.ones((2, 2), int)), csr_array(np.full((2, 2), 2))
    with pytest.raises(ValueError, match="all of one shape"):
        GameCounts(one, one, csr_array((2, 3), dtype=int))
    with pytest.raises(ValueError, match="more positions are hit than are said"):
        GameCounts(two, one, two)
    with pytest.raises(ValueError, match="more positions are hit than are true"):
        GameCounts(two, two, one)
    with pytest.raises(ValueError, match="below 0"):
        GameCounts(one, -one, one)
    with pytest.raises(ValueError, match="whole numbers"):
        GameCounts(one, one * 0.5, one)
    for parts in ([], [counts, GameCounts.of(some_NP, some_NP, game_N, n_games=5)]):
        with pytest.raises(ValueError, match="side by side"):
            GameCounts.concatenate(parts)
    for parts in ([], [counts, counts.select([0])]):
        with pytest.raises(ValueError, match="in one list"):
            GameCounts.stack(parts)
    for columns in ([2], np.array([True]), [0.5]):
        with pytest.raises(IndexError):
            counts.select(columns)
