"""The reference holds every public name and every verb, and lays docstrings out."""

import importlib
import inspect
import re

import pytest
from pages import ROOT
from reference import VERBS, expanded, help_of, layers_of, names_in

import boardgame_sae as bgs
from boardgame_sae.cli import verbs

PAGES = sorted((ROOT / "docs/reference").glob("*.md"))


def test_every_public_name_is_on_exactly_one_page():
    listed = [name for page in PAGES for name in names_in(layers_of(page.read_text()))]
    assert sorted(listed) == sorted(bgs.__all__)


def test_other_names_on_the_pages_exist():
    names = [name for page in PAGES for name in re.findall(r"^::: (\S+)$", page.read_text(), flags=re.MULTILINE)]
    assert len(names) > 20 and len(set(names)) == len(names)
    for name in names:
        module, _, last = name.rpartition(".")
        assert getattr(importlib.import_module(module), last).__doc__, name


@pytest.mark.parametrize("name", bgs.__all__)
def test_every_public_name_says_what_it_does(name):
    assert getattr(bgs, name).__doc__


def test_every_verb_is_on_the_page_with_all_that_its_help_says():
    text = expanded((ROOT / "docs/reference/command_line.md").read_text())
    assert VERBS not in text
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == list(verbs())
    assert "--n-games INT" in help_of("generate") and help_of("generate") in text and "\x1b" not in text


FUNCTIONS = [name for name in bgs.__all__ if not inspect.isclass(getattr(bgs, name))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_says_of_each_argument_what_it_is_and_which_errors_it_raises(name):
    """By itself: what another function raises that is not on the pages helps nobody."""
    function = inspect.unwrap(getattr(bgs, name))
    code, text = function.__code__, inspect.getdoc(function)
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    assert not [argument for argument in arguments if not re.search(rf"\b{argument}\b", text)]
    assert re.search(r"Raises [A-Z]\w+(Error|Move)\b", text)
    others = re.findall(r"Raises (?:what|as) `(\w+)`|and as `(\w+)` does", text)
    assert not others, "name the errors themselves"
