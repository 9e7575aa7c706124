"""Read spoilt files of every kind, and say what came of it: `make fuzz`.

    python -m robustness.fuzz --cases 20000                  every target
    python -m robustness.fuzz --targets JSON YAML --seed 3   some, spoilt otherwise
    python -m robustness.fuzz --again JSON:17                one case, with its traceback

Prints a line per target, and writes the same to OUT/outcomes.json. Faults are listed in OUT/faults.jsonl, and their
spoilt files kept in OUT/TARGET-INDEX/.
"""

import argparse
import importlib
import json
import os
import select
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from boardgame_sae.files import write_json
from robustness import seed_files
from robustness.entry import Entry, targets
from robustness.outcome import FAULTS, TIME_LIMIT, Outcome, Result
from robustness.sandbox import Case, spoil, work

BATCH = 200
"""Cases that one process reads, unless it dies."""
LATE = ("duckdb", "torch._dynamo", "tyro")
"""Modules that the package imports when it first needs them: here before processes are forked."""


def cases_of(target: str, entries: Sequence[Entry], setup: Path, n: int, seed: int) -> list[Case]:
    """The cases of a target, its entries in turn; a tenth of them where each waits for a program.

    An entry whose file this version does not write is left out.
    """
    present = [entry for entry in entries if (setup / entry.name).exists()]
    n = -(-n // 10) if any(entry.starts_programs for entry in present) else n
    return [Case(present[index % len(present)], index, f"{seed}/{target}/{index}") for index in range(n)]


def import_late() -> None:
    """Import what the package, or torch for it, imports late."""
    for name in LATE:
        importlib.import_module(name)


def results_of(cases: Sequence[Case], setup: Path, folder: Path, workers: int) -> Iterator[Result]:
    """Try cases in forked processes, several at a time; the results come as they are ready."""
    import_late()
    waiting = [list(cases[start : start + BATCH]) for start in range(0, len(cases), BATCH)][::-1]
    running: dict[int, _Batch] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                batch = _Batch(waiting.pop(), setup, folder)
                running[batch.pipe] = batch
            ready = select.select(list(running), [], [], 0.5)[0]
            for pipe in list(running):
                yield from running[pipe].news(pipe in ready)
                if running[pipe].ended:
                    left = running.pop(pipe).left
                    waiting += [left] if left else []
    finally:
        for batch in running.values():
            batch.kill()


class _Batch:
    """A forked process that tries cases."""

    def __init__(self, cases: list[Case], setup: Path, folder: Path) -> None:
        self.left, self.ended = cases, False
        self._text, self._since = b"", time.monotonic()
        self.pipe, theirs = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                os.close(self.pipe)
                work(cases, setup, folder, theirs)
                os._exit(0)
            finally:
                os._exit(70)
        os.close(theirs)

    def news(self, readable: bool) -> Iterator[Result]:
        """Results since the last call; of a process that hangs or dies, the case that it was at."""
        if not readable:
            if time.monotonic() - self._since > TIME_LIMIT:
                self.kill()
                yield Result(self.left.pop(0).index, Outcome.HANG, f"more than {TIME_LIMIT:g} s")
            return
        data = os.read(self.pipe, 1 << 16)
        if not data:
            status = self._bury()
            if self.left and status:
                name = signal.Signals(-status).name if status < 0 else f"exit code {status}"
                yield Result(self.left.pop(0).index, Outcome.CRASH, name)
            return
        *lines, self._text = (self._text + data).split(b"\n")
        for line in map(json.loads, lines):
            self._since = time.monotonic()
            if "outcome" in line:
                self.left.pop(0)
                yield Result(line["index"], Outcome(line["outcome"]), line["message"])

    def kill(self) -> None:
        """End the process, if it has not ended."""
        if not self.ended:
            os.kill(self.pid, signal.SIGKILL)
            self._bury()

    def _bury(self) -> int:
        os.close(self.pipe)
        self.ended = True
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def untouched(every: Sequence[Entry], setup: Path, folder: Path) -> list[str]:
    """What is refused although nothing was spoilt: then the entry is wrong, and its other results mean nothing."""
    cases = [Case(entry, index, "") for index, entry in enumerate(every) if (setup / entry.name).exists()]
    results = results_of(cases, setup, folder, 1)
    return [
        f"{every[result.index].name} by {every[result.index].reader.__name__}: {result.outcome} {result.message}"
        for result in results
        if result.outcome not in (Outcome.ACCEPTED, Outcome.UNDETECTED)
    ]


def try_target(
    target: str, entries: Sequence[Entry], setup: Path, out: Path, n: int, seed: int, workers: int
) -> Counter[Outcome]:
    """Try a target's cases; faults are written to `out`. Returns how often each outcome came."""
    cases, counts = cases_of(target, entries, setup, n, seed), Counter[Outcome]()
    for result in results_of(cases, setup, out / "work", workers):
        counts[result.outcome] += 1
        if result.outcome in FAULTS:
            _keep(cases[result.index], result, target, setup, out, seed)
    shutil.rmtree(out / "work", ignore_errors=True)
    return counts


def _keep(case: Case, result: Result, target: str, setup: Path, out: Path, seed: int) -> None:
    """Write a fault down, with the spoilt file."""
    _, spoilt = spoil(case, setup, out / "work/kept")
    kept = out / f"{target.replace(' ', '-')}-{case.index}"
    kept.mkdir(parents=True, exist_ok=True)
    shutil.copy(spoilt, kept / spoilt.name)
    row = {
        "again": f"{target}:{case.index}",
        "seed": seed,
        "entry": case.entry.name,
        "reader": case.entry.reader.__name__,
    }
    with open(out / "faults.jsonl", "a") as file:
        file.write(json.dumps({**row, "outcome": result.outcome, "message": result.message}) + "\n")


def table(counts: dict[str, Counter[Outcome]]) -> str:
    """Targets by outcomes; right ones before the bar, faults behind it."""
    width = max(map(len, counts), default=0)
    heads = "".join(f"{'| ' if outcome == FAULTS[0] else ''}{outcome:>11}" for outcome in Outcome)
    rows = [
        "".join(f"{'| ' if outcome == FAULTS[0] else ''}{count[outcome]:>11}" for outcome in Outcome)
        for count in counts.values()
    ]
    return "\n".join(
        [f"{'':{width}}{heads}", *(f"{name:{width}}{row}" for name, row in zip(counts, rows, strict=True))]
    )


def again(name: str, seed: int, setup: Path, out: Path) -> None:
    """Read one case's file in this process, so that its error is seen whole."""
    target, _, index = name.rpartition(":")
    case = cases_of(target, targets()[target], setup, 10 * int(index) + 10, seed)[int(index)]
    copy, spoilt = spoil(case, setup, out / "again")
    print(f"{spoilt}, read by {case.entry.reader.__module__}.{case.entry.reader.__name__}")
    os.chdir(out / "again")
    case.entry.reader(copy)
    print("accepted")


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 1 when there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cases", type=int, default=20_000, help="cases per target (default 20000); of engines, a tenth"
    )
    parser.add_argument("--targets", nargs="*", help="some targets (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="another seed spoils otherwise (default 0)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument(
        "--out", type=Path, default=Path("data/runs/fuzz"), help="where faults are kept (default data/runs/fuzz)"
    )
    parser.add_argument("--again", help="TARGET:INDEX of one case to read again")
    parser.add_argument("--setup", type=Path, help="where the tiny setup is, or is made (default OUT/setup)")
    given = parser.parse_args(argv)
    out = given.out.resolve()
    setup = seed_files.make((given.setup or out / "setup").resolve())
    if given.again:
        again(given.again, given.seed, setup, out)
        return 0
    (out / "faults.jsonl").unlink(missing_ok=True)
    chosen = {target: entries for target, entries in targets().items() if target in (given.targets or targets())}
    wrong = untouched([entry for entries in chosen.values() for entry in entries], setup, out / "work")
    if wrong:
        raise SystemExit("\n".join(["refused although nothing was spoilt:", *wrong]))
    counts = {}
    for target, entries in chosen.items():
        counts[target] = try_target(target, entries, setup, out, given.cases, given.seed, given.workers)
        print(table(counts).splitlines()[-1], file=sys.stderr)
    print(table(counts))
    write_json(out / "outcomes.json", counts)
    return int(any(count[outcome] for count in counts.values() for outcome in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
