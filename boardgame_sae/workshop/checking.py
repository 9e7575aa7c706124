"""Checkers: each runs an answer to an exercise on small inputs and says what is wrong with it.

A checker knows the typical wrong answers. Where an answer gives what one of them gives, the student is told which
mistake that is; otherwise what can be seen from outside: type, shape, axes, a shift by one, sign, scale.
"""

import copy
import html
import inspect
import linecache
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from boardgame_sae.workshop.difference import difference, gradient_difference

Function = Callable[..., Any]
COPIED = Tensor | np.ndarray | list
"""Inputs that an answer gets a copy of, and may not change; games and testbeds are shared."""


class Mistake(NamedTuple):
    """A typical wrong answer."""

    says: str
    """What the student is told who makes it."""
    answer: Function


@dataclass(frozen=True)
class Verdict:
    """What a checker found. It draws itself in a notebook."""

    exercise: str
    passed: bool
    message: str
    function: Function
    """The answer where it passed, else the solution: what the lesson goes on with."""
    solution: Function

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        return f"{self.exercise}: {self.message}"

    def _repr_html_(self) -> str:
        colour, sign = ("#1a7f37", "✓") if self.passed else ("#bc4c00", "✗")
        source = html.escape(inspect.getsource(self.solution))
        return (
            f'<div style="border-left:4px solid {colour};padding:.3em .8em;overflow-wrap:anywhere">'
            f'<b style="color:{colour}">{sign} {html.escape(self.exercise)}</b>: {html.escape(self.message)}</div>'
            f"<details><summary>Solution</summary><pre>{source}</pre></details>"
        )


@dataclass(frozen=True)
class Checker:
    """The checker of one exercise: call it with an answer."""

    solution: Function
    cases: Callable[[], Sequence[tuple[Any, ...]]]
    """Makes the inputs: arguments, case by case."""
    mistakes: Sequence[Mistake]
    tolerance: float = 1e-4
    """Largest difference that counts as none, relative to the largest magnitude."""
    compared: Callable[[Any], Any] = lambda result: result
    """What of a result is compared: all of it, or what `in_any_order` leaves."""
    trained_through: bool = False
    """Whether gradients must flow from what it gives to its tensors."""

    @property
    def name(self) -> str:
        """The exercise's function."""
        return self.solution.__name__

    @cached_property
    def inputs(self) -> list[tuple[Any, ...]]:
        """The inputs, made once."""
        return list(self.cases())

    @cached_property
    def right(self) -> list[Any]:
        """What the solution gives for each input."""
        return self.run(self.solution)

    @cached_property
    def wrong(self) -> list[list[Any]]:
        """What each typical wrong answer gives."""
        return [self._of(mistake) for mistake in self.mistakes]

    def run(self, answer: Function) -> list[Any]:
        """What an answer gives for each input, of which it gets a copy."""
        return [answer(*map(_copied, case)) for case in self.inputs]

    def __call__(self, answer: Function) -> Verdict:
        """Check an answer. Never raises: what the answer raises is part of the verdict."""
        wrong = self._wrong(answer)
        if wrong is None:
            return Verdict(self.name, True, "right", answer, self.solution)
        return Verdict(self.name, False, wrong, self.solution, self.solution)

    def _wrong(self, answer: Function) -> str | None:
        given = []
        for case in self.inputs:
            copied = [_copied(value) for value in case]
            try:
                given.append(answer(*copied))
            except Exception as error:  # a student's code may raise anything
                return self._raised(answer, error)
            for name, before, after in zip(self._names, case, copied, strict=True):
                if isinstance(before, COPIED) and difference(after, before, 0.0):
                    return f"it changes its input `{name}` in place, which others still need; work on a copy"
        found = self._differences(given, self.right)
        if not found:
            return self._wrong_gradient(answer)
        for mistake, wrong in zip(self.mistakes, self.wrong, strict=True):
            if not self._differences(given, wrong):
                return mistake.says
        place, what = found[0]
        return f"{what} (input {place + 1} of {len(given)})" if len(given) > 1 else what

    def _differences(self, given: Sequence[Any], right: Sequence[Any]) -> list[tuple[int, str]]:
        pairs = [(self.compared(one), self.compared(other)) for one, other in zip(given, right, strict=True)]
        return [(place, what) for place, pair in enumerate(pairs) if (what := difference(*pair, self.tolerance))]

    def _wrong_gradient(self, answer: Function) -> str | None:
        if not self.trained_through:
            return None
        try:
            found = [gradient_difference(answer, self.solution, case, self.tolerance) for case in self.inputs]
        except Exception as error:  # as `.numpy()` does of what is to be learned
            return self._raised(answer, error)
        return next(filter(None, found), None)

    def _raised(self, answer: Function, error: Exception) -> str:
        if isinstance(error, NotImplementedError) and not error.args:  # libraries raise it too, with a reason
            return "not filled in yet: replace `raise NotImplementedError` by your code"
        return f"it raises {type(error).__name__}: {error}{_line(answer, error)}{self._shapes()}"

    def _of(self, mistake: Mistake) -> list[Any]:
        """What a typical wrong answer gives; where it fails outright, nothing that an answer could give."""
        try:
            return self.run(mistake.answer)
        except (ArithmeticError, IndexError, RuntimeError, ValueError):
            return [object()] * len(self.inputs)

    @property
    def _names(self) -> list[str]:
        return list(inspect.signature(self.solution).parameters)

    def _shapes(self) -> str:
        pairs = zip(self._names, self.inputs[0], strict=True)
        shapes = [f"{name} {tuple(value.shape)}" for name, value in pairs if isinstance(value, Tensor | np.ndarray)]
        return f"; its inputs have the shapes {', '.join(shapes)}" if shapes else ""


def in_any_order(result: Any) -> Any:
    """The entries of a list, tuple or set in ascending order; anything else as it is."""
    if not isinstance(result, list | tuple | set | frozenset):
        return result
    try:
        return sorted(result)
    except (RuntimeError, TypeError, ValueError):  # entries that have no order, or are arrays
        return list(result)


def checkers(module: ModuleType) -> dict[str, Checker]:
    """The checkers of a lesson by the names of their exercises, in order."""
    return {value.name: value for value in vars(module).values() if isinstance(value, Checker)}


@dataclass(frozen=True)
class Progress:
    """How many exercises of a lesson pass."""

    verdicts: Sequence[Verdict]

    def __str__(self) -> str:
        missing = [verdict.exercise for verdict in self.verdicts if not verdict.passed]
        still = f"; still to do: {', '.join(missing)}" if missing else ""
        return f"{len(self.verdicts) - len(missing)} of {len(self.verdicts)} exercises pass{still}"

    def _repr_html_(self) -> str:
        return f"<p><b>{html.escape(str(self))}</b></p>"


def _copied(value: Any) -> Any:
    return copy.deepcopy(value) if isinstance(value, COPIED) else value


def _line(answer: Function, error: Exception) -> str:
    """Where in the answer an error was raised, in words; nothing where the answer is not Python."""
    code = getattr(answer, "__code__", None)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if code and frame.filename == code.co_filename and frame.name == code.co_name]
    if not own or code is None or own[-1].lineno is None:
        return ""
    source = linecache.getline(own[-1].filename, own[-1].lineno).strip()
    return f" (line {own[-1].lineno - code.co_firstlineno + 1} of your function{f': {source}' if source else ''})"
