"""A stand-in for the Hugging Face hub: repositories are folders, and downloads lie as in the hub's cache, as links."""

import hashlib
import inspect
import shutil
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest

MAIN = "main"


class LocalHub:
    """Repositories below a folder; `calls` keeps what each function of the library was given."""

    def __init__(self, root: Path) -> None:
        self.root, self.calls = root, {}
        self.real = {
            "snapshot_download": huggingface_hub.snapshot_download,
            **{
                name: getattr(huggingface_hub.HfApi, name) for name in ("create_repo", "create_branch", "upload_folder")
            },
        }

    def repository(self, repo_id: str, revision: str | None = None) -> Path:
        return self.root / "hub" / repo_id / (revision or MAIN)

    def install(self, patch: pytest.MonkeyPatch) -> "LocalHub":
        """Have the library's functions be those of this hub."""
        hub = self

        class Api:
            def __init__(self, token=None):
                hub.calls["HfApi"] = {"token": token}

            def create_repo(self, *args, **kwargs):
                given = hub.called("create_repo", None, *args, **kwargs)
                hub.repository(given["repo_id"]).mkdir(parents=True, exist_ok=given["exist_ok"])
                return f"https://hub/{given['repo_id']}"

            def create_branch(self, *args, **kwargs):
                given = hub.called("create_branch", None, *args, **kwargs)
                hub.repository(given["repo_id"], given["branch"]).mkdir(exist_ok=given["exist_ok"])

            def upload_folder(self, **kwargs):
                given = hub.called("upload_folder", None, **kwargs)
                target = hub.repository(given["repo_id"], given["revision"])
                assert target.is_dir(), "no such repository or branch"
                shutil.copytree(given["folder_path"], target, dirs_exist_ok=True)

        patch.setattr(huggingface_hub, "HfApi", Api)
        patch.setattr(huggingface_hub, "snapshot_download", self.snapshot_download)
        return self

    def called(self, name: str, *args, **kwargs) -> dict:
        """What a function was given, by name, checked against the real one's signature."""
        bound = inspect.signature(self.real[name]).bind(*args, **kwargs)
        self.calls[name] = dict(bound.arguments)
        return self.calls[name]

    def snapshot_download(self, *args, **kwargs) -> str:
        given = self.called("snapshot_download", *args, **kwargs)
        source = self.repository(given["repo_id"], given["revision"])
        if not source.is_dir():
            raise OSError("404 Client Error.\nRepository Not Found")
        owner, name = given["repo_id"].split("/")
        cache = self.root / "cache" / f"models--{owner}--{name}"
        snapshot = cache / "snapshots" / hashlib.sha1(str(source).encode()).hexdigest()
        patterns = given.get("allow_patterns") or ["*"]
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            inside = path.relative_to(source)
            if any(fnmatch(str(inside), pattern) for pattern in patterns):
                blob = cache / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
                blob.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, blob)
                (snapshot / inside).parent.mkdir(parents=True, exist_ok=True)
                (snapshot / inside).unlink(missing_ok=True)
                (snapshot / inside).symlink_to(blob)
        snapshot.mkdir(parents=True, exist_ok=True)
        return str(snapshot)
