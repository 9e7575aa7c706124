"""What the page's scripts are given, as plain data: rows, columns, axes, how each kind of subject is drawn, cards."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from boardgame_sae.metrics.baselines.registry import baselines, kind_title
from boardgame_sae.metrics.score import main_scores, scores
from boardgame_sae.report.titles import (
    Row,
    chance_level,
    column_titles,
    has_column,
    recipe,
    score_of,
    short_columns,
)
from boardgame_sae.saes.registry import look

SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    "*": "star",
}
"""Plotly's words for matplotlib's markers."""
DASHES = {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot"}
"""Plotly's words for matplotlib's lines."""
SVG_PART = re.compile(r"<[^>]*>[^<]*")
"""A tag and the text after it."""


def page_data(rows: Sequence[Row], cards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Everything that the page's scripts read. cards: as `latent_cards` makes them, with what they are of.

    `picture_parts` are the tags of all pictures, each kept once; a picture is the list of the numbers of its own.
    """
    architectures = sorted({row["architecture"] for row in rows if row["architecture"]})
    parts = PictureParts()
    with_parts = [{**of_sae, "cards": [parts.replaced(card) for card in of_sae["cards"]]} for of_sae in cards]
    return {
        "rows": [{**row, "recipe": recipe(row), "kind_title": kind_title(row["kind"])} for row in rows],
        "columns": list(rows[0]) if rows else [],
        "main": [score.name for score in main_scores() if has_column(rows, score.name)],
        "axes": axes(rows),
        "table": table_columns(rows),
        "architectures": {name: _architecture(name) for name in architectures},
        "kinds": kinds(rows),
        "cards": with_parts,
        "picture_parts": parts.texts(),
    }


def axes(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What the plot can show: L0, every registered score that the rows have, then the numbers beside each score."""
    about_l0 = "Mean number of latents that are on at a token. A lower L0 is sparser; no L0 is right or wrong in itself"
    shown = [{"key": "l0", "title": "L0", "meaning": about_l0, "better": None, "group": "scores", "chance": None}]
    titles, registered = column_titles(rows), scores()
    for name, score in registered.items():
        if name in titles:
            about = {"key": name, "title": score.title, "meaning": score.meaning, "better": score.better}
            shown.append({**about, "group": "scores", "chance": _chance(rows, name)})
    for column, title in titles.items():
        score = score_of(column)
        if score is not None and column not in registered and not column.endswith(("_low", "_high")):
            about = {"key": column, "title": title, "meaning": f"Stands beside the score {score.title}", "better": None}
            shown.append({**about, "group": "beside them", "chance": _chance(rows, column)})
    return shown


def table_columns(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The columns of the page's table: their keys, titles, and whether they hold words."""
    places = {"sweep": "sweep", "hook_name": "hook point"}
    several = len({tuple(row[name] for name in places) for row in rows}) > 1
    words = {"recipe": "name", **(places if several else {}), "kind_title": "kind"}
    titles = column_titles(rows)
    numbers = {"l0": "L0", **{column: titles[column] for column in short_columns(rows)}}
    return [{"key": key, "title": title, "words": key in words} for key, title in (words | numbers).items()]


def kinds(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """How the plot draws each kind of baseline among the rows."""
    present = {row["kind"] for row in rows}
    return {
        kind: {
            "colour": baseline.look.colour,
            "symbol": SYMBOLS.get(baseline.look.marker, "circle"),
            "dash": DASHES[baseline.look.line],
            "joined": baseline.of_sparsity is not None,
        }
        for kind, baseline in baselines().items()
        if kind in present
    }


class PictureParts:
    """The tags of SVG pictures, each kept once: boards of one game have nearly all of theirs in common."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def numbers(self, svg: str) -> list[int]:
        """A picture as the numbers of its tags."""
        return [self._places.setdefault(part, len(self._places)) for part in SVG_PART.findall(svg)]

    def texts(self) -> list[str]:
        """All tags: those of a picture, joined, are the picture."""
        return list(self._places)

    def replaced(self, card: Mapping[str, Any]) -> dict[str, Any]:
        """A latent's card with numbers for pictures."""
        pictured = {
            name: [{**board, "picture": self.numbers(board["picture"])} for board in card[name]]
            for name in ("mean", "boards")
        }
        return {**card, **pictured}


def _architecture(name: str) -> dict[str, str]:
    colour, marker = look(name)
    return {"colour": colour, "symbol": SYMBOLS.get(marker, "circle")}


def _chance(rows: Sequence[Row], column: str) -> dict[str, Any] | None:
    """The column that holds a column's level of chance, and what that is called, where all subjects share it."""
    score, level = score_of(column), chance_level(rows, column)
    if score is None or score.display.chance is None or level is None:
        return None
    return {"key": f"{column}_{score.display.chance.part}", "title": level[0]}
