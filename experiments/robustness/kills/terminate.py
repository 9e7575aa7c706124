"""Verbs that are terminated (SIGTERM) at random moments: they say so, end with 143, leave no half-written file and no
process, and run again to the same bytes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

from robustness.kills.scenarios import HAVE_WORKERS, scenario
from robustness.kills.stage import Stage, differing

SAID = "run the same command again"
GONE_WITHIN = 2.0
"""Seconds in which all processes of a verb are gone after it."""


def _start(stage: Stage, verb: str) -> subprocess.Popen[str]:
    """The verb in a session of its own, with two workers where it has any."""
    words = [*scenario(verb), *(("--workers", "2") if verb in HAVE_WORKERS else ())]
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    return subprocess.Popen(
        [sys.executable, "-m", "boardgame_sae.cli", *words],
        cwd=stage.folder, env={**environment, "BOARDGAME_SAE_RUNS": "runs"}, text=True, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def _of_session(session: int) -> list[int]:
    """Processes of a session that run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def terminate(stage: Stage, verb: str, after: float, expected: dict[str, str]) -> tuple[list[str], bool]:
    """Terminate a verb after some seconds: what was wrong, and whether it had begun and not ended by then.

    expected: what it makes when nobody ends it. Python itself answers no signals as it starts and as it ends.
    """
    stage.clear()
    with _start(stage, verb) as process:
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
        said = process.communicate()[1]
    deadline = time.monotonic() + GONE_WITHIN
    while (left := _of_session(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.02)
    wrong = [f"process {pid} is left" for pid in left]
    parts = [path.name for path in stage.folder.rglob(".*")]
    if process.returncode == 0 or (process.returncode == -signal.SIGTERM and stage.made() in ({}, expected)):
        return wrong, False
    if process.returncode != 128 + signal.SIGTERM or SAID not in said or "Traceback" in said:
        wrong.append(f"exit code {process.returncode}: {said[-300:]}")
    return wrong + [f"{name} is left" for name in parts], True


def terminated_table(verbs: Sequence[str], stage: Stage, n: int, seed: int = 0) -> int:
    """Terminate every verb n times, print a line for each; returns the number of faults."""
    print(f"\n{'terminated':12}{'times':>8}{'faults':>8}{'differ':>8}")
    n_faults = 0
    for verb in verbs:
        stage.clear()
        began = time.monotonic()
        with _start(stage, verb) as process:
            process.communicate()
        took, expected, random = time.monotonic() - began, stage.made(), Random(f"{seed}/{verb}")
        n_caught, faults, n_differ = 0, list[str](), 0
        for _ in range(n):
            wrong, caught = terminate(stage, verb, random.uniform(0.1, 1.0) * took, expected)
            faults, n_caught = faults + wrong, n_caught + caught
            with _start(stage, verb) as process:
                process.communicate()
            n_differ += bool(differing(stage.made(), expected))
        print(f"{verb:12}{n_caught:8}{len(faults):8}{n_differ:8}", flush=True)
        for fault in faults:
            print(f"  {fault}", file=sys.stderr)
        n_faults += len(faults) + n_differ
    stage.clear()
    return n_faults
