"""Does this checkout compute the same as another one? Run two small studies in both, and compare every file and number.

    git worktree add ../before 7d2b4e3
    python experiments/same_numbers/same_numbers.py ../before

Games and the weights of GPT, probes and SAEs must have the same bytes; every number of every score, the tables of
latents and every cell of the report's table must be equal. This checkout may add numbers. Prints what differs, and
exits with 1 if anything does.
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
NOT_NUMBERS = ("suite", "skipped")
"""Fields of a scored subject that say how it was scored, and are not compared."""


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


def results(sweep: Path) -> dict[str, Any]:
    """What a study computed: hashes of files, numbers of scores and tables, by names that do not depend on folders."""
    listed = json.loads((sweep / "sweep.json").read_text())
    files = {"corpus": [listed["corpus"], "corpus.h5"], "GPT": [listed["model"], "model.safetensors"]}
    for index, folder in enumerate([*listed["probes"], *listed["random_probes"]]):
        files[f"probe {index}"] = [folder, "probes.safetensors"]
    values: dict[str, Any] = {}
    for testbed in listed["testbeds"]:
        for index, folder in enumerate([*testbed["saes"], *testbed["random_saes"]]):
            files[f"SAE {index}"] = [folder, "sae.safetensors"]
        baselines = sorted(path.parent for path in Path(testbed["baselines"]).glob("*/scores.json"))
        for index, folder in enumerate([*testbed["scores"], *testbed["ceilings"], *baselines]):
            scores = json.loads((Path(folder) / "scores.json").read_text())
            subject = {field: value for field, value in scores["subject"].items() if field not in NOT_NUMBERS}
            values |= {f"scores {index}{path}": value for path, value in leaves({**scores, "subject": subject})}
            values[f"latents {index}"] = parquet_rows(Path(folder) / "latents.parquet")
    values |= {name: sha256(Path(folder) / file) for name, (folder, file) in files.items()}
    with open(sweep.parents[1] / "report/table.csv", newline="") as file:
        values |= {f"report{path}": cell for path, cell in leaves(list(csv.DictReader(file)))}
    return values


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of plain data with its path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path, value
        return
    for key, part in items:
        yield from leaves(part, f"{path}/{key}")


def parquet_rows(path: Path) -> str | None:
    """The rows of a Parquet file as text; None where there is no file."""
    return str(duckdb.read_parquet(str(path)).fetchall()) if path.exists() else None


def sha256(path: Path) -> str:
    """The hash of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def equal(before: Any, after: Any) -> bool:
    """Whether two leaves are the same; numbers to the last bit, NaN equal to NaN."""
    both_nan = isinstance(before, float) and isinstance(after, float) and math.isnan(before) and math.isnan(after)
    return both_nan or before == after


def main() -> int:
    """Compare; returns the exit code."""
    other, own, n_different = Path(sys.argv[1]).resolve(), HERE.parents[1], 0
    for study in STUDIES:
        with tempfile.TemporaryDirectory() as other_root, tempfile.TemporaryDirectory() as own_root:
            before = results(run(other, HERE / study, Path(other_root)))
            after = results(run(own, HERE / study, Path(own_root)))
        different = [name for name, value in before.items() if name not in after or not equal(value, after[name])]
        for name in different[:20]:
            print(f"{study}: {name}: {str(before[name])[:80]} before, {str(after.get(name))[:80]} now")
        n_different += len(different)
        n_added = len(after.keys() - before.keys())
        print(f"{study}: {len(before) - len(different)} of {len(before)} the same; {n_added} added")
    return 1 if n_different else 0


if __name__ == "__main__":
    sys.exit(main())
