"""Strict frozen config classes: YAML in, canonical JSON and a content hash out.

A config is a frozen dataclass that pydantic validates: an unknown field, a mistyped value or a missing one is an
error that names the file, the field and the mend. Field docstrings become the command line's help.
"""

import dataclasses
import difflib
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform, overload

import pydantic
import yaml

T = TypeVar("T")


class ConfigError(ValueError):
    """A config that cannot be used; the message names its source, the field and the mend."""


@overload
def config(cls: type[T], /) -> type[T]: ...
@overload
def config(*, check: bool = True) -> Callable[[type[T]], type[T]]: ...


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field, pydantic.Field))
def config(cls: Any = None, /, *, check: bool = True) -> Any:
    """Make a class a strict config: frozen, keyword-only, no field beyond those declared."""

    def make(target: type) -> type:
        settings = pydantic.ConfigDict(extra="forbid", use_attribute_docstrings=True, validate_default=check)
        return pydantic.dataclasses.dataclass(target, frozen=True, kw_only=True, config=settings)

    return make if cls is None else make(cls)


class _Loader(yaml.SafeLoader):
    """YAML's safe loader that also reads `3e-4` as a number, as everybody who types it means."""


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

    Raises ConfigError with one line per fault, each naming `source`, the field and, for a misspelt one, the nearest.
    """
    try:
        text = json.dumps(values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{source}: holds something that is not plain data: {error}") from error
    try:
        return pydantic.TypeAdapter(cls).validate_json(text, strict=True)
    except pydantic.ValidationError as error:
        raise ConfigError("\n".join(_explain(cls, fault, source) for fault in error.errors())) from None


def _explain(cls: type, fault: Any, source: str) -> str:
    place = ".".join(str(part) for part in fault["loc"]) or "(whole)"
    if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        fields = [field.name for field in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []
        near = difflib.get_close_matches(str(fault["loc"][-1]), fields, n=1)
        mend = f"did you mean '{near[0]}'?" if near else f"the fields are {', '.join(fields)}"
        return f"{source}: unknown field '{place}'; {mend}"
    if fault["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{source}: field '{place}' is required"
    shown = repr(fault.get("input"))
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    message = fault["msg"].removeprefix("Value error, ")
    return f"{source}: field '{place}' is {shown}: {message[0].lower() + message[1:]}"


def from_yaml(cls: type[T], path: str | Path) -> T:
    """Read and validate a YAML file as a config class. Raises ConfigError."""
    return from_mapping(cls, read_yaml(path), str(path))


def to_mapping(value: Any) -> Any:
    """The plain JSON data of a config (tuples become lists, paths text)."""
    return pydantic.TypeAdapter(type(value)).dump_python(value, mode="json")


def canonical_json(value: Any) -> str:
    """JSON text that is equal exactly when the data is: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_hash(value: Any, length: int = 8) -> str:
    """The first hexadecimal digits of the SHA-256 of some plain data's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def seed_for(seed: int, *purpose: str | int) -> int:
    """Split one seed by purpose: a 63-bit seed that depends on the seed and every part of the purpose."""
    digest = hashlib.sha256(canonical_json([seed, *purpose]).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
