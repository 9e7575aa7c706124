"""One suite for every registered game and every registered property."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from boardgame_sae.games import PLAYER_COLUMNS, Game, IllegalMove, games, load_game

N_GAMES = 3


@pytest.fixture(params=games())
def game(request) -> Game:
    return load_game(request.param)


@pytest.fixture
def record(game):
    return game.play_games(np.arange(N_GAMES, dtype=np.uint64))


def test_it_says_what_it_is(game):
    assert load_game(game.name, **game.options) is load_game(game.spec) is game
    assert len(game.squares) == len(set(game.squares)) == game.shape[0] * game.shape[1]
    assert game.alphabet[0] == ""
    assert len(set(game.alphabet)) == len(game.alphabet)
    assert len(set(game.text_alphabet)) == len(game.text_alphabet)
    assert all(len(character) == 1 for character in game.text_alphabet[1:])


def test_same_seed_same_game(game, record):
    again = game.play_games(np.arange(N_GAMES, dtype=np.uint64)[::-1])
    assert [m.tolist() for m in again] == [m.tolist() for m in record][::-1]
    assert len({m.tobytes() for m in record}) == N_GAMES
    assert (record.lengths > 0).all()
    assert (record.lengths <= game.max_plies).all()


def test_texts_round_trip(game, record):
    texts = game.texts(record)
    again = game.record(texts)
    assert again.moves_M.dtype == np.uint16
    assert again.moves_M.tolist() == record.moves_M.tolist()
    assert again.offsets.tolist() == record.offsets.tolist()


def test_replay_gives_a_position_for_every_ply(game, record):
    text = game.texts(record[:1])[0]
    positions = game.replay(text)
    moves = record.moves_M[: record.offsets[1]].tolist()
    assert len(positions) == len(moves) + 1
    assert positions[0] == game.start()
    for position, move in zip(positions, moves, strict=False):
        legal = game.legal_moves(position)
        assert move in legal
        assert legal == sorted(set(legal))
        assert game.parse_move(position, game.move_text(position, move)) == move
        assert isinstance(game.evaluate(position), int)
        assert len(game.cells(position)) == len(game.squares)
    assert game.is_over(positions[-1])


def test_illegal_moves_are_refused(game, record):
    text = game.texts(record[:1])[0]
    with pytest.raises(IllegalMove) as caught:
        game.replay(text + " ??")
    assert caught.value.game == game.name
    assert caught.value.ply == record.lengths[0] + 1


def test_perft_counts_the_legal_moves(game):
    assert game.perft(0) == 1
    assert game.perft(1) == len(game.legal_moves(game.start()))
    assert game.perft(2) == Game.perft(game, 2)


def test_tokens_are_in_the_alphabet(game, record):
    tokens = game.move_tokens(record)
    assert tokens.dtype == (np.uint8 if len(game.alphabet) <= 256 else np.uint16)
    assert len(tokens) == len(record.moves_M)
    assert tokens.min() > 0
    assert tokens.max() < len(game.alphabet)


def test_characters_are_the_texts(game, record):
    chars, plies, offsets = game.characters(record)
    assert (chars.dtype, plies.dtype, offsets.dtype) == (np.uint8, np.uint16, np.int64)
    assert chars.tobytes().decode() == "".join(game.texts(record))
    assert set(map(chr, chars)) <= set(game.text_alphabet)
    assert len(plies) == len(chars) == offsets[-1]
    for b, moves in enumerate(record):
        of_game = plies[offsets[b] : offsets[b + 1]].astype(int)
        of_pieces = [ply + (i == len(piece)) for ply, piece in enumerate(game.pieces(moves.tolist())) for i in
                     range(1, len(piece) + 1)]  # fmt: skip
        assert of_game.tolist() == of_pieces and of_game[-1] == record.lengths[b]


def test_boards_have_a_row_for_every_ply(game, record):
    boards = game.boards(record)
    assert len(boards) == len(record.moves_M) + N_GAMES
    for b, moves in enumerate(record):
        rows = boards.rows(b, np.arange(len(moves) + 1))
        assert boards.ply_N[rows].tolist() == list(range(len(moves) + 1))
        assert boards.last_N[rows].tolist() == [-1, *moves.tolist()]
        positions = game.replay(game.texts(record[b])[0])
        assert boards.mover_N[rows].tolist() == [game.mover(position) for position in positions]
    assert boards[1:3].ply_N.tolist() == [1, 2]


def test_properties_keep_their_word(game):
    boards = game.boards(game.play_games(np.arange(game.n_sample_games, dtype=np.uint64)))
    assert game.properties()
    assert game.properties() == game.properties("low") + game.properties("high")
    for each in game.properties():
        labels = each.evaluate(boards)
        assert labels.dtype == bool
        assert labels.shape == (len(boards), *each.shape)
        assert labels.any() or each.needs, f"{each.name} is never true"
        assert not labels.all(), f"{each.name} is always true"
        assert each.size == np.prod(each.shape, dtype=int) == len(each.class_names) == len(set(each.class_names))
        assert each.meaning.endswith(".")
        assert each.title
        assert game.property(each.name) == each


def test_labels_of_a_text_are_those_of_the_batch(game, record):
    names = [each.name for each in game.properties()]
    labels = game.labels(game.texts(record[:1])[0], names)
    batch = game.property_labels(game.boards(record), names)
    for name in names:
        assert len(labels[name]) == record.lengths[0] + 1
        assert (labels[name] == batch[name][: len(labels[name])]).all()


def test_picture_is_xml(game, record):
    position = game.replay(game.texts(record[:1])[0])[-1]
    heat = np.linspace(-1, 1, len(game.squares)).reshape(game.shape)
    plain, marked = game.picture(position), game.picture(position, marks={0: "<x>"}, heat=heat, last=1, size=100)
    empty, heated = game.picture(None), game.picture(None, heat=heat, scale=2.0, marks={0: "+5"})
    for picture in (plain, marked, empty, heated, game.picture(game.start())):
        assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert len({plain, marked, empty, heated}) == 4
    assert heated != game.picture(None, heat=heat, marks={0: "+5"}) and "+5" in heated and "&lt;x&gt;" in marked
    with pytest.raises(ValueError, match="heat has shape"):
        game.picture(position, heat=heat[:-1])


def test_the_end_of_a_game_is_told_in_columns_that_are_declared(game, record):
    outcomes = game.outcomes(record)
    assert PLAYER_COLUMNS.keys() <= game.columns.keys()
    assert set(outcomes) | set(game.about) <= set(game.columns)
    for name, values in outcomes.items():
        assert values.dtype == game.columns[name].dtype and values.shape == (N_GAMES,)
    results = game.results(record)
    assert results.dtype == np.int8 and set(results.tolist()) <= {-1, 0, 1, 2}
    assert game.results(record.cut(2)).tolist() == [2] * N_GAMES


def test_every_position_follows_from_the_one_before(game, record):
    moves = record.moves_M[: record.offsets[1]].tolist()
    assert list(game.positions(moves)) == game.replay(game.texts(record[:1])[0])
    assert game.position_after(moves[:5]) == list(game.positions(moves))[5]
    ends = game.boards(record).ends
    assert ends.ply_N.tolist() == record.lengths.tolist()
    assert ends.last_N.tolist() == [moves[-1] for moves in record]
