"""What verbs share: how they are registered and found, how flags and YAML files are read, and flags that many take."""

import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, get_args, get_origin, get_type_hints

from pydantic import Field

from boardgame_sae.config import ConfigError, Count, Flags, config, read_flags, read_yaml
from boardgame_sae.plain_data import shortened
from boardgame_sae.registry import Registry
from boardgame_sae.streams import silence

Function: TypeAlias = Callable[[Sequence[str]], Path | str]
"""Does a verb's work on its words of the command line, and returns what to print last: a folder, or a text."""
LIST_FLAGS = "--list-flags"
"""The word that has a verb name its flags instead of working, for `flags_of`."""


class FlagsListed(Exception):  # noqa: N818 - it is what happened
    """A verb was asked for its flags. Its only argument is the groups that they belong to."""


class Choice(NamedTuple):
    """A flag whose value says which further flags a verb has."""

    flag: str
    """`--architecture`."""
    values: Callable[[], Sequence[str]]
    """What it may be."""


class Verb(NamedTuple):
    """A verb of the command line."""

    place: int
    """Its place in the help: verbs stand in ascending order."""
    example: str
    """Flags to try."""
    function: Function
    """What does the work; its docstring is the verb's help."""
    choice: Choice | None = None
    """What its flags depend on, if anything."""

    @property
    def summary(self) -> str:
        """What it does, in a line."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


_VERBS: Registry[Verb] = Registry("verb", "boardgame_sae.cli")


def verb(name: str, place: int, example: str = "", choice: Choice | None = None) -> Callable[[Function], Function]:
    """Register a function as a verb. place: where it stands in the help. choice: what its flags depend on.

    Raises ValueError when the name is taken.
    """

    def register(function: Function) -> Function:
        _VERBS.add(name, Verb(place, example, function, choice))
        return function

    return register


def verbs() -> dict[str, Verb]:
    """All verbs by name, in the order of the help."""
    return dict(sorted(_VERBS.all().items(), key=lambda item: item[1].place))


def find_verb(name: str) -> Verb:
    """The verb of a name. Raises ConfigError with the closest names."""
    return _VERBS.find(name)


Several: TypeAlias = Annotated[tuple[str, ...], Field(min_length=1)]
"""One text or more."""


@config
class Output:
    """Where a verb writes."""

    out: str | None = None
    """Folder to write into (default: a hashed one under data/runs)."""


@config
class Device:
    """What a verb computes on."""

    device: str = "auto"
    """cpu, cuda, mps, or auto: the first of cuda, mps and cpu that there is."""


@config
class Tracking:
    """Where metrics of a training go besides its folder."""

    tracker: str = "none"
    """Service that also gets the metrics, as they are written: one of the trackers listed above, or none."""


@config
class Workers:
    """How many processes work."""

    workers: Count = 1
    """Worker processes; the result is the same for any number."""


@config
class TestbedInput:
    """A testbed."""

    testbed: str
    """Folder of a testbed, or the name of a shipped one."""


@config
class StudyInput:
    """A study."""

    study: str
    """YAML file of the study: corpus, model, probes, training, saes, random_saes, suite."""


def listed_trackers() -> str:
    """The trackers that there are, as text for a verb's help."""
    from boardgame_sae.model.trackers.tracker import trackers

    return f"Trackers: {', '.join(trackers())}."


def parse(name: str, argv: Sequence[str], *groups: type | Flags, more: str = "") -> list[Any]:
    """Read a verb's flags, and the YAML file that --config names, into one config for each group.

    more: what its help says besides. Raises ConfigError for a bad value or file.
    """
    flags = [group if isinstance(group, Flags) else Flags(group) for group in groups]
    if LIST_FLAGS in argv:
        raise FlagsListed(flags)
    path, words = take(argv, "--config")
    verb = _VERBS.find(name)
    example = f"Example: boardgame-sae {name} {verb.example}".rstrip()
    file = "Any flag can also be set in a YAML file: --config FILE.yaml."
    text = "\n\n".join(filter(None, [inspect.getdoc(verb.function), example, file, more]))
    return read_flags(name, text, words, flags, read_yaml(path) if path else {}, path or name)


FlagsByName: TypeAlias = dict[str, tuple[str, tuple[str, ...]]]
"""The flags of a verb, `--n-games`: the meaning of each, and the values it takes where these are few."""


def flags_of(name: str, *words: str) -> FlagsByName:
    """The flags that a verb has after some words: `flags_of("train-sae", "--architecture", "gated")`."""
    choice = find_verb(name).choice
    try:
        find_verb(name).function([*words, LIST_FLAGS])
    except FlagsListed as listed:
        groups: list[Flags] = listed.args[0]
        flags = {
            "--" + field.name.replace("_", "-"): (group.help(field), _values(get_type_hints(group.cls)[field.name]))
            for group in groups
            for field in group.fields()
        }
        if choice is not None:
            flags[choice.flag] = (flags[choice.flag][0], tuple(choice.values()))
        return flags
    return {}


def flags_by_choice(name: str) -> dict[str, FlagsByName]:
    """The flags of a verb by the value of what they depend on; none where they depend on nothing."""
    choice = find_verb(name).choice
    return {} if choice is None else {value: flags_of(name, choice.flag, value) for value in choice.values()}


def _values(kind: Any) -> tuple[str, ...]:
    """The texts that a field may hold, where its type lists them."""
    return tuple(str(value) for value in get_args(kind) if value) if get_origin(kind) is Literal else ()


def take(argv: Sequence[str], flag: str) -> tuple[str | None, list[str]]:
    """A flag's value, if it is given, and the other words. Raises ConfigError when the value is missing."""
    words = list(argv)
    for index, word in enumerate(words):
        if word == flag:
            if index + 1 == len(words):
                raise ConfigError(f"{flag} needs a value")
            return words[index + 1], words[:index] + words[index + 2 :]
        if word.startswith(flag + "="):
            return word.split("=", 1)[1], words[:index] + words[index + 1 :]
    return None, words


def chosen(argv: Sequence[str], name: str, default: str) -> str:
    """A choice that other defaults depend on: from its flag, else from the YAML file, else the default.

    Raises ConfigError when the file cannot be read, or gives something else than a text.
    """
    path, _ = take(argv, "--config")
    choice = take(argv, f"--{name}")[0] or (read_yaml(path) if path else {}).get(name, default)
    if not isinstance(choice, str):
        raise ConfigError(f"{path}: field '{name}' is {shortened(repr(choice))}: must be text")
    return choice


def named(argv: Sequence[str], flag: str) -> list[str]:
    """The words, with leading ones that follow no flag given to `flag`."""
    words = list(argv)
    flags = (index for index, word in enumerate(words) if word.startswith("-") and word != "-")
    n_leading = next(flags, len(words))
    return [flag, *words] if n_leading else words


def say(text: str) -> None:
    """Print a line. Raises OSError naming standard output when it is full."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        silence(sys.stdout)
        raise OSError(error.errno, f"cannot be written ({error.strerror})", "standard output") from error
