"""The main columns of a report's rows as a Markdown table."""

from collections.abc import Mapping, Sequence
from typing import Any

from boardgame_sae.report.rows import KINDS, Row, kind_title, recipe

MARKDOWN_FILE = "table.md"
HEADS = (
    "name",
    "kind",
    "L0",
    "loss recovered",
    "explained variance",
    "alive",
    "coverage [95% interval]",
    "above chance",
    "coverage, high",
    "reconstruction [95% interval]",
    "reconstruction, high",
    "direction recovery (chance)",
)


def markdown(rows: Sequence[Row]) -> str:
    """SAEs from the sparsest on, random-GPT twins, ceilings, floors; a testbed's last line is chance.

    Seeds of one SAE stand below the row that pools them. `high`: the plain mean over the high-level properties. Every
    property has its own columns in the other tables.
    """
    beds = dict.fromkeys((row["sweep"], row["hook_name"]) for row in rows)
    several = len(beds) > 1
    heads = [*(("sweep", "hook point") if several else ()), *HEADS]
    lines = []
    for sweep, hook_name in sorted(beds):
        here = [row for row in rows if (row["sweep"], row["hook_name"]) == (sweep, hook_name)]
        place = [sweep, f"`{hook_name}`"] if several else []
        for cells in [*(_cells(row) for row in in_order(here)), *_chance(here)]:
            lines.append([*place, *cells])
    return table(heads, lines)


def in_order(rows: Sequence[Row]) -> list[Row]:
    """One testbed's rows: by kind, the sparsest first, seeds after the row that pools them."""
    pooled = {row["name"]: row for row in rows}

    def order(row: Row) -> tuple[Any, ...]:
        family = pooled.get(row["pooled_as"], row)
        kind = list(KINDS).index(row["kind"]) if row["kind"] in KINDS else len(KINDS)
        return kind, family["l0"] or 0.0, family["name"], family is not row, row["seed"] or 0, row["name"]

    return sorted(rows, key=order)


def _cells(row: Row) -> list[str]:
    chance = row.get("direction_recovery_random")
    return [
        recipe(row),
        kind_title(row["kind"]),
        _shown(row["l0"], 1),
        *(_shown(row.get(column)) for column in ("core", "core_explained_variance", "core_frac_alive")),
        with_interval(row, "coverage"),
        _shown(row.get("coverage_above_chance")),
        _shown(row.get("coverage.high")),
        with_interval(row, "board_reconstruction"),
        _shown(row.get("board_reconstruction.high")),
        _shown(row.get("direction_recovery")) + ("" if chance is None else f" ({_shown(chance)})"),
    ]


def _chance(rows: Sequence[Row]) -> list[list[str]]:
    """The line of a latent that is always on, where coverage was scored."""
    row = next((row for row in rows if row.get("coverage_always_on") is not None), None)
    if row is None:
        return []
    found = dict.fromkeys(HEADS, "") | {"name": "always on (chance)", "above chance": _shown(0.0)}
    found |= {"coverage [95% interval]": _shown(row["coverage_always_on"])}
    return [list((found | {"coverage, high": _shown(row.get("coverage.high_always_on"))}).values())]


def with_interval(row: Mapping[str, Any], column: str) -> str:
    """A number and its interval, where it has one: `0.412 [0.401, 0.420]`."""
    low, high = row.get(f"{column}_low"), row.get(f"{column}_high")
    return _shown(row.get(column)) + (f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else "")


def _shown(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table of texts; a bar within one is escaped."""
    rows = [heads, ["---"] * len(heads), *lines]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)
