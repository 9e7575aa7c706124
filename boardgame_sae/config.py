"""Strict frozen config classes: YAML and flags in, canonical JSON and a content hash out.

A config is a frozen dataclass that pydantic validates: an unknown field, a mistyped value or a missing one is an
error that names the file, the field and the fix. Field docstrings become the command line's help.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, TypeVar, dataclass_transform, get_args, get_type_hints, overload

import pydantic
import yaml

T = TypeVar("T")


class ConfigError(ValueError):
    """A config that cannot be used; the message names its source, the field and the fix."""


@overload
def config(cls: type[T], /) -> type[T]: ...
@overload
def config(*, check: bool = True) -> Callable[[type[T]], type[T]]: ...


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field, pydantic.Field))
def config(cls: Any = None, /, *, check: bool = True) -> Any:
    """Make a class a strict config: frozen, keyword-only, no field beyond those declared."""

    def make(target: type) -> type:
        settings = pydantic.ConfigDict(
            extra="forbid", use_attribute_docstrings=True, validate_default=check, allow_inf_nan=False
        )
        return pydantic.dataclasses.dataclass(target, frozen=True, kw_only=True, config=settings)

    return make if cls is None else make(cls)


class _Loader(yaml.SafeLoader):
    """YAML's safe loader that also reads `3e-4` as a number, as whoever types it means."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises ConfigError when the file is missing, malformed or not a mapping."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a config ({error}); give a YAML text file") from error
    try:
        values = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds a {type(values).__name__}; a config is a mapping of field: value")
    return values


def from_mapping(cls: type[T], values: Mapping[str, Any], source: str = "config") -> T:
    """Validate a mapping as a config class, strictly: no text is taken for a number.

    Raises ConfigError with one line per fault, each naming `source`, the field and, of a misspelt one, the closest.
    """
    if place := not_finite(values):
        raise ConfigError(f"{source}: field '{place}' is not a finite number; give one")
    try:
        text = json.dumps(values, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{source}: holds something that is not plain data: {error}") from error
    try:
        return pydantic.TypeAdapter(cls).validate_json(text, strict=True)
    except pydantic.ValidationError as error:
        raise ConfigError("\n".join(_explain(cls, fault, source) for fault in error.errors())) from None


def _explain(cls: type, fault: Any, source: str) -> str:
    field = ".".join(str(part) for part in fault["loc"])
    if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        fields = [field.name for field in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []
        return f"{source}: unknown field '{field}'; {_closest(fault['loc'][-1], fields)}"
    if fault["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{source}: field '{field}' is required"
    message = fault["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if not field:  # what the class itself says of several fields together
        return f"{source}: {message}"
    value = repr(fault.get("input"))
    return f"{source}: field '{field}' is {value if len(value) <= 60 else value[:57] + '...'}: {message}"


def _closest(name: Any, fields: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(name), fields, n=1)
    return f"did you mean '{close[0]}'?" if close else f"the fields are {', '.join(fields)}"


def from_yaml(cls: type[T], path: str | Path) -> T:
    """Read and validate a YAML file as a config class. Raises ConfigError."""
    return from_mapping(cls, read_yaml(path), str(path))


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
        own = dataclasses.MISSING if type(field.default).__name__ == "PydanticUndefinedType" else field.default
        return self.defaults.get(field.name, own)

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
    _check_given(given, groups, list(fields), source)
    namespace = dataclasses.make_dataclass(command.replace("-", "_"), fields.values())
    flags = tyro.cli(namespace, args=list(argv), prog=f"boardgame-sae {command}", description=description)
    values = {name: getattr(flags, name) for name in fields}
    return [group.make(values, command) for group in groups]


def _metavar(kind: Any) -> str | None:
    """STR for a text that may be None; None where the library's own is as plain."""
    inner = [part for part in get_args(kind) if part is not NoneType]
    optional = isinstance(kind, UnionType) and len(inner) == 1 and isinstance(inner[0], type)
    return inner[0].__name__.upper() if optional else None


def _check_given(given: Mapping[str, Any], groups: Sequence[Flags], names: Sequence[str], source: str) -> None:
    """Check the fields of a file before flags override them, so that errors name the file.

    Raises ConfigError for an unknown field or a bad value.
    """
    for name in given:
        if name not in names:
            raise ConfigError(f"{source}: unknown field '{name}'; {_closest(name, sorted(names))}")
    for group in groups:
        for field in group.fields():
            if field.name in given:
                kind = get_type_hints(group.cls)[field.name]
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
