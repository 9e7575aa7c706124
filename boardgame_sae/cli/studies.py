"""Studies: running a sweep, reporting it; the papers' studies."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from boardgame_sae.cli.flags import (
    Device,
    Output,
    Several,
    StudyInput,
    Tracking,
    Workers,
    listed_trackers,
    named,
    parse,
    say,
    take,
    verb,
)
from boardgame_sae.config import Natural, config, from_mapping, read_yaml


@config
class ReportInput:
    """What a report shows."""

    runs: Several
    """Any mix of sweeps, packed testbeds, folders and files of scores, and names of shipped testbeds or their SAEs."""
    n_detailed: Natural = 6
    """SAEs per testbed, one's own and the best, whose latents get histograms, boards and moves on the page. Each takes
    about 2 seconds of a core on othello6-tiny, and 2 MB beside the page; give a number above all SAEs for all."""


@config
class ResultsInput:
    """What is put into one file."""

    action: Literal["table", "upload-ready"]
    """table: a row for each subject and a column for each number. upload-ready: all scores and their configuration,
    which others give as a source."""
    sources: Several
    """Any mix of sweeps, packed testbeds, folders and files of scores, and names of shipped testbeds or their SAEs."""
    out: str
    """File to write: table.csv or table.parquet; upload-ready: scores.parquet."""
    sums: bool = True
    """upload-ready: also what `compare` and pooled seeds are made of, most of the file."""


@config
class StudyChoice:
    """Which study is run."""

    name: str
    """One of the studies listed above. Its config is that of --config, by default experiments/NAME/study.yaml, or
    the study's own defaults where there is no such file."""
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


@config
class SweepChoice:
    """How much of a study is run."""

    part: str | None = None
    """One of several parts of the SAEs and scores, `3/8`: the third of eight, as a task of a job array runs it. Without
    it all is done that is missing, and the folder that lists all runs is written."""
    dry_run: bool = False
    """Say what would be done, how much, how long and how large, and neither do nor write it."""


@verb("sweep", 90, "experiments/demo/study.yaml --workers 2")
def sweep(argv: Sequence[str]) -> Path | str:
    """Run a whole study from a YAML file, here or on a cluster, or what is missing of it."""
    from boardgame_sae.pipeline.engines.engine import Engine

    groups = (StudyInput, SweepChoice, Output, Workers, Engine, Device, Tracking)
    parsed = parse("sweep", named(argv, "--study"), *groups, more=listed_trackers())
    source, choice, output, workers, engine, device, tracking = parsed
    engine.check()

    from boardgame_sae.files import read_json
    from boardgame_sae.model.legality import legality_text
    from boardgame_sae.pipeline.dry_run import forecast_text
    from boardgame_sae.pipeline.plan import Part
    from boardgame_sae.pipeline.study_folder import SWEEP_FILE
    from boardgame_sae.pipeline.sweep import sweep_config, sweep_part, sweep_run

    cfg = sweep_config(read_yaml(source.study), source.study)
    part = None if choice.part is None else Part.parse(choice.part)
    how = {"workers": workers.workers, "device": device.device, "engine": engine}
    if choice.dry_run:
        return forecast_text(cfg, part, **how)
    how["tracker"] = tracking.tracker
    if part is not None:
        n_groups = sweep_part(cfg, part, **how)
        return f"part {choice.part} is done, {n_groups} groups; after all parts, run the same command without --part"
    folder = sweep_run(cfg, out=output.out, **how)
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


@verb("results", 135, "table othello6-tiny data/runs/scores/MINE --out table.csv")
def results(argv: Sequence[str]) -> Path:
    """Put all scores into one file: a table, or, to report and compare elsewhere, with their configuration."""
    action, sources = list(argv[:1]), list(argv[1:])
    words = ["--action", *action, *named(sources, "--sources")] if action and action[0][0] != "-" else sources
    (given,) = parse("results", words or action, ResultsInput)
    if given.action == "table":
        from boardgame_sae.report.results import write_results

        n_rows, n_columns = write_results(given.sources, out=given.out)
        say(f"{n_rows} rows of {n_columns} columns")
        return Path(given.out)

    from boardgame_sae.pipeline.upload import upload_ready

    written = upload_ready(given.sources, out=given.out, sums=given.sums)
    say(f"{written.n_subjects} subjects of {', '.join(written.studies)}, {written.path.stat().st_size / 2**20:.2f} MiB")
    return written.path


@verb("study", 95, "finetune")
def study(argv: Sequence[str]) -> Path:
    """Run one of the papers' studies: a table and a figure. --config FILE.yaml says on what, and how long."""
    from boardgame_sae.registry import declared

    known = sorted(declared("boardgame_sae.studies", "study"))
    listed = "\n".join(["Studies:", *(f"  {each.argument:16}{each.summary}" for each in known)])
    path, words = take(named(argv, "--name"), "--config")
    choice, output, copies, device = parse("study", words, StudyChoice, Output, Copies, Device, more=listed)

    from boardgame_sae.studies.study import find_study, study_run

    chosen = find_study(choice.name)
    usual = f"experiments/{choice.name}/study.yaml"
    if path is None and not Path(usual).exists():  # installed, or run elsewhere than in a clone
        say(f"{usual} is not here: the study runs as it does by default, on less; --config FILE.yaml says on what")
        fields = {}
    else:
        fields = read_yaml(path or usual)
    cfg = from_mapping(chosen.config, {**fields, **choice.changes}, path or usual)
    folder = study_run(choice.name, cfg, out=output.out, copy_to=copies.results, device=device.device)
    say((folder / "table.md").read_text())
    return folder
