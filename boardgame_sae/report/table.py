"""Every scores.json of some studies in one table: a row for each SAE and each baseline beside it.

A sweep's folder lists the runs of a study. Paths in it may be absolute, or relative to the working directory; a study
that was moved is found again beside its own sweep folder, as `<runs root>/<kind>/<run>`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb

from boardgame_sae.metrics.score import SCORES_FILE, Score, Scores, scores
from boardgame_sae.runs import RunError, read_json, writing

SWEEP_FILE = "sweep.json"
PARQUET_FILE, CSV_FILE, MARKDOWN_FILE = "table.parquet", "table.csv", "table.md"
BASELINES = ("probe", "neurons", "residual")
SETTINGS = ("k", "target_l0", "sparsity_coefficient")
"""Fields of an SAE's config that set how sparse it is."""
TEXTS = ("sweep", "hook_name", "name", "kind", "architecture", "setting", "headline")
"""Columns of words; all others hold numbers."""
KINDS = {
    "sae": "SAE",
    "random_gpt_sae": "SAE of a random-weights GPT",
    "probe": "linear probe",
    "sparse_probe": "linear probe of the same sparsity",
    "neurons": "MLP neurons",
    "residual": "residual channels",
}
"""What each kind of row is called."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Bed:
    """One testbed of a study, and what was scored on it."""

    hook_name: str
    folder: Path
    """The testbed's run."""
    saes: tuple[Path, ...]
    """SAE runs on the trained GPT."""
    random_saes: tuple[Path, ...]
    """SAE runs on the random-weights GPT."""
    score_folders: tuple[Path, ...]
    """Score runs of all SAEs, then those of the baselines."""

    @cached_property
    def scored(self) -> tuple[Scores, ...]:
        """The scores in each of `score_folders`."""
        return tuple(Scores.from_json(folder / SCORES_FILE) for folder in self.score_folders)


@dataclass(frozen=True)
class Study:
    """The runs of one sweep, found on disk."""

    name: str
    label: str
    """The name; where two studies share it, their folders' names."""
    folder: Path
    corpus: Path
    model: Path
    probes: tuple[Path, ...]
    """Probe runs on the trained GPT, the headline first."""
    random_probes: tuple[Path, ...]
    """Those on the random-weights GPT, in the same order."""
    beds: tuple[Bed, ...]


def read_study(folder: str | Path) -> Study:
    """Open the folder of a finished sweep. Raises RunError naming what is not there."""
    folder = Path(folder)
    listed = read_json(folder / SWEEP_FILE)
    try:
        return Study(
            name=listed["name"],
            label=listed["name"],
            folder=folder,
            corpus=find_run(listed["corpus"], folder),
            model=find_run(listed["model"], folder),
            probes=tuple(find_run(path, folder) for path in listed.get("probes", [])),
            random_probes=tuple(find_run(path, folder) for path in listed.get("random_probes", [])),
            beds=tuple(_bed(bed, folder) for bed in listed.get("testbeds", [])),
        )
    except KeyError as error:
        raise RunError(f"{folder / SWEEP_FILE}: has no {error}; is it the list of a sweep's runs?") from error


def read_studies(folders: Sequence[str | Path]) -> list[Study]:
    """Open several sweeps, each once, with labels that differ. Raises RunError when there is none."""
    distinct = list({Path(folder).resolve(): folder for folder in folders}.values())
    if not distinct:
        raise RunError("no sweep to report on; give at least one sweep folder")
    studies = [read_study(folder) for folder in distinct]
    names = [study.name for study in studies]
    return [
        study if names.count(study.name) == 1 else Study(**{**vars(study), "label": Path(study.folder).resolve().name})
        for study in studies
    ]


def find_run(written: str, sweep_folder: Path) -> Path:
    """The folder that a sweep lists. Raises RunError naming it when it is nowhere."""
    path, root = Path(written), sweep_folder.resolve().parent.parent
    for place in (path, root / path, root.joinpath(*path.parts[-2:])):
        if place.is_dir():
            return place
    raise RunError(
        f"{written}: listed in {sweep_folder / SWEEP_FILE} but not there, nor below {root}; run the sweep again, it "
        "makes what is missing"
    )


def _bed(listed: dict[str, Any], sweep_folder: Path) -> Bed:
    def found(name: str) -> tuple[Path, ...]:
        return tuple(find_run(path, sweep_folder) for path in listed.get(name, []))

    baselines = find_run(listed["baselines"], sweep_folder)
    return Bed(
        hook_name=listed["hook_name"],
        folder=find_run(listed["testbed"], sweep_folder),
        saes=found("saes"),
        random_saes=found("random_saes"),
        score_folders=(*found("scores"), *found("ceilings"), *(baselines / kind for kind in BASELINES)),
    )


def collect(sweep_folders: Sequence[str | Path]) -> list[Row]:
    """One row for each scored subject of some sweeps: what it is, then every number of every score as a flat column.

    A score `s` gives the columns `s`, `s_low` and `s_high` (its interval) and `s_<part>`; what it says of a property
    beside the headline one stands under `s.<property>`, with the same endings; `s.high` is the mean over the high-level
    properties (`s_high` the upper end of an interval).
    Raises RunError naming a folder or file that is missing or damaged.
    """
    return rows_of(read_studies(sweep_folders))


def rows_of(studies: Sequence[Study]) -> list[Row]:
    """`collect`, of studies already open. Every row has every column; None where a number does not exist."""
    rows = [_row(study, bed, found) for study in studies for bed in study.beds for found in bed.scored]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return [{column: row.get(column) for column in columns} for row in rows]


def _row(study: Study, bed: Bed, found: Scores) -> Row:
    subject = found.subject
    sae = subject.get("sae", {})
    row: Row = {
        "sweep": study.label,
        "hook_name": bed.hook_name,
        "name": subject["name"],
        "kind": subject["kind"],
        "architecture": sae.get("architecture"),
        "n_latents": sae.get("n_latents"),
        "setting": setting(sae) or None,
        **{name: sae.get(name) for name in SETTINGS},
        "seed": sae.get("seed"),
        "l0": _l0(found),
        "headline": _headline(found),
    }
    known = [name for name in scores() if name in found]
    for name in [*known, *(name for name in found if name not in known)]:
        parts = dict(found[name].parts)
        for group, value in found[name].details.get("groups", {}).items():
            parts.pop(group, None)
            beside = {key: number for key, number in value.items() if isinstance(number, float) and key != "value"}
            row |= _numbers(f"{name}.{group}", {**value, "parts": beside})
        row |= _numbers(name, {**found[name].plain(), "parts": parts})
        by_property = found[name].details.get("by_property", {})
        for prop, value in by_property.items():
            if prop != row["headline"]:
                row.pop(f"{name}_{prop}", None)
                row |= _numbers(f"{name}.{prop}", value)
    return row


def _l0(found: Scores) -> float | None:
    """Mean number of latents on; none is shown of what is not meant to be sparse."""
    if "core" in found:
        return found["core"].parts["l0"]
    return found.subject.get("l0") if found.subject["kind"] not in BASELINES else None


def _headline(found: Scores) -> str:
    """The property that the scores' main numbers are about."""
    named = (found[name].details["headline"] for name in found if "headline" in found[name].details)
    return next(named, found.subject["testbed"]["properties"][0])


def _numbers(name: str, value: dict[str, Any]) -> Row:
    """A score's value, interval and parts as flat columns."""
    low, high = value["interval"] or (None, None)
    interval = {} if low is None else {f"{name}_low": low, f"{name}_high": high}
    parts = {f"{name}_{part}": number for part, number in value["parts"].items() if isinstance(number, int | float)}
    return {name: value["value"], **interval, **parts}


def setting(sae: Mapping[str, Any]) -> str:
    """How sparse an SAE's config makes it, in words: `k = 32`."""
    unused = {"l0_target": "sparsity_coefficient"}.get(sae.get("sparsity_loss", ""), "target_l0")
    return ", ".join(f"{name} = {sae[name]:g}" for name in SETTINGS if name in sae and name != unused)


def recipe(row: Mapping[str, Any]) -> str:
    """What an SAE is made of, `topk, 256 latents, k = 8`; a baseline's name."""
    if row["architecture"] is None:
        return str(row["name"])
    words = (row["architecture"], f"{row['n_latents']} latents", row["setting"])
    return ", ".join(word for word in words if word)


def kind_title(kind: str) -> str:
    """What a kind of row is called."""
    return KINDS.get(kind, kind.replace("_", " "))


def column_titles(rows: Sequence[Row]) -> dict[str, str]:
    """A title for each column of numbers that a score gave: `Coverage: above chance`."""
    titles: dict[str, str] = {}
    for score in sorted(scores().values(), key=lambda score: -len(score.name)):
        for column in rows[0] if rows else ():
            if column not in titles and (ending := _ending(column, score)) is not None:
                words = score.name.replace("_", " ").capitalize()
                titles[column] = f"{words}: {ending}" if ending else score.title
    return {column: titles[column] for column in (rows[0] if rows else ()) if column in titles}


def _ending(column: str, score: Score) -> str | None:
    rest = column.removeprefix(score.name)
    if len(rest) == len(column) or (rest and rest[0] not in "._"):
        return None
    return rest.replace("_", " ").replace(".", " ").strip()


def write_table(rows: Sequence[Row], folder: str | Path) -> tuple[Path, Path]:
    """Write rows as `table.parquet` and `table.csv`; the same rows always give the same bytes."""
    paths = Path(folder) / PARQUET_FILE, Path(folder) / CSV_FILE
    columns = list(rows[0]) if rows else ["sweep"]
    with duckdb.connect(":memory:", config={"threads": 1}) as database:
        kinds = ", ".join(f"{_quoted(column)} {_sql_type(column, rows)}" for column in columns)
        database.execute(f"CREATE TABLE report ({kinds})")
        if rows:
            marks = ", ".join("?" * len(columns))
            database.executemany(f"INSERT INTO report VALUES ({marks})", [[row[c] for c in columns] for row in rows])
        for path, form in zip(paths, ("FORMAT parquet", "FORMAT csv, HEADER"), strict=True):
            with writing(path) as temporary:
                database.execute(f"COPY report TO '{str(temporary).replace(chr(39), chr(39) * 2)}' ({form})")
    return paths


def _quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _sql_type(column: str, rows: Sequence[Row]) -> str:
    if column in TEXTS:
        return "VARCHAR"
    known = [row[column] for row in rows if row[column] is not None]
    return "BIGINT" if known and all(isinstance(value, int) for value in known) else "DOUBLE"


def markdown(rows: Sequence[Row]) -> str:
    """The main columns as a Markdown table, SAEs from the sparsest on, baselines after them.

    `high`: the plain mean over the high-level properties. Every property has its own columns in the other tables.
    """
    several = len({(row["sweep"], row["hook_name"]) for row in rows}) > 1
    heads = [*(("sweep", "hook point") if several else ()), "name", "kind", "L0", "loss recovered"]
    heads += ["explained variance", "alive", "coverage [95% interval]", "above chance", "coverage, high"]
    heads += ["reconstruction [95% interval]", "reconstruction, high"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "|".join(" --- " for _ in heads) + "|"]
    for row in sorted(rows, key=_order):
        cells = [row["sweep"], f"`{row['hook_name']}`"] if several else []
        cells += [recipe(row), kind_title(row["kind"]), _shown(row["l0"], 1)]
        cells += [_shown(row.get(c), 3) for c in ("core", "core_explained_variance", "core_frac_alive")]
        cells += [_with_interval(row, "coverage"), _shown(row.get("coverage_above_chance"), 3)]
        cells += [_shown(row.get("coverage.high"), 3), _with_interval(row, "board_reconstruction")]
        cells += [_shown(row.get("board_reconstruction.high"), 3)]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _order(row: Row) -> tuple[Any, ...]:
    """SAEs before their random-GPT twins before baselines; the sparsest first."""
    place = list(KINDS).index(row["kind"]) if row["kind"] in KINDS else len(KINDS)
    return row["sweep"], row["hook_name"], place, row["architecture"] or "", row["l0"] or 0.0, row["name"]


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _with_interval(row: Row, column: str) -> str:
    value, low, high = (row.get(f"{column}{end}") for end in ("", "_low", "_high"))
    return _shown(value, 3) + (f" [{low:.3f}, {high:.3f}]" if low is not None else "")
