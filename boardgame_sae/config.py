"""Strict frozen config classes: YAML and flags in, canonical JSON and a content hash out.

A config is a frozen dataclass that pydantic validates: an unknown field, a mistyped value, one out of its bounds or a
missing one is an error that names the file, the field and the fix. Field docstrings become the command line's help.
"""

import dataclasses
import functools
import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, TypeVar, dataclass_transform, get_args, get_type_hints, overload

import pydantic
from pydantic import AfterValidator, Field

from boardgame_sae.foreign_names import advice, closest, name_anywhere, name_here
from boardgame_sae.plain_data import MAX_DEPTH, MAX_YAML_BYTES, parse_yaml, read_bounded, shortened

T = TypeVar("T")


class ConfigError(ValueError):
    """A config that cannot be used; the message names its source, the field and the fix."""


def checked_name(text: str) -> str:
    """The text, if it can name a thing and the folder or file that holds it.

    Raises ValueError for one that is empty, longer than 100 characters, begins with a dot, or holds a separator of
    paths, a control character or one that changes how the text around it is shown.
    """
    strange = [sign for sign in text if sign in "/\\" or unicodedata.category(sign) in ("Zl", "Zp") or _hidden(sign)]
    if strange:
        raise ValueError(f"a name holds no {strange[0]!r}; use letters, digits, spaces and hyphens")
    if not text.strip() or text.startswith(".") or len(text) > 100:
        raise ValueError("a name has 1 to 100 characters, of which the first is no dot")
    return text


def _hidden(sign: str) -> bool:
    return unicodedata.category(sign).startswith("C")


Count = Annotated[int, Field(ge=1, lt=2**63)]
"""How many there are of something that there must be."""
Natural = Annotated[int, Field(ge=0, lt=2**63)]
"""A whole number that may be 0."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""A random seed."""
Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole, 0 to 1."""
Positive = Annotated[float, Field(gt=0)]
"""A number above 0."""
NonNegative = Annotated[float, Field(ge=0)]
"""A number that may be 0."""
Name = Annotated[str, AfterValidator(checked_name)]
"""What something is called: never a path, so that nothing named by a file lies outside the folder it belongs in."""
Signed = Annotated[float, Field(ge=-1e6, le=1e6)]
"""A number of either sign."""
HookName = Annotated[str, Field(pattern=r"^\w+(\.\w+)*$", max_length=100)]
"""The name of a hook point, `blocks.3.hook_resid_post`."""


@overload
def config(cls: type[T], /) -> type[T]: ...
@overload
def config(*, check: bool = True) -> Callable[[type[T]], type[T]]: ...


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field, pydantic.Field))
def config(cls: Any = None, /, *, check: bool = True) -> Any:
    """Make a class a strict config: frozen, keyword-only, no field beyond those declared.

    Making one of it raises ConfigError as `from_mapping` does, but converts `"3"` to a number.
    """

    def make(target: type) -> type:
        return _validated(target, extra="forbid", use_attribute_docstrings=True, validate_default=check)

    return make if cls is None else make(cls)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field, pydantic.Field))
def record(cls: type[T], /) -> type[T]:
    """Make a class the schema of a file that a run writes: as a config, but fields of a later version are ignored."""
    return _validated(cls, extra="ignore")


def _validated(cls: type, **settings: Any) -> Any:
    every = pydantic.ConfigDict(allow_inf_nan=False, **settings)
    made: Any = pydantic.dataclasses.dataclass(cls, frozen=True, kw_only=True, config=every)
    validate = made.__init__

    @functools.wraps(validate)
    def explained(self: Any, *args: Any, **fields: Any) -> None:
        try:
            validate(self, *args, **fields)
        except pydantic.ValidationError as error:
            raise ConfigError("\n".join(_explain(made, fault, made.__name__) for fault in error.errors())) from None

    made.__init__ = explained
    return made


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises ConfigError when the file is missing, malformed or not a mapping."""
    path = Path(path)
    try:
        text = read_bounded(path, MAX_YAML_BYTES).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as a config ({error}); give a YAML text file") from error
    try:
        values = parse_yaml(text)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds a {type(values).__name__}; a config is a mapping of field: value")
    return values


def from_mapping(cls: type[T], values: Mapping[str, Any], source: str = "config") -> T:
    """Validate a mapping as a config class, strictly: no text is taken for a number.

    Raises ConfigError with one line per fault, each naming `source`, the field and, of a misspelt one, the closest.
    """
    faults = [f"{source}: {fault}" for fault in _not_plain(values, ())]
    if faults:
        raise ConfigError("\n".join(faults))
    try:
        return pydantic.TypeAdapter(cls).validate_json(json.dumps(values), strict=True)
    except pydantic.ValidationError as error:
        raise ConfigError("\n".join(_explain(cls, fault, source) for fault in error.errors())) from None


def _not_plain(value: Any, place: tuple[str, ...]) -> Iterator[str]:
    """What in a value JSON cannot say, each with its field."""
    field = f"field '{shortened('.'.join(place))}'" if place else "it"
    if len(place) > MAX_DEPTH:
        yield f"{field} is nested deeper than {MAX_DEPTH} levels"
    elif isinstance(value, Mapping):
        for key, part in value.items():
            if not isinstance(key, str | int):
                yield f"{field} has the key {shortened(repr(key))}: must be text"
            yield from _not_plain(part, (*place, str(key)))
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _not_plain(part, (*place, str(index)))
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{field} is {value}: must be a finite number"
    elif isinstance(value, int) and value.bit_length() > 64:
        yield f"{field} is a number of {value.bit_length()} bits: must have at most 64"
    elif value is not None and not isinstance(value, str | int | float):
        yield f"{field} is a {type(value).__name__}: must be text, a number, a truth value, a list or a mapping"


_BOUNDS = {
    "ge": "must be at least",
    "gt": "must be above",
    "le": "must be at most",
    "lt": "must be below",
    "min_length": "must have a length of at least",
}
"""How pydantic's bounds are worded here."""


def _explain(cls: type, fault: Any, source: str) -> str:
    field = ".".join(str(part) for part in fault["loc"])
    if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        *place, name = fault["loc"]
        return f"{source}: unknown field '{field}'; {_field_advice(name, _fields_at(cls, place))}"
    if fault["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{source}: field '{field}' is required"
    message = fault["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if fault["type"] == "literal_error":
        message = _choice(fault.get("input"), fault["ctx"]["expected"])
    for kind, bound in fault.get("ctx", {}).items():
        if kind in _BOUNDS:
            message = f"{_BOUNDS[kind]} {f'{bound:g}' if isinstance(bound, float) else bound}"
    if not field:  # what the class itself says of several fields together
        return f"{source}: {message}"
    return f"{source}: field '{field}' is {shortened(repr(fault.get('input')))}: {message}"


def _choice(given: Any, expected: str) -> str:
    """What a field with a few values says of another one. expected: those values, quoted, in pydantic's words."""
    values = re.findall(r"'([^']*)'", expected)
    near = closest(given, values)
    return f"must be one of {', '.join(values)}" + (f"; did you mean '{near}'?" if near else "")


def _fields_at(cls: Any, place: Sequence[str | int]) -> list[str]:
    """The fields of a config class, or of the one at a place inside it, such as ("probes", 0)."""
    for part in filter(lambda part: isinstance(part, str), place):
        hint = get_type_hints(cls).get(str(part)) if dataclasses.is_dataclass(cls) else None
        cls = next(filter(dataclasses.is_dataclass, (hint, *get_args(hint))), None)
    return [field.name for field in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []


def _field_advice(name: Any, fields: Sequence[str]) -> str:
    return advice(name, fields, "the fields are")


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Have a ValueError that is raised inside be a ConfigError whose lines begin with the source of the fault."""
    try:
        yield
    except ValueError as error:
        lines = str(error).splitlines()
        raise ConfigError(
            "\n".join(line if line.startswith(f"{source}:") else f"{source}: {line}" for line in lines)
        ) from None


def from_yaml(cls: type[T], path: str | Path) -> T:
    """Read and validate a YAML file as a config class. Raises ConfigError."""
    return from_mapping(cls, read_yaml(path), str(path))


def default_of(field: dataclasses.Field[Any]) -> Any:
    """A field's default, or dataclasses.MISSING."""
    return dataclasses.MISSING if type(field.default).__name__ == "PydanticUndefinedType" else field.default


class Flags(NamedTuple):
    """A config class whose fields are flags of a command."""

    cls: type
    """The config class."""
    defaults: Mapping[str, Any] = {}
    """Defaults that differ from the class's own (those of a preset)."""
    fixed: Mapping[str, Any] = {}
    """Fields that have no flag, and their values."""

    def fields(self) -> list[dataclasses.Field[Any]]:
        """The fields that have a flag."""
        return [field for field in dataclasses.fields(self.cls) if field.name not in self.fixed]

    def default(self, field: dataclasses.Field[Any]) -> Any:
        """A field's default, or dataclasses.MISSING."""
        return self.defaults.get(field.name, default_of(field))

    def help(self, field: dataclasses.Field[Any]) -> str:
        """The docstring of a field, in the config class or in the one that it inherits the field from."""
        known: list[Any] = [getattr(cls, "__pydantic_fields__", {}).get(field.name) for cls in self.cls.__mro__]
        text = next((info.description for info in known if info is not None and info.description), "")
        return " ".join(text.split())

    def make(self, values: Mapping[str, Any], source: str) -> Any:
        """The config from a command's flags. Raises ConfigError."""
        own = {field.name: values[field.name] for field in self.fields()}
        return from_mapping(self.cls, {**own, **self.fixed}, source)


def read_flags(
    command: str, description: str, argv: Sequence[str], groups: Sequence[Flags], given: Mapping[str, Any], source: str
) -> list[Any]:
    """Read a command line into one config for each group; their fields share one flat set of flags.

    given: fields already set (from YAML), which flags override. source: where they come from, for error messages.
    Raises ConfigError for a bad value; leaves the program with code 2 for an unknown flag, with 0 after --help.
    """
    import tyro  # imported late: only a command line needs it

    fields: dict[str, Any] = {}
    for group in groups:
        hints = get_type_hints(group.cls)
        for field in group.fields():
            default = given.get(field.name, group.default(field))
            default = tuple(default) if isinstance(default, list) else default
            shared = (other.help(field) for other in groups if field.name in {own.name for own in other.fields()})
            argument = tyro.conf.arg(
                help=" ".join(dict.fromkeys(shared)),
                help_behavior_hint="" if default in (None, ()) else None,  # the help itself says what that means
                metavar=_metavar(hints[field.name]),
            )
            kind = Annotated[hints[field.name], argument]
            fields.setdefault(field.name, (field.name, kind, dataclasses.field(default=default, kw_only=True)))
    _check_flags(argv, list(fields))
    _check_given(given, groups, list(fields), source)
    namespace = dataclasses.make_dataclass(command.replace("-", "_"), fields.values())
    flags = tyro.cli(namespace, args=list(argv), prog=f"boardgame-sae {command}", description=description)
    values = {name: getattr(flags, name) for name in fields}
    return [group.make(values, f"{command} ({source})" if given else command) for group in groups]


def _metavar(kind: Any) -> str | None:
    """STR for a text that may be None; None where the library's own is as plain."""
    inner = [part for part in get_args(kind) if part is not NoneType]
    optional = isinstance(kind, UnionType) and len(inner) == 1 and isinstance(inner[0], type)
    return inner[0].__name__.upper() if optional else None


def _check_flags(argv: Sequence[str], names: Sequence[str]) -> None:
    """Raise ConfigError for a flag that is known by another name: `--d-sae`. Other unknown flags are the parser's."""
    for word in argv:
        flag = word.partition("=")[0]
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or name in names:
            continue
        if here := name_here(name, names):
            raise ConfigError(f"unknown flag {flag}; did you mean --{here.replace('_', '-')}?")
        if here := name_anywhere(name):
            said = f"its name here is --{here.replace('_', '-')}, which this does not have; --help lists what it has"
            raise ConfigError(f"unknown flag {flag}; {said}")


def _check_given(given: Mapping[str, Any], groups: Sequence[Flags], names: Sequence[str], source: str) -> None:
    """Check the fields of a file before flags override them, so that errors name the file.

    Raises ConfigError for an unknown field or a bad value.
    """
    for name in given:
        if name not in names:
            raise ConfigError(f"{source}: unknown field '{name}'; {_field_advice(name, sorted(names))}")
    for group in groups:
        for field in group.fields():
            if field.name in given:
                kind = get_type_hints(group.cls, include_extras=True)[field.name]
                holder = dataclasses.make_dataclass("Given", [(field.name, kind)])
                from_mapping(holder, {field.name: given[field.name]}, source)


def parse_spec(text: str, kind: str) -> tuple[str, dict[str, Any]]:
    """A name with settings, `name` or `name:setting=value,setting=value`, as the name and the settings.

    A value that reads as a number is one. kind: what is named, for messages. Raises ConfigError for a malformed text.
    """
    name, _, settings = text.partition(":")
    values: dict[str, Any] = {}
    for setting in filter(None, settings.split(",")):
        key, equals, value = (part.strip() for part in setting.partition("="))
        if not (key and equals and value):
            raise ConfigError(f"{kind} '{text}': '{setting}' is not setting=value")
        if key in values:
            raise ConfigError(f"{kind} '{text}': '{key}' is set twice")
        values[key] = _number_or_text(value)
    return name.strip(), values


def spec_of(name: str, settings: Mapping[str, Any]) -> str:
    """The text that `parse_spec` reads as this name and these settings."""
    return ":".join([name, *filter(None, [",".join(f"{key}={value}" for key, value in settings.items())])])


def _number_or_text(value: str) -> Any:
    for number in (int, float):
        try:
            return number(value)
        except ValueError:
            continue
    return value


def to_mapping(value: Any) -> Any:
    """The plain JSON data of a config (tuples become lists, paths text)."""
    return pydantic.TypeAdapter(type(value)).dump_python(value, mode="json")


def not_finite(value: Any, place: str = "") -> str | None:
    """Where plain data holds NaN or infinity, which JSON has no number for (`saes.0.lr`); None where it does not."""
    if isinstance(value, float):
        return None if math.isfinite(value) else place
    parts = value.items() if isinstance(value, Mapping) else enumerate(value if isinstance(value, list | tuple) else ())
    inside = (not_finite(part, f"{place}.{key}".removeprefix(".")) for key, part in parts)
    return next((found for found in inside if found is not None), None)


def canonical_json(value: Any) -> str:
    """JSON text that is equal exactly when the data is: sorted keys, no spaces.

    Raises ConfigError naming the field that is NaN or infinite.
    """
    if place := not_finite(value):
        raise ConfigError(f"field '{place}' is not a finite number; give one")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_hash(value: Any, length: int = 8) -> str:
    """The first hexadecimal digits of the SHA-256 of some plain data's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def seed_for(seed: int, *purpose: str | int) -> int:
    """Split one seed by purpose: a 63-bit seed that depends on the seed and every part of the purpose."""
    digest = hashlib.sha256(canonical_json([seed, *purpose]).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
