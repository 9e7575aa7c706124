"""One file of scores, which another installation reads as a source beside its own: Parquet, a row for each subject.

    study, name, kind     what tables call it
    own                   whether it was given besides what sweeps and testbeds list
    identity              a hash of what was scored on what (`identity_of`)
    subject, scores       as scores.json has them: config, testbed, every number with its interval, config and version
    training              how an SAE was trained, in full, where that is known
    sums                  what intervals of differences and of pooled seeds are made of, a safetensors file per score
    package               version of this package that wrote the row
    hash                  of all the above

The file's own metadata hold its format and a hash of all rows. No folder of the machine that wrote it is in it.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from boardgame_sae import __version__
from boardgame_sae.config import canonical_json, content_hash
from boardgame_sae.files import RunError, writing
from boardgame_sae.metrics.baselines.registry import SAE_KIND
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.results import Scores
from boardgame_sae.pipeline.study_folder import Scored, check_complete
from boardgame_sae.plain_data import parse_json

FORMAT, VERSION = "boardgame_sae scores", 1
AGAIN = "have whoever sent it run `boardgame-sae results upload-ready` again"
_MAGIC = b"PAR1"
_COLUMNS = {
    "study": "VARCHAR",
    "own": "BOOLEAN",
    "name": "VARCHAR",
    "kind": "VARCHAR",
    "identity": "VARCHAR",
    "subject": "VARCHAR",
    "scores": "VARCHAR",
    "training": "VARCHAR",
    "sums": "STRUCT(score VARCHAR, data BLOB)[]",
    "package": "VARCHAR",
    "hash": "VARCHAR",
}
_FOLDERS = re.compile(r"(?<![\w.:/\\])(?:[A-Za-z]:)?(?:[/\\][^/\\\s'\",;:()]+)+[/\\](?=[^/\\\s'\",;:()])")
"""The folders of an absolute path in a text."""


class Row(NamedTuple):
    """A subject as the file has it."""

    study: str
    scored: Scored
    training: Mapping[str, Any] | None = None
    """How an SAE was trained, in full; None where that is not known, and of what is no SAE."""


def is_score_file(path: Path) -> bool:
    """Whether a path is a file of scores, by its first bytes."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def identity_of(subject: Mapping[str, Any]) -> str:
    """A hash of what was scored, and of the games, truth, GPT and hook point: by content where that is known.

    An object of which nothing but its latents is known is told from others by its name and L0.
    """
    about, kind = subject["testbed"], subject["kind"]
    content = about.get("content", {})
    truth = [content.get(part, about.get(part)) for part in ("corpus", "model")]
    truth += [about[part] for part in ("hook_name", "n_games", "positions")]
    named = [subject["name"], subject["l0"], subject.get("n_latents")] if kind == SAE_KIND else None
    what = subject.get("content") or subject.get("sae") or named
    return content_hash([kind, subject.get("k"), what, *truth, list(about["properties"])], 64)


def write_score_file(path: Path, rows: Iterable[Row], *, sums: bool = True) -> int:
    """Write subjects into a file, whole or not at all, and return their number; the same ones give the same bytes.

    sums: also what differences and pooled seeds are made of. Raises RunError when the disk is full.
    """
    columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
    with writing(path) as temporary, duckdb.connect(":memory:", config={"threads": 1}) as database:
        database.execute(f"CREATE TABLE scores ({columns})")
        hashes = list[str]()
        for row in rows:
            values = _values(row, sums)
            hashes.append(_hash(values))
            database.execute(f"INSERT INTO scores VALUES ({', '.join('?' * len(_COLUMNS))})", [*values, hashes[-1]])
        about = {"format": FORMAT, "version": str(VERSION), "package": __version__, "hash": content_hash(hashes, 64)}
        listed = ", ".join(f"{key}: '{value}'" for key, value in about.items())
        target = str(temporary).replace("'", "''")
        how = f"FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{listed}}}"
        database.execute(f"COPY scores TO '{target}' ({how})")
    return len(hashes)


def read_score_file(path: Path) -> list[Scored]:
    """The subjects in a file, each with the study that it says it is of.

    Raises RunError naming the file, and the row and field of what is damaged or was changed.
    """
    try:
        with duckdb.connect(":memory:", config={"threads": 1}) as database:
            pairs = database.execute("SELECT key, value FROM parquet_kv_metadata(?)", [str(path)]).fetchall()
            about = {bytes(key).decode(errors="replace"): bytes(value).decode(errors="replace") for key, value in pairs}
            _check_format(path, about)
            found = database.execute(f"SELECT {', '.join(_COLUMNS)} FROM read_parquet(?)", [str(path)]).fetchall()
    except duckdb.Error as error:
        raise RunError(f"{path}: damaged ({str(error).splitlines()[0]}); {AGAIN}") from error
    rows = [dict(zip(_COLUMNS, values, strict=True)) for values in found]
    for number, row in enumerate(rows, 1):
        if _hash([row[name] for name in _COLUMNS if name != "hash"]) != row["hash"]:
            raise RunError(f"{path}: row {number} ({row['name']!r:.60}) was changed since it was written; {AGAIN}")
    if content_hash([row["hash"] for row in rows], 64) != about.get("hash"):
        raise RunError(f"{path}: rows were added, removed or exchanged since it was written; {AGAIN}")
    return [_scored(row, f"{path}: row {number} ({row['name']!r:.60})") for number, row in enumerate(rows, 1)]


def merged(subjects: Iterable[Scored]) -> list[Scored]:
    """Each subject once, with every score that any of its rows has: by the newest version, else of the first row."""
    by_identity: dict[str, Scored] = {}
    for one in subjects:
        identity = identity_of(one.scores.subject)
        first = by_identity.get(identity)
        by_identity[identity] = one if first is None else first._replace(scores=_joined(first.scores, one.scores))
    return list(by_identity.values())


def adds_nothing(more: Scores, known: Scores) -> bool:
    """Whether scores of the same subject hold nothing that others do not hold by the same version or a newer one."""
    return all(name in known and known[name].version >= value.version for name, value in more.items())


def _joined(first: Scores, second: Scores) -> Scores:
    newer = {name: value for name, value in second.items() if not adds_nothing(Scores({}, {name: value}), first)}
    skipped = {**second.subject.get("skipped", {}), **first.subject.get("skipped", {})}
    values = {**first, **newer}
    left_out = {name: reason for name, reason in skipped.items() if name not in values}
    return Scores({**first.subject, "skipped": left_out}, values)


def _values(row: Row, with_sums: bool) -> list[Any]:
    """A row's values but for its hash, in the order of the columns."""
    scores = row.scored.scores
    plain = without_folders(scores.plain())
    sums = [(name, value.sums) for name, value in scores.items() if value.sums is not None and with_sums]
    training = None if row.training is None else canonical_json(without_folders(row.training))
    return [
        row.study,
        row.scored.own,
        scores.subject["name"],
        scores.subject["kind"],
        identity_of(scores.subject),
        canonical_json(plain["subject"]),
        canonical_json(plain["scores"]),
        training,
        [{"score": name, "data": sums.to_bytes()} for name, sums in sums],
        __version__,
    ]


def _hash(values: Sequence[Any]) -> str:
    """A hash of a row's values. Blobs count by their own hash."""
    sums = {index: value for index, value in enumerate(values) if isinstance(value, list)}
    hashed = {
        index: [[part["score"], hashlib.sha256(part["data"]).hexdigest()] for part in value]
        for index, value in sums.items()
    }
    return content_hash([hashed.get(index, value) for index, value in enumerate(values)], 64)


def _check_format(path: Path, about: Mapping[str, str]) -> None:
    if about.get("format") != FORMAT:
        raise RunError(f"{path}: a Parquet file of something else; `boardgame-sae results upload-ready` writes scores")
    if about.get("version") != str(VERSION):
        raise RunError(
            f"{path}: of version {about.get('version')!r:.20}, this package ({__version__}) reads {VERSION}; it was "
            f"written by boardgame_sae {about.get('package')!r:.20}: install that one, or {AGAIN}"
        )


def _scored(row: Mapping[str, Any], source: str) -> Scored:
    plain = dict[str, Any]()
    for name in ("subject", "scores"):
        try:
            plain[name] = parse_json(str(row[name]).encode())
        except ValueError as error:
            raise RunError(f"{source}: {name}: damaged ({error}); {AGAIN}") from error
    scores = Scores.from_plain(plain, source)
    check_complete(scores, source)
    sums = {part["score"]: _sums(part["data"], f"{source}: sums of {part['score']}") for part in row["sums"]}
    values = {name: value._replace(sums=sums.get(name)) for name, value in scores.items()}
    return Scored(Scores(scores.subject, values), own=bool(row["own"]), study=str(row["study"]))


def _sums(data: bytes, source: str) -> GameSums:
    try:
        return GameSums.from_bytes(data)
    except ValueError as error:
        raise RunError(f"{source}: damaged ({error}); {AGAIN}") from error


def without_folders(value: Any) -> Any:
    """Plain data with absolute paths in its texts cut to their last parts."""
    if isinstance(value, Mapping):
        return {key: without_folders(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(part) for part in value]
    return _FOLDERS.sub("", value) if isinstance(value, str) else value
