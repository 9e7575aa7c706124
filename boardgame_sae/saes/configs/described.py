"""The architectures as `--help` shows them, without torch: the config class of each, and what it is in a line.

Which there are, and what each is, is read from the sources of `architectures/`; config classes are imported. An
architecture whose config is defined beside it, in its one file, is imported with it.
"""

import importlib
from typing import NamedTuple

from boardgame_sae.registry import declared
from boardgame_sae.saes.configs.sae import SAEConfig


class Described(NamedTuple):
    """An architecture."""

    config_class: type[SAEConfig]
    summary: str
    """What it is, in a line."""


def described() -> dict[str, Described]:
    """Every architecture by name, in alphabetical order."""
    found: dict[str, Described] = {}
    for each in declared("boardgame_sae.saes.architectures", "architecture"):
        config_class = getattr(importlib.import_module(each.home), each.argument)
        found[config_class.__dataclass_fields__["architecture"].default] = Described(config_class, each.summary)
    return dict(sorted(found.items()))
