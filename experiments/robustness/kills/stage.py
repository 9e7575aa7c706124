"""The folder in which a verb is run, killed and run again; what it leaves there, by hash."""

import os
import shutil
from pathlib import Path

from boardgame_sae.files import file_hash
from boardgame_sae.runs import TIMINGS_FILE


class Stage:
    """A folder with nothing but the setup in it."""

    def __init__(self, folder: Path, setup: Path) -> None:
        self.folder, self.setup = folder, setup

    def clear(self) -> None:
        """Take away all that was made."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        (self.folder / "setup").symlink_to(self.setup)

    def enter(self) -> None:
        """Make it this process's folder, and its runs' default place."""
        os.chdir(self.folder)
        os.environ["BOARDGAME_SAE_RUNS"] = "runs"

    def made(self) -> dict[str, str]:
        """The hash of every file that was made, but for those that say how long things took."""
        files = (path for path in sorted(self.folder.rglob("*")) if path.is_file() and path.name != TIMINGS_FILE)
        return {path.relative_to(self.folder).as_posix(): file_hash(path) for path in files}


def differing(made: dict[str, str], expected: dict[str, str]) -> list[str]:
    """Names of files that are missing, too many or different."""
    return sorted(name for name in made.keys() | expected.keys() if made.get(name) != expected.get(name))
