"""The pages that users read, and the blocks of code on them.

A comment before a block says what the tests do with it besides running it: `<!-- slow -->` has it run by `make slow`
only, `<!-- not run: why -->` never. A block of Python with the title of a file is that file, or a part of it.
"""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
"""Those whose code runs."""
_BLOCK = re.compile(
    r"(?:^<!-- (?P<note>slow|not run: [^\n]+) -->\n+)?"
    r'^```(?P<language>\w*)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$',
    re.DOTALL | re.MULTILINE,
)


class Block(NamedTuple):
    """A block of code."""

    language: str
    title: str
    """The file that it is, or is a part of; empty for code to run."""
    note: str
    text: str

    @property
    def commands(self) -> list[str]:
        """What it has a shell run: lines after `$ `, with those that continue them."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line.removeprefix("$ ").partition("  #")[0].strip() for line in lines if line.startswith("$ ")]


def name_of(page: Path) -> str:
    """A page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    return [
        Block(**{key: text or "" for key, text in found.groupdict().items()})
        for found in _BLOCK.finditer(page.read_text())
    ]
