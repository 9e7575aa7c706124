"""What verbs share: how they are registered, and how their flags and YAML files are read."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from boardgame_sae.config import ConfigError, Flags, read_flags, read_yaml

Function: TypeAlias = Callable[[Sequence[str]], Path]
"""Does a verb's work on its words of the command line, and returns the folder to print last."""


class Verb(NamedTuple):
    """A verb of the command line."""

    summary: str
    """What it does, in a line."""
    example: str
    """Flags to try."""
    function: Function


VERBS: dict[str, Verb] = {}
"""The verbs by name, in the order of the help text."""


def verb(name: str, summary: str, example: str) -> Callable[[Function], Function]:
    """Register a function as a verb."""

    def keep(function: Function) -> Function:
        VERBS[name] = Verb(summary, example, function)
        return function

    return keep


def parse(verb: str, argv: Sequence[str], *groups: type | Flags) -> list[Any]:
    """Read a verb's flags, and the YAML file that --config names, into one config for each group."""
    path, words = take(argv, "--config")
    summary, example, _ = VERBS[verb]
    text = f"{summary}\n\nExample: boardgame-sae {verb} {example}\n\nAny field can be given in --config FILE.yaml too."
    flags = [group if isinstance(group, Flags) else Flags(group) for group in groups]
    return read_flags(verb, text, words, flags, read_yaml(path) if path else {}, path or verb)


def take(argv: Sequence[str], flag: str) -> tuple[str | None, list[str]]:
    """A flag's value, if it is given, and the other words. Raises ConfigError when the value is missing."""
    words = list(argv)
    for place, word in enumerate(words):
        if word == flag:
            if place + 1 == len(words):
                raise ConfigError(f"{flag} needs a value")
            return words[place + 1], words[:place] + words[place + 2 :]
        if word.startswith(flag + "="):
            return word.split("=", 1)[1], words[:place] + words[place + 1 :]
    return None, words


def chosen(argv: Sequence[str], name: str, default: str) -> str:
    """A choice that other defaults hang on: from its flag, else from the YAML file, else the default."""
    path, _ = take(argv, "--config")
    return take(argv, f"--{name}")[0] or (read_yaml(path) if path else {}).get(name, default)


def named(argv: Sequence[str], flag: str) -> list[str]:
    """Leading words without a flag are the values of `flag`."""
    words = list(argv)
    flags = (place for place, word in enumerate(words) if word.startswith("-") and word != "-")
    n_leading = next(flags, len(words))
    return [flag, *words] if n_leading else words


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(text + "\n")
