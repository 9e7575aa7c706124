import numpy as np
import pytest

from boardgame_sae.config import ConfigError
from boardgame_sae.transcripts.corpus import Corpus
from boardgame_sae.transcripts.corpus_writer import split_games
from boardgame_sae.transcripts.fresh import FreshGames, can_play_on
from boardgame_sae.transcripts.generate import generate


def texts(corpus: Corpus) -> list[str]:
    return corpus.game.texts(corpus.record(np.arange(len(corpus))))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    fields = {"n_games": 300, "validation_fraction": 0.2, "test_fraction": 0.2}
    return generate("othello6", "random", seed=5, out=tmp_path_factory.mktemp("fresh") / "corpus", **fields)


def test_a_block_depends_on_its_number_and_the_seed_alone(corpus):
    first = texts(FreshGames(corpus, 64, 0).block(3, 1))
    assert texts(FreshGames(corpus, 64, 0).block(3, 1)) == first
    for other in (FreshGames(corpus, 64, 1).block(3, 1), FreshGames(corpus, 64, 0).block(3, 2)):
        assert not set(first) & set(texts(other))


def test_blocks_hold_training_games_of_the_corpus_s_kind_and_no_held_out_one(corpus):
    fresh = FreshGames(corpus, 500, 0).block(0)
    assert 0.5 * 500 < len(fresh) < 0.7 * 500, "two fifths are held out"
    assert not split_games(fresh.record(np.arange(len(fresh))), 5, 0.2, 0.2).any()
    assert (fresh.game, fresh.tokenization, fresh.alphabet) == (corpus.game, corpus.tokenization, corpus.alphabet)
    tokens_BL, plies_BL = fresh.rows(np.arange(3))
    assert tokens_BL.shape == (3, corpus.n_ctx + 1)
    assert plies_BL[0, : fresh.record([0]).lengths[0]].tolist() == list(range(1, fresh.record([0]).lengths[0] + 1))


def test_the_corpus_held_out_games_are_recognised_when_they_are_played_again(corpus):
    """The rule goes by the moves: whatever game the corpus holds out would be thrown away by a block that met it."""
    held_out = np.concatenate([corpus.games("validation"), corpus.games("test")])
    assert split_games(corpus.record(held_out), 5, 0.2, 0.2).all()


def test_openings_and_lengths_are_the_corpus_s(tmp_path):
    cut = generate("othello4", "random", n_games=20, max_plies=5, opening="random:plies=2", out=tmp_path / "cut")
    fresh = FreshGames(cut, 50, 0).block(0)
    assert fresh.record(np.arange(len(fresh))).lengths.max() == 5


@pytest.mark.parametrize("players", [["stockfish:nodes=10"], None])
def test_games_that_cannot_be_played_on_are_refused_by_name(corpus, players, monkeypatch):
    config = {name: value for name, value in corpus.config.items() if name != "players"}
    other = Corpus(corpus.path, corpus.attributes, corpus.arrays)
    monkeypatch.setitem(other.__dict__, "config", config | ({"players": players} if players else {}))
    assert can_play_on(corpus) and not can_play_on(other)
    with pytest.raises(ConfigError, match=r"corpus\.h5: no fresh games can be played like these.*source 'harvest'"):
        FreshGames(other, 10, 0)
