"""`python -m boardgame_sae.demo [othello6|chess]`: what `make demo` does, without `make` and without a clone.

It plays, trains a GPT, probes, trains SAEs, scores and reports, in minutes. One that was killed resumes when it is
given again.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from boardgame_sae.cli import main as run_verb
from boardgame_sae.runs import runs_root

NAMES = {"othello6": "demo", "chess": "demo-chess"}
"""The folder of each demo's runs, by its game."""
_PACKAGE = Path(__file__).parent
PLACES = ("experiments/{folder}/study.yaml", "boardgame_sae/shipping/demos/{game}.yaml")
"""Where a demo's study is: beside the package in a clone, inside it in a wheel."""


def study_file(game: str) -> Path:
    """The study that the demo of a game runs."""
    folder = NAMES[game].replace("-", "_")
    places = [_PACKAGE.parent / place.format(folder=folder, game=game) for place in PLACES]
    return next((path for path in places if path.exists()), places[-1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and its report; the exit status is that of the first that fails, or 0."""
    parser = argparse.ArgumentParser(prog="python -m boardgame_sae.demo", description=__doc__)
    parser.add_argument("game", nargs="?", choices=NAMES, default="othello6", help="default: %(default)s")
    parser.add_argument("--workers", default="2", help="worker processes (default: %(default)s)")
    given = parser.parse_args(arguments)
    if missing := [library for library in ("matplotlib", "plotly") if find_spec(library) is None]:
        parser.error(f"the report needs {missing[0]}, which is not installed: pip install 'boardgame-sae[report]'")
    runs = runs_root() / NAMES[given.game]
    swept = run_verb(["sweep", str(study_file(given.game)), "--workers", given.workers, "--out", str(runs)])
    return swept or run_verb(["report", str(runs), "--out", f"{runs}-report"])


if __name__ == "__main__":
    sys.exit(main())
