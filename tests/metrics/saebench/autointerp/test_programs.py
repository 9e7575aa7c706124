"""The best program is found: every program is tried by hand, on random examples."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardgame_sae.metrics.saebench.autointerp.programs import Literal, Program, explain


def balanced_accuracy(program, labels_NP, active_N):
    predicted_N = program.predict(labels_NP)
    return (predicted_N[active_N].mean() + (~predicted_N[~active_N]).mean()) / 2


@given(seed=st.integers(0, 10**6), n_literals=st.sampled_from([1, 2]))
def test_no_program_of_that_length_tells_better(seed, n_literals):
    rng = np.random.default_rng(seed)
    labels_NP, active_N = rng.random((30, 5)) < 0.4, rng.random(30) < 0.5
    active_N[:2] = True, False
    literals = [Literal(column, holds) for column in range(5) for holds in (True, False)]
    every = [Program(tuple(dict.fromkeys(some))) for some in itertools.product(literals, repeat=n_literals)]
    best = max(balanced_accuracy(program, labels_NP, active_N) for program in every)
    found = explain(labels_NP, active_N, n_literals)
    assert balanced_accuracy(found, labels_NP, active_N) == pytest.approx(best)
    assert len(found.literals) <= n_literals


def test_a_planted_conjunction_is_found_and_said_in_words():
    labels_NP = np.random.default_rng(0).random((500, 8)) < 0.5
    found = explain(labels_NP, labels_NP[:, 3] & ~labels_NP[:, 6], 2)
    assert set(found.literals) == {Literal(3, True), Literal(6, False)}
    assert found.words([f"l{column}" for column in range(8)]) == "l3 and not l6"
    assert explain(labels_NP, ~labels_NP[:, 2], 1).literals == (Literal(2, False),)


def test_programs_have_one_or_two_literals():
    with pytest.raises(ValueError, match="1 or 2 literals"):
        explain(np.ones((2, 1), bool), np.array([True, False]), 3)
