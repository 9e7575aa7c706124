"""Ways to spoil plain data in JSON and YAML: values of another type or size, fields gone, doubled, nested deeply."""

import json
from copy import deepcopy
from random import Random
from typing import Any

import yaml

from robustness.entry import Mutation
from robustness.mutations.raw import RAW, several, tokens

Place = tuple[Any, Any]
"""A dict or a list, and a key or an index of it."""


def deep(depth: int) -> Any:
    """A list in a list in a list ..."""
    nested: Any = []
    for _ in range(depth):
        nested = [nested]
    return nested


VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 10**6, 2**31, 2**63, 2**64, -(2**70), 0.5, -0.0, 1e308, float("nan"), float("inf"),
    "", "x", "7", "nan", "../../..", "/etc/passwd", "..", ".", "\0", "é\u200b", "<img src=x onerror=alert(1)>",
    "a" * 5000, [], {}, [[]], {"": None}, [None], ["x"], [1, 2, 3], {"x": 1}, deep(60), [0] * 1000,
)  # fmt: skip
"""What a field may hold instead."""


def places(value: Any) -> list[Place]:
    """Every place in nested dicts and lists."""
    found: list[Place] = []
    walk = [value]
    while walk:
        node = walk.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            found.append((node, key))
            walk.append(node[key])
    return found


def change(random: Random, value: Any) -> Any:
    """Spoil one to three places of plain data, in place; returns it, or what now stands for the whole."""
    if random.random() < 0.02:
        return deepcopy(random.choice(VALUES))
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        known = places(value)
        if known:
            _change_one(random, *random.choice(known), known)
    return value


def _change_one(random: Random, node: Any, key: Any, known: list[Place]) -> None:
    how = random.randrange(8)
    if how == 0:
        del node[key]
    elif how == 1:
        other, its_key = random.choice(known)
        node[key] = json.loads(json.dumps(other[its_key], default=str))
    elif how == 2:
        node[key] = random.choice(([node[key]], {"x": node[key]}, str(node[key])))
    elif how == 3 and isinstance(node, dict):
        node[random.choice((f"{key}s", str(key).upper(), ""))] = node.pop(key)
    elif how == 4 and isinstance(node[key], int | float):
        node[key] = random.choice((-node[key], node[key] + 1, node[key] * 1000, float(node[key]), node[key] / 3))
    else:
        node[key] = deepcopy(random.choice(VALUES))  # a later change must not reach into the constant


def change_json(random: Random, data: bytes) -> bytes:
    """Spoil the data of a JSON file. Raises ValueError for one that is spoilt already."""
    text = json.dumps(change(random, json.loads(data)), indent=1, ensure_ascii=random.random() < 0.5)
    encoding = random.choice(("utf-8",) * 12 + ("utf-8-sig", "utf-16"))
    return text.encode(encoding, "surrogatepass")


def change_yaml(random: Random, data: bytes) -> bytes:
    """Spoil the data of a YAML file. Raises ValueError for one that is spoilt already."""
    try:
        return yaml.safe_dump(change(random, yaml.safe_load(data)), allow_unicode=True).encode()
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


_JSON_TOKENS = tokens(
    b"NaN", b"Infinity", b"-Infinity", b"1e999", b"null", b"true", b'""', b"{}", b"[]", b",", b":", b'"', b"\\u0000",
    b"\\ud800", b"[" * 3000, b'{"a":' * 3000, b"\xff", b"9" * 400, b"9" * 5000, b'"run.json"', b"//",
)  # fmt: skip
_BOMB = b"\na: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(8)
)
_YAML_TOKENS = tokens(
    _BOMB, b"!!python/object/apply:os.system ['touch escaped']", b"2001-01-01", b"!!binary aGk=", b"&a [*a]", b"\t",
    b"- ", b": ", b"? ", b"|\n", b"<<: *x", b"~", b".nan", b".inf", b"0x10", b"1_000", b"12:30:45", b"%YAML 9.9\n---\n",
    b"\n---\n", b"{" * 2000, b"[" * 2000, b"\xff", b"\nname: again\n", b"!!set {a}", b"!!str 3", b"yes", b"1e3",
)  # fmt: skip

JSON: tuple[Mutation, ...] = (*(change_json,) * 6, several(RAW), _JSON_TOKENS)
YAML: tuple[Mutation, ...] = (*(change_yaml,) * 5, several(RAW), _YAML_TOKENS, _YAML_TOKENS)
