"""Folders to be shared: what `save` writes, a card for people, and the hashes by which every copy is checked.

    thing.save_pretrained(folder)       README.md (the card), the thing's own files, run.json, DONE
    type(thing).from_pretrained(name)   a folder here, or owner/name on the Hugging Face hub
    thing.push_to_hub("owner/name")     both of the above, from here to there

It is a run's folder, safetensors and JSON: every command opens it. DONE vouches for all but the card, which people may
edit on the hub.
"""

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import yaml

from boardgame_sae.config import ConfigError, content_hash
from boardgame_sae.files import RunError, file_hash, read_json, write_bytes, write_json
from boardgame_sae.model.exchange.hub import PREFIX, HubName, download, hub_folder, hub_name, parse_hub_name, upload
from boardgame_sae.runs.integrity import CARD_FILE, DONE_FILE, is_done, read_done, write_done

T = TypeVar("T")
README_FILE = "README.md"
KIND = "shared"
"""What run.json calls such a folder."""
UNKNOWN_LICENSE = "unknown"
"""What the hub calls a licence that nobody stated."""


class Card(NamedTuple):
    """What the card of a thing says of it."""

    title: str
    tags: Sequence[str]
    facts: Sequence[tuple[str, object]]
    """What it is and how it was made, line by line; lines without a value are left out."""
    code: str
    """A line of Python that opens it; `{name}` stands for where it is."""


@runtime_checkable
class _Saved(Protocol):
    """Scores that can be written into a folder, `metrics.results.Scores`."""

    def save(self, folder: str | Path) -> None: ...


class Shared(ABC, Generic[T]):
    """What is shared as a folder, here or on the Hugging Face hub. T: what its folders are opened as."""

    @abstractmethod
    def save(self, folder: str | Path) -> None:
        """Write its files into a folder. Raises RunError when the disk is full."""

    @classmethod
    @abstractmethod
    def load(cls, folder: str | Path) -> T:
        """Open a folder. Raises RunError naming what is missing, damaged or changed."""

    @classmethod
    def find_here(cls, name: str | Path) -> Path | None:
        """The folder here that a name means, if there is one."""
        return Path(name) if Path(name).exists() else None

    @abstractmethod
    def describe(self) -> Card:
        """What its card says."""

    def save_pretrained(
        self, folder: str | Path, *, scores: Mapping[str, Any] | None = None, license: str = UNKNOWN_LICENSE
    ) -> Path:
        """Write a folder that can be shared, with a card, and return it; it replaces one that was written so before.

        scores: its scores, as `evaluate` gives them, or any numbers by name. They stand on the card, and `Scores` are
        kept in the folder, so that `report`, `compare` and `results` read it. license: as the hub names licences.
        Raises RunError for a folder that holds something else, or when the disk is full.
        """
        return self._write(Path(folder), scores, license, "FOLDER")

    def push_to_hub(
        self,
        repo_id: str,
        *,
        scores: Mapping[str, Any] | None = None,
        license: str = UNKNOWN_LICENSE,
        private: bool | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        commit_message: str = "Upload with boardgame_sae",
    ) -> str:
        """Upload what `save_pretrained` writes to a repository of the hub, made if need be; returns its address.

        repo_id: `owner/name`. scores, license: as `save_pretrained` takes them. private: whether a repository that is
        made is private; None: as its owner has it. revision: a branch, made if need be. token: of the hub, by default
        the one logged in here; it is written nowhere.
        Raises ConfigError for a bad repo_id, RunError when huggingface_hub is missing or the hub refuses.
        """
        named = hub_name(repo_id)
        with tempfile.TemporaryDirectory(prefix="to-hub-") as folder:
            self._write(Path(folder), scores, license, str(named))
            how = {"private": private, "revision": revision, "token": token, "message": commit_message}
            return upload(Path(folder), repo_id, **how)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, revision: str | None = None, token: str | bool | None = None, **how: Any
    ) -> T:
        """Open a folder here, or what is on the hub: `owner/name`, `hf:owner/name@revision/folder`.

        A name that a folder here has means that folder; with `hf:` before it, or a revision, it means the hub's.
        revision: branch, tag or commit on the hub. token: see `push_to_hub`. how: what `load` takes besides.
        Every file is checked against its hash, wherever it is from, where the folder holds hashes.
        Raises RunError saying where it was looked for, and naming what is missing, damaged or changed.
        """
        on_hub, explicit = parse_hub_name(str(name)), str(name).startswith(PREFIX)
        if on_hub is not None and on_hub.inside is not None and not explicit:
            on_hub = None  # a path here that was mistyped is nothing to ask the hub for
        here = None if revision or explicit else cls.find_here(name)
        if here is None and on_hub is None:
            raise RunError(f"{name}: no such folder here, and no name on the hub (owner/name)")
        if here is None and on_hub is not None:
            return cls.load(_downloaded(on_hub, name, revision, token), **how)
        assert here is not None
        try:
            return cls.load(here, **how)
        except RunError as error:
            if on_hub is None:
                raise
            raise RunError(f"{error} (the folder here was opened; {on_hub} would be the hub's)") from error

    def _write(self, folder: Path, scores: Mapping[str, Any] | None, license: str, name: str) -> Path:
        _claim(folder)
        self.save(folder)
        if isinstance(scores, _Saved):
            scores.save(folder)
        text = "".join(_card(self.describe(), scores or {}, license, name))
        write_bytes(folder / README_FILE, text.encode())
        _seal(folder)
        return folder


def local(name: str | Path) -> Path:
    """A path as it is, or the downloaded folder of a name that begins with `hf:`. Raises as `hub_folder` does."""
    return hub_folder(name) or Path(name)


def _downloaded(on_hub: HubName, name: str | Path, revision: str | None, token: str | bool | None) -> Path:
    if revision is not None and on_hub.revision not in (None, revision):
        raise ConfigError(f"{name}: names a revision itself, and another is given: {revision}")
    try:
        return download(on_hub._replace(revision=revision or on_hub.revision), token)
    except RunError as error:
        looked = "" if str(name).startswith(PREFIX) or revision else f"{name}: no such folder here; "
        raise RunError(f"{looked}{error}") from error


def _claim(folder: Path) -> None:
    """Make a folder ready to be written: a new one, or one that was written so before, without its files.

    Raises RunError for a folder that holds anything else.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: a file; give a folder")
    held = sorted(path.name for path in folder.glob("*") if not path.name.startswith("."))
    if held and not _is_shared(folder):
        raise RunError(f"{folder}: holds {held[0]}, which was not shared from here; give an empty folder")
    if held and is_done(folder):
        files = read_done(folder).files
        for name in (DONE_FILE, *files):
            if name != CARD_FILE:  # by which the folder is known if this is interrupted
                (folder / name).unlink(missing_ok=True)
    write_json(folder / CARD_FILE, {"kind": KIND})


def _is_shared(folder: Path) -> bool:
    if not (folder / CARD_FILE).is_file():
        return False
    card = read_json(folder / CARD_FILE)
    return isinstance(card, dict) and card.get("kind") == KIND


def _seal(folder: Path) -> None:
    """Write run.json and DONE: the hash of every file but the card."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    hidden = [name for name in names if any(part.startswith(".") for part in Path(name).parts)]
    kept = [name for name in names if name not in (README_FILE, CARD_FILE, *hidden)]
    hashes = {name: file_hash(folder / name) for name in kept}
    identity = {"kind": KIND, "config": {}, "inputs": hashes}
    write_json(folder / CARD_FILE, {**identity, "name": KIND, "hash": content_hash(identity)})
    write_done(folder, {**hashes, CARD_FILE: file_hash(folder / CARD_FILE)}, {})


def _card(card: Card, scores: Mapping[str, Any], license: str, name: str) -> Iterator[str]:
    """README.md, part by part: fields for the hub, what it is, its scores, how to open it."""
    numbers = {score: value for score, value in map(_number, scores, scores.values()) if value}
    fields: dict[str, Any] = {"library_name": "boardgame_sae", "license": license, "tags": list(card.tags)}
    yield f"---\n{yaml.safe_dump({**fields, **({'metrics': list(numbers)} if numbers else {})}, sort_keys=False)}---\n"
    yield f"\n# {card.title}\n\n"
    yield "".join(f"- {fact}: {value}\n" for fact, value in card.facts if value not in (None, "", ()))
    if numbers:
        yield "\n## Scores\n\nOn held-out games; in brackets the 95% interval over games.\n\n"
        yield "".join(f"- {score}: {value}\n" for score, value in numbers.items())
    where = "" if name.startswith(PREFIX) else f"  # where this is, or {PREFIX}OWNER/NAME on the hub"
    yield f"\n## Use it\n\n```python\nimport boardgame_sae as bgs\n\n{card.code.format(name=name)}{where}\n```\n"


def _number(name: str, score: Any) -> tuple[str, str]:
    """A score's name, and its value as text, with its interval where it has one; no text of what is no number."""
    value, interval = getattr(score, "value", score), getattr(score, "interval", None)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return name, ""
    return name, f"{value:.4f}" + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "")
