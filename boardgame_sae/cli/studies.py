"""Studies: running a sweep, reporting it."""

from collections.abc import Sequence
from pathlib import Path

from boardgame_sae.cli.flags import Device, Output, Several, StudyInput, Workers, named, parse, say, verb
from boardgame_sae.config import config, read_yaml


@config
class ReportInput:
    """What a report shows."""

    runs: Several
    """Folders of sweeps, or packed testbeds, by folder or by the name of a shipped one."""


@verb("sweep", 90, "experiments/demo/study.yaml --workers 2")
def sweep(argv: Sequence[str]) -> Path:
    """Run a whole study from a YAML file."""
    from boardgame_sae.files import read_json
    from boardgame_sae.model.legality import legality_text
    from boardgame_sae.pipeline.study_folder import SWEEP_FILE
    from boardgame_sae.pipeline.sweep import sweep_config, sweep_run

    source, output, workers, device = parse("sweep", named(argv, "--study"), StudyInput, Output, Workers, Device)
    cfg = sweep_config(read_yaml(source.study), source.study)
    folder = sweep_run(cfg, out=output.out, workers=workers.workers, device=device.device)
    say(legality_text(read_json(folder / SWEEP_FILE)["model"]))
    return folder


@verb("report", 130, "SWEEP_DIR ...")
def report(argv: Sequence[str]) -> Path:
    """Make tables, figures and the explorer page of some sweeps."""
    from boardgame_sae.report.explorer.page import report_run
    from boardgame_sae.testbeds.shipped import find_testbed

    source, output = parse("report", named(argv, "--runs"), ReportInput, Output)
    folder = report_run([find_testbed(name) for name in source.runs], out=output.out)
    say((folder / "table.md").read_text())
    say(f"open {folder / 'index.html'}")
    return folder
