"""Studies: running a sweep, reporting it; the papers' studies."""

from collections.abc import Sequence
from pathlib import Path

from boardgame_sae.cli.flags import Device, Output, Several, StudyInput, Workers, named, parse, say, take, verb
from boardgame_sae.config import Natural, config, from_mapping, read_yaml


@config
class ReportInput:
    """What a report shows."""

    runs: Several
    """Any mix of sweeps, packed testbeds, folders of scores, and names of shipped testbeds or of their SAEs."""
    n_detailed: Natural = 6
    """SAEs per testbed, one's own and the best, whose latents get histograms, boards and moves on the page. Each takes
    about 2 seconds of a core on othello6-tiny, and 2 MB beside the page; give a number above all SAEs for all."""


@config
class StudyChoice:
    """Which study is run."""

    name: str
    """One of the studies listed above. Its config is that of --config, by default experiments/NAME/study.yaml."""
    testbed: str | None = None
    """Folder of a testbed, or the name of a shipped one (default: the config's)."""

    @property
    def changes(self) -> dict[str, str]:
        """The fields of the study's config that flags set."""
        return {} if self.testbed is None else {"testbed": self.testbed}


@config
class Copies:
    """Where a study's tables are copied to."""

    results: str | None = None
    """Folder for a copy of the tables and the figure."""


@verb("sweep", 90, "experiments/demo/study.yaml --workers 2")
def sweep(argv: Sequence[str]) -> Path:
    """Run a whole study from a YAML file."""
    source, output, workers, device = parse("sweep", named(argv, "--study"), StudyInput, Output, Workers, Device)

    from boardgame_sae.files import read_json
    from boardgame_sae.model.legality import legality_text
    from boardgame_sae.pipeline.study_folder import SWEEP_FILE
    from boardgame_sae.pipeline.sweep import sweep_config, sweep_run

    cfg = sweep_config(read_yaml(source.study), source.study)
    folder = sweep_run(cfg, out=output.out, workers=workers.workers, device=device.device)
    say(legality_text(read_json(folder / SWEEP_FILE)["model"]))
    return folder


@verb("report", 130, "othello6-tiny data/runs/scores/MINE")
def report(argv: Sequence[str]) -> Path:
    """Make tables, figures and the explorer page of anything that was scored."""
    source, output, device = parse("report", named(argv, "--runs"), ReportInput, Output, Device)

    from boardgame_sae.report.run import make_report

    folder = make_report(source.runs, out=output.out, device=device.device, n_detailed=source.n_detailed)
    say((folder / "table.md").read_text())
    say(f"open {folder / 'index.html'}")
    return folder


@verb("study", 95, "finetune")
def study(argv: Sequence[str]) -> Path:
    """Run one of the papers' studies: a table and a figure. --config FILE.yaml says on what, and how long."""
    from boardgame_sae.studies.study import find_study, studies, study_run

    listed = "\n".join(["Studies:", *(f"  {name:12}{each.summary}" for name, each in studies().items())])
    path, words = take(named(argv, "--name"), "--config")
    choice, output, copies, device = parse("study", words, StudyChoice, Output, Copies, Device, more=listed)
    chosen = find_study(choice.name)
    path = path or f"experiments/{choice.name}/study.yaml"
    cfg = from_mapping(chosen.config, {**read_yaml(path), **choice.changes}, path)
    folder = study_run(choice.name, cfg, out=output.out, copy_to=copies.results, device=device.device)
    say((folder / "table.md").read_text())
    return folder
