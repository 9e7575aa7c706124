import numpy as np
import pytest

from boardgame_sae.transcripts.corpus import CORPUS, CORPUS_FILE, Corpus, CorpusError
from boardgame_sae.transcripts.excerpt import write_excerpt
from boardgame_sae.transcripts.generate import generate


@pytest.fixture(params=["move", "char"])
def corpus(request, tiny_corpus, tiny_corpus_char) -> Corpus:
    return tiny_corpus if request.param == "move" else tiny_corpus_char


def test_an_excerpt_holds_the_held_out_games_and_only_them(corpus, tmp_path):
    write_excerpt(corpus, tmp_path / CORPUS_FILE, 20)
    found = Corpus.open(tmp_path)
    assert len(found) == len(corpus.games("validation")) + len(corpus.games("test"))
    assert set(found.arrays) == set(corpus.arrays)
    for split in ("validation", "test"):
        ours, theirs = found.games(split), corpus.games(split, 20)
        assert len(ours) == 20
        assert [list(game) for game in found.record(ours)] == [list(game) for game in corpus.record(theirs)]
        for part, whole in zip(found.rows(ours), corpus.rows(theirs), strict=True):
            np.testing.assert_array_equal(part, whole)
        for name in corpus.arrays:
            if name.startswith("games/"):
                np.testing.assert_array_equal(found.arrays[name][ours], corpus.arrays[name][theirs])
    trained_on = {tuple(game) for game in corpus.record(corpus.games("train"))}
    assert not trained_on & {tuple(game) for game in found.record(np.arange(len(found)))}
    assert found.alphabet == corpus.alphabet
    assert found.config == corpus.config
    assert found.hash != corpus.hash


def test_its_boards_are_those_of_the_same_games(corpus, tmp_path):
    write_excerpt(corpus, tmp_path / CORPUS_FILE, 20)
    found = Corpus.open(tmp_path)
    names = ["board", "legal_move"]
    ours = found.game.property_labels(found.boards(found.games("test")), names)
    theirs = corpus.game.property_labels(corpus.boards(corpus.games("test", 20)), names)
    for name in names:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_the_same_games_give_the_same_bytes_and_the_hash_depends_on_what_is_kept(corpus, tmp_path):
    for name, n_games in (("a", 20), ("b", 20), ("c", 21)):
        (tmp_path / name).mkdir()
        write_excerpt(corpus, tmp_path / name / CORPUS_FILE, n_games)
    a, b, c = (tmp_path / name / CORPUS_FILE for name in "abc")
    assert a.read_bytes() == b.read_bytes()
    assert Corpus.open(a).hash == Corpus.open(b).hash != Corpus.open(c).hash


def test_it_is_small(tmp_path):
    corpus = generate(game="othello6", n_games=2000, validation_fraction=0.5, test_fraction=0.49, out=tmp_path / "all")
    write_excerpt(corpus, tmp_path / CORPUS_FILE, 100)
    n_tokens = len(Corpus.open(tmp_path).arrays["tokens"])
    assert sum(corpus.arrays[name].nbytes for name in CORPUS.arrays if "*" not in name) > 4 * n_tokens
    assert (tmp_path / CORPUS_FILE).stat().st_size < 2.5 * n_tokens


def test_too_few_held_out_games_are_an_error_that_says_how_many_there_are(corpus, tmp_path):
    with pytest.raises(CorpusError, match=r"1000 validation games asked for, it has \d+; generate"):
        write_excerpt(corpus, tmp_path / CORPUS_FILE, 1000)
    assert not list(tmp_path.iterdir())
