"""A corpus holds the games it was given, hands them out fairly, and says what is wrong with a broken file."""

import shutil
from dataclasses import dataclass

import h5py
import numpy as np
import pytest

from boardgame_sae.games import MoveRecord, load_game
from boardgame_sae.transcripts.corpus import Corpus, CorpusError
from boardgame_sae.transcripts.corpus_writer import write_corpus


@pytest.fixture(params=["move", "char"])
def corpus(request, tiny_corpus, tiny_corpus_char):
    return tiny_corpus if request.param == "move" else tiny_corpus_char


@dataclass(frozen=True)
class Made:
    """A config as `write_corpus` wants it, not made by `generate`."""

    game: str = "othello4"
    tokenization: str = "move"
    seed: int = 0
    validation_fraction: float = 0.0
    test_fraction: float = 0.0


def texts(corpus):
    return corpus.game.texts(corpus.record(np.arange(len(corpus))))


# What is in it


def test_tokens_decode_to_the_games_text(corpus):
    tokens, offsets = corpus.arrays["tokens"], corpus.arrays["token_offsets"]
    for number, text in enumerate(texts(corpus)):
        ids = tokens[offsets[number] : offsets[number + 1]]
        assert "".join(corpus.alphabet[token] for token in ids) == text
        assert 0 not in ids


def test_a_move_is_one_token_or_one_a_character(tiny_corpus, tiny_corpus_char):
    lengths = np.diff(tiny_corpus.arrays["move_offsets"])
    assert np.array_equal(np.diff(tiny_corpus.arrays["token_offsets"]), lengths)
    assert np.array_equal(np.diff(tiny_corpus_char.arrays["token_offsets"]), 2 * lengths)
    assert np.array_equal(tiny_corpus.arrays["games/length"], lengths)
    assert texts(tiny_corpus) == texts(tiny_corpus_char)


def test_plies_count_the_moves_complete_after_each_token(corpus):
    plies, offsets, tokens = (corpus.arrays[name] for name in ("plies", "token_offsets", "tokens"))
    for number in range(len(corpus)):
        here = slice(offsets[number], offsets[number + 1])
        read = ""
        for token, ply in zip(tokens[here], plies[here], strict=True):
            read += corpus.alphabet[token]
            assert ply == len(read) // 2


def test_the_context_is_the_longest_game_less_its_last_token(tiny_corpus, tiny_corpus_char):
    assert (tiny_corpus.n_ctx, tiny_corpus_char.n_ctx) == (11, 23)
    assert max(map(len, texts(tiny_corpus))) == 24


def test_a_corpus_knows_what_it_was_made_from(corpus):
    assert corpus.game is load_game("othello4", passes="implicit")
    assert corpus.config["n_games"] == len(corpus) == 600
    assert corpus.config["tokenization"] == corpus.tokenization
    assert corpus.path.parent.joinpath("run.json").read_text().find(corpus.hash) > 0


def test_the_two_tokenizations_have_different_hashes(tiny_corpus, tiny_corpus_char):
    assert tiny_corpus.hash != tiny_corpus_char.hash


def test_a_corpus_opens_by_its_file_or_its_folder(corpus):
    assert Corpus.open(corpus.path).hash == Corpus.open(str(corpus.path.parent)).hash == corpus.hash


def test_arrays_are_mapped_not_read_and_cannot_be_written(corpus):
    assert isinstance(corpus.arrays["tokens"], np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        corpus.arrays["tokens"][0] = 1


def test_the_file_holds_no_times_so_that_its_bytes_do_not_depend_on_the_clock(corpus):
    with h5py.File(corpus.path) as file:
        things = [file["games"], *(file[name] for name in corpus.arrays)]
        assert not any(thing.id.get_create_plist().get_obj_track_times() for thing in things)


def test_games_without_moves_survive(tmp_path):
    game = load_game("othello4")
    record = game.record(["", "b1a1", ""])
    write_corpus(tmp_path / "corpus.h5", record, Made(), "")
    corpus = Corpus.open(tmp_path)
    assert texts(corpus) == ["", "b1a1", ""] and corpus.rows(np.arange(3))[0].astype(bool).sum(1).tolist() == [0, 2, 0]


def test_a_corpus_of_no_moves_at_all_opens(tmp_path):
    write_corpus(tmp_path / "corpus.h5", MoveRecord.of([[]]), Made(), "")
    assert texts(Corpus.open(tmp_path)) == [""]


# Rows and batches


def test_rows_are_padded_with_0_and_minus_1_and_no_longer_than_any_game(corpus):
    games_B = np.array([5, 0, 5, 599])
    tokens_BL, plies_BL = corpus.rows(games_B)
    assert tokens_BL.shape == plies_BL.shape == (4, corpus.n_ctx + 1)
    assert tokens_BL.dtype == plies_BL.dtype == np.int64
    offsets = corpus.arrays["token_offsets"]
    for row, number in enumerate(games_B):
        length = offsets[number + 1] - offsets[number]
        here = slice(offsets[number], offsets[number + 1])
        assert np.array_equal(tokens_BL[row, :length], corpus.arrays["tokens"][here])
        assert np.array_equal(plies_BL[row, :length], corpus.arrays["plies"][here])
        assert (tokens_BL[row, length:] == 0).all() and (plies_BL[row, length:] == -1).all()


def test_rows_of_every_game_hold_every_token(corpus):
    tokens_BL, plies_BL = corpus.rows(np.arange(len(corpus)))
    assert (tokens_BL == 0).any() and np.array_equal(tokens_BL[tokens_BL > 0], corpus.arrays["tokens"])
    assert np.array_equal(tokens_BL > 0, plies_BL >= 0)


def test_games_are_the_first_of_their_split(corpus):
    every = corpus.games("test")
    assert (corpus.arrays["split"][every] == 2).all() and (np.diff(every) > 0).all()
    assert np.array_equal(corpus.games("test", 10), every[:10])


def test_asking_for_an_unknown_split_or_too_many_games_is_refused(corpus):
    with pytest.raises(ValueError, match="unknown split 'dev'; the splits are train, validation, test"):
        corpus.games("dev")
    with pytest.raises(ValueError, match="601 test games asked for, it has"):
        corpus.games("test", 601)


def pass_over(corpus, epoch, batch_size=7, seed=3):
    """The rows of the training games in the order of one pass, as texts, out of batches that do not divide it."""
    n_games = len(corpus.games("train"))
    first, last = epoch * n_games, (epoch + 1) * n_games
    steps = range(first // batch_size, -(-last // batch_size))
    rows = np.concatenate([corpus.batch("train", step, batch_size, seed)[0] for step in steps])
    skipped = first - steps[0] * batch_size
    return rows[skipped : skipped + n_games].tolist()


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_each_pass_holds_each_training_game_once_also_where_a_batch_runs_into_the_next_pass(corpus, epoch):
    assert len(corpus.games("train")) % 7 != 0
    assert sorted(pass_over(corpus, epoch)) == sorted(corpus.rows(corpus.games("train"))[0].tolist())


def test_each_pass_and_each_seed_has_an_order_of_its_own(corpus):
    orders = [pass_over(corpus, 0), pass_over(corpus, 1), pass_over(corpus, 0, seed=4)]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_a_batch_depends_on_nothing_but_its_arguments(corpus):
    steps = [(0, 16), (500, 16), (3, 5), (0, 16), (22, 16), (23, 16), (0, 1000), (22, 16)]
    in_turn = [corpus.batch("train", step, size, 1)[0] for step, size in steps]
    for (step, size), rows in zip(steps, in_turn, strict=True):
        fresh = Corpus.open(corpus.path)
        assert rows.shape == (size, corpus.n_ctx + 1)
        assert np.array_equal(fresh.batch("train", step, size, 1)[0], rows)


def test_batches_of_any_size_follow_the_same_order(corpus):
    small = np.concatenate([corpus.batch("train", step, 8, 1)[0] for step in range(100)])
    large = np.concatenate([corpus.batch("train", step, 200, 1)[0] for step in range(4)])
    assert np.array_equal(small, large)


def test_a_batch_of_a_split_without_games_is_refused(tmp_path):
    write_corpus(tmp_path / "corpus.h5", MoveRecord.of([[1]]), Made(), "")
    corpus = Corpus.open(tmp_path)
    with pytest.raises(ValueError, match="no validation games"):
        corpus.batch("validation", 0, 4, 0)


# Broken files


@pytest.fixture
def copy(tiny_corpus, tmp_path):
    shutil.copy(tiny_corpus.path, tmp_path / "corpus.h5")
    return tmp_path / "corpus.h5"


def refusal(path):
    with pytest.raises(CorpusError) as caught:
        Corpus.open(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def test_a_missing_file_or_folder_without_one_is_named(tmp_path):
    assert "no such corpus; `boardgame-sae generate` makes one" in refusal(tmp_path / "corpus.h5")
    with pytest.raises(CorpusError) as caught:
        Corpus.open(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'corpus.h5'}: no such corpus")


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.7, 0.999])
def test_a_truncated_file_is_named(copy, share):
    data = copy.read_bytes()
    copy.write_bytes(data[: int(len(data) * share)])
    assert "truncated or not an HDF5 file" in refusal(copy)


def test_a_file_that_is_no_hdf5_is_named(copy):
    copy.write_text("d3c5f6" * 100)
    assert "truncated or not an HDF5 file" in refusal(copy)


def test_a_foreign_hdf5_file_is_named(copy):
    with h5py.File(copy, "w") as file:
        file["acts"] = np.zeros(5)
    assert "an HDF5 file, but not a corpus of boardgame_sae" in refusal(copy)


def test_a_corpus_of_another_version_is_named_with_both_versions(copy):
    with h5py.File(copy, "r+") as file:
        file.attrs["version"] = 99
    assert "a corpus of version 99, this program reads 2" in refusal(copy)


@pytest.mark.parametrize("name", ["moves", "move_offsets", "tokens", "token_offsets", "plies", "split"])
def test_a_corpus_that_lacks_an_array_is_named(copy, name):
    with h5py.File(copy, "r+") as file:
        del file[name]
    assert f"has no array '{name}'" in refusal(copy)


def cast(path, name, dtype):
    with h5py.File(path, "r+") as file:
        values = file[name][()].astype(dtype)
        del file[name]
        file[name] = values


@pytest.mark.parametrize("dtype", ["i1", "u4", "i8", "u8", "f4", "f8", "?", "S3"])
@pytest.mark.parametrize("name", ["moves", "move_offsets", "tokens", "token_offsets", "plies", "split", "games/length"])
def test_an_array_of_another_type_is_named(copy, name, dtype):
    if name.endswith("offsets") and dtype == "i8":
        return
    cast(copy, name, dtype)
    assert f"'{name}' is " in refusal(copy)


@pytest.mark.parametrize("dtype", ["u1", "i8", "f4", "?", "S3"])
def test_a_column_of_another_type_than_the_game_gives_it_is_named(copy, dtype):
    cast(copy, "games/margin", dtype)
    with pytest.raises(CorpusError, match=rf"{copy}: 'games/margin' is .*, not int8; give a corpus\.h5"):
        Corpus.open(copy).boards(np.arange(1))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("moves", "its move_offsets do not match its moves"),
        ("tokens", "the lengths of 'plies' and 'tokens' do not fit together"),
    ],
)
def test_a_corpus_whose_offsets_do_not_fit_is_named(copy, name, message):
    with h5py.File(copy, "r+") as file:
        values = file[name][:-1]
        del file[name]
        file[name] = values
    assert message in refusal(copy)
