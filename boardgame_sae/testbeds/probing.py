"""The probes that SAEs are compared with: one for each property of a testbed that has a supported class."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from boardgame_sae.probes.data import KEPT_BYTES, BoardReader
from boardgame_sae.probes.fit import ProbeConfig, probe_run
from boardgame_sae.testbeds.testbed import Testbed


def fit_missing_probes(testbed: Testbed, probes: ProbeConfig) -> Iterator[tuple[str, Path]]:
    """Fit (or reuse) the probes that a testbed lacks at its hook point; yields each property and its probe's folder.

    probes: the settings, except for the property, hook points and positions, which are the testbed's.
    Raises ValueError, HookError and RunError as `probe_run` does.
    """
    shared = replace(probes, hook_names=(testbed.hook_name,), positions=testbed.read_at, min_ply=0)
    reading = BoardReader(testbed.model, testbed.corpus, shared.hook_names, testbed.read_at, KEPT_BYTES)
    for columns in testbed.columns:
        if columns.name not in testbed.probes and testbed.supported_P[columns.start : columns.stop].any():
            cfg = replace(shared, property=columns.name)
            yield columns.name, probe_run(testbed.model, testbed.corpus, cfg, reading=reading)
