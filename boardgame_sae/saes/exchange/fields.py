"""The fields of another library's config, each checked where it is read: none is filled in silently."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from boardgame_sae.files import RunError, read_json
from boardgame_sae.saes.exchange import shared

T = TypeVar("T")


class Fields:
    """A config as plain data; null counts as absent, and a default is the one that the library documents."""

    def __init__(self, values: Mapping[str, Any], source: Path) -> None:
        """source: the file, for messages."""
        self.values = {name: value for name, value in values.items() if value is not None}
        self.source = source

    @classmethod
    def read(cls, path: Path, advice: str) -> "Fields":
        """The fields of a JSON file. Raises RunError when it is missing, damaged or no mapping, with the advice."""
        if not path.exists():
            raise RunError(f"{path}: no such file, and weights alone do not say how they encode; {advice}")
        values = shared.plain(read_json(path))
        if not isinstance(values, dict):
            raise RunError(f"{path}: holds no fields; {advice}")
        return cls(values, path)

    def get(self, name: str, default: Any = None) -> Any:
        """A field of any kind."""
        return self.values.get(name, default)

    def number(self, name: str, fix: str) -> int:
        """A whole number of at least 1. Raises RunError when it is absent or anything else."""
        value = self.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.error(name, fix)
        return value

    def flag(self, name: str, default: bool) -> bool:
        """True or false. Raises RunError for anything else."""
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise self.error(name, "it is true or false")
        return value

    def text(self, name: str, default: str) -> str:
        """A text. Raises RunError for anything else."""
        value = self.get(name, default)
        if not isinstance(value, str):
            raise self.error(name, "it is a text")
        return value

    def mapping(self, name: str) -> dict[str, Any]:
        """A mapping, empty where it is absent. Raises RunError for anything else."""
        value = self.get(name, {})
        if not isinstance(value, dict):
            raise self.error(name, "it is a mapping")
        return value

    def choice(self, name: str, choices: Mapping[str, T], fix: str = "") -> T:
        """What a name stands for. Raises RunError when it is absent or none of the choices."""
        value = self.get(name)
        if not isinstance(value, str) or value not in choices:
            raise self.error(name, fix or "correct it", f", not one of {', '.join(choices)}")
        return choices[value]

    def error(self, name: str, fix: str, expected: str = "") -> RunError:
        """What to raise about a field."""
        told = f"is {self.values[name]!r}" if name in self.values else "is missing"
        return RunError(f"{self.source}: {name} {told}{expected}; {fix}")
