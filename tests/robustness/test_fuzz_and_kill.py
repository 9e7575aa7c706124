"""Some of what `make fuzz` and `make kill` do in hours: spoilt files are refused by name, killed verbs lose nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from robustness.entry import targets
from robustness.kills.scenarios import SCENARIOS

from boardgame_sae.cli import verbs
from boardgame_sae.files import read_json

ROOT = Path(__file__).parents[2]
CASES = {"UCI": 20}
"""Cases of targets that are slow: a silent engine is waited for."""
TARGETS = (
    "HDF5",
    "JSON",
    "Parquet",
    "PGN",
    "UCI",
    "YAML",
    "foreign GPT",
    "foreign SAE",
    "polyglot",
    "safetensors",
    "zst",
)
RIGHT = {"accepted", "refused"}


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    """Run a module of experiments/robustness on one tiny setup: its exit code, what it printed, and its folder.

    A process of its own: forks need one without threads.
    """
    folder = tmp_path_factory.mktemp("robustness")
    places = os.pathsep.join([str(ROOT / "experiments"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}

    def run(module, *words):
        out = folder / module / "-".join(words)
        command = [sys.executable, "-m", f"robustness.{module}", "--setup", folder / "setup", "--out", out, *words]
        done = subprocess.run(command, env=environment, cwd=folder, text=True, capture_output=True, check=False)
        assert "Traceback" not in done.stderr, done.stderr[-3000:]
        return done.returncode, done.stdout + done.stderr[-3000:], out

    return run


@pytest.mark.parametrize("target", TARGETS)
def test_spoilt_files_are_read_or_refused_by_name(call, target):
    _, said, out = call("fuzz", "--cases", str(CASES.get(target, 150)), "--workers", "1", "--targets", target)
    outcomes = read_json(out / "outcomes.json")[target]
    faults = (out / "faults.jsonl").read_text() if (out / "faults.jsonl").exists() else ""
    assert set(outcomes) <= RIGHT, f"{said}\n{faults[:3000]}"
    assert sum(outcomes.values()) == CASES.get(target, 150)


def test_every_target_is_tried_here():
    assert set(TARGETS) == set(targets())


@pytest.mark.skipif(shutil.which("cc") is None, reason="kills need a C compiler")
@pytest.mark.parametrize("verb", ["generate", "import-pgn", "export"])
def test_a_verb_killed_at_a_write_and_run_again_gives_the_same_bytes(call, verb):
    code, said, _ = call("kills.kill", "--points", "4", "--terminations", "1", "--verbs", verb)
    assert code == 0, said


def test_every_verb_has_a_scenario_of_kills():
    assert set(SCENARIOS) == set(verbs())
