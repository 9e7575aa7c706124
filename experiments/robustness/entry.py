"""Entries: a file that is spoilt, the ways to spoil it, and what then reads it. Several make a line of the table.

To have another format tried, write an entry in any module of `targets/`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple, TypeAlias

from boardgame_sae.registry import Registry

Mutation: TypeAlias = Callable[[Random, bytes], bytes]
"""Spoils a file's bytes. Raises ValueError for a file that it cannot spoil."""
Reader: TypeAlias = Callable[[Path], object]
"""Reads the folder, or the file, that was copied for a case."""


class Entry(NamedTuple):
    """One file of the setup, and how it is tried."""

    target: str
    copied: str
    """The folder or file of the setup that a case gets a copy of; the others stand beside it as they are."""
    file: str
    """The file in it that is spoilt; nothing: `copied` itself."""
    mutations: Sequence[Mutation]
    reader: Reader
    starts_programs: bool
    """Whether reading it starts a program, as an engine is one."""

    @property
    def name(self) -> str:
        """Where the spoilt file is in the setup."""
        return f"{self.copied}/{self.file}".rstrip("/")


def use(*_: object) -> None:
    """Takes what is read, or worked out, only when asked for."""


_ENTRIES: Registry[Entry] = Registry("entry", "robustness.targets")


def entry(
    target: str, copied: str, file: str = "", *, by: Sequence[Mutation], starts_programs: bool = False
) -> Callable[[Reader], Reader]:
    """Register a reader for a file of the setup. by: the mutations. Raises ValueError when that pair is registered."""

    def register(reader: Reader) -> Reader:
        made = Entry(target, copied, file, by, reader, starts_programs)
        _ENTRIES.add(f"{made.name} by {reader.__name__}", made)
        return reader

    return register


def targets() -> dict[str, list[Entry]]:
    """The entries of every target, by its name."""
    found: dict[str, list[Entry]] = {}
    for each in _ENTRIES.all().values():
        found.setdefault(each.target, []).append(each)
    return found
