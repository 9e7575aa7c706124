"""The lessons as Jupyter notebooks, without outputs: `python -m boardgame_sae.workshop.notebooks FOLDER`."""

import json
import re
import sys
from pathlib import Path
from typing import Any

from boardgame_sae.workshop.lesson_file import Cell, cells, lesson_numbers, lesson_path

INSTALL = '''\
# On Colab this installs the workshop; where it is installed, it does nothing.
import importlib.util

if importlib.util.find_spec("boardgame_sae") is None or importlib.util.find_spec("marimo") is None:
    %pip install --quiet "boardgame-sae[workshop]"'''
DETAILS = re.compile(r"^/// details \| (.+?)\n(.*?)\n///$", re.MULTILINE | re.DOTALL)


def notebook(source: str, name: str) -> dict[str, Any]:
    """A marimo file as a notebook of format 4.5."""
    shown = [Cell("code", INSTALL), *cells(source)]
    return {
        "cells": [_cell(cell, f"{name}-{place}") for place, cell in enumerate(shown)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def notebook_text(source: str, name: str) -> str:
    """A marimo file as the text of a notebook."""
    return json.dumps(notebook(source, name), indent=1, ensure_ascii=False) + "\n"


def write_notebooks(folder: Path) -> list[Path]:
    """Write a notebook of every lesson into a folder; returns their paths."""
    written = []
    for number in lesson_numbers():
        lesson = lesson_path(number)
        path = folder / f"{lesson.stem}.ipynb"
        path.write_bytes(notebook_text(lesson.read_text(encoding="utf-8"), f"lesson{number}").encode())
        written.append(path)
    return written


def _cell(cell: Cell, name: str) -> dict[str, Any]:
    text = DETAILS.sub(r"<details><summary>\1</summary>\n\n\2\n\n</details>", cell.source)
    lines = text.splitlines(keepends=True)
    if cell.kind == "text":
        return {"cell_type": "markdown", "id": name, "metadata": {}, "source": lines}
    own = {"cell_type": "code", "execution_count": None, "id": name, "metadata": {}, "outputs": []}
    return {**own, "source": cell.source.splitlines(keepends=True)}


if __name__ == "__main__":
    write_notebooks(Path(sys.argv[1]))
