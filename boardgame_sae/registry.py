"""Things known by a name: each registers itself where it is defined, and is found by walking the folder it is in.

So a new game, player, architecture, score, baseline, study or figure is one new file, and no list of them stands
anywhere.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Generic, TypeVar

from boardgame_sae import foreign_names
from boardgame_sae.config import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """Things of one kind by name, in the order of the modules that register them."""

    def __init__(self, kind: str, *packages: str) -> None:
        """kind: what messages call them. packages: folders whose modules register some, imported when first asked."""
        self.kind, self._packages = kind, packages
        self._known: dict[str, T] = {}
        self._walked = False

    def add(self, name: str, thing: T) -> T:
        """Register a thing and return it. Raises ValueError when the name is taken."""
        if name in self._known:
            article = "an" if self.kind[0] in "aeiou" else "a"
            raise ValueError(f"there already is {article} {self.kind} '{name}'; choose another name")
        self._known[name] = thing
        return thing

    def find(self, name: str, source: str = "") -> T:
        """The thing of a name. source: what the error begins with. Raises ConfigError with the closest names."""
        known = self.all()
        if not isinstance(name, str) or name not in known:
            raise ConfigError(f"{source}unknown {self.kind} '{name}'; {self.advice(name)}")
        return known[name]

    def advice(self, name: str) -> str:
        """What to write instead of an unknown name: the closest one, or else all there are."""
        return foreign_names.advice(name, self.names())

    def names(self) -> tuple[str, ...]:
        """All names."""
        return tuple(self.all())

    def all(self) -> dict[str, T]:
        """Everything by name, once all modules of the packages are imported."""
        if not self._walked:
            self._walked = True  # before the walk: a module may ask while it is imported
            for package in self._packages:
                import_all(package)
        return dict(self._known)


def import_all(package: str) -> None:
    """Import every module of a package and of the packages inside it, in alphabetical order."""
    for name in sorted(_modules(package)):
        importlib.import_module(name)


def _modules(package: str) -> Iterator[str]:
    found = importlib.import_module(package)
    for each in pkgutil.iter_modules(found.__path__, package + "."):
        yield each.name
        if each.ispkg:
            yield from _modules(each.name)
