"""The lessons of the workshop for tests: their checkers, and their files with every exercise filled."""

import importlib
import re
from types import ModuleType

from boardgame_sae.workshop.checking import Checker, checkers
from boardgame_sae.workshop.lesson_file import exercises, lesson_numbers, lesson_path

NUMBERS = lesson_numbers()


def source_of(number: int) -> str:
    """A lesson as students get it."""
    return lesson_path(number).read_text(encoding="utf-8")


def checks_of(number: int) -> ModuleType:
    """The module of a lesson's checkers."""
    return importlib.import_module(f"boardgame_sae.workshop.checks.lesson{number}")


def all_checkers() -> list[tuple[int, Checker]]:
    """Every checker with the number of its lesson."""
    return [(number, checker) for number in NUMBERS for checker in checkers(checks_of(number)).values()]


def unfilled(number: int, name: str):
    """An exercise's function as students get it."""
    names = {}
    exec(exercises(source_of(number))[name], names)
    return names[name]


def filled(number: int) -> str:
    """A lesson with the solution of every exercise in it, and everything ticked that takes a while."""
    source = source_of(number).replace("mo.ui.checkbox(value=False", "mo.ui.checkbox(value=True")
    for name, code in exercises(source).items():
        parameters = re.search(rf"def {name}\((.*?)\):", code, re.DOTALL)[1]
        arguments = ", ".join(part.split("=")[0].strip() for part in parameters.split(",") if part.strip())
        answer = f"from boardgame_sae.workshop.solutions import lesson{number} as solutions\n\n    "
        answer += f"return solutions.{name}({arguments})"
        source = source.replace(code, code.replace("raise NotImplementedError", answer))
    return source
