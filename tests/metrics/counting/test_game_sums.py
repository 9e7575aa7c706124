import json

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_array

from boardgame_sae.files import RunError
from boardgame_sae.metrics.counting import game_sums
from boardgame_sae.metrics.counting.game_sums import CLASSIFIER, GameSums


def dense(sums):
    """(X, B, P): the parts, one after another."""
    return np.stack([part.toarray() for part in sums.parts.values()])


def assert_canonical(sums):
    for part in sums.parts.values():
        assert isinstance(part, csr_array) and part.dtype in (np.int32, np.float64) and part.indices.dtype == np.int32
        assert part.has_sorted_indices and (part.data != 0).all()


def assert_counts(sums):
    """Canonical counts of classifiers."""
    assert (tuple(sums.parts), sums.same) == (CLASSIFIER, ("positives",))
    assert_canonical(sums)
    assert all(part.dtype == np.int32 and (part.data > 0).all() for part in sums.parts.values())


@st.composite
def positions(draw):
    """Predictions, truths and games of up to 30 positions, some games without any."""
    n_games, n_properties = draw(st.integers(1, 6)), draw(st.integers(0, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(st.integers(0, 30))
    predicted_NP, true_NP = (rng.random((size, n_properties)) < draw(st.sampled_from([0, 0.4, 1])) for _ in range(2))
    return predicted_NP, true_NP, rng.integers(n_games, size=size), n_games


@st.composite
def tables(draw):
    """Dense sums of each game by name: whole numbers and fractions of any sign, some zero; maybe of one column only."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 4)) | st.tuples(st.integers(1, 6)))
    whole = st.integers(-(2**31), 2**31 - 1) | st.just(0)
    fraction = st.floats(-1e6, 1e6, allow_subnormal=False) | st.just(0.0)
    return {
        "tokens": draw(hnp.arrays(np.int64, shape, elements=whole)),
        "loss": draw(hnp.arrays(np.float64, shape, elements=fraction)),
    }


@given(positions(), st.booleans())
def test_counts_equal_a_loop_over_games(case, as_tensors):
    predicted_NP, true_NP, game_N, n_games = case
    given_as = torch.from_numpy if as_tensors else np.asarray
    by_number = GameSums.of_classifiers(*map(given_as, (predicted_NP, true_NP, game_N)), n_games=n_games)
    by_rank = GameSums.of_classifiers(*map(given_as, (predicted_NP, true_NP, game_N * 3 - 7)))
    slow_XBP = np.zeros((3, n_games, true_NP.shape[1]), int)
    for predicted_P, true_P, game in zip(predicted_NP, true_NP, game_N, strict=True):
        for p, (predicted, true) in enumerate(zip(predicted_P, true_P, strict=True)):
            slow_XBP[:, game, p] += [bool(predicted and true), predicted, true]
    np.testing.assert_array_equal(dense(by_number), slow_XBP)
    np.testing.assert_array_equal(dense(by_rank), slow_XBP[:, np.unique(game_N)])
    assert (by_number.n_games, by_number.n_columns) == slow_XBP.shape[1:]
    assert by_rank.n_games == len(np.unique(game_N))
    totals = by_number.totals()
    assert tuple(totals) == CLASSIFIER
    for total_P, slow_BP in zip(totals.values(), slow_XBP, strict=True):
        assert total_P.dtype == np.int64
        np.testing.assert_array_equal(total_P, slow_BP.sum(0))
    assert_counts(by_number), assert_counts(by_rank)


@given(tables())
def test_dense_sums_keep_every_number_and_stay_whole_where_they_are(table):
    sums = GameSums.dense(table, same=("tokens",))
    assert (tuple(sums.parts), sums.same) == (("tokens", "loss"), ("tokens",))
    for name, array in table.items():
        np.testing.assert_array_equal(sums.parts[name].toarray(), array.reshape(len(array), -1))
    assert [part.dtype for part in sums.parts.values()] == [np.int32, np.float64]
    assert_canonical(sums)


@given(tables(), st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 256]))
def test_totals_and_drawn_games_equal_dense_arithmetic(table, seed, games_at_once):
    sums, n_games = GameSums.dense(table), len(table["tokens"])
    weights_RB = np.random.default_rng(seed).integers(0, 4, (5, n_games)).astype(float)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(game_sums, "_GAMES_AT_ONCE", games_at_once)
        totals, drawn = sums.totals(), sums.drawn(weights_RB)
    assert tuple(totals) == tuple(drawn) == tuple(table)
    assert [total_P.dtype for total_P in totals.values()] == [np.int64, np.float64]
    for name, array in table.items():
        array_BP = array.reshape(n_games, -1)
        scale = np.abs(array_BP).sum(0) + 1
        assert drawn[name].shape == (5, array_BP.shape[1]) and drawn[name].dtype == np.float64
        assert (np.abs(totals[name] - array_BP.sum(0)) <= 1e-14 * scale).all()
        slow_RP = np.stack([sum(weight * array_P for weight, array_P in zip(weights_B, array_BP, strict=True))
                            for weights_B in weights_RB])  # fmt: skip
        assert (np.abs(drawn[name] - slow_RP) <= 1e-13 * scale).all()
    np.testing.assert_array_equal(totals["tokens"], table["tokens"].reshape(n_games, -1).sum(0))


def test_slabs_of_columns_do_not_change_the_counts(monkeypatch):
    rng = np.random.default_rng(0)
    predicted_NP, true_NP, game_N = rng.random((50, 7)) < 0.3, rng.random((50, 7)) < 0.3, rng.integers(5, size=50)
    whole = dense(GameSums.of_classifiers(predicted_NP, true_NP, game_N))
    for n_bytes in (1, 3 * 7 * 50):
        monkeypatch.setattr(game_sums, "_SLAB_BYTES", n_bytes)
        np.testing.assert_array_equal(dense(GameSums.of_classifiers(predicted_NP, true_NP, game_N)), whole)


@given(positions(), st.data())
def test_parts_go_together_and_apart(case, data):
    predicted_NP, true_NP, game_N, n_games = case
    sums = GameSums.of_classifiers(predicted_NP, true_NP, game_N, n_games)
    column = data.draw(st.integers(0, sums.n_columns))
    halves = [sums.select(np.arange(column)), sums.select(range(column, sums.n_columns))]
    np.testing.assert_array_equal(dense(GameSums.concatenate(halves)), dense(sums))
    assert_counts(GameSums.concatenate(halves))
    if sums.n_columns:
        order = data.draw(st.lists(st.integers(0, sums.n_columns - 1), max_size=6))
        np.testing.assert_array_equal(dense(sums.select(order)), dense(sums)[:, :, order])
        assert_counts(sums.select(order))
        mask_P = np.arange(sums.n_columns) % 2 == 0
        np.testing.assert_array_equal(dense(sums.select(mask_P)), dense(sums)[:, :, mask_P])
    early_N, half = game_N < n_games // 2, n_games // 2
    parts = [
        GameSums.of_classifiers(predicted_NP[early_N], true_NP[early_N], game_N[early_N], half),
        GameSums.of_classifiers(predicted_NP[~early_N], true_NP[~early_N], game_N[~early_N] - half, n_games - half),
    ]
    np.testing.assert_array_equal(dense(GameSums.stack(parts)), dense(sums))
    assert_counts(GameSums.stack(parts))


@given(positions())
def test_saved_counts_come_back_and_equal_counts_make_equal_bytes(tmp_path_factory, case):
    folder = tmp_path_factory.mktemp("sums")
    sums = GameSums.of_classifiers(*case)
    sums.save(folder / "a.safetensors")
    back = GameSums.load(str(folder / "a.safetensors"))
    np.testing.assert_array_equal(dense(back), dense(sums))
    assert_counts(back)
    untidy = {name: csr_array(part.astype(np.int64)) for name, part in zip(CLASSIFIER, dense(sums), strict=True)}
    for again in (sums, back, GameSums(untidy, ("positives",))):
        again.save(folder / "b.safetensors")
        assert (folder / "b.safetensors").read_bytes() == (folder / "a.safetensors").read_bytes()
    assert {path.name for path in folder.iterdir()} == {"a.safetensors", "b.safetensors"}


@given(tables())
def test_saved_fractions_come_back_to_the_last_bit_and_to_the_same_bytes(tmp_path_factory, table):
    folder = tmp_path_factory.mktemp("sums")
    sums = GameSums.dense(table, same=("tokens",))
    sums.save(folder / "a.safetensors")
    back = GameSums.load(folder / "a.safetensors")
    assert (tuple(back.parts), back.same) == (("tokens", "loss"), ("tokens",))
    for name, array in table.items():
        np.testing.assert_array_equal(back.parts[name].toarray(), array.reshape(len(array), -1))
    assert_canonical(back)
    for again in (sums, back):
        again.save(folder / "b.safetensors")
        assert (folder / "b.safetensors").read_bytes() == (folder / "a.safetensors").read_bytes()


def test_stored_zeros_disorder_and_doubles_are_tidied_and_the_input_is_left_alone():
    messy = csr_array((np.array([1, 0, 2, 3]), np.array([2, 1, 0, 0]), np.array([0, 2, 4])), shape=(2, 3))
    for part, expected in ((messy, np.int32), (messy * 0.5, np.float64)):
        sums = GameSums({"one": part, "copy": part.copy()})
        assert_canonical(sums)
        assert sums.parts["one"].dtype == expected
        np.testing.assert_array_equal(sums.parts["one"].toarray(), np.array([[0, 0, 1], [5, 0, 0]]) * part.data[0])
        np.testing.assert_array_equal(part.indices, [2, 1, 0, 0])


@pytest.fixture
def saved(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "counts.safetensors"
    GameSums.of_classifiers(rng.random((60, 3)) < 0.5, rng.random((60, 3)) < 0.5, rng.integers(4, size=60)).save(path)
    return path


def about(parts=CLASSIFIER, same=("positives",)):
    """What a file's metadata says of its sums."""
    return {"sums": json.dumps({"parts": parts, "same": same})}


def test_damage_is_named_with_its_file(saved):
    whole, arrays = saved.read_bytes(), load_file(saved)
    save_file(arrays, saved, about())
    assert tuple(GameSums.load(saved).parts) == CLASSIFIER  # so that what follows is refused for what was changed
    damaged = [whole[: len(whole) // 2], b"", b"{}" + whole, whole + b"more"]
    for data in damaged:
        saved.write_bytes(data)
        with pytest.raises(RunError, match=r"counts\.safetensors: damaged"):
            GameSums.load(saved)
    wrong_data = arrays["true_positives.data"].astype(np.float64)
    wrong_data[0] = np.nan
    changes = {
        "shape": np.array([4]),
        "true_positives.data": wrong_data,
        "predicted_positives.data": arrays["predicted_positives.data"][:-1],
        "positives.data": arrays["positives.data"].astype(np.float32),
        "positives.indices": arrays["positives.indices"] + np.int32(1),
        "predicted_positives.indices": arrays["predicted_positives.indices"].astype(np.int64),
        "predicted_positives.indptr": arrays["predicted_positives.indptr"][::-1].copy(),
        "true_positives.indptr": None,
    }
    for name, array in changes.items():
        save_file({key: value for key, value in {**arrays, name: array}.items() if value is not None}, saved, about())
        with pytest.raises(RunError, match=r"counts\.safetensors: damaged"):
            GameSums.load(saved)
    for metadata in (None, {}, {"sums": "{"}, {"sums": "[]"}, about(parts=()), about(parts=["loss"]), about(same=None)):
        save_file(arrays, saved, metadata)
        with pytest.raises(RunError, match=r"counts\.safetensors: damaged"):
            GameSums.load(saved)
    saved.unlink()
    with pytest.raises(RunError, match=r"counts\.safetensors: no such file"):
        GameSums.load(saved)


def test_bad_input_is_named():
    some_NP, game_N = np.ones((4, 2), bool), np.array([0, 1, 1, 2])
    with pytest.raises(ValueError, match="predictions have shape"):
        GameSums.of_classifiers(some_NP[:, :1], some_NP, game_N)
    for games in (game_N[:-1], game_N.astype(float)):
        with pytest.raises(ValueError, match="their games"):
            GameSums.of_classifiers(some_NP, some_NP, games)
    for games in (game_N, game_N - 1):
        with pytest.raises(ValueError, match="not from 0 to below 2"):
            GameSums.of_classifiers(some_NP, some_NP, games, n_games=2)
    sums = GameSums.of_classifiers(some_NP, some_NP, game_N)
    one = csr_array(np.ones((2, 2), int))
    for parts in ({"a": one, "b": csr_array((2, 3), dtype=int)}, {}):
        with pytest.raises(ValueError, match="all of one shape"):
            GameSums(parts)
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="'loss' holds a sum that is not finite"):
            GameSums.dense({"right": np.ones(2), "loss": np.array([1, bad])})
    for too_large in (2**31, -(2**31) - 1):
        with pytest.raises(ValueError, match="'tokens' holds a whole number beyond 32 bits"):
            GameSums.dense({"tokens": np.array([1, too_large])})
    for kind in (bool, complex):
        with pytest.raises(ValueError, match="sums are numbers; 'right' is "):
            GameSums.dense({"right": np.ones(2, kind)})
    for several in ([], [sums, GameSums.of_classifiers(some_NP, some_NP, game_N, n_games=5)]):
        with pytest.raises(ValueError, match="side by side"):
            GameSums.concatenate(several)
    for several in ([], [sums, sums.select([0])]):
        with pytest.raises(ValueError, match="in one list"):
            GameSums.stack(several)
    for columns in ([2], np.array([True]), [0.5]):
        with pytest.raises(IndexError):
            sums.select(columns)


def test_sums_of_other_games_columns_or_kinds_are_told_apart():
    tokens_B, loss_B = np.array([3, 4]), np.array([1.5, 2.5])
    sums = GameSums.dense({"tokens": tokens_B, "loss": loss_B}, same=("tokens",))
    sums.check_same_games(GameSums.dense({"tokens": tokens_B, "loss": 2 * loss_B}, same=("tokens",)))
    strangers = {
        "one was scored on 2 games, another on 1": {"tokens": tokens_B[:1], "loss": loss_B[:1]},
        "1 columns, another on 2": {"tokens": np.ones((2, 2)), "loss": np.ones((2, 2))},
        "one has sums of tokens, loss, another of loss, tokens": {"loss": loss_B, "tokens": tokens_B},
        "'tokens' of some game differs": {"tokens": tokens_B[::-1], "loss": loss_B},
    }
    for message, parts in strangers.items():
        with pytest.raises(ValueError, match=message):
            sums.check_same_games(GameSums.dense(parts))
