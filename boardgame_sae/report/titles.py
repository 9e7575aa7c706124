"""What rows and columns are called: an SAE's recipe, a column's title, and which columns stand in short tables.

A column's name is a score's and an ending: nothing for the value itself, `_low` and `_high` for its interval, `_<part>`
for a number beside it; `.<property>` and `.<group>`, with the same endings, for what the score says of those.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from boardgame_sae.metrics.baselines.registry import SAE_KIND, Baseline, baselines
from boardgame_sae.metrics.score import Score, scores
from boardgame_sae.saes.registry import sparsity_field

Row = dict[str, Any]
"""One line of a report's table: a scored subject."""
GROUPS = {"low": "low level", "high": "high level"}
INTERVAL = {"low": "lower end of the interval", "high": "upper end of the interval"}


def setting(sae: Mapping[str, Any]) -> str:
    """How sparse an SAE's config makes it, in words: `k = 32`; nothing where no field of it does."""
    name = sparsity_field(**sae) if "architecture" in sae else None
    return f"{name} = {sae[name]:g}" if name is not None and name in sae else ""


def recipe(row: Mapping[str, Any]) -> str:
    """What an SAE is made of, `topk, 256 latents, k = 8`, on how many activations, its seed or how many are pooled.

    Before it stands the name of one's own; of a baseline that is no SAE, and of an object, the name is all.
    """
    if row["architecture"] is None:
        return str(row["name"])
    words = [row["architecture"], f"{row['n_latents']} latents", row["setting"]]
    words += [f"{row['n_activations'] / 1e6:g}M activations"] if row.get("n_activations") else []
    words += [f"{row['n_seeds']} seeds"] if (row.get("n_seeds") or 1) > 1 else []
    words += [f"seed {row['seed']}"] if row.get("pooled_as") else []
    made_of = ", ".join(word for word in words if word)
    return f"{row['name']}: {made_of}" if row.get("own") else made_of


def is_sae(row: Mapping[str, Any]) -> bool:
    """Whether a row is of an SAE, not of what SAEs are compared with."""
    return row["kind"] == SAE_KIND


def baseline_of(row: Mapping[str, Any]) -> Baseline | None:
    """The baseline that a row is of; None of an SAE, and of a kind that is not known here."""
    return baselines().get(row["kind"])


def of_one_sparsity(row: Mapping[str, Any]) -> bool:
    """Whether a row is of a baseline that is made for SAEs of one L0."""
    baseline = baseline_of(row)
    return baseline is not None and baseline.of_sparsity is not None


def probe_title(results: Mapping[str, Any]) -> str:
    """What a probe reads and where: `piece, at each dot, from ply 20`. results: a probes.json."""
    words = [results["property"].replace("_", " ")]
    words += [f"at each {results['positions']}"] if results.get("positions") else []
    words += [f"from ply {results['min_ply']}"] if results.get("min_ply") else []
    return ", ".join(words)


def has_column(rows: Iterable[Row], column: str) -> bool:
    """Whether any row has a number in a column."""
    return any(row.get(column) is not None for row in rows)


def short_columns(rows: Sequence[Row], shown: Iterable[Score] | None = None) -> list[str]:
    """The columns of short tables: of each score that the rows have, its value and what it wants beside it.

    shown: the scores, by default all that are registered.
    """
    chosen = scores().values() if shown is None else shown
    columns = [score.name + ending for score in chosen for ending in ("", *score.display.columns)]
    return [column for column in columns if has_column(rows, column)]


def chance_level(rows: Sequence[Row], column: str) -> tuple[str, float] | None:
    """What a column's number would be by chance, where that is the same for every row: its title and its value."""
    score = score_of(column)
    if score is None or score.display.chance is None or not score.display.chance.shared:
        return None
    part = score.display.chance.part
    levels = (row[f"{column}_{part}"] for row in rows if row.get(f"{column}_{part}") is not None)
    level = next(levels, None)
    return None if level is None else (part_title(score, part), level)


def score_of(column: str) -> Score | None:
    """The registered score that a column is of."""
    names = [name for name in scores() if column == name or column.startswith((f"{name}_", f"{name}."))]
    return scores()[max(names, key=len)] if names else None


def part_title(score: Score, part: str) -> str:
    """What a number beside a score is called, after the score's title."""
    return (INTERVAL | dict(score.display.parts)).get(part, _words(part))


def column_titles(rows: Sequence[Row]) -> dict[str, str]:
    """A title for each column of numbers that a score gave: `Coverage, high level: above chance`."""
    scored = ((column, score_of(column)) for column in (rows[0] if rows else ()))
    return {column: _column_title(column, score) for column, score in scored if score is not None}


def _column_title(column: str, score: Score) -> str:
    ending = column.removeprefix(score.name)
    if not ending:
        return score.title
    if ending[0] == "_":
        own = score.display.titles.get(ending[1:])
        return own or f"{_words(score.name).capitalize()}: {part_title(score, ending[1:])}"
    parts = [part for part in (*INTERVAL, *score.display.parts) if ending.endswith(f"_{part}")]
    part = max(parts, key=len, default="")
    about = ending[1:].removesuffix(f"_{part}") if part else ending[1:]
    title = f"{score.title}, {GROUPS.get(about, _words(about))}"
    return f"{title}: {part_title(score, part)}" if part else title


def _words(name: str) -> str:
    return name.replace("_", " ")
