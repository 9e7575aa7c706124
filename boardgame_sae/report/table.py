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
from boardgame_sae.report.seeds import pool, siblings
from boardgame_sae.runs import RunError, read_json, writing

SWEEP_FILE = "sweep.json"
PARQUET_FILE, CSV_FILE = "table.parquet", "table.csv"
BASELINES = ("probe", "neurons", "residual")
SETTINGS = ("k", "target_l0", "sparsity_coefficient")
"""Fields of an SAE's config that set how sparse it is."""
TEXTS = ("sweep", "hook_name", "name", "kind", "architecture", "setting", "pooled_as", "headline")
"""Columns of words; all others hold numbers."""
KINDS = {
    "sae": "SAE",
    "random_gpt_sae": "SAE of a random-weights GPT",
    "sparse_probe": "linear probe of the same sparsity",
    "probe": "linear probe",
    "neurons": "MLP neurons",
    "residual": "residual channels",
}
"""What each kind of row is called, in the order of tables."""
GROUPS = {"low": "low level", "high": "high level"}
PARTS = {
    "low": "lower end of the interval",
    "high": "upper end of the interval",
    "above_chance": "above chance",
    "always_on": "of a latent that is always on",
    "in_sample": "in sample",
    "reference": "as published code computes it",
    "precision": "precision",
    "recall": "recall",
    "threshold": "threshold",
    "random": "of random directions",
    "means": "by mean differences",
    "means_random": "of random directions, by mean differences",
    "encoder": "by encoder columns",
}
"""What stands beside a score, as the titles of columns say it."""
TITLES = {
    "_explained_variance": "Explained variance",
    "_frac_alive": "Share of latents alive",
}
"""Parts that are known by names of their own."""
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
    """Score runs of all SAEs, then those of the probes of the same sparsity, then those of the baselines."""

    @cached_property
    def scored(self) -> tuple[Scores, ...]:
        """The scores in each of `score_folders`. Raises RunError when they lack what scores have today."""
        return tuple(map(_read_scores, self.score_folders))

    @cached_property
    def pooled(self) -> tuple[Scores, ...]:
        """SAEs that differ only in their seed, pooled."""
        return tuple(pool([self.score_folders[place] for place in family]) for family in siblings(self.scored))


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
        raise RunError(
            f"{folder / SWEEP_FILE}: has no {error}; if it is a sweep's, an older version made it: run the sweep again"
        ) from error


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
    for place in (sweep_folder / path, path, root / path, root.joinpath(*path.parts[-2:])):
        if place.is_dir():
            return place
    raise RunError(
        f"{written}: listed in {sweep_folder / SWEEP_FILE} but not there, nor below {root}; run the sweep again, it "
        "makes what is missing"
    )


def _bed(listed: dict[str, Any], sweep_folder: Path) -> Bed:
    def found(name: str) -> tuple[Path, ...]:
        return tuple(find_run(path, sweep_folder) for path in listed[name])

    baselines = find_run(listed["baselines"], sweep_folder)
    return Bed(
        hook_name=listed["hook_name"],
        folder=find_run(listed["testbed"], sweep_folder),
        saes=found("saes"),
        random_saes=found("random_saes"),
        score_folders=(*found("scores"), *found("ceilings"), *(baselines / kind for kind in BASELINES)),
    )


def _read_scores(folder: Path) -> Scores:
    """The scores in a folder. Raises RunError where an older version made them."""
    found = Scores.from_json(folder / SCORES_FILE)
    lacking = ["subject: l0"] if "l0" not in found.subject else []
    for name, value in found.items():
        if "by_property" in value.details:
            lacking += [f"{name}: {key}" for key in ("groups", "layout") if key not in value.details]
    if lacking:
        raise RunError(f"{folder / SCORES_FILE}: has no '{lacking[0]}'; an older version made it: score it again")
    return found


def collect(sweep_folders: Sequence[str | Path]) -> list[Row]:
    """One row for each scored subject of some sweeps: what it is, then every number of every score as a flat column.

    A score `s` gives the columns `s`, `s_low` and `s_high` (its interval) and `s_<part>`; what it says of a property
    beside the headline one stands under `s.<property>`, with the same endings; `s.low` and `s.high` are the means over
    the low- and the high-level properties (`s_low` and `s_high` the ends of an interval). After a testbed's subjects
    come its pooled SAEs: `n_seeds` says of how many; SAEs that are in such a row name it in `pooled_as`.
    Raises RunError naming a folder or file that is missing or damaged.
    """
    return rows_of(read_studies(sweep_folders))


def rows_of(studies: Sequence[Study]) -> list[Row]:
    """`collect`, of studies already open. Every row has every column; None where a number does not exist."""
    rows = [_row(study, bed, found) for study in studies for bed in study.beds for found in (*bed.scored, *bed.pooled)]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return [{column: row.get(column) for column in columns} for row in rows]


def _row(study: Study, bed: Bed, found: Scores) -> Row:
    subject = found.subject
    sae = subject.get("sae", {})
    pooled_as = (each.subject["name"] for each in bed.pooled if subject["name"] in each.subject["members"])
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
        "n_seeds": len(subject.get("seeds", [0])) if sae else None,
        "pooled_as": next(pooled_as, None),
        "l0": _l0(found),
        "headline": _headline(found),
    }
    known = [name for name in scores() if name in found]
    for name in [*known, *(name for name in found if name not in known)]:
        groups = found[name].details.get("groups", {})
        parts = {part: number for part, number in found[name].parts.items() if part not in groups}
        row |= _numbers(name, {**found[name].plain(), "parts": parts})
        for group, value in sorted(groups.items()):
            beside = {key: number for key, number in value.items() if isinstance(number, float) and key != "value"}
            row |= _numbers(f"{name}.{group}", {**value, "parts": beside})
        by_property = found[name].details.get("by_property", {})
        for prop, value in by_property.items():
            if prop != row["headline"]:
                row.pop(f"{name}_{prop}", None)
                row |= _numbers(f"{name}.{prop}", value)
    return row


def _l0(found: Scores) -> float | None:
    """Mean number of latents on; none is shown of what is not meant to be sparse.

    Of a sparse probe it is that of the SAEs it is the ceiling of: so many outputs are on for each property.
    """
    if found.subject["kind"] == "sparse_probe":
        return float(found.subject["k"])
    if found.subject["kind"] in BASELINES:
        return None
    return found["core"].parts["l0"] if "core" in found else found.subject["l0"]


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
    """What an SAE is made of, `topk, 256 latents, k = 8`, and which or how many seeds where several are pooled.

    A baseline's name.
    """
    if row["architecture"] is None:
        return str(row["name"])
    words = [row["architecture"], f"{row['n_latents']} latents", row["setting"]]
    words += [f"{row['n_seeds']} seeds"] if (row.get("n_seeds") or 1) > 1 else []
    words += [f"seed {row['seed']}"] if row.get("pooled_as") else []
    return ", ".join(word for word in words if word)


def kind_title(kind: str) -> str:
    """What a kind of row is called."""
    return KINDS.get(kind, kind.replace("_", " "))


def column_titles(rows: Sequence[Row]) -> dict[str, str]:
    """A title for each column of numbers that a score gave: `Coverage, high level: above chance`."""
    found, known = {}, sorted(scores().values(), key=lambda score: -len(score.name))
    for column in rows[0] if rows else ():
        score = next((score for score in known if column == score.name or column.startswith(_starts(score))), None)
        if score is not None:
            found[column] = _title(column.removeprefix(score.name), score)
    return found


def _starts(score: Score) -> tuple[str, str]:
    return f"{score.name}_", f"{score.name}."


def _title(rest: str, score: Score) -> str:
    """rest: what follows the score's name: `.high_above_chance`."""
    if not rest or rest in TITLES:
        return TITLES.get(rest, score.title)
    if rest[0] == "_":
        return f"{_words(score.name).capitalize()}: {PARTS.get(rest[1:], _words(rest[1:]))}"
    part = max((part for part in PARTS if rest.endswith(f"_{part}")), key=len, default="")
    about = rest[1:].removesuffix(f"_{part}") if part else rest[1:]
    return f"{score.title}, {GROUPS.get(about, _words(about))}" + (f": {PARTS[part]}" if part else "")


def _words(name: str) -> str:
    return name.replace("_", " ")


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
