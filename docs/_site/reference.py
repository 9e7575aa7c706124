"""The reference's text: every public name and every verb, from the package itself, so that it cannot go stale.

A page says `<!-- names: model -->` where the public names of a layer belong, `<!-- verbs -->` where the verbs do.
"""

import contextlib
import importlib
import io
import os
import re
from collections.abc import Iterator, Sequence

import boardgame_sae as bgs
from boardgame_sae.cli import main, verbs

NAMES = re.compile(r"^<!-- names: ([\w ]+) -->$", re.MULTILINE)
VERBS = "<!-- verbs -->"
WIDTH = "80"
"""Columns that help is set in."""


def expanded(markdown: str) -> str:
    """A page's text with what the package says in place of its comments."""
    text = NAMES.sub(lambda comment: names_text(comment[1].split()), markdown)
    return text.replace(VERBS, verbs_text()) if VERBS in text else text


def layers_of(markdown: str) -> list[str]:
    """The layers whose names a page lists."""
    return [layer for comment in NAMES.finditer(markdown) for layer in comment[1].split()]


def names_text(layers: Sequence[str]) -> str:
    """A section for each public name of some layers, which mkdocstrings writes."""
    return "\n\n".join(f"::: boardgame_sae.{name}" for name in names_in(layers))


def names_in(layers: Sequence[str]) -> list[str]:
    """The public names that live in some layers, in alphabetical order, functions and classes apart from settings."""
    names = [name for name in bgs.__all__ if layer_of(name) in layers]
    return sorted(names, key=lambda name: (name.endswith("Config"), name.lower()))


def layer_of(name: str) -> str:
    """The layer that a public name lives in: `model`."""
    return importlib.import_module(getattr(bgs, name).__module__).__name__.split(".")[1]


def verbs_text() -> str:
    """A section for each verb: what it does, and its help."""
    return "\n\n".join(
        f"## {name}\n\n{verb.summary}\n\n```text\n{help_of(name)}\n```" for name, verb in verbs().items()
    )


def help_of(verb: str) -> str:
    """What `boardgame-sae VERB --help` prints."""
    printed = io.StringIO()
    with _columns(), contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([verb, "--help"])
    return re.sub(r"\x1b\[[\d;]*m", "", printed.getvalue()).strip()


@contextlib.contextmanager
def _columns() -> Iterator[None]:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = WIDTH
    try:
        yield
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
