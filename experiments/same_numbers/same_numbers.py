"""Does this checkout compute what another one does? Run two small studies in both, and compare every file and number.

    git worktree add ../before 7d2b4e3
    python experiments/same_numbers/same_numbers.py ../before

Games, weights of GPT, probes and SAEs must have the same bytes, and every number of every score, the table of latents
and the report's table must be equal; this checkout may add numbers. Prints what differs, and exits with 1 if anything
does.
"""

import csv
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

HERE = Path(__file__).parent
STUDIES = ("othello4.yaml", "chess.yaml")
ABOUT = ("suite", "skipped")
"""What is said of a subject but is no number."""


def run(checkout: Path, study: Path, root: Path) -> Path:
    """Run a study and its report with a checkout's code; returns the folder of the sweep."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "BOARDGAME_SAE_RUNS": str(root), "OMP_NUM_THREADS": "1"}
    for words in (
        ["sweep", study, "--out", root / "sweep/study"],
        ["report", root / "sweep/study", "--out", root / "report"],
    ):
        command = [sys.executable, "-m", "boardgame_sae.cli", *map(str, words)]
        subprocess.run(command, check=True, cwd=checkout, env=environment, stdout=subprocess.DEVNULL)
    return root / "sweep/study"


def artifacts(sweep: Path) -> dict[str, Any]:
    """What a study made: hashes of files and all numbers of all scores, by names that no folder's layout changes."""
    listed = json.loads((sweep / "sweep.json").read_text())
    files = {"corpus": [listed["corpus"], "corpus.h5"], "GPT": [listed["model"], "model.safetensors"]}
    for place, folder in enumerate([*listed["probes"], *listed["random_probes"]]):
        files[f"probe {place}"] = [folder, "probes.safetensors"]
    made: dict[str, Any] = {}
    for testbed in listed["testbeds"]:
        for place, folder in enumerate([*testbed["saes"], *testbed["random_saes"]]):
            files[f"SAE {place}"] = [folder, "sae.safetensors"]
        baselines = sorted(path.parent for path in Path(testbed["baselines"]).glob("*/scores.json"))
        for place, folder in enumerate([*testbed["scores"], *testbed["ceilings"], *baselines]):
            scores = json.loads((Path(folder) / "scores.json").read_text())
            about = {key: value for key, value in scores["subject"].items() if key not in ABOUT}
            made |= {f"scores {place}: {path}": value for path, value in flat({**scores, "subject": about})}
            made[f"latents {place}"] = table(Path(folder) / "latents.parquet")
    made |= {name: sha256(Path(folder) / file) for name, (folder, file) in files.items()}
    with open(sweep.parents[1] / "report/table.csv", newline="") as file:
        made |= {f"report {path}": value for path, value in flat(list(csv.DictReader(file)))}
    return made


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of plain data with its path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path, value
        return
    for key, part in items:
        yield from flat(part, f"{path}/{key}")


def table(path: Path) -> Any:
    """The rows of a Parquet file, as text."""
    return str(duckdb.sql(f"SELECT * FROM read_parquet('{path}')").fetchall()) if path.exists() else None


def sha256(path: Path) -> str:
    """Of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def equal(before: Any, after: Any) -> bool:
    """Whether two leaves are the same; numbers to the last bit."""
    both = isinstance(before, float) and isinstance(after, float) and math.isnan(before) and math.isnan(after)
    return both or before == after


def main() -> int:
    """Compare; returns the exit code."""
    other, own, n_different = Path(sys.argv[1]).resolve(), HERE.parents[1], 0
    for study in STUDIES:
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            before = artifacts(run(other, HERE / study, Path(one)))
            after = artifacts(run(own, HERE / study, Path(two)))
        different = [name for name, value in before.items() if not equal(value, after.get(name))]
        for name in different[:20]:
            print(f"{study}: {name}: {str(before[name])[:80]} before, {str(after.get(name))[:80]} now")
        n_different += len(different)
        print(f"{study}: {len(before) - len(different)} of {len(before)} the same; {len(after) - len(before)} added")
    return 1 if n_different else 0


if __name__ == "__main__":
    sys.exit(main())
