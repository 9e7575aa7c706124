"""A testbed however it is given: itself, its folder, or the name of one that ships."""

from pathlib import Path
from typing import Any, TypeAlias

from boardgame_sae.config import ConfigError
from boardgame_sae.testbeds.testbed import Testbed, load_testbed

AnyTestbed: TypeAlias = Testbed | str | Path
"""A testbed, its folder, or the name of one that ships or lies on the hub."""


def as_testbed(given: Any) -> Testbed:
    """The testbed that is given. Raises ConfigError for anything else, and as `load_testbed` does."""
    if isinstance(given, Testbed):
        return given
    if isinstance(given, str | Path):
        return load_testbed(given)
    raise ConfigError(
        f"testbed: is an object of the type {type(given).__name__}; give a Testbed, its folder, or the name of a "
        "shipped one"
    )
