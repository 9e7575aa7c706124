"""Prompts show positions as they are; answers are read as lists of numbers, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import planted

from boardgame_sae.metrics.saebench.autointerp.prompts import (
    described,
    detection_messages,
    explanation_messages,
    read_explanation,
    read_numbers,
)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_position_is_shown_with_its_moves_and_the_board_after_them(tiny_corpus, split):
    bed, game = planted(tiny_corpus, n_games=10), tiny_corpus.game
    where = bed.positions(split)
    for row in (0, 5, len(where) - 1):
        moves, mover, board = described(bed, split, row).split("; ")
        words = moves.removeprefix("moves: ").split()
        assert len(words) == where.ply_N[row]
        position = game.replay(" ".join(words))[-1]
        assert board.removeprefix("board: ").replace(" / ", "") == game.cells(position)
        assert mover == f"to move: the {'first' if game.mover(position) else 'second'} player"


def test_messages_hold_every_position_in_order_with_its_number():
    shown = explanation_messages("othello", ["a", "b"], [4.0, 1.0])[1]["content"].splitlines()
    assert shown == ["1. (activation 1.00) a", "2. (activation 0.25) b"]
    system, user = detection_messages("othello", "d3 is mine", ["a", "b", "c"])
    assert "3 positions" in system["content"] and "othello" in system["content"]
    assert user["content"].endswith("\n\n1. a\n2. b\n3. c") and "on when d3 is mine." in user["content"]


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ("1, 4, 5", {1, 4, 5}), ("1,4 and 5.", {1, 4, 5}), ("3", {3}), ("[2, 7]", {2, 7}), ("None", set()),
        (" none. ", set()), ("2; 3", {2, 3}), ("1, 1", {1}),
        ("", None), ("the first two", None), ("0, 1", None), ("1, 15", None), ("-1", None), ("1 2", None),
        ("1, None", None), ("1.5", None), ("¹", None), ("9" * 5000, None), ("positions 1, 2", None),
    ],
)  # fmt: skip
def test_an_answer_is_a_list_of_numbers_or_none_or_cannot_be_read(answer, numbers):
    assert read_numbers(answer, 14) == numbers


@given(st.text(max_size=60))
def test_no_answer_makes_reading_fail(answer):
    numbers = read_numbers(answer, 14)
    assert numbers is None or numbers <= set(range(1, 15))
    assert "\n" not in read_explanation(answer)


@given(st.sets(st.integers(1, 14)))
def test_a_list_is_read_as_it_was_written(numbers):
    assert read_numbers(", ".join(map(str, sorted(numbers))) or "None", 14) == numbers


def test_an_explanation_loses_its_first_words():
    assert read_explanation("This latent is on when d3\n is mine.") == "d3 is mine"
    assert read_explanation("d3 is mine") == "d3 is mine"
