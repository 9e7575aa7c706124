"""The main columns of a report's rows as a Markdown table."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from boardgame_sae.metrics.baselines.registry import kind_order, kind_title
from boardgame_sae.report.titles import Row, chance_level, column_titles, has_column, recipe, score_of, short_columns

MARKDOWN_FILE = "table.md"


def markdown(rows: Sequence[Row]) -> str:
    """SAEs from the sparsest on, then baselines, kind by kind; a testbed's last lines are levels of chance.

    Seeds of one SAE stand below the row that pools them. `high level`: the plain mean over the high-level properties.
    Every property has its own columns in the other tables.
    """
    testbeds = sorted({(row["sweep"], row["hook_name"]) for row in rows})
    columns, titles = short_columns(rows), column_titles(rows)
    place_heads = ["sweep", "hook point"] if len(testbeds) > 1 else []
    heads = [*place_heads, "name", "kind", "L0", *(_head(column, titles[column], rows) for column in columns)]
    lines = []
    for sweep, hook_name in testbeds:
        here = [row for row in rows if (row["sweep"], row["hook_name"]) == (sweep, hook_name)]
        place = [escaped(sweep), f"`{hook_name}`"] if len(testbeds) > 1 else []
        lines += [[*place, *_cells(row, columns)] for row in in_order(here)]
        lines += [[*place, title, "", "", *cells] for title, cells in chance_lines(here, columns)]
    return table(heads, lines)


def in_order(rows: Sequence[Row]) -> list[Row]:
    """One testbed's rows: by kind, the sparsest first, seeds after the row that pools them."""
    by_name = {row["name"]: row for row in rows}

    def order(row: Row) -> tuple[Any, ...]:
        family = by_name.get(row["pooled_as"], row)
        of_family = kind_order(row["kind"]), family["l0"] or 0.0, family["name"]
        return *of_family, family is not row, row["seed"] or 0, row["name"]

    return sorted(rows, key=order)


def chance_lines(rows: Sequence[Row], columns: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The levels of chance of some columns that all rows of a testbed share: a title, and a cell for each column."""
    lines: dict[str, list[str]] = {}
    for place, column in enumerate(columns):
        if level := chance_level(rows, column):
            title, value = level
            lines.setdefault(title, [""] * len(columns))[place] = shown(value)
    return list(lines.items())


def with_interval(row: Mapping[str, Any], column: str) -> str:
    """A number and its interval, where it has one: `0.412 [0.401, 0.420]`."""
    low, high = row.get(f"{column}_low"), row.get(f"{column}_high")
    return shown(row.get(column)) + (f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else "")


def shown(value: float | None, digits: int = 3) -> str:
    """A number as tables show it; nothing for none."""
    return "" if value is None else f"{value:.{digits}f}"


def escaped(text: str) -> str:
    """A text from elsewhere, such as a name, so that Markdown shows it as it is: no HTML or link begins in it.

    An underscore between letters or digits means nothing to Markdown and stays.
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"[\\`*\[\]#~!]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", text)


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table of texts; a bar within one is escaped."""
    rows = [heads, ["---"] * len(heads), *lines]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


def _head(column: str, title: str, rows: Sequence[Row]) -> str:
    interval = " [95% interval]" if has_column(rows, f"{column}_low") else ""
    return title + interval + (" (chance)" if _own_chance(column) else "")


def _cells(row: Row, columns: Sequence[str]) -> list[str]:
    return [
        escaped(recipe(row)),
        escaped(kind_title(row["kind"])),
        shown(row["l0"], 1),
        *(_cell(row, column) for column in columns),
    ]


def _cell(row: Row, column: str) -> str:
    own_chance = _own_chance(column)
    chance = row.get(f"{column}_{own_chance}") if own_chance else None
    return with_interval(row, column) + ("" if chance is None else f" ({shown(chance)})")


def _own_chance(column: str) -> str:
    """The part that says what a score's value would be by chance, where that differs from subject to subject."""
    score = score_of(column)
    chance = score.display.chance if score is not None and column == score.name else None
    return chance.part if chance is not None and not chance.shared else ""
