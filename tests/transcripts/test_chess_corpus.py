"""A chess corpus reads as the published ones do: the same ids, and boards where they are published to be."""

import itertools

import chess
import numpy as np
import pytest

from boardgame_sae.games import MoveRecord, load_game
from boardgame_sae.transcripts.generate import generate
from boardgame_sae.transcripts.labels import positions, property_labels
from boardgame_sae.transcripts.tokenization import CharacterTokens

PUBLISHED = dict(zip(" #+-.0123456789;=BKNOQRabcdefghx", range(32), strict=True))
GAME = load_game("chess")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    settings = {"max_plies": 40, "validation_fraction": 0.2, "test_fraction": 0.2}
    players = "search:temperature=8/0.5"
    return generate("chess", players, 60, out=tmp_path_factory.mktemp("corpus") / "run", **settings)


def test_ids_are_the_published_ones():
    tokens = CharacterTokens().encode(GAME, GAME.record(["1.e4 e5 2.Nf3"]))
    assert tokens.ids.tolist() == [PUBLISHED[character] for character in ";1.e4 e5 2.Nf3"]
    assert len(GAME.text_alphabet) == 32


def test_a_character_has_as_many_plies_as_spaces_up_to_it():
    """The published alignment; but for the last character of a game, which completes its ply."""
    record = GAME.play_games(np.arange(3, dtype=np.uint64))
    characters, plies, offsets = GAME.characters(record)
    for game, (a, b) in enumerate(itertools.pairwise(offsets)):
        spaces = np.cumsum(characters[a:b] == ord(" "))
        assert plies[a : b - 1].tolist() == spaces[:-1].tolist()
        assert plies[b - 1] == record.lengths[game]


def test_at_the_dots_white_is_to_move_on_the_board_that_is_labelled(corpus):
    games_B = corpus.games("test")[:5]
    where = positions(corpus, games_B)
    labels = property_labels(corpus, where, ["piece", "legal_move"])
    tokens_BL, _ = corpus.rows(games_B)
    for place in range(0, len(where), 7):
        game, token, ply = int(where.game_N[place]), int(where.token_N[place]), int(where.ply_N[place])
        assert corpus.alphabet[tokens_BL[game, token]] == "." and ply % 2 == 0
        text = "".join(corpus.alphabet[t] for t in tokens_BL[game, : token + 1])
        board = chess.Board()
        for word in text.removeprefix(";").split()[:-1]:
            board.push_san(word.split(".")[-1])
        assert board.ply() == ply and board.turn == chess.WHITE
        legal = {move.to_square for move in board.legal_moves}
        assert set(np.flatnonzero(labels["legal_move"][place])) == legal
        for square in range(64):
            piece = board.piece_at(square)
            value = 0 if piece is None else piece.piece_type * (1 if piece.color else -1)
            assert labels["piece"][place].reshape(64, 13)[square].argmax() == value + 6


def test_at_every_ply_the_player_to_move_is_the_one_labelled(corpus):
    games_B = corpus.games("test")[:5]
    where = positions(corpus, games_B, "ply")
    record = corpus.record(games_B)
    assert len(where) == sum(min(length, 40) for length in record.lengths)
    boards = corpus.boards(games_B)
    skills = property_labels(corpus, where, ["skill"])["skill"]
    rows = boards.rows(where.game_N, where.ply_N)
    first, second = (corpus.arrays[f"games/skill_{side}"][games_B] for side in ("first", "second"))
    expected = np.where(boards.mover_N[rows], first[where.game_N], second[where.game_N])
    assert (skills.argmax(1) == expected).all() and (skills.sum(1) == 1).all()
    assert set(expected.tolist()) == {0, 1}


def test_rows_of_training_are_whole_games_from_their_beginning(corpus):
    tokens_BL, plies_BL = corpus.batch("train", 0, 4, seed=0, n_ctx=255)
    assert tokens_BL.shape == (4, 256) and (plies_BL >= 0).all()
    texts = set(GAME.texts(MoveRecord(corpus.arrays["moves"], corpus.arrays["move_offsets"])))
    for row in tokens_BL:
        first, *rest = "".join(corpus.alphabet[token] for token in row).split(";")[1:]
        assert not first or any(text.startswith(";" + first) for text in texts)
        assert all(";" + whole in texts for whole in ([first, *rest])[:-1])
