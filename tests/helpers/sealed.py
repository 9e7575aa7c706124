"""Finished runs that a test has changed on purpose, and vouches for."""

from pathlib import Path

from boardgame_sae.files import file_hash
from boardgame_sae.runs.integrity import read_done, write_done


def seal_again(folder: Path) -> Path:
    """Write DONE anew for a run's files as they are now, those that are gone left out."""
    done = read_done(folder)
    files = {name: file_hash(folder / name) for name in done.files if (folder / name).exists()}
    write_done(folder, files, done.summary, done.optional)
    return folder
