"""Tokenizers: what each says of a game, and that one more is all that a third tokenization takes."""

import numpy as np
import pytest

from boardgame_sae.config import ConfigError
from boardgame_sae.files import read_json
from boardgame_sae.games import games, load_game
from boardgame_sae.model.legality import LEGALITY_FILE
from boardgame_sae.model.train import train_gpt_run
from boardgame_sae.model.train_config import TrainGPTConfig
from boardgame_sae.transcripts import tokenization
from boardgame_sae.transcripts.corpus import Corpus
from boardgame_sae.transcripts.generate import generate
from boardgame_sae.transcripts.tokenization import (
    CharacterTokens,
    MoveTokens,
    Tokens,
    find_tokenizer,
    register,
    tokenizer_of,
)


@pytest.mark.parametrize("name", games())
@pytest.mark.parametrize("tokenizer", [MoveTokens(), CharacterTokens()])
def test_tokens_decode_to_the_games_they_are_of(name, tokenizer):
    game = load_game(name)
    record = game.play_games(np.arange(3, dtype=np.uint64)).cut(30)
    ids, plies, offsets = tokenizer.encode(game, record)
    alphabet = tokenizer.alphabet(game)
    assert len(ids) == len(plies) == offsets[-1] and plies.dtype == np.uint16
    for b, moves in enumerate(record):
        span = slice(offsets[b], offsets[b + 1])
        text = "".join(alphabet[i] for i in ids[span])
        if tokenizer.is_whole_move:
            assert plies[span].tolist() == list(range(1, len(moves) + 1))
            assert len(tokenizer.legal_tokens(game, game.boards(record[b]))) == len(moves) + 1
        else:
            assert text == game.texts(record[b])[0] and plies[span][-1] == len(moves)
    assert max(np.diff(offsets)) <= tokenizer.max_tokens(game) == tokenizer.n_ctx(game) + 1


def test_what_a_tokenizer_says_of_chess_and_of_othello():
    chess, othello = load_game("chess"), load_game("othello")
    assert tokenizer_of(chess).name == "char" and tokenizer_of(othello).name == "move"
    assert tokenizer_of(chess, "move").unit == "move"
    of = {tokenizer.name: tokenizer for tokenizer in (MoveTokens(), CharacterTokens())}
    assert [of["char"].has_start_token(game) for game in (chess, othello)] == [True, False]
    assert [of["char"].first_predicted_ply(game) for game in (chess, othello)] == [1, 2]
    assert of["move"].first_predicted_ply(chess) == 2 and not of["move"].has_start_token(chess)
    assert (dict(of["char"].places(chess)), dict(of["move"].places(chess))) == ({"dot": "."}, {})
    assert (of["char"].default_place(chess), of["move"].default_place(chess)) == ("dot", "ply")
    with pytest.raises(ValueError, match="do not say which character can come next"):
        of["char"].legal_tokens(othello, othello.boards(othello.record(["d3"])))


def test_an_unknown_tokenization_is_refused_with_the_closest_and_a_second_of_one_name_too(tiny_corpus):
    with pytest.raises(ConfigError, match=r"x\.h5: unknown tokenization 'moves'; did you mean 'move'"):
        find_tokenizer("moves", "x.h5: ")
    with pytest.raises(ValueError, match="there already is a tokenization 'move'"):
        register(MoveTokens)
    other = Corpus(tiny_corpus.path, {**tiny_corpus.attributes, "tokenization": "words"}, tiny_corpus.arrays)
    with pytest.raises(ConfigError, match=f"{tiny_corpus.path}: unknown tokenization 'words'"):
        _ = other.n_ctx


class MarkedMoves(MoveTokens):
    """A mark that begins each game, then one token per move, numbered from the last one back."""

    name = "marked"

    def alphabet(self, game):
        return ("<", *game.alphabet[:0:-1])

    def encode(self, game, record):
        games = [[0, *(len(game.alphabet) - game.move_tokens(record[b]).astype(int))] for b in range(len(record))]
        plies = [np.arange(len(moves)) for moves in games]
        offsets = np.cumsum([0, *map(len, games)], dtype=np.int64)
        return Tokens(np.concatenate(games).astype(np.uint8), np.concatenate(plies).astype(np.uint16), offsets)

    def legal_tokens(self, game, boards):
        return np.roll(game.legal_tokens(boards)[:, ::-1], 1, axis=1)

    def max_tokens(self, game):
        return game.max_plies + 1

    def has_start_token(self, game):
        return True


def test_one_more_tokenizer_is_all_that_a_third_tokenization_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(tokenization._TOKENIZERS, "_known", dict(tokenization._TOKENIZERS.all()))
    register(MarkedMoves)
    made = {"n_games": 400, "validation_fraction": 0.2, "test_fraction": 0.2, "tokenization": "marked"}
    corpus = generate("othello4", out=tmp_path / "corpus", **made)
    assert (corpus.tokenization, corpus.n_ctx, corpus.packs) == ("marked", 12, True)
    assert corpus.alphabet == ("<", *load_game("othello4").alphabet[:0:-1])
    rows = corpus.batch("train", 0, 4, seed=0)[0]
    assert rows.shape == (4, 13) and (rows[:, 0] == 0).all() and (rows == 0).sum() > 4
    cfg = TrainGPTConfig(n_layers=1, d_model=32, n_heads=2, n_steps=150, batch_size=16, targets="expected")
    measured = read_json(train_gpt_run(corpus, cfg, out=tmp_path / "gpt", device="cpu") / LEGALITY_FILE)
    assert measured["test"]["legal_rate"] > 2 * measured["random_weights"]["legal_rate"]
    assert measured["test"]["loss_floor"] < measured["test"]["loss"]
