"""Is this machine ready for the workshop?

At its top it imports nothing that may be missing: the package itself imports what it offers when it is first used.
"""

import importlib.util
import os
import platform
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import boardgame_sae as bgs

TESTBED = "othello6-tiny"
PYTHON = (3, 11)
MEMORY_GB = 4
"""What the lessons need at most is 2 GB; the rest is for the system and a browser."""
N_GAMES, USUAL_SECONDS, SLOW_SECONDS = 64, 0.1, 1.0
"""Games of the forward pass that is timed, what it takes on two cores of a laptop, and when the check warns."""
PACKAGES = ("torch", "numpy", "numba", "h5py", "plotly", "marimo")
EXTRA = 'pip install "boardgame-sae[workshop]", or in a clone make workshop'
WINDOWS = "should something fail here: in PowerShell run `wsl --install`, open the Ubuntu window and install there"


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    ready: bool
    says: str
    """What was found and, where it is not ready, what to do."""


def examine() -> Iterator[Finding]:
    """Look at one thing after another; those that need what is missing are left out."""
    yield _python()
    yield _system()
    yield _memory()
    packages = [_package(name) for name in PACKAGES]
    yield from packages
    if all(finding.ready for finding in packages):
        yield _testbed()


def _python() -> Finding:
    ready = sys.version_info >= PYTHON
    wanted = "" if ready else f"; install Python {PYTHON[0]}.{PYTHON[1]} or newer"
    return Finding("Python", ready, f"{platform.python_version()}{wanted}")


def _system() -> Finding:
    here = f"{platform.system()} {platform.machine()}"
    return Finding("system", True, f"{here}; {WINDOWS}" if sys.platform == "win32" else here)


def _memory() -> Finding:
    """Total memory, where the system says it (Linux, macOS)."""
    try:
        gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return Finding("memory", True, f"unknown; {MEMORY_GB} GB are enough")
    ready = gigabytes >= MEMORY_GB
    return Finding("memory", ready, f"{gigabytes:.1f} GB{'' if ready else f'; {MEMORY_GB} GB are needed'}")


def _package(name: str) -> Finding:
    if importlib.util.find_spec(name) is None:
        return Finding(name, False, f"is missing; run {EXTRA}")
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, True, "there, of unknown version")


def _testbed() -> Finding:
    """Open the testbed of the lessons and time its GPT on whole games."""
    try:
        testbed = bgs.load_testbed(TESTBED, device="cpu")
    except ImportError as error:
        return Finding("testbed", False, f"{error}; run {EXTRA}")
    except (OSError, RuntimeError, ValueError) as error:
        return Finding("testbed", False, f"{error}; install the package again, or clone the repository whole")
    corpus, n_ctx = testbed.corpus, testbed.model.gpt.cfg.n_ctx
    (text,) = corpus.game.texts(corpus.record(corpus.games("test")[:1]))
    games = ["".join(corpus.game.split(text)[:n_ctx])] * N_GAMES
    testbed.run_with_hooks(games)  # the first pass allocates
    began = time.perf_counter()
    testbed.run_with_hooks(games)
    seconds = time.perf_counter() - began
    says = f"{TESTBED} opens; its GPT reads {N_GAMES} games in {seconds:.2f} s"
    slow = (
        f", which is slow: close other programs, or expect lessons to take {seconds / USUAL_SECONDS:.0f} times as long"
    )
    return Finding("testbed", True, says + (slow if seconds > SLOW_SECONDS else ""))
