"""What a killed run resumes from, taken apart into tensors and plain data, and put together again."""

import hashlib
from collections.abc import Mapping
from typing import Any

from boardgame_sae.weights import tensors_hash


def pack_state(value: Any) -> tuple[dict[str, Any], Any]:
    """Nested dicts and lists of tensors and plain data, as (tensors by name, plain data that refers to them)."""
    import torch  # imported late: it takes seconds

    tensors: dict[str, Any] = {}

    def walk(item: Any, name: str) -> Any:
        if isinstance(item, torch.Tensor):
            while name in tensors:  # keys such as 0 and "0", or "a/b" and "a", give the same name
                name += "'"
            tensors[name] = item.detach().cpu().clone()
            return {"tensor": name}
        if isinstance(item, Mapping):
            return {"items": [[key, walk(part, f"{name}/{key}")] for key, part in item.items()]}
        if isinstance(item, list | tuple):
            return [walk(part, f"{name}/{index}") for index, part in enumerate(item)]
        return item

    return tensors, walk(value, "")


def state_hash(meta: str, tensors: Mapping[str, Any]) -> str:
    """A hash of all that a resume state holds."""
    return hashlib.sha256(f"{meta} {tensors_hash(tensors)}".encode()).hexdigest()


def unpack_state(tensors: Mapping[str, Any], plain: Any) -> Any:
    """What `pack_state` took apart (tuples come back as lists)."""
    if isinstance(plain, list):
        return [unpack_state(tensors, part) for part in plain]
    if not isinstance(plain, dict):
        return plain
    if "tensor" in plain:
        return tensors[plain["tensor"]]
    return {key: unpack_state(tensors, part) for key, part in plain["items"]}
