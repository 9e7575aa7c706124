"""`results`: one table of everything that was scored, as a DuckDB relation."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import duckdb

from boardgame_sae.files import writing
from boardgame_sae.pipeline.sources import Source
from boardgame_sae.report.rows import TEXTS, collect
from boardgame_sae.report.titles import Row

PARQUET_FILE, CSV_FILE = "table.parquet", "table.csv"


def results(*sources: Source | Iterable[Source]) -> duckdb.DuckDBPyRelation:
    """One table of anything scored: a row for each subject, a column for each number (see `rows.collect`).

    `.df()` gives it to pandas, `.to_csv(path)` and `.to_parquet(path)` write it, `.filter("l0 < 20")`,
    `.order("coverage DESC")` and `.query("results", "SELECT ... FROM results")` ask it.
    sources: as `pipeline.sources` reads them: `results("othello-small", my_scores, "data/runs/scores/mine")`.
    Raises RunError for what holds no scores or is damaged, ValueError for an object that is no source.
    """
    return relation(collect(sources))


def relation(rows: Sequence[Row], name: str = "results") -> duckdb.DuckDBPyRelation:
    """Rows, which all have the same columns, as a table of a database in memory."""
    columns = list(rows[0]) if rows else ["sweep"]
    database = duckdb.connect(":memory:", config={"threads": 1})
    types = ", ".join(f"{_quoted(column)} {_sql_type(column, rows)}" for column in columns)
    database.execute(f"CREATE TABLE {_quoted(name)} ({types})")
    if rows:
        marks = ", ".join("?" * len(columns))
        values = [[row[column] for column in columns] for row in rows]
        database.executemany(f"INSERT INTO {_quoted(name)} VALUES ({marks})", values)
    return database.table(_quoted(name))


def write_table(rows: Sequence[Row], folder: str | Path) -> tuple[Path, Path]:
    """Write rows as `table.parquet` and `table.csv`; the same rows always give the same bytes."""
    paths, table = (Path(folder) / PARQUET_FILE, Path(folder) / CSV_FILE), relation(rows)
    for path in paths:
        _write(table, path)
    return paths


def write_results(*sources: Source | Iterable[Source], out: str | Path) -> tuple[int, int]:
    """Write the table of `results` as CSV or Parquet, by the file's name, and return how many rows and columns it has.

    Raises as `results` does, and ValueError for a file of another name.
    """
    path = Path(out)
    if path.suffix not in (".csv", ".parquet"):
        raise ValueError(f"{path}: a table is written as CSV or Parquet; name it {path.with_suffix('.csv')}")
    table = results(*sources)
    _write(table, path)
    return table.shape


def _write(table: duckdb.DuckDBPyRelation, path: Path) -> None:
    with writing(path) as temporary:
        (table.to_csv if path.suffix == ".csv" else table.to_parquet)(str(temporary))


def _quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _sql_type(column: str, rows: Sequence[Row]) -> str:
    if column in TEXTS:
        return "VARCHAR"
    known = [row[column] for row in rows if row[column] is not None]
    return "BIGINT" if known and all(isinstance(value, int) for value in known) else "DOUBLE"
