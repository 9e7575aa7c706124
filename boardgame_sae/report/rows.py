"""Every scores.json of some studies in one table: a row for each SAE and each baseline beside it.

A sweep's folder lists the runs of a study. Paths in it may be absolute, or relative to the working directory; a study
that was moved is found again beside its own sweep folder, as `<runs root>/<kind>/<run>`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from boardgame_sae.files import writing
from boardgame_sae.metrics.baselines.registry import has_l0
from boardgame_sae.metrics.results import Scores
from boardgame_sae.metrics.score import Score, scores
from boardgame_sae.pipeline.study_folder import Bed, Study, read_studies

PARQUET_FILE, CSV_FILE = "table.parquet", "table.csv"
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
    if "k" in found.subject:
        return float(found.subject["k"])
    if not has_l0(found.subject["kind"]):
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
