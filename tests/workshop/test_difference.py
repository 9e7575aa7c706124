"""What a checker can see of any wrong result: type, shape, axes, shift, sign, scale, place."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from boardgame_sae.workshop.checking import Checker, Mistake
from boardgame_sae.workshop.difference import difference

RIGHT = np.arange(12.0).reshape(4, 3) ** 2 + 1
FLOATS = arrays.arrays(
    float, arrays.array_shapes(min_dims=1, max_dims=3), elements=st.floats(-1e3, 1e3).filter(lambda x: abs(x) > 1e-3)
)


@given(FLOATS)
def test_nothing_is_wrong_with_the_right_result_or_a_rounded_one(array):
    assert difference(array.copy(), array, 1e-4) is None
    assert difference(array.astype(np.float32), array, 1e-4) is None
    assert difference(torch.tensor(array), torch.tensor(array), 1e-4) is None
    assert difference(array.tolist(), array.tolist(), 1e-4) is None


@given(FLOATS, st.floats(0.01, 10))
def test_something_is_wrong_wherever_one_value_is(array, by):
    wrong = array.copy()
    wrong.flat[-1] += by * np.abs(array).max()
    assert difference(wrong, array, 1e-4) is not None


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (None, "return"),
        (RIGHT.tolist(), "list"),
        (torch.tensor(RIGHT), "Tensor"),
        (RIGHT.T, "axes are swapped"),
        (RIGHT[1:], "off by one along the first axis"),
        (RIGHT.mean(0), "an axis is missing"),
        (np.roll(RIGHT, 1, axis=0), "off by one ply"),
        (-RIGHT, "sign"),
        (RIGHT / 4, "0.25 times"),
        (RIGHT * np.inf, "not finite"),
        (RIGHT + np.eye(4, 3), "is 2, right 1"),
        (RIGHT > 3, "bool"),
    ],
)
def test_a_wrong_array_is_described(wrong, says):
    assert says in difference(wrong, RIGHT, 1e-4)


@pytest.mark.parametrize(
    ("wrong", "right", "says"),
    [
        ([4, 3, 5], [1, 4, 3, 5], "the first is missing"),
        ([1, 4, 3], [1, 4, 3, 5], "the last is missing"),
        ([4, 3, 5, 9], [1, 4, 3, 5], "off by one ply"),
        ([1, 4, 9, 5], [1, 4, 3, 5], "entry 2: it gives 9, right is 3"),
        (7, [1, 4], "a list of 2"),
        ([1.0], 1.0, "right is a number"),
        (torch.ones(2), 1.0, "one number"),
        (-0.5, 0.5, "sign"),
        (float("inf"), 0.5, "divided by zero"),
        ("d3", "d4", "'d3', right is 'd4'"),
    ],
)
def test_a_wrong_list_or_number_is_described(wrong, right, says):
    assert says in difference(wrong, right, 1e-4)


def halved(values_N, by):
    """Half of them."""
    return values_N / by


CHECKER = Checker(
    halved, lambda: [(np.arange(1.0, 5.0), 2)], [Mistake("you doubled", lambda values_N, by: values_N * by)]
)


def test_an_answer_may_not_change_its_input_and_later_answers_get_it_as_it_was():
    def in_place(values_N, by):
        values_N /= by
        return values_N

    assert "changes its input `values_N` in place" in CHECKER(in_place).message
    assert CHECKER(halved).passed


def test_a_known_mistake_goes_before_what_is_seen_from_outside():
    assert CHECKER(lambda values_N, by: 2 * values_N).message == "you doubled"
    assert "3 times" in CHECKER(lambda values_N, by: 3 * values_N / by).message


def test_an_error_is_told_with_its_line_and_the_shapes():
    def answer(values_N, by):
        """Text."""
        return values_N @ np.ones(7)

    message = CHECKER(answer).message
    assert "raises ValueError" in message and "line 3 of your function: return" in message
    assert "values_N (4,)" in message
