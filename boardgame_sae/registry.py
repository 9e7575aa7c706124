"""Things known by a name: each registers itself where it is defined, and is found by walking the folder it is in.

So a new game, player, architecture, score, baseline, study or figure is one new file, and no list of them stands
anywhere.
"""

import ast
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

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


class Declared(NamedTuple):
    """What a module registers by a decorator, as its source says."""

    argument: str
    """What the decorator is given first: a name, or that of a class which holds it."""
    home: str
    """The module that such a class is defined in."""
    summary: str
    """The first line of the decorated thing's docstring."""


def declared(package: str, decorator: str) -> Iterator[Declared]:
    """What the modules of a package register by a decorator, read from their sources: to import them takes seconds."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).rglob("*.py")):
            module = ".".join((package, *path.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__")
            yield from _declared(ast.parse(path.read_text(encoding="utf-8")), module, decorator)


def _declared(tree: ast.Module, module: str, decorator: str) -> Iterator[Declared]:
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    homes = {alias.asname or alias.name: str(node.module) for node in imports for alias in node.names}
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        for call in node.decorator_list:
            match call:
                case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=first) | ast.Name(id=first), *_]):
                    if name == decorator:
                        summary = (ast.get_docstring(node) or "").partition("\n")[0]
                        yield Declared(str(first), homes.get(str(first), module), summary)


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
