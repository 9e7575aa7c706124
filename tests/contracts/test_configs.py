"""One suite for every config class: each number that is set has bounds, and what is outside them is refused by name."""

import dataclasses
import importlib
import re
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from boardgame_sae.config import ConfigError, Signed, from_mapping
from boardgame_sae.registry import import_all


def config_classes() -> list[type]:
    """Every config class of the package that has a field."""
    import_all("boardgame_sae")
    found: dict[str, type] = {}
    todo: list[type] = [object]
    while todo:
        for cls in type.__subclasses__(todo.pop()):
            if cls.__module__.startswith("boardgame_sae.") and cls.__dict__.get("__is_pydantic_dataclass__"):
                found[f"{cls.__module__}.{cls.__qualname__}"] = cls
            if cls is not type:
                todo.append(cls)
    strict = [cls for _, cls in sorted(found.items()) if cls.__pydantic_config__.get("extra") == "forbid"]
    return [cls for cls in strict if dataclasses.fields(cls) and importlib.import_module(cls.__module__)]


def numbers_in(hint: Any) -> set[type]:
    """The types of number that a field can hold, inside of tuples and dicts too."""
    return {hint} & {int, float} | {number for part in get_args(hint) for number in numbers_in(part)}


CONFIGS = config_classes()
NUMERIC = [
    (cls, name, numbers)
    for cls in CONFIGS
    for name, hint in get_type_hints(cls).items()
    if name in {field.name for field in dataclasses.fields(cls)} and (numbers := numbers_in(hint))
]
"""Every numeric field of every config."""


def shaped(hint: Any, value: Any) -> Any:
    """A value of a field's shape with a number at every place for one."""
    parts = [part for part in get_args(hint) if numbers_in(part)]
    if get_origin(hint) is tuple:
        return [shaped(part, value) for part in parts]
    if get_origin(hint) is dict:
        return {"a": shaped(parts[0], value)}
    return shaped(parts[0], value) if parts else value


def too_low(hint: Any) -> float:
    """A number below all that a field can hold: -1, or of a number of either sign less than its own bound."""
    return -1 if hint != Signed else -1e7


def complaint(cls: type, name: str, value: Any) -> str:
    """What is said of a field with a number, whatever the other fields lack."""
    with pytest.raises(ConfigError) as caught:
        from_mapping(cls, {name: shaped(get_type_hints(cls)[name], value)}, "here")
    return "\n".join(line for line in str(caught.value).splitlines() if f"field '{name}" in line)


def ids(case):
    return getattr(case, "__name__", str(case) if isinstance(case, str) else "")


def test_the_walk_finds_the_configs():
    assert {"TrainGPTConfig", "TrainSAEConfig", "SweepConfig", "JumpReLUConfig", "Workers"} <= {
        cls.__name__ for cls in CONFIGS
    }
    assert len(NUMERIC) > 100


@pytest.mark.parametrize(("cls", "name", "numbers"), NUMERIC, ids=ids)
def test_a_negative_number_is_refused_by_name(cls, name, numbers):
    low = too_low(get_type_hints(cls, include_extras=True)[name])
    assert "must be a" in complaint(cls, name, low), "give the field a bound: Count, Natural, Share, Positive, ..."


@pytest.mark.parametrize(("cls", "name", "numbers"), NUMERIC, ids=ids)
def test_a_number_beyond_64_bits_is_refused_by_name(cls, name, numbers):
    if float not in numbers:
        assert re.search("must be (below 9223372036854775808|at most)", complaint(cls, name, 2**63))
    assert "must have at most 64" in complaint(cls, name, 10**5000)


@pytest.mark.parametrize(("cls", "name", "numbers"), NUMERIC, ids=ids)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_refused_by_name(cls, name, numbers, value):
    assert "must be a finite number" in complaint(cls, name, value)


@pytest.mark.parametrize(("cls", "name", "numbers"), NUMERIC, ids=ids)
def test_text_and_truth_values_are_no_numbers(cls, name, numbers):
    if str not in get_args(get_type_hints(cls)[name]):
        assert "is '1'" in complaint(cls, name, "1")
    assert "is True" in complaint(cls, name, True)
