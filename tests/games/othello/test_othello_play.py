"""Self-play, notation, records and batches of Othello; what fails, and how it says so."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardgame_sae.games import Game, IllegalMove, MoveRecord, games, load_game
from boardgame_sae.games.bits import counts
from boardgame_sae.games.random_bits import SplitMix64

OF_6X6 = ("othello6_parallel", "othello6_straight")
EVERY = ("othello", "othello6", "othello4", *OF_6X6, "classic", "nomidflip", "delflank", "iago")
SEEDS = st.lists(st.integers(0, 2**64 - 1), min_size=0, max_size=4)
NAMES = st.sampled_from(
    [
        ("othello", "implicit"),
        ("othello", "explicit"),
        ("othello6", "implicit"),
        ("othello6_parallel", "implicit"),
        ("othello6_straight", "explicit"),
        ("delflank", "explicit"),
    ]
)


def play(name, passes, seeds, epsilons=(1.0, 1.0)):
    game = load_game(name, passes=passes)
    return game, game.play_games(np.array(seeds, np.uint64), epsilons)


def test_the_generator_is_splitmix64():
    random = SplitMix64(1234567)
    assert [random.draw() for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("epsilons", [(1.0, 1.0), (0.1, 0.6), (0.0, 1.0), (0.0, 0.0)])
@pytest.mark.parametrize("passes", ["implicit", "explicit"])
@pytest.mark.parametrize("name", EVERY)
def test_compiled_games_are_those_of_plain_python(name, passes, epsilons):
    seeds = np.array([0, 7, 2**64 - 1], np.uint64)[: 2 if name in ("othello", "othello4") else 1]
    game = load_game(name, passes=passes)
    fast, plain = game.play_games(seeds, epsilons), Game.play_games(game, seeds, epsilons)
    assert fast.moves_M.tobytes() == plain.moves_M.tobytes()
    assert fast.offsets.tobytes() == plain.offsets.tobytes()


def test_games_that_are_not_kept_are_played_again():
    """A seed whose first classic game is short: both engines must go on to the same later game."""
    game, free = load_game("classic", passes="explicit"), load_game("othello", passes="explicit")
    seeds = np.arange(3000, dtype=np.uint64)
    short = seeds[free.play_games(seeds).lengths < 58][:1]
    assert len(short) == 1
    kept = game.play_games(short)
    assert kept.lengths.tolist() == [60]
    assert kept.moves_M.tolist() == Game.play_games(game, short).moves_M.tolist()


def test_random_moves_are_uniform():
    _, record = play("othello", "implicit", range(40_000))
    first, second = (record.moves_M[record.offsets[:-1] + ply] for ply in (0, 1))
    for seen in (
        np.unique(first, return_counts=True)[1],
        np.unique(second[first == first[0]], return_counts=True)[1],
    ):
        n, k = seen.sum(), len(seen)
        assert k == (4 if n == 40_000 else 3)
        assert np.abs(seen - n / k).max() < 5 * np.sqrt(n / k)


def test_greedy_moves_capture_most_and_beat_random_ones():
    game, record = play("othello", "implicit", range(300), (0.0, 1.0))
    position = game.start()
    for move in record.moves_M[: record.offsets[1]].tolist():
        if position.mover:
            turned = {m: game.play(position, m).flipped.bit_count() for m in game.legal_moves(position)}
            assert turned[move] == max(turned.values())
        position = game.play(position, move)
    boards = game.boards(record)
    ends = boards[boards.rows(np.arange(300), record.lengths)]
    black = np.where(ends.mover_N, ends.mine_N, ends.yours_N)
    white = np.where(ends.mover_N, ends.yours_N, ends.mine_N)
    assert np.mean(counts(black) > counts(white)) > 0.55


@settings(max_examples=25, deadline=None)
@given(NAMES, SEEDS)
def test_text_and_record_are_the_same_games(which, seeds):
    game, record = play(*which, seeds)
    texts = game.texts(record)
    for again in (
        game.record(texts),
        game.record([" ".join(game.split(text)) for text in texts]),
        Game.record(game, texts),
    ):
        assert again.moves_M.tolist() == record.moves_M.tolist()
        assert again.offsets.tolist() == record.offsets.tolist()
    assert Game.texts(game, record) == texts


@settings(max_examples=25, deadline=None)
@given(NAMES, SEEDS)
def test_discs_are_conserved(which, seeds):
    game, record = play(*which, seeds)
    boards = game.boards(record)
    discs, turned = counts(boards.mine_N | boards.yours_N), counts(boards.flipped_N)
    placed = (boards.ply_N > 0) & (boards.last_N < game.pass_code)
    grown = np.diff(discs.astype(int), prepend=0)
    assert (boards.mine_N & boards.yours_N == 0).all()
    assert (boards.legal_N & (boards.mine_N | boards.yours_N) == 0).all()
    assert (discs[boards.ply_N == 0] == 4).all()
    removed = turned if which[0] == "delflank" else 0
    assert (grown == placed.astype(int) - removed)[boards.ply_N > 0].all()


@settings(max_examples=20, deadline=None)
@given(NAMES, SEEDS)
def test_labels_agree_with_each_other(which, seeds):
    game, record = play(*which, seeds)
    labels = game.property_labels(game.boards(record), [p.name for p in game.properties()])
    assert (labels["board"].sum(-1) == 1).all()
    assert (labels["board"][..., :2] == labels["mine_yours"]).all()
    assert not (labels["legal_move"] & ~labels["board"][..., 2]).any()
    if which[0] not in ("delflank", "othello6_straight"):
        assert (labels["line"].any((3, 4)) == labels["legal_move"]).all()


@settings(max_examples=25, deadline=None)
@given(NAMES, SEEDS)
def test_characters_know_their_ply(which, seeds):
    game, record = play(*which, seeds)
    chars, plies, offsets = game.characters(record)
    plain = Game.characters(game, record)
    assert [x.tolist() for x in (chars, plies, offsets)] == [x.tolist() for x in plain]
    for b, text in enumerate(game.texts(record)):
        mine = slice(offsets[b], offsets[b + 1])
        assert bytes(chars[mine]).decode() == text
        assert plies[mine].tolist() == [(i + 1) // 2 for i in range(len(text))]
    assert set(map(chr, chars)) <= set(game.text_alphabet)
    written = [piece for moves in record for piece in game.pieces(moves.tolist())]
    assert game.move_tokens(record).tolist() == [game.alphabet.index(piece) for piece in written]


@pytest.mark.parametrize(
    ("text", "ply", "move"),
    [
        ("d3c5a1", 3, "a1"),
        ("d3c", 2, "c"),
        ("d3z9", 2, "z9"),
        ("d3 c3c4 e3d3", 5, "d3"),
        ("d3c5--", 3, "--"),
        ("d9", 1, "d9"),
        ("3d", 1, "3d"),
        ("d 3", 1, "d"),
    ],
)
def test_illegal_moves_are_named(text, ply, move):
    game = load_game("othello")
    for act in (game.replay, lambda text: game.record(["d3c5", text]), lambda text: game.labels(text, ["board"])):
        with pytest.raises(IllegalMove) as caught:
            act(text)
        error = caught.value
        assert (error.game, error.text, error.ply, error.move) == ("othello", text, ply, move)
        start = f"othello: illegal move {move!r} at ply {ply} of {text!r}; legal there: "
        assert str(error).startswith(start)
        legal = [
            game.move_text(None, m) for m in game.legal_moves(game.replay("".join(game.split(text)[: ply - 1]))[-1])
        ]
        assert list(error.legal) == legal
        assert str(error) == start + ", ".join(legal)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_game_that_is_over_takes_no_move():
    game, record = play("othello", "implicit", [3])
    text = game.texts(record)[0]
    with pytest.raises(IllegalMove, match=f"at ply {len(text) // 2 + 1} .* the game is over there"):
        game.replay(text + "a1")


@pytest.mark.parametrize(("bad", "written"), [(27, "d4"), (64, "--"), (65, "<65>"), (60000, "<60000>")])
def test_boards_refuse_an_illegal_record(bad, written):
    game, record = play("othello", "implicit", [1, 2, 3])
    moves = record.moves_M.copy()
    moves[record.offsets[1] + 4] = bad
    with pytest.raises(IllegalMove) as caught:
        game.boards(MoveRecord(moves, record.offsets))
    assert (caught.value.ply, caught.value.move) == (5, written)
    assert caught.value.text.startswith(game.texts(record)[1][:8] + written)


def test_the_empty_game():
    game = load_game("othello")
    assert game.replay("") == [game.start()]
    assert game.texts(game.record([""])) == [""]
    assert game.labels("", ["board"])["board"].shape == (1, 8, 8, 3)
    assert len(game.record([])) == 0
    assert len(game.boards(game.record([]))) == 0
    assert game.record(["D3 C5\n"]).moves_M.tolist() == [19, 34]


def test_records_slice_and_join():
    _, record = play("othello", "implicit", range(6))
    lists = [moves.tolist() for moves in record]
    assert [m.tolist() for m in record[1:4]] == lists[1:4]
    assert [m.tolist() for m in record[np.array([5, 0, 0])]] == [lists[5], lists[0], lists[0]]
    assert [m.tolist() for m in record[record.lengths > 0]] == lists
    assert [m.tolist() for m in record[-1]] == lists[-1:]
    assert [m.tolist() for m in MoveRecord.concatenate([record[:2], record[2:2], record[2:]])] == lists
    assert len(MoveRecord.concatenate([])) == 0
    with pytest.raises(IndexError):
        record[np.array([6])]
    for offsets in ([0, 3], [1, 4], [0, 3, 2, 4], []):
        with pytest.raises(ValueError, match="offsets"):
            MoveRecord(np.zeros(4, np.uint16), np.array(offsets))


def test_rows_of_a_batch():
    game, record = play("othello", "implicit", range(4))
    boards = game.boards(record)
    row = boards.rows(2, 7)
    assert row == record.offsets[2] + 2 + 7
    position = game.replay(game.texts(record[2:3])[0])[7]
    assert (int(boards.mine_N[row]), int(boards.legal_N[row])) == (position.mine, position.legal)
    picked = boards[np.array([row, 0])]
    assert picked.ply_N.tolist() == [7, 0]
    assert (game.property("board").evaluate(picked) == game.property("board").evaluate(boards)[[row, 0]]).all()
    with pytest.raises(ValueError, match="picked"):
        picked.rows(0, 0)
    with pytest.raises(IndexError):
        boards.rows(0, int(record.lengths[0]) + 1)


def test_property_names_and_levels():
    game = load_game("othello")
    assert [p.name for p in game.properties("low")] == ["board", "mine_yours", "occupied"]
    assert {p.name for p in game.properties("high")} == {"legal_move", "flipped", "line", "legal_direction"}
    assert game.property("board").class_names[19 * 3] == "d3 mine"
    assert game.property("legal_move").class_names[19] == "d3 legal_move"
    line = game.property("line")
    assert line.shape == (8, 8, 8, 6)
    assert line.class_names[np.ravel_multi_index((2, 3, 1, 1), line.shape)] == "d3 line NE 2"
    with pytest.raises(ValueError, match="legal_move"):
        game.property("legal_moves")
    with pytest.raises(ValueError, match="low, high"):
        game.properties("middle")


def test_a_line_by_hand():
    """After d3 white is to move: from c3, e3 and c5 one black disc lies before a white one."""
    game = load_game("othello")
    names = np.array(game.property("line").class_names)
    labels = game.labels("d3", ["line"])["line"]
    assert set(names[labels[1].reshape(-1)]) == {"c3 line SE 1", "e3 line S 1", "c5 line E 1"}
    assert set(names[labels[0].reshape(-1)]) == {"d3 line S 1", "c4 line E 1", "f5 line W 1", "e6 line N 1"}


def test_unknown_names():
    with pytest.raises(ValueError, match="unknown game 'otello'; did you mean 'othello'"):
        load_game("otello")
    with pytest.raises(ValueError, match="colour"):
        load_game("othello", colour="red")
    assert {"othello", "othello6", "othello4"} <= set(games())


def test_picture_shows_what_it_is_given():
    game = load_game("othello")
    position = game.replay("d3c5")[-1]
    plain = game.picture(position)
    assert plain.count('r="0.4"') == 6
    assert plain.count('r="0.12"') == len(game.legal_moves(position))
    assert plain.count('r="0.1"') == 1
    full = game.picture(position, marks={0: "<&"}, heat=np.eye(8) - 0.5, last=-1, size=99)
    assert "&lt;&amp;" in full
    assert full.count("fill-opacity") == 64
    assert 'r="0.1"' not in full
    assert 'width="99"' in full
    with pytest.raises(ValueError, match="heat"):
        game.picture(position, heat=np.zeros((6, 6)))
