"""The lessons as Jupyter notebooks, without outputs: `python -m boardgame_sae.workshop.notebooks FOLDER`.

With the repository's place on GitHub, `--repository OWNER/NAME`, each has a badge that opens it in Colab, where its
first cell installs the package from there.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from boardgame_sae.workshop.lesson_file import Cell, cells, lesson_numbers, lesson_path

INSTALL = '''\
# On Colab this installs the workshop (from a wheel, if you uploaded one); where it is installed, it does nothing.
import glob
import importlib.util

if importlib.util.find_spec("boardgame_sae") is None or importlib.util.find_spec("marimo") is None:
    wheels = [f"{wheel}[workshop]" for wheel in glob.glob("boardgame_sae-*.whl")]
    source = wheels[0] if wheels else "boardgame-sae[workshop]FROM"
    %pip install --quiet "{source}"'''
FOLDER = "experiments/workshop"
"""Where the repository has the notebooks."""
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
COLAB = "https://colab.research.google.com/github/{repository}/blob/main/{folder}/{name}.ipynb"
DETAILS = re.compile(r"^/// details \| (.+?)\n(.*?)\n///$", re.MULTILINE | re.DOTALL)


def notebook(source: str, name: str, repository: str = "") -> dict[str, Any]:
    """A marimo file as a notebook of format 4.5. name: of the file. repository: OWNER/NAME, for the badge."""
    place = f" @ git+https://github.com/{repository}" if repository else ""
    shown = [Cell("code", INSTALL.replace("FROM", place)), *cells(source)]
    if repository:
        link = COLAB.format(repository=repository, folder=FOLDER, name=name)
        shown.insert(0, Cell("text", f"[![Open in Colab]({BADGE})]({link})"))
    written = [_cell(cell, f"{name}-{number}") for number, cell in enumerate(shown)]
    return {
        "cells": written,
        "metadata": {
            "n_exercises": _n_exercises(written),
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def notebook_text(source: str, name: str, repository: str = "") -> str:
    """A marimo file as the text of a notebook."""
    return json.dumps(notebook(source, name, repository), indent=1, ensure_ascii=False) + "\n"


def write_notebooks(folder: Path, repository: str = "") -> list[Path]:
    """Write a notebook of every lesson into a folder; returns their paths.

    Raises FileExistsError, and writes nothing, where somebody has worked in one of them.
    """
    for path in map(folder.joinpath, (f"{lesson_path(number).stem}.ipynb" for number in lesson_numbers())):
        if path.exists() and _worked_in(path):
            raise FileExistsError(f"{path}: somebody has worked in it; move it away, or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number in lesson_numbers():
        lesson = lesson_path(number)
        path = folder / f"{lesson.stem}.ipynb"
        path.write_bytes(notebook_text(lesson.read_text(encoding="utf-8"), lesson.stem, repository).encode())
        written.append(path)
    return written


def _worked_in(path: Path) -> bool:
    """Whether a notebook has results, or fewer exercises to fill than it was written with."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        code = [cell for cell in found["cells"] if cell["cell_type"] == "code"]
        return any(cell["outputs"] for cell in code) or found["metadata"]["n_exercises"] != _n_exercises(found["cells"])
    except (KeyError, TypeError, ValueError):  # no notebook of ours
        return True


def _n_exercises(written: list[dict[str, Any]]) -> int:
    return sum("raise NotImplementedError" in "".join(cell["source"]) for cell in written)


def _cell(cell: Cell, name: str) -> dict[str, Any]:
    text = DETAILS.sub(r"<details><summary>\1</summary>\n\n\2\n\n</details>", cell.source)
    lines = text.splitlines(keepends=True)
    if cell.kind == "text":
        return {"cell_type": "markdown", "id": name, "metadata": {}, "source": lines}
    own = {"cell_type": "code", "execution_count": None, "id": name, "metadata": {}, "outputs": []}
    return {**own, "source": cell.source.splitlines(keepends=True)}


def main(arguments: list[str] | None = None) -> int:
    """Write the notebooks; the exit status is 1 where somebody has worked in one of them."""
    parser = argparse.ArgumentParser(prog="python -m boardgame_sae.workshop.notebooks", description=__doc__)
    parser.add_argument("folder", type=Path, help="where to write them")
    parser.add_argument("--repository", default="", metavar="OWNER/NAME", help="on GitHub: adds badges for Colab")
    given = parser.parse_args(arguments)
    try:
        write_notebooks(given.folder, given.repository)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
