"""Some of what `make fuzz` and `make kill` do in hours: spoilt files are refused by name, killed verbs lose nothing."""

import json
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
CASES, RIGHT = 150, {"accepted", "refused"}
VERBS = ("generate", "export")


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    """Run a module of experiments/robustness on one tiny setup: its exit code, what it printed, and its folder.

    A process of its own: forks need one without threads.
    """
    folder = tmp_path_factory.mktemp("robustness")
    places = os.pathsep.join([str(ROOT / "experiments"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}

    def run(module, *words):
        command = [sys.executable, "-m", f"robustness.{module}", "--setup", folder / "setup", "--out", folder / module]
        done = subprocess.run(
            [*command, *words], env=environment, cwd=folder, text=True, capture_output=True, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr[-3000:]
        return done.returncode, done.stdout + done.stderr[-3000:], folder / module

    return run


@pytest.fixture(scope="module")
def fuzzed(call):
    """Outcomes of all targets, by target, and the faults."""
    _, said, out = call("fuzz", "--cases", str(CASES), "--workers", "2")
    assert (out / "outcomes.json").exists(), said
    faults = (out / "faults.jsonl").read_text() if (out / "faults.jsonl").exists() else ""
    return read_json(out / "outcomes.json"), [json.loads(line) for line in faults.splitlines()]


@pytest.mark.parametrize("target", sorted(targets()))
def test_spoilt_files_are_read_or_refused_by_name(fuzzed, target):
    outcomes, faults = fuzzed
    found = [fault for fault in faults if fault["again"].startswith(f"{target}:")]
    assert set(outcomes[target]) <= RIGHT, json.dumps(found[:5], indent=1)
    assert outcomes[target]["refused"] > 0
    assert sum(outcomes[target].values()) in (CASES, CASES // 10)


@pytest.mark.skipif(shutil.which("cc") is None, reason="kills need a C compiler")
def test_a_verb_killed_at_a_write_and_run_again_gives_the_same_bytes(call):
    code, said, _ = call("kills.kill", "--points", "4", "--terminations", "1", "--verbs", *VERBS)
    assert code == 0, said


def test_every_verb_has_a_scenario_of_kills():
    assert set(SCENARIOS) == set(verbs())
