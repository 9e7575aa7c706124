"""Every exercise: its solution passes, unfilled it is named as such, and each typical mistake is told what it is."""

import ast
import inspect
import re
import time

import numpy as np
import pytest
import torch
from lessons import NUMBERS, all_checkers, checks_of, source_of, unfilled

from boardgame_sae.workshop.checking import checkers
from boardgame_sae.workshop.lesson_file import cells, exercises

CHECKERS = all_checkers()
MISTAKES = [(number, checker, mistake) for number, checker in CHECKERS for mistake in checker.mistakes]
SECONDS = 10
"""Of one core, for one checker: a student waits for it."""
HEADER = re.compile(r"^\*Difficulty ([●○]{5}) · Importance ([●○]{5}) · (\d+) minutes\*$", re.MULTILINE)


def ids(items):
    return [f"{number}-{checker.name}" for number, checker, *_ in items]


@pytest.mark.parametrize(("number", "checker"), CHECKERS, ids=ids(CHECKERS))
def test_the_solution_passes_in_time(number, checker):
    began = time.process_time()
    verdict = checker(checker.solution)
    assert verdict.passed and verdict.function is checker.solution, verdict
    assert time.process_time() - began < SECONDS


@pytest.mark.parametrize(("number", "checker"), CHECKERS, ids=ids(CHECKERS))
def test_an_unfilled_exercise_is_told_so_and_the_lesson_goes_on_with_the_solution(number, checker):
    verdict = checker(unfilled(number, checker.name))
    assert not verdict.passed and "not filled in yet" in verdict.message
    assert verdict.function is checker.solution
    assert "Solution" in verdict._repr_html_() and checker.name in verdict._repr_html_()


@pytest.mark.parametrize(("number", "checker", "mistake"), MISTAKES, ids=ids(MISTAKES))
def test_a_typical_mistake_is_told_what_it_is(number, checker, mistake):
    verdict = checker(mistake.answer)
    assert not verdict.passed and verdict.message == mistake.says


@pytest.mark.parametrize(("number", "checker"), CHECKERS, ids=ids(CHECKERS))
def test_every_exercise_knows_two_typical_mistakes_and_what_else_may_happen(number, checker):
    assert len(checker.mistakes) >= 2
    assert len({mistake.says for mistake in checker.mistakes}) == len(checker.mistakes)
    assert "is there a `return`?" in checker(lambda *_: None).message
    assert "raises KeyError: 'd3'" in checker(lambda *_: {}["d3"]).message
    assert not checker(lambda *_: "a text").passed
    assert not checker(lambda *_: np.zeros(0)).passed
    assert not checker(lambda *_: torch.full((3,), torch.nan)).passed


@pytest.mark.parametrize("number", NUMBERS)
def test_lesson_checkers_and_solutions_go_together(number):
    lesson, by_name = exercises(source_of(number)), checkers(checks_of(number))
    assert 4 <= len(lesson) <= 8 and list(lesson) == list(by_name)
    for name, code in lesson.items():
        (function,) = ast.parse(code).body
        solution = by_name[name].solution
        assert ast.get_docstring(function) == inspect.getdoc(solution)
        assert [argument.arg for argument in function.args.args] == list(inspect.signature(solution).parameters)


@pytest.mark.parametrize("number", NUMBERS)
def test_every_exercise_states_difficulty_importance_and_minutes_and_has_a_hint(number):
    shown = cells(source_of(number))
    headers = [cell.source for cell in shown if cell.kind == "text" and cell.source.startswith("## Exercise")]
    assert len(headers) == len(exercises(source_of(number)))
    minutes = 0
    for place, text in enumerate(headers, 1):
        assert text.startswith(f"## Exercise {number}.{place}: ") and "/// details | Hint" in text
        minutes += int(HEADER.search(text)[3])
    stated = int(re.search(r"\*\*Goal\.\*\*.*?(\d+) minutes\.", shown[1].source, re.DOTALL)[1])
    assert 45 <= stated <= 90 and minutes <= stated
    assert any("## Bonus: open research" in cell.source for cell in shown)
