"""Text as plain data, within bounds: YAML and JSON become nested dicts, lists, texts, numbers, truth values and None.

A few hundred bytes of either can stand for gigabytes (aliases of aliases), for a stack without end (brackets in
brackets) or for less than they say (a key given twice). All of that is refused before anything is built of it.
"""

import json
import operator
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_DEPTH = 64
"""Lists and mappings inside one another."""
MAX_YAML_BYTES, MAX_JSON_BYTES = 2**18, 2**26
"""Size of a file."""
MAX_YAML_VALUES = 100_000
"""Values of a YAML file, those that an alias repeats counted each time."""
MAX_INTEGER = 2**64
"""Whole numbers are smaller than this, and larger than its negative."""
_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_PLAIN_TAGS = {f"{_TAG}{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}


class _Loader(yaml.SafeLoader):
    """YAML's safe loader that reads dates, and numbers to base 60 (`10:00`), as the text that was typed.

    It also reads `3e-4` as a number, as whoever types it means.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 (as the base class has it)
        first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_TAG}timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    f"{_TAG}float",
    re.compile(r"^[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def read_bounded(path: Path, most: int) -> bytes:
    """The bytes of a file. Raises ValueError when there are more than `most`, OSError when it cannot be read."""
    data = bytearray()
    with open(path, "rb") as file:
        while part := file.read(2**16):  # reading `most` bytes at once would take as much memory for a short file
            data += part
            if len(data) > most:
                raise ValueError(f"larger than {most / 2**20:g} MiB")
    return bytes(data)


def parse_json(data: bytes) -> Any:
    """The value of a JSON text in any of Unicode's encodings, with or without a byte-order mark.

    NaN and Infinity are let through.

    Raises ValueError for what is no JSON, a key given twice, a number beyond 64 bits and nesting beyond MAX_DEPTH.
    """
    try:
        value = json.loads(data.decode(json.detect_encoding(data)), object_pairs_hook=_distinct, parse_int=_integer)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    _check_depth(value)
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key '{next(name for name in names if names.count(name) > 1)}' is given twice")
    return fields


def _integer(text: str) -> int:
    if len(text) > 20 or not -MAX_INTEGER < int(text) < MAX_INTEGER:
        raise ValueError(f"the number {shortened(text)} has more than 64 bits")
    return int(text)


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        inner = (part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list))
        level, depth = [part for parts in inner for part in parts], depth + 1


def parse_yaml(text: str) -> Any:
    """The value of a YAML text. Keys are text, as typed.

    Raises ValueError naming the line for what is no YAML, a key given twice, a type that is not plain data, a whole
    number beyond 64 bits, and for more nesting or values than the bounds allow.
    """
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:  # a character that no YAML may hold
        raise ValueError(f"not valid YAML: {' '.join(str(error).split())}") from error
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_node(node)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(f"not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    finally:
        loader.dispose()


def _check_node(root: Node) -> None:
    """Check a YAML document before it is built. Each node is looked at once, however many aliases repeat it."""
    sizes: dict[int, int] = {}

    def size(node: Node, depth: int) -> int:
        """How many values a node stands for."""
        if id(node) in sizes:
            if not sizes[id(node)]:
                raise ValueError(f"{_line(node)}: holds itself, by an alias")
            return sizes[id(node)]
        if depth > MAX_DEPTH:
            raise ValueError(f"{_line(node)}: nested deeper than {MAX_DEPTH} levels")
        sizes[id(node)] = 0
        _check_type(node)
        n_values = 1 + sum(size(part, depth + 1) for part in _parts(node))
        if n_values > MAX_YAML_VALUES:
            raise ValueError(f"{_line(node)}: stands for more than {MAX_YAML_VALUES:,} values; repeat less by aliases")
        sizes[id(node)] = n_values
        return n_values

    size(root, 0)


def _parts(node: Node) -> Iterator[Node]:
    if isinstance(node, SequenceNode):
        yield from node.value
    elif isinstance(node, MappingNode):
        names = set()
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                raise ValueError(f"{_line(key)}: a key is a list or mapping; a key is a field's name")
            if key.tag != _MERGE:
                key.tag = f"{_TAG}str"
            if key.value in names:
                raise ValueError(f"{_line(key)}: the key '{shortened(key.value)}' is given twice")
            names.add(key.value)
            yield value


def _check_type(node: Node) -> None:
    """Refuse a type that is not plain data, and numbers that are none; base 60 becomes text."""
    if node.tag not in _PLAIN_TAGS:
        raise ValueError(f"{_line(node)}: the type {shortened(node.tag.removeprefix(_TAG))} is not plain data")
    if not isinstance(node, ScalarNode):
        return
    if node.tag in (f"{_TAG}int", f"{_TAG}float") and ":" in node.value:
        node.tag = f"{_TAG}str"
    if node.tag in (f"{_TAG}int", f"{_TAG}float", f"{_TAG}bool"):
        _check_number(node)


def _check_number(node: ScalarNode) -> None:
    if node.tag == f"{_TAG}int" and len(node.value) > 64 + 2:
        raise ValueError(f"{_line(node)}: the number {shortened(node.value)} has more than 64 bits")
    constructor = yaml.constructor.SafeConstructor()
    try:
        value = constructor.construct_object(node)
    except (ValueError, KeyError, yaml.YAMLError):
        raise ValueError(f"{_line(node)}: '{shortened(node.value)}' is no {node.tag.removeprefix(_TAG)}") from None
    if isinstance(value, int) and not -MAX_INTEGER < value < MAX_INTEGER:
        raise ValueError(f"{_line(node)}: the number {shortened(node.value)} has more than 64 bits")


def _line(node: Node) -> str:
    return f"line {node.start_mark.line + 1}"


def shortened(text: str, most: int = 60) -> str:
    """A text for a message, its middle left out where it is long."""
    return text if len(text) <= most else f"{text[: most - 13]}...{text[-10:]}"


def whole_number(value: Any, what: str) -> int:
    """A whole number of any library as Python's. what: what it says, for the error. Raises ValueError for others."""
    try:
        return operator.index(value)
    except TypeError:
        raise ValueError(f"{what} is a whole number, not {value!r}") from None
