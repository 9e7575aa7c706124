"""The Hugging Face hub: folders by the name of their repository, downloaded and uploaded.

    hf:owner/name                      a repository, as it is now
    hf:owner/name@revision             at a branch, tag or commit
    hf:owner/name@revision/folder      a folder inside it, of which alone is downloaded

Without `hf:` such a name is that of a folder here first; only `from_pretrained` goes on to the hub. Downloads lie in
the hub's own cache. `huggingface_hub` is imported when it is first needed, and its extra named where it is missing.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

from boardgame_sae.config import ConfigError
from boardgame_sae.files import RunError
from boardgame_sae.launch import needs

PREFIX = "hf:"
"""What the name of something on the hub begins with, where the name of a folder is expected."""
EXTRA = "hugging-face"
_WORD = r"[A-Za-z0-9_][\w.-]*"
_NAME = re.compile(rf"(?P<repo>{_WORD}/{_WORD})(@(?P<revision>[^@/\s]+))?(/(?P<inside>[^@\s]+?)/?)?", re.ASCII)


class HubName(NamedTuple):
    """What is named on the hub."""

    repo_id: str
    """`owner/name`."""
    revision: str | None = None
    """A branch, tag or commit; None: the main branch."""
    inside: str | None = None
    """A folder inside the repository; None: all of it."""

    def __str__(self) -> str:
        revision, inside = f"@{self.revision}" if self.revision else "", f"/{self.inside}" if self.inside else ""
        return f"{PREFIX}{self.repo_id}{revision}{inside}"


def parse_hub_name(text: str) -> HubName | None:
    """What a text names on the hub, with or without the prefix; None where it is no such name."""
    found = _NAME.fullmatch(text.removeprefix(PREFIX))
    if found is None or ".." in text or "--" in found["repo"]:
        return None
    return HubName(found["repo"], found["revision"], found["inside"])


def hub_folder(name: str | Path) -> Path | None:
    """The downloaded folder of a name that begins with `hf:`; None of any other name.

    Raises ConfigError for one that is no name on the hub, RunError when it cannot be downloaded.
    """
    if not str(name).startswith(PREFIX):
        return None
    return download(hub_name(str(name)))


def hub_name(text: str) -> HubName:
    """What a text names on the hub. Raises ConfigError where it is no such name."""
    named = parse_hub_name(text)
    if named is None:
        raise ConfigError(f"{text}: no name on the hub, which is {PREFIX}owner/name[@revision][/folder]")
    return named


def download(name: HubName, token: str | bool | None = None) -> Path:
    """The folder of something on the hub, downloaded into the hub's cache where it is not there yet.

    token: of the hub, by default the one that is logged in here. It is written nowhere.
    Raises RunError when the library is missing, there is no such repository or folder, or the hub cannot be reached.
    """
    library = _library(f"{name}")
    parts = None if name.inside is None else [name.inside, f"{name.inside}/*"]
    try:
        found = library.snapshot_download(name.repo_id, revision=name.revision, token=token, allow_patterns=parts)
    except Exception as error:  # the library raises errors of its own, of its HTTP client and of the system
        raise RunError(f"{name}: cannot be downloaded from the Hugging Face hub ({_first_line(error)})") from error
    folder = Path(found, name.inside or "")
    if not folder.exists():
        raise RunError(f"{name}: the repository {name.repo_id} has no '{name.inside}'")
    return folder


def upload(
    folder: Path, repo_id: str, *, private: bool | None, revision: str | None, token: str | bool | None, message: str
) -> str:
    """Upload a folder to the main folder of a repository, which is made if need be; returns the repository's address.

    private: whether a repository that is made is; None: as its owner has it. revision: a branch, made if need be.
    token: see `download`. Raises ConfigError for a bad repo_id, RunError when the hub refuses or cannot be reached.
    """
    named = hub_name(repo_id)
    if named.inside is not None or named.revision is not None:
        raise ConfigError(f"{repo_id}: give owner/name alone, and a branch as `revision`")
    library = _library(f"uploading to {named}")
    try:
        hub = library.HfApi(token=token)
        address = hub.create_repo(named.repo_id, private=private, exist_ok=True)
        if revision is not None:
            hub.create_branch(named.repo_id, branch=revision, exist_ok=True)
        hub.upload_folder(repo_id=named.repo_id, folder_path=str(folder), revision=revision, commit_message=message)
    except Exception as error:
        raise RunError(f"{named}: cannot be uploaded to the Hugging Face hub ({_first_line(error)})") from error
    return str(address)


def called(folder: Path) -> str:
    """What a folder is called: its name, or that of the repository where it is a snapshot in the hub's cache."""
    if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
        return folder.parent.parent.name.rpartition("--")[2]
    return folder.name


def _library(what: str) -> Any:
    with needs(EXTRA, what):  # imported late: an extra
        import huggingface_hub
    return huggingface_hub


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
