"""Signatures of functions that take the fields of configs as keywords."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, get_type_hints

from boardgame_sae.config import default_of

F = TypeVar("F", bound=Callable[..., Any])


def showing_fields(*classes: type, without: Sequence[str] = ()) -> Callable[[F], F]:
    """Have a function that takes fields of config classes as keywords show them in its signature, as notebooks do.

    A default on which the classes differ is shown as `...`.
    """
    hints = {name: hint for cls in classes for name, hint in get_type_hints(cls).items()}
    defaults: dict[str, list[Any]] = {}
    for field in (field for cls in classes for field in dataclasses.fields(cls) if field.name not in without):
        defaults.setdefault(field.name, []).append(default_of(field))

    def keyword(name: str, known: Sequence[Any]) -> inspect.Parameter:
        default = known[0] if all(other == known[0] for other in known) else ...
        default = inspect.Parameter.empty if default is dataclasses.MISSING else default
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[name])

    def show(function: F) -> F:
        given = inspect.signature(function)
        written = [part for part in given.parameters.values() if part.kind is not inspect.Parameter.VAR_KEYWORD]
        more = [keyword(*item) for item in defaults.items() if item[0] not in {part.name for part in written}]
        object.__setattr__(function, "__signature__", given.replace(parameters=[*written, *more]))
        return function

    return show
