"""A part of an import: what became of one batch of games, in a file that appears whole and that a resume reads."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import save_file

from boardgame_sae.config import Natural, canonical_json, record
from boardgame_sae.files import RunError, as_record, writing
from boardgame_sae.plain_data import parse_json
from boardgame_sae.transcripts.pgn.columns import FROM_HEADERS
from boardgame_sae.transcripts.pgn.cutter import Batch
from boardgame_sae.weights import read_arrays, read_metadata

_SUMMARY = "summary"


class Part(NamedTuple):
    """What became of a batch."""

    path: str
    batch: Batch
    """Without its text."""
    n_read: int
    told: Sequence[tuple[int, str, dict[str, Any]]]
    """Of each game that is not kept, or not all of it: number in the batch, reason and place, in order."""


@record
class _SummaryRecord:
    """What the file of a part says beside its arrays."""

    n_read: Natural
    told: tuple[tuple[Natural, str, dict[str, Any]], ...]


def write_part(part: Part, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a part, whole, with the games that it keeps. Raises RunError when the disk is full.

    arrays: moves of all games, lengths, differs (whether a game's two results do), and the columns from its headers.
    """
    about = {_SUMMARY: canonical_json({"n_read": part.n_read, "told": part.told})}
    with writing(Path(part.path)) as temporary:
        save_file(dict(arrays), temporary, about)


def read_part(path: str, batch: Batch) -> Part:
    """What became of a batch (without its text), of which a part was written before.

    Raises RunError naming the file when it is damaged or another version wrote it.
    """
    fix = _fix(path)
    try:
        summary = parse_json(read_metadata(Path(path), fix)[_SUMMARY].encode())
    except (KeyError, ValueError) as error:
        raise RunError(f"{path}: damaged, or of another version ({error}); {fix}") from error
    read = as_record(_SummaryRecord, summary, path, fix)
    return Part(path, batch, read.n_read, read.told)


def read_games(path: str) -> dict[str, np.ndarray]:
    """The arrays of a part, as `write_part` takes them.

    Raises RunError naming the file when it is damaged or another version wrote it.
    """
    arrays, _ = read_arrays(Path(path), _fix(path))
    names = ("moves", "lengths", "differs", *FROM_HEADERS)
    missing = [name for name in names if name not in arrays]
    if missing or len(arrays["moves"]) != arrays["lengths"].sum():
        what = f"no '{missing[0]}'" if missing else "not as many moves as its games have"
        raise RunError(f"{path}: damaged, or of another version ({what}); {_fix(path)}")
    return {name: arrays[name] for name in names}


def _fix(path: str) -> str:
    return f"remove {Path(path).parent} and run the same command again: it starts from the beginning"
