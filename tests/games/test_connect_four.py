"""Connect Four against a slow program that knows nothing of bits: rules, games, properties, pictures."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardgame_sae.config import read_yaml
from boardgame_sae.files import read_json
from boardgame_sae.games import Game, IllegalMove, MoveRecord, load_game
from boardgame_sae.model.legality import LEGALITY_FILE
from boardgame_sae.model.train import train_gpt_run
from boardgame_sae.model.train_config import TrainGPTConfig
from boardgame_sae.pipeline.sweep import sweep_config
from boardgame_sae.transcripts.generate import generate

GAME = load_game("connect_four")
PERFT = (1, 7, 49, 343, 2401, 16_807, 117_649, 823_536, 5_673_234, 39_394_572)
"""Sequences of 0 to 9 plies, counted independently."""
STUDY = Path(__file__).parents[2] / "experiments/connect_four/study.yaml"
SPOTS = list(product(range(7), range(6)))
DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))


class Slow:
    """A position as a dictionary from (column, row) to the player, 0 or 1, whose disc is there."""

    def __init__(self, letters=()):
        self.discs, self.ply = {}, 0
        for letter in letters:
            self.drop("abcdefg".index(letter))

    @property
    def mover(self):
        return self.ply % 2

    def height(self, column):
        return sum((column, row) in self.discs for row in range(6))

    def drop(self, column, player=None):
        self.discs[column, self.height(column)] = self.mover if player is None else player
        self.ply += 1

    def four(self, player):
        return any(self.line_of(player, spot, step, 4) for spot in SPOTS for step in DIRECTIONS)

    def line_of(self, player, spot, step, n):
        """Whether n of the four spots from one on, all of them on the board, hold a player's discs, the others none."""
        line = [(spot[0] + k * step[0], spot[1] + k * step[1]) for k in range(4)]
        held = [self.discs.get(place) for place in line if place in SPOTS]
        return len(held) == 4 and held.count(player) == n and held.count(None) == 4 - n

    def legal(self):
        return [] if self.four(1 - self.mover) else [column for column in range(7) if self.height(column) < 6]

    def would_win(self, column, player):
        after = Slow()
        after.discs = dict(self.discs)
        after.drop(column, player)
        return after.four(player)

    def count(self, depth):
        if depth == 0:
            return 1
        total = 0
        for column in self.legal():
            after = Slow()
            after.discs, after.ply = dict(self.discs), self.ply
            after.drop(column)
            total += after.count(depth - 1)
        return total


@st.composite
def games(draw):
    """A game cut somewhere, by letters: every legal move as likely as any other."""
    slow, letters = Slow(), ""
    for _ in range(draw(st.integers(0, 42))):
        if not slow.legal():
            break
        column = draw(st.sampled_from(slow.legal()))
        letters += "abcdefg"[column]
        slow.drop(column)
    return letters


@pytest.fixture(scope="module")
def played():
    """300 whole random games, and the slow position after every ply of some of them."""
    record = GAME.play_games(np.arange(300, dtype=np.uint64))
    return record, GAME.texts(record)


# Rules


@pytest.mark.parametrize("depth", range(9))
def test_perft(depth):
    assert GAME.perft(depth) == PERFT[depth]


@pytest.mark.slow
def test_perft_to_the_ninth_ply():
    assert GAME.perft(9) == PERFT[9]


def test_perft_is_that_of_the_slow_rules_from_the_start():
    assert [Slow().count(depth) for depth in range(4)] == list(PERFT[:4])


@given(games())
def test_legal_moves_cells_and_turns_are_those_of_the_slow_rules(letters):
    slow, position = Slow(letters), GAME.replay(letters)[-1]
    assert GAME.legal_moves(position) == [column + 1 for column in slow.legal()]
    assert GAME.mover(position) == (slow.mover == 0)
    cells = {
        square: {"b": 0, "w": 1}.get(cell) for square, cell in zip(GAME.squares, GAME.cells(position), strict=True)
    }
    assert cells == {f"{'abcdefg'[column]}{row + 1}": slow.discs.get((column, row)) for column, row in SPOTS}
    assert GAME.evaluate(position) == -slow.four(1 - slow.mover)


def test_whole_games_end_by_a_line_of_four_or_a_full_board(played):
    record, texts = played
    results = GAME.results(record)
    for text, result in zip(texts[:60], results[:60].tolist(), strict=True):
        before, end = Slow(text[:-1]), Slow(text)
        assert before.legal() and not end.legal()
        assert result == (1 if end.four(0) else -1 if end.four(1) else 0)
    assert GAME.results(record.cut(6)).tolist() == [2] * 300


def test_a_drawn_game_is_a_draw():
    record = GAME.play_games(np.arange(4000, dtype=np.uint64))
    drawn = np.flatnonzero(GAME.results(record) == 0)
    assert 0 < len(drawn) < 40 and set(record.lengths[drawn].tolist()) == {42}
    full = Slow(GAME.texts(record[drawn[:1]])[0])
    assert not full.four(0) and not full.four(1)


@pytest.mark.parametrize(
    ("text", "ply", "move"),
    [
        ("aaaaaaa", 7, "a"),
        ("abababaa", 8, "a"),
        ("abh", 3, "h"),
        ("ab1", 3, "1"),
        ("ab?", 3, "?"),
        ("abcdabcdabcdaa", 14, "a"),
    ],
)
def test_moves_that_the_rules_forbid_are_refused(text, ply, move):
    with pytest.raises(IllegalMove) as caught:
        GAME.replay(text)
    assert (caught.value.ply, caught.value.move) == (ply, move)


@pytest.mark.parametrize("moves", [[1, 2, 0], [1, 2, 8], [1] * 7, [1, 2, 1, 2, 1, 2, 1, 1], [1, 999]])
def test_records_of_forbidden_moves_are_refused(moves):
    record = MoveRecord.of([[1, 2], moves, [3]])
    with pytest.raises(IllegalMove) as caught:
        GAME.boards(record)
    assert caught.value.ply == len(moves)


# Games


def test_games_played_together_are_those_played_one_by_one():
    seeds = np.arange(40, dtype=np.uint64) * np.uint64(12_345_678_901)
    for epsilons in ((1.0, 1.0), (0.2, 1.0)):
        together, alone = GAME.play_games(seeds, epsilons), Game.play_games(GAME, seeds, epsilons)
        assert [moves.tolist() for moves in together] == [moves.tolist() for moves in alone]


def test_random_first_moves_are_uniform():
    record = GAME.play_games(np.arange(7000, dtype=np.uint64))
    counts = np.bincount(record.moves_M[record.offsets[:-1]], minlength=8)
    assert counts[0] == 0 and ((counts[1:] - 1000) ** 2 / 1000).sum() < 22.5  # chi-square of 6: 0.1%


def test_a_greedy_player_wins_at_once_where_it_can():
    record = GAME.play_games(np.arange(40, dtype=np.uint64), (0.0, 1.0))
    n_wins = 0
    for text in GAME.texts(record):
        for ply in range(0, len(text), 2):
            slow = Slow(text[:ply])
            if any(slow.would_win(column, 0) for column in slow.legal()):
                assert ply == len(text) - 1
                n_wins += 1
    assert n_wins > 30 and (GAME.results(record) == 1).mean() > 0.75


def test_texts_and_records_are_the_same_games(played):
    record, texts = played
    assert all(set(text) <= set("abcdefg") for text in texts)
    spaced = [" ".join(text.upper()) for text in texts[:20]]
    assert GAME.record(spaced).moves_M.tolist() == record[:20].moves_M.tolist()
    assert GAME.replay(texts[0]) == GAME.replay(" ".join(texts[0]))


def test_tokens_are_the_legal_moves(played):
    record, texts = played
    boards = GAME.boards(record[:10])
    legal_NV = GAME.legal_tokens(boards)
    row = 0
    for text in texts[:10]:
        for ply in range(len(text) + 1):
            assert np.flatnonzero(legal_NV[row]).tolist() == [column + 1 for column in Slow(text[:ply]).legal()]
            row += 1
    assert row == len(boards)


# Properties


def test_properties_are_those_of_the_slow_rules(played):
    record, texts = played
    boards = GAME.boards(record[:25])
    labels = {prop.name: prop.evaluate(boards) for prop in GAME.properties()}
    lines = [labels_of.split("-") for labels_of in GAME.property("three").classes]
    assert len(lines) == len({tuple(line) for line in lines}) == 69
    row = 0
    for text in texts[:25]:
        for ply in range(len(text) + 1):
            slow, here = Slow(text[:ply]), {name: values[row] for name, values in labels.items()}
            mine, yours, legal = slow.mover, 1 - slow.mover, slow.legal()
            for s, (r, c) in enumerate(product(range(6), range(7))):
                there = slow.discs.get((c, r))
                expected = [there == mine, there == yours, there is None]
                assert here["board"].reshape(42, 3)[s].tolist() == expected
                assert here["mine_yours"].reshape(42, 2)[s].tolist() == expected[:2]
            assert np.flatnonzero(here["legal_column"]).tolist() == legal
            assert np.flatnonzero(here["wins_next"]).tolist() == [c for c in legal if slow.would_win(c, mine)]
            assert np.flatnonzero(here["must_block"]).tolist() == [c for c in legal if slow.would_win(c, yours)]
            threes = set()
            for spot, step in product(SPOTS, DIRECTIONS):
                if slow.line_of(mine, spot, step, 3):
                    last = spot[0] + 3 * step[0], spot[1] + 3 * step[1]
                    threes.add("-".join(f"{'abcdefg'[column]}{line + 1}" for column, line in (spot, last)))
            assert {GAME.property("three").classes[i] for i in np.flatnonzero(here["three"])} == threes
            row += 1
    assert row == len(boards) and labels["three"].any() and labels["must_block"].any()


def test_class_names_say_what_they_are_about():
    assert GAME.property("board").class_names[:4] == ["a1 mine", "a1 yours", "a1 empty", "b1 mine"]
    assert GAME.property("wins_next").class_names == [f"win {letter}" for letter in "abcdefg"]
    assert {prop.name for prop in GAME.properties()} == {*GAME.scored_properties, GAME.board_property}


# Pictures


def test_a_picture_shows_the_discs_the_holes_and_the_last_move():
    position = GAME.replay("ddc")[-1]
    drawn = GAME.picture(position)
    assert drawn.count('r="0.4"') == 42 and drawn.count('fill="#d62f2f"') == 2 and drawn.count('fill="#f3d03e"') == 1
    assert GAME.squares[GAME.last_square(position)] == "c1" and 'cx="2.5" cy="5.5" r="0.1"' in drawn
    assert GAME.squares[GAME.last_square(GAME.replay("dd")[-1])] == "d2"
    assert 'r="0.1"' not in GAME.picture(GAME.start()) and 'r="0.1"' not in GAME.picture(position, last=-1)
    heat = np.zeros((6, 7))
    heat[0, 6] = 1
    assert '<rect x="6" y="5" width="1" height="1" fill="#ff8c1a" fill-opacity="0.850"/>' in GAME.picture(
        None, heat=heat
    )
    assert 'fill-opacity="0.425"' in GAME.picture(None, heat=heat, scale=2.0)


# The whole road


def test_a_gpt_is_trained_on_expected_targets(tmp_path):
    corpus = generate("connect_four", n_games=300, out=tmp_path / "corpus", validation_fraction=0.1, test_fraction=0.1)
    assert (corpus.n_ctx, corpus.is_random_play, corpus.packs) == (41, True, False)
    cfg = TrainGPTConfig(n_layers=1, d_model=16, n_heads=2, n_steps=60, batch_size=16, targets="expected", seed=0)
    found = read_json(train_gpt_run(corpus, cfg, out=tmp_path / "gpt", device="cpu") / LEGALITY_FILE)
    test, random = found["test"], found["random_weights"]
    floor = test["loss_floor"]
    assert floor < test["loss"] and test["loss"] - floor < 0.6 * (random["loss"] - floor) and test["legal_rate"] > 0.8


def test_the_study_is_sound():
    cfg = sweep_config(read_yaml(STUDY), str(STUDY))
    assert cfg.corpus.game == "connect_four" and cfg.suite == "supervised"
