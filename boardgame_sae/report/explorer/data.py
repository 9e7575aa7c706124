"""What the page's scripts are given, as plain data: rows, columns, axes, and how each kind of subject is drawn."""

import json
from collections.abc import Sequence
from typing import Any

from boardgame_sae.activations.hook_points import layer_of
from boardgame_sae.metrics.baselines.registry import SAE_KIND, SAE_TITLE, baselines, has_l0, kind_title
from boardgame_sae.metrics.score import main_scores, scores
from boardgame_sae.pipeline.sources import truth_of
from boardgame_sae.pipeline.study_folder import Study
from boardgame_sae.report.explorer.latent_details import N_BINS
from boardgame_sae.report.explorer.latent_files import Listed
from boardgame_sae.report.rows import TEXTS
from boardgame_sae.report.titles import (
    Row,
    chance_level,
    column_titles,
    has_column,
    recipe,
    score_of,
    short_columns,
)
from boardgame_sae.saes.registry import architectures, config_class, look

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
DERIVED = ("recipe", "kind_title", "layer", "file", "boards")
"""Columns that only the page has: words, the layer of the hook point, and the files of the SAE's latents."""


def page_data(rows: Sequence[Row], studies: Sequence[Study], latents: Sequence[Listed]) -> dict[str, Any]:
    """Everything that the page's scripts read, but latents. Rows are given column by column.

    latents: the SAEs whose latents are in files beside the page.
    """
    files = {(one.sweep, one.hook_name, one.name): one for one in latents}
    whole = [{**row, **_derived(row, files.get((row["sweep"], row["hook_name"], row["name"])))} for row in rows]
    columns = [*(rows[0] if rows else ()), *DERIVED]
    named = sorted({*architectures(), *(row["architecture"] for row in rows if row["architecture"])})
    return {
        "n_rows": len(rows),
        "columns": columns,
        "values": {column: [row[column] for row in whole] for column in columns},
        "main": [score.name for score in main_scores() if has_column(rows, score.name)],
        "axes": axes(rows),
        "table": table_columns(rows),
        "architectures": {name: _architecture(name) for name in named},
        "sae_kind": SAE_KIND,
        "kinds": kinds(),
        "kind_titles": {SAE_KIND: SAE_TITLE, **{kind: kind_title(kind) for kind in baselines()}},
        "truths": [truth for study in studies for truth in _truths(study)],
        "n_bins": N_BINS,
    }


def axes(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What the plot can show, in groups: every registered score and L0, then what stands beside each score, settings.

    better: where that is said. chance: the column of its level of chance, where all subjects share it. log: whether it
    is drawn on a logarithmic axis.
    """
    about_l0 = "Mean number of latents that are on at a token. A lower L0 is sparser; no L0 is right or wrong in itself"
    shown = [_axis(rows, "l0", "L0", "Scores", about_l0, main=True, log=True)]
    titles, registered = column_titles(rows), scores()
    for name, score in registered.items():
        if name in titles:
            shown.append(_axis(rows, name, score.title, "Scores", score.meaning, better=score.better, main=True))
    for column, title in titles.items():
        score = score_of(column)
        if score is not None and column not in registered and not column.endswith(("_low", "_high")):
            shown.append(_axis(rows, column, title, score.title, f"Stands beside the score {score.title}"))
    for column in rows[0] if rows else ():
        settings = column not in (*TEXTS, *titles, "l0", "own", "n_seeds") and has_column(rows, column)
        if settings:
            title = column.replace("_", " ")
            shown.append(_axis(rows, column, title, "Settings", f"The field {column} of an SAE's config", log=True))
    return shown


def table_columns(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The columns of the page's table: their keys, titles, and whether they hold words."""
    places = {"sweep": "testbed", "hook_name": "hook point"}
    several = len({tuple(row[name] for name in places) for row in rows}) > 1
    words = {"recipe": "name", **(places if several else {}), "kind_title": "kind"}
    titles = column_titles(rows)
    numbers = {"l0": "L0", **{column: titles[column] for column in short_columns(rows)}}
    return [{"key": key, "title": title, "words": key in words} for key, title in (words | numbers).items()]


def kinds() -> dict[str, dict[str, Any]]:
    """How the plot draws each kind of baseline."""
    return {
        kind: {
            "colour": baseline.look.colour,
            "symbol": SYMBOLS.get(baseline.look.marker, "circle"),
            "dash": DASHES[baseline.look.line],
            "joined": baseline.of_sparsity is not None,
            "has_l0": has_l0(kind),
        }
        for kind, baseline in baselines().items()
    }


def _derived(row: Row, latents: Listed | None) -> Row:
    hook_name = row["hook_name"]
    return {
        "recipe": recipe(row),
        "kind_title": kind_title(row["kind"]),
        "layer": layer_of(hook_name) if hook_name.startswith("blocks.") else None,
        "file": None if latents is None else latents.file,
        "boards": latents is not None and latents.detailed,
    }


def _axis(
    rows: Sequence[Row],
    key: str,
    title: str,
    group: str,
    meaning: str,
    *,
    better: str | None = None,
    main: bool = False,
    log: bool = False,
) -> dict[str, Any]:
    about = {"key": key, "title": title, "group": group, "meaning": meaning, "better": better}
    return {**about, "main": main, "log": log, "chance": _chance(rows, key)}


def _architecture(name: str) -> dict[str, Any]:
    colour, marker = look(name)
    field = config_class(name).sparsity_field if name in architectures() else None
    return {"colour": colour, "symbol": SYMBOLS.get(marker, "circle"), "sparsity_field": field}


def _truths(study: Study) -> list[dict[str, Any]]:
    """What tells scores of a study's testbeds, so that the page knows where dropped ones belong."""
    subjects = [scored.subject for testbed in study.testbeds for scored in testbed.scored]
    truths = {json.dumps(truth_of(subject["testbed"])) for subject in subjects if subject["kind"] == SAE_KIND}
    game = None if study.game is None else study.game.spec
    return [{"truth": json.loads(truth), "sweep": study.label, "game": game} for truth in sorted(truths)]


def _chance(rows: Sequence[Row], column: str) -> dict[str, Any] | None:
    """The column that holds a column's level of chance, and what that is called, where all subjects share it."""
    score, level = score_of(column), chance_level(rows, column)
    if score is None or score.display.chance is None or level is None:
        return None
    return {"key": f"{column}_{score.display.chance.part}", "title": level[0]}
