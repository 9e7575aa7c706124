"""Kill every verb at every write, run it again, and compare all bytes with a run that nobody killed: `make kill`.

    python -m robustness.kills.kill                            every verb at every write (hours)
    python -m robustness.kills.kill --verbs generate --points 20   one verb, at 20 of its writes
    python -m robustness.kills.kill --verbs generate --at 7    one verb at its 7th write, with what differs

A write is any call that changes a file below the verb's folder: write, rename, fsync, truncate, unlink, mkdir, opening
a new file. `kill_at.c`, loaded before libc, counts them and ends the process at the n-th, halfway through a write. A
second table is of verbs terminated (SIGTERM) at random moments, with two workers where they have any.
"""

import argparse
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from boardgame_sae import cli
from boardgame_sae.model.train import train_gpt_run
from boardgame_sae.saes.training.train import train_saes_run
from robustness import seed_files
from robustness.fuzz import import_late
from robustness.kills.scenarios import SCENARIOS, scenario, without_scenario
from robustness.kills.stage import Stage, differing
from robustness.kills.terminate import terminated_table

SOURCE = Path(__file__).with_name("kill_at.c")
PRELOADED = "ROBUSTNESS_PRELOADED"
"""Set in the environment once `kill_at.c` is loaded."""


class Killed(NamedTuple):
    """A verb after its kills."""

    verb: str
    n_writes: int
    """Calls that change a file, in a run that nobody kills."""
    n_kills: int
    faults: dict[int, list[str]]
    """Files that differ after the rerun, or what it said, by the write at which it was killed."""


def run_verb(stage: Stage, words: Sequence[str], kill_at: int = -1) -> tuple[int, int, str]:
    """Run a verb in a forked process: its exit code (below 0: the signal that ended it), its writes, what it said."""
    pipe, theirs = os.pipe()
    child = os.fork()
    if not child:
        try:
            _be_verb(stage, words, kill_at, theirs)
        finally:
            os._exit(70)
    os.close(theirs)
    with os.fdopen(pipe) as said:
        text, _, writes = said.read().rpartition("\n")
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, int(writes) if writes.isdigit() else 0, text


def _be_verb(stage: Stage, words: Sequence[str], kill_at: int, pipe: int) -> None:
    shim = ctypes.CDLL(None)
    stage.enter()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(pipe, 2)
    for train in (train_gpt_run, train_saes_run):  # save a resume state at every step, not every half minute
        train.__kwdefaults__["checkpoint_seconds"] = 0.0
    shim.kill_at(os.fsencode(stage.folder), ctypes.c_long(kill_at))
    code = cli.main(list(words))
    os.write(pipe, f"\n{shim.calls_seen()}".encode())
    os._exit(code)


def kill_verb(verb: str, stage: Stage, choose: Callable[[int], Sequence[int]]) -> Killed:
    """Kill a verb at some of its writes. choose: of the number of writes, those to kill it at, from 1."""
    words = scenario(verb)
    stage.clear()
    code, n_writes, said = run_verb(stage, words)
    if code:
        raise RuntimeError(f"{' '.join(words)}: exit code {code}: {said}")
    expected, points, faults = stage.made(), choose(n_writes), {}
    for point in points:
        stage.clear()
        code, _, said = run_verb(stage, words, point)
        if code == -signal.SIGKILL:  # else it made fewer writes than before, and ended
            code, _, said = run_verb(stage, words)
        found = differing(stage.made(), expected) if code == 0 else [f"exit code {code}: {said}"]
        if found:
            faults[point] = found
    stage.clear()
    return Killed(verb, n_writes, len(points), faults)


def evenly(n: int | None) -> Callable[[int], Sequence[int]]:
    """A choice of n writes, spread evenly from the first to the last; None: all."""

    def choose(n_writes: int) -> Sequence[int]:
        if n is None or n >= n_writes:
            return range(1, n_writes + 1)
        return sorted({1 + round(place * (n_writes - 1) / max(1, n - 1)) for place in range(n)})

    return choose


def preload(out: Path, argv: Sequence[str]) -> None:
    """Start this program again with `kill_at.c` loaded, unless it is. Raises SystemExit when there is no C compiler."""
    if os.environ.get(PRELOADED):
        return
    out.mkdir(parents=True, exist_ok=True)
    library = out / "kill_at.so"
    compiler = os.environ.get("CC", "cc")
    try:
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl"], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"{SOURCE}: cannot be compiled ({error}); install a C compiler, or set CC") from error
    os.environ.update(LD_PRELOAD=str(library), **{PRELOADED: "1"})
    os.execv(sys.executable, [sys.executable, "-m", "robustness.kills.kill", *argv])


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 1 when anything differs."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verbs", nargs="*", default=list(SCENARIOS), help="some verbs (default: all)")
    parser.add_argument("--points", type=int, help="kills per verb (default: one at each write)")
    parser.add_argument("--at", type=int, help="kill at this write alone")
    parser.add_argument("--terminations", type=int, default=10, help="terminations per verb (default 10)")
    parser.add_argument(
        "--out", type=Path, default=Path("data/runs/kill"), help="where it works (default data/runs/kill)"
    )
    parser.add_argument("--setup", type=Path, help="where the tiny setup is, or is made (default OUT/setup)")
    given = parser.parse_args(argv)
    out = given.out.resolve()
    preload(out, argv)
    setup = seed_files.make((given.setup or out / "setup").resolve())
    import_late()
    stage, n_faults = Stage(out / "stage", setup), len(without_scenario())
    print(f"{'killed':12}{'writes':>8}{'kills':>8}{'differ':>8}")
    for verb in given.verbs:
        killed = kill_verb(verb, stage, evenly(given.points) if given.at is None else lambda _: [given.at])
        print(f"{verb:12}{killed.n_writes:8}{killed.n_kills:8}{len(killed.faults):8}", flush=True)
        for point, found in killed.faults.items():
            print(f"  at {point}: {'; '.join(found)[:500]}", file=sys.stderr)
        n_faults += len(killed.faults)
    for verb in without_scenario():
        print(f"{verb:12}  has no scenario: add one to {Path(__file__).parent / 'scenarios.py'}")
    if given.terminations:
        n_faults += terminated_table(given.verbs, stage, given.terminations)
    return int(n_faults > 0)


if __name__ == "__main__":
    sys.exit(main())
