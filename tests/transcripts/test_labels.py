"""Labels stand where the GPT has read a whole move, and are those of the game at that ply."""

from dataclasses import replace

import numpy as np
import pytest

from boardgame_sae.transcripts.corpus import CorpusError
from boardgame_sae.transcripts.generate import generate
from boardgame_sae.transcripts.labels import PackedLabels, open_labels, positions, property_labels, write_labels

MADE_OF = {"model": "m", "corpus": "c"}
NAMES = ("board", "legal_move", "flipped", "line")


@pytest.fixture(scope="module")
def passing_char(tmp_path_factory):
    """Characters, with passes written."""
    out = tmp_path_factory.mktemp("corpus") / "passing"
    return generate("othello4:passes=explicit", n_games=60, tokenization="char", out=out)


@pytest.fixture(params=["tiny_corpus", "tiny_corpus_char", "passing_char"])
def corpus(request):
    return request.getfixturevalue(request.param)


def tokens_of_plies(corpus, text):
    """(token, ply) of every ply of a game that ends within what a GPT reads."""
    width = 1 if corpus.tokenization == "move" else 2
    plies = range(1, len(text) // 2 + 1)
    return [(ply * width - 1, ply) for ply in plies if ply * width <= corpus.n_ctx]


def test_positions_are_the_last_tokens_of_the_plies_that_a_gpt_reads(corpus):
    games_B = np.array([7, 3, 3, 50])
    where = positions(corpus, games_B)
    texts = corpus.game.texts(corpus.record(games_B))
    expected = [(game, *both) for game, text in enumerate(texts) for both in tokens_of_plies(corpus, text)]
    found = zip(where.game_N.tolist(), where.token_N.tolist(), where.ply_N.tolist(), strict=True)
    assert list(found) == expected and len(where) == len(expected)
    assert np.array_equal(where.games_B, games_B)


def test_the_last_ply_is_a_position_only_in_games_shorter_than_the_longest(tiny_corpus):
    games_B = np.arange(len(tiny_corpus))
    where = positions(tiny_corpus, games_B)
    last_B = np.zeros(len(games_B), int)
    np.maximum.at(last_B, where.game_N, where.ply_N)
    lengths = tiny_corpus.arrays["games/length"].astype(int)
    assert np.array_equal(last_B, np.minimum(lengths, 11)) and (lengths < 12).any() and (lengths == 12).any()


def test_labels_equal_those_of_the_written_game_at_its_ply(corpus):
    games_B = corpus.games("train", 40)
    where = positions(corpus, games_B)
    found = property_labels(corpus, where, NAMES)
    by_game = [corpus.game.labels(text, NAMES) for text in corpus.game.texts(corpus.record(games_B))]
    for name in NAMES:
        assert found[name].dtype == bool and found[name].any()
        for row, (game, ply) in enumerate(zip(where.game_N, where.ply_N, strict=True)):
            assert np.array_equal(found[name][row], by_game[game][name][ply])


def test_both_tokenizations_label_the_same_boards(tiny_corpus, tiny_corpus_char):
    games_B = np.arange(50)
    labels = []
    for corpus in (tiny_corpus, tiny_corpus_char):
        labels.append(property_labels(corpus, positions(corpus, games_B), NAMES))
    for name in NAMES:
        assert np.array_equal(labels[0][name], labels[1][name])


def test_an_unknown_property_is_refused(tiny_corpus):
    with pytest.raises(ValueError, match="flippd"):
        property_labels(tiny_corpus, positions(tiny_corpus, np.arange(2)), ["flippd"])


@pytest.mark.parametrize("shape", [(5, 4, 4, 3), (7, 3), (4, 1), (3,), (0, 4, 4), (9, 8, 8)])
def test_labels_survive_being_stored(tmp_path, shape):
    labels = {
        "one": np.random.default_rng(0).random(shape) < 0.5,
        "all": np.ones(shape, bool),
    }
    packed = {name: PackedLabels.of(values) for name, values in labels.items()}
    write_labels(tmp_path / "labels.h5", packed, MADE_OF)
    stored = open_labels(tmp_path / "labels.h5", MADE_OF)
    assert set(stored) == {"one", "all"}
    for found in (packed, stored):
        for name, values in labels.items():
            rows = found[name].rows()
            assert rows.dtype == bool and rows.shape == shape == found[name].shape and np.array_equal(rows, values)
            assert np.array_equal(found[name].rows(1, 3), values[1:3])


def test_labels_are_stored_eight_to_a_byte_and_in_the_same_bytes_each_time(tmp_path):
    labels = {"board": PackedLabels.of(np.random.default_rng(0).random((10_000, 64)) < 0.5)}
    for name in ("a", "b"):
        write_labels(tmp_path / name, labels, MADE_OF)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert 80_000 <= (tmp_path / "a").stat().st_size < 90_000


@pytest.mark.parametrize("damage", [lambda data: data[:500], lambda data: b"no labels", lambda data: b""])
def test_a_damaged_label_file_is_named(tmp_path, damage):
    path = tmp_path / "labels.h5"
    write_labels(path, {"board": PackedLabels.of(np.ones((100, 64), bool))}, MADE_OF)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CorpusError, match="truncated or not an HDF5 file") as caught:
        open_labels(path, MADE_OF)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("dtype", ["i1", "u2", "u4", "u8", "?", "f4"])
def test_labels_that_are_no_packed_bytes_are_named(tmp_path, dtype):
    path, labels = tmp_path / "labels.h5", PackedLabels.of(np.ones((10, 64), bool))
    write_labels(path, {"board": replace(labels, packed=labels.packed.astype(dtype))}, MADE_OF)
    with pytest.raises(CorpusError, match=r"'board' is .* with 2 axes, which is not part of labels"):
        open_labels(path, MADE_OF)


def test_a_missing_label_file_is_named(tmp_path):
    with pytest.raises(CorpusError, match=r"labels\.h5"):
        open_labels(tmp_path / "labels.h5", MADE_OF)


def test_every_token_that_is_read_is_a_position_if_asked_for(corpus):
    games_B = corpus.games("train", 20)
    where, plies = positions(corpus, games_B, "token"), positions(corpus, games_B, "ply")
    assert len(where) == corpus.n_read(games_B).sum() >= len(plies)
    found = dict(zip(zip(where.game_N, where.token_N, strict=True), where.ply_N, strict=True))
    for game, token, ply in zip(plies.game_N, plies.token_N, plies.ply_N, strict=True):
        assert found[game, token] == ply


def test_some_rows_of_positions_stand_for_themselves(corpus):
    where = positions(corpus, corpus.games("train", 20))
    labels, start, stop = property_labels(corpus, where, NAMES), len(where) // 3, len(where) // 2
    some = where.rows(start, stop)
    assert len(some) == stop - start and len(some.games_B) < 20
    found = property_labels(corpus, some, NAMES)
    for name in NAMES:
        assert np.array_equal(found[name], labels[name][start:stop])


def test_packed_labels_of_stretches_make_those_of_all():
    labels = np.random.default_rng(1).random((23, 3, 5)) < 0.5
    whole = PackedLabels.concatenate(
        [PackedLabels.of(labels[:9]), PackedLabels.of(labels[9:9]), PackedLabels.of(labels[9:])]
    )
    assert whole.shape == labels.shape
    assert np.array_equal(whole.rows(), labels)
