"""What a study is: a paper's question asked of a testbed, from one config to one table and one figure.

A new study is one new module in this folder: a config class, and under `@study` a function that says which rows its
table has and how each is computed. Its run folder holds

    metrics.jsonl           each row, as it is computed; a killed study goes on after the last one
    table.md, table.csv     the rows
    figure.png              what they say
    sweep.json              where a study scores SAEs as a sweep does: their runs, for `boardgame-sae report`

and, where a copy is asked for, `results/` beside the study's YAML holds the tables and the figure.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from matplotlib import rc_context
from matplotlib.figure import Figure
from pydantic import Field

from boardgame_sae.config import Seed, config, to_mapping
from boardgame_sae.files import write_bytes, write_json
from boardgame_sae.pipeline.study_folder import SWEEP_FILE
from boardgame_sae.registry import Registry
from boardgame_sae.report.figures.style import STYLE
from boardgame_sae.report.markdown import escaped, shown, table
from boardgame_sae.runs import Run, progress
from boardgame_sae.saes.finetuning.ways.addition import sae_content
from boardgame_sae.saes.load import load_sae
from boardgame_sae.testbeds.shipped import find_testbed
from boardgame_sae.testbeds.testbed import Testbed, load_testbed

Row: TypeAlias = dict[str, Any]
"""What was found about one thing: plain data by column. A number may come with `<column>_low` and `<column>_high`."""
Seeds: TypeAlias = Annotated[tuple[Seed, ...], Field(min_length=1)]
"""Seeds of a study: each of its numbers is their mean, with an interval over games and seeds."""
TABLES = ("table.md", "table.csv", "figure.png")


@config
class StudyConfig:
    """What every study has."""

    testbed: str = "othello6-tiny"
    """Folder of a testbed, or the name of a shipped one."""


@dataclass(frozen=True)
class Setting:
    """Where a study runs."""

    folder: Path
    """The testbed's folder."""
    testbed: Testbed
    device: str


@dataclass(frozen=True)
class Plan:
    """A study's rows, still to be computed, and how they are shown."""

    rows: Sequence[Callable[[], Row]]
    """Computes each row; cheap to make."""
    columns: Mapping[str, str]
    """Titles of the columns that the Markdown table shows, in order; the CSV has all plain columns."""
    figure: Callable[[Sequence[Row]], Figure]
    totals: Callable[[Sequence[Row]], Sequence[Row]] = lambda _: ()
    """Rows made of all the others, which the tables show below them."""
    listing: Callable[[], Mapping[str, Any]] | None = None
    """The runs that the rows are of, as `ListedRuns` but for the name; called once the rows are there."""


@dataclass(frozen=True)
class Study:
    """One study."""

    name: str
    config: type[StudyConfig]
    plan: Callable[[Any, Setting], Plan]
    saes: Callable[[Any], Sequence[str]]
    """The saved SAEs that a config names: the study's run belongs to what they hold."""
    version: int = 1
    """Counted up when the same config comes to mean other rows, so that runs from before are not taken for these."""

    @property
    def summary(self) -> str:
        """What it asks, in a line."""
        return (self.plan.__doc__ or "").strip().partition("\n")[0]


_STUDIES: Registry[Study] = Registry("study", "boardgame_sae.studies")


def _no_saes(cfg: Any) -> Sequence[str]:  # noqa: ARG001 (a study that names saved SAEs looks there)
    return ()


def study(
    name: str, config_class: type[StudyConfig], *, saes: Callable[[Any], Sequence[str]] = _no_saes, version: int = 1
) -> Callable[[Callable[[Any, Setting], Plan]], Callable[[Any, Setting], Plan]]:
    """Register a function as a study; see `Study`. Raises ValueError when the name is taken."""

    def register(plan: Callable[[Any, Setting], Plan]) -> Callable[[Any, Setting], Plan]:
        _STUDIES.add(name, Study(name, config_class, plan, saes, version))
        return plan

    return register


def studies() -> dict[str, Study]:
    """All studies by name."""
    return _STUDIES.all()


def find_study(name: str) -> Study:
    """The study of a name. Raises ConfigError with the closest names."""
    return _STUDIES.find(name)


def study_run(
    name: str,
    cfg: StudyConfig,
    *,
    out: str | Path | None = None,
    copy_to: str | Path | None = None,
    device: str = "auto",
) -> Path:
    """Run a study into a folder and return the folder; a finished one is reused, a killed one resumed.

    copy_to: folder for a copy of the tables and the figure. Raises ConfigError for an unknown study, and as the stages
    do that it runs.
    """
    chosen = find_study(name)
    folder = find_testbed(cfg.testbed)
    setting = Setting(folder, load_testbed(folder, device), device)
    plan = chosen.plan(cfg, setting)
    saes = {f"sae {sae}": sae_content(load_sae(sae)) for sae in chosen.saes(cfg)}
    version = {"version": str(chosen.version)} if chosen.version > 1 else {}
    inputs = {"testbed": setting.testbed.hash, **saes, **version}
    with Run("study", name, to_mapping(cfg), inputs, out, content=setting.testbed.made_of) as run:
        if not run.done:
            rows = _computed(run, plan)
            write_tables(run.folder, rows, plan)
            if plan.listing is not None:
                write_json(run / SWEEP_FILE, {"name": name, **plan.listing()})
            run.finish(n_rows=len(rows))
        if copy_to is not None:
            for file in TABLES:
                write_bytes(Path(copy_to) / file, (run / file).read_bytes())
        return run.folder


def _computed(run: Run, plan: Plan) -> list[Row]:
    saved = run.load_state()
    rows: list[Row] = saved[1]["rows"] if saved else []
    with progress(len(plan.rows), run.name, "rows", initial=len(rows)) as bar:
        for compute in plan.rows[len(rows) :]:
            rows.append(compute())
            run.log(**rows[-1])
            run.save_state({}, {"rows": rows})
            bar.update(1)
    return rows


def write_tables(folder: Path, rows: Sequence[Row], plan: Plan) -> None:
    """Write the tables and the figure of a study's rows; the same rows always give the same bytes."""
    every = [*rows, *plan.totals(rows)]
    lines = [[_cell(row, column) for column in plan.columns] for row in every]
    write_bytes(folder / "table.md", table(list(plan.columns.values()), lines).encode())
    plain = [{name: value for name, value in row.items() if not isinstance(value, list | dict)} for row in every]
    own = {name for row in plain for name in row}
    columns = [*filter(own.__contains__, plan.columns), *sorted(own - set(plan.columns))]  # rows of a state are sorted
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain)
    write_bytes(folder / "table.csv", text.getvalue().encode())
    picture = io.BytesIO()
    with rc_context(STYLE):
        plan.figure(rows).savefig(picture, format="png", metadata={"Software": None})
    write_bytes(folder / "figure.png", picture.getvalue())


def _cell(row: Row, column: str) -> str:
    value, low, high = row.get(column), row.get(f"{column}_low"), row.get(f"{column}_high")
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, int):
        return str(value)
    return shown(value) + (f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else "")
