"""The libraries whose SAEs are read and written, and how a folder is recognised as one of theirs.

Each library is one module of this folder that registers itself: how it tells its own SAEs, reads and writes them. So
a new library is one new file, and commands, messages and `--to` know it.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from boardgame_sae.files import RunError
from boardgame_sae.registry import Registry
from boardgame_sae.saes.sae import CONFIG_FILE, SAE, Form
from boardgame_sae.weights import shapes_of, without_wrappers

DEEPEST = 3
"""How many folders down an SAE is looked for below the one that was given."""
MOST_LISTED = 12
WEIGHTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".npz")
"""How files end that hold weights of something."""
FOREIGN_WEIGHTS = (
    "weights alone do not say how they encode: lay them out as one of these libraries does, with its config beside "
    "them, or score an object with `encode`"
)


class Sign(IntEnum):
    """What speaks for a path being an SAE of a library."""

    NONE = 0
    WEIGHTS = 1
    """A file of weights such as the library's."""
    CONFIG = 2
    """Fields of its config that no other library's has."""


@dataclass(frozen=True)
class Library:
    """A library that saves SAEs."""

    name: str
    """What `--to` takes."""
    title: str
    """What messages call it."""
    weights_file: str
    """The file of weights in its folders."""
    sign: Callable[[Path], Sign]
    """What speaks for a path being one of its SAEs; never raises."""
    read: Callable[[Path], SAE]
    """Reads the SAE at a path. Raises RunError naming the file, the place and the fix."""
    write: Callable[[SAE, Path], None] | None = None
    """Writes an SAE into a folder; None where `SAE.save` does. Raises RunError for one that the library cannot hold."""
    forms: tuple[Form, ...] = ()
    """What it can be asked to write."""


_LIBRARIES: Registry[Library] = Registry("SAE library", "boardgame_sae.saes.exchange")


def register(library: Library) -> Library:
    """Make a library known. Raises ValueError when its name is taken."""
    return _LIBRARIES.add(library.name, library)


def libraries() -> dict[str, Library]:
    """Every library by name, in alphabetical order."""
    return dict(sorted(_LIBRARIES.all().items()))


def writers() -> dict[str, Callable[[SAE, Path], None]]:
    """What writes an SAE for each other library, by name."""
    return {name: library.write for name, library in libraries().items() if library.write is not None}


def recognise(path: str | Path) -> str:
    """The name of the library whose SAE a folder (or a file of weights) holds, by what is in it.

    Raises RunError, saying what was looked for, when it is none.
    """
    return _library_of(Path(path)).name


def locate(path: str | Path) -> Path:
    """Where the SAE at a path is: the path itself, the folder of a file of it, or the only SAE in the folders below.

    Raises RunError when there is none, saying what was looked for, and when there are several, listing them.
    """
    path = Path(path)
    if _find(path) is not None:
        return path
    if path.is_file() and _find(path.parent) is not None:
        return path.parent
    below = list(_below(path, DEEPEST))
    if len(below) == 1:
        return below[0]
    if below:
        listed = ", ".join(str(folder.relative_to(path)) for folder in below[:MOST_LISTED])
        more = f" and {len(below) - MOST_LISTED} more" if len(below) > MOST_LISTED else ""
        raise RunError(f"{path}: no SAE, but the folder above {len(below)}; give one of them: {listed}{more}")
    _library_of(path)
    return path


def open_sae(path: str | Path, *, uncalibrated: bool = False) -> SAE:
    """Open a saved SAE of any of the libraries: the one at a path, or the only one below it.

    uncalibrated: also one whose threshold was never set.
    Raises RunError when there is none, or it cannot be read.
    """
    path = locate(path)
    sae = _library_of(path).read(path)
    if not (uncalibrated or sae.calibrated):
        raise RunError(
            f"{path}: its threshold was never set, so that which latents are on would depend on the rest of the batch; "
            "set it on a testbed's activations (`--calibrate`, or `sae.calibrate(batches)` and `sae.save(folder)`)"
        )
    return sae


def config_fields(folder: Path, name: str = CONFIG_FILE) -> Mapping[str, Any]:
    """The fields of a folder's config; none if it is missing, damaged or no mapping."""
    try:
        fields = json.loads((folder / name).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def tensor_names(path: Path) -> frozenset[str]:
    """The names of the tensors in a safetensors file, without wrappers' prefixes; none if it cannot be read."""
    try:
        return frozenset(without_wrappers(shapes_of(path, "")))
    except RunError:
        return frozenset()


def _find(path: Path) -> Library | None:
    signs = {name: library.sign(path) for name, library in libraries().items()}
    best = max(signs, key=lambda name: signs[name])
    return libraries()[best] if signs[best] else None


def _library_of(path: Path) -> Library:
    library = _find(path)
    if library is None:
        wanted = ", ".join(f"{known.weights_file} ({known.title})" for known in libraries().values())
        unread = [path] if path.suffix in WEIGHTS else [file for file in _files(path) if file.suffix in WEIGHTS]
        fix = f"{FOREIGN_WEIGHTS} ({unread[0].name})" if unread else "give the folder that holds one"
        raise RunError(f"{path}: no SAE; looked for {wanted}; {fix}")
    return library


def _files(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_file()) if folder.is_dir() else []


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """The SAEs in the folders below one, the outermost only; links are not followed."""
    try:
        inside = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
    except OSError:
        return
    for path in map(Path, inside):
        if _find(path) is not None:
            yield path
        elif depth > 1:
            yield from _below(path, depth - 1)
