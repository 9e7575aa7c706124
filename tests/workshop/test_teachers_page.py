"""What the teacher's page, the slides and the lessons quote is what lessons, checkers and the testbed say."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from lessons import NUMBERS, checks_of, source_of

from boardgame_sae.testbeds.shipped import find_testbed
from boardgame_sae.workshop.checking import checkers
from boardgame_sae.workshop.lesson_file import exercises
from boardgame_sae.workshop.material import shipped_scores
from boardgame_sae.workshop.solutions import lesson6

FOLDER = Path(__file__).parents[2] / "experiments" / "workshop"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
SLIDES = (FOLDER / "slides.md").read_text(encoding="utf-8")
TESTBED = find_testbed("othello6-tiny")
IN_WORDS = {30_000: "thirty thousand"}
QUOTED = re.findall(r"^\| (\d)\.(\d) \| (.+?) \|", PAGE, re.MULTILINE)
OF_ANY_EXERCISE = (
    "it changes its input `value_BLD` in place, which others still need; work on a copy",
    "its values are right, but no gradient flows through it",
)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_lesson_s_minutes_and_exercises_are_those_it_has(number):
    minutes, count = re.search(rf"^\| \[{number} .*\| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE).groups()
    assert f" {minutes} minutes." in source_of(number)
    assert int(count) == len(exercises(source_of(number)))


def test_the_minutes_add_up_and_the_measured_seconds_are_there():
    minutes = [int(found) for found in re.findall(r"^\| \[\d .*\| (\d+) \| \d+ \|$", PAGE, re.MULTILINE)]
    assert f"{sum(minutes) // 60} hours and {sum(minutes) % 60} minutes" in PAGE
    assert re.search(r"^\| seconds \|( \d+ \|){7}$", PAGE, re.MULTILINE) and "@" not in PAGE


@pytest.mark.parametrize(("number", "place", "says"), QUOTED)
def test_a_checker_s_words_are_quoted_as_it_says_them(number, place, says):
    checker = list(checkers(checks_of(int(number))).values())[int(place) - 1]
    known = (*(mistake.says for mistake in checker.mistakes), *OF_ANY_EXERCISE)
    assert any(message.startswith(says) for message in known), says


def test_the_numbers_that_are_quoted_are_those_of_the_testbed():
    card = json.loads((TESTBED / "card.json").read_text())["numbers"]
    legal, low, high = card["legality"]
    assert f"{legal:.2%} [{low:.2%}, {high:.2%}]" in source_of(1)
    assert f"{legal:.1%}" in SLIDES
    read = card["probe/board-ply/blocks.5.hook_resid_post"][0]
    n_games = json.loads((TESTBED / "run.json").read_text())["config"]["probes"][0]["n_train_games"]
    quoted = f"fitted on {IN_WORDS[n_games]} games, read {read:.1%} at block 5"
    assert quoted in " ".join(source_of(2).split())
    levels = shipped_scores.levels("othello6-tiny")
    chance, ceiling = f"{levels.chance:.2f}", f"{levels.ceiling:.2f}"
    assert f"An always-on latent has {chance}; linear probes, which were shown the truth, {ceiling}." in source_of(6)
    assert f"chance ({chance}) and ceiling (linear probes, {ceiling})" in SLIDES
    assert f"coverage of {chance}" in PAGE and f"coverage {chance}" in SLIDES


def test_what_lesson_6_says_of_all_saes_is_so():
    rows = [row for row in shipped_scores.rows("othello6-tiny") if row.n_activations == 3_000_000]
    l0_K, coverage_K, reconstruction_K = (
        np.array([getattr(row, name) for row in rows]) for name in ("l0", "coverage", "reconstruction")
    )
    assert len(rows) == 30 and len({row.architecture for row in rows}) == 10
    both_K = lesson6.pareto(l0_K, coverage_K) & lesson6.pareto(l0_K, reconstruction_K)
    assert np.flatnonzero(both_K).tolist() == [l0_K.argmin()]
    assert "Of the thirty SAEs only the sparsest is on both frontiers." in source_of(6)
    correlation = lesson6.rank_correlation(coverage_K, reconstruction_K)
    assert f"over 30 SAEs: **{correlation:.2f}**" in SLIDES
