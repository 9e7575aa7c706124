"""`python -m boardgame_sae.workshop [LESSON]`: check the machine, then open a lesson in the browser.

The lesson is copied into a folder of the student's own, where it is kept as it was left. What is imported here needs
nothing but Python, so that the check can name what is missing.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from boardgame_sae.workshop.lesson_file import lesson_numbers, lesson_path
from boardgame_sae.workshop.machine import examine
from boardgame_sae.workshop.notebooks import notebook_text

RUN_AT_ONCE = {"_MARIMO_CONFIG_OVERLOAD_RUNTIME_AUTO_INSTANTIATE": "true"}
"""Has marimo run all cells of a lesson when it opens; without it a student presses the button for that first."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, copy and open; the exit status is 0, 1 where something is missing, 2 for a bad argument."""
    given = _parser().parse_args(arguments)
    ready = True
    for finding in examine():
        ready &= finding.ready
        _say(f"{'ok ' if finding.ready else 'NO '} {finding.what:9} {finding.says}")
    if given.check or not ready:
        _say("Ready." if ready else "Not ready: see the lines marked NO.")
        return 0 if ready else 1
    try:
        lesson = copied(given.lesson, given.folder, as_notebook=given.jupyter)
    except OSError as error:
        _say(f"NO  folder    {given.folder}: {error.strerror}; name one that can be written to with --folder")
        return 1
    _say(f"{lesson}: your copy of lesson {given.lesson}; your answers are kept there")
    if given.jupyter:
        _say("Open it in Jupyter or VS Code, or upload it to Colab.")
        return 0
    return opened(lesson)


def copied(number: int, folder: Path, *, as_notebook: bool = False) -> Path:
    """A lesson in a student's folder: copied there if it is not there yet, else as the student left it.

    Raises OSError where it cannot be written; no half of it stays behind.
    """
    lesson = lesson_path(number)
    path = folder / lesson.with_suffix(".ipynb" if as_notebook else ".py").name
    if not path.exists():
        source = lesson.read_text(encoding="utf-8")
        folder.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f".{path.name}.part")
        text = notebook_text(source, lesson.stem) if as_notebook else source
        try:
            half.write_text(text, encoding="utf-8", newline="\n")
            half.replace(path)
        finally:
            half.unlink(missing_ok=True)
    return path


def opened(lesson: Path) -> int:
    """Open a lesson in marimo, and wait until it is closed; returns marimo's exit status."""
    command = [sys.executable, "-m", "marimo", "edit", "--skip-update-check", str(lesson)]
    with subprocess.Popen(command, env={**os.environ, **RUN_AT_ONCE}) as marimo:
        while True:
            try:
                return marimo.wait()
            except KeyboardInterrupt:  # marimo gets Ctrl-C too, and asks whether to quit
                continue


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m boardgame_sae.workshop",
        description="Check this machine, then open a lesson of the workshop in the browser.",
        epilog="example: python -m boardgame_sae.workshop 2",
    )
    parser.add_argument("lesson", nargs="?", type=int, default=1, choices=lesson_numbers(), help="number (default 1)")
    parser.add_argument("--check", action="store_true", help="check the machine and open nothing")
    parser.add_argument("--jupyter", action="store_true", help="write the lesson as .ipynb and open nothing")
    parser.add_argument(
        "--folder", type=Path, default=Path("workshop"), help="where your copies lie (default workshop)"
    )
    return parser


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
