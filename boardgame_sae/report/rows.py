"""Every subject that was scored in one table: a row for each SAE and each baseline beside it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from boardgame_sae.metrics.baselines.registry import SAE_KIND, baselines
from boardgame_sae.metrics.results import Scores
from boardgame_sae.metrics.score import scores as registered_scores
from boardgame_sae.pipeline.sources import Source, read_sources
from boardgame_sae.pipeline.study_folder import Scored, Study, StudyTestbed
from boardgame_sae.report.titles import Row, setting
from boardgame_sae.saes.registry import sparsity_fields
from boardgame_sae.saes.training.recipe import RECIPE

TEXTS = ("sweep", "game", "hook_name", "name", "kind", "architecture", "setting", "pooled_as", "headline")
"""Columns of words; all others hold numbers."""


def collect(sources: Iterable[Source | Iterable[Source]]) -> list[Row]:
    """One row for each subject that some sources hold: what it is, then every number of every score as a flat column.

    A score `s` gives the columns `s`, `s_low` and `s_high` (its interval) and `s_<part>`. What its details say under
    `by_property` of each property but the `headline`, which its main numbers are about, stands under `s.<property>`
    with the same endings, and what they say of `groups` under `s.<group>`: `s.low` and `s.high` are the means over the
    low- and the high-level properties (`s_low` and `s_high` the ends of an interval).
    After a testbed's subjects come its pooled SAEs: `n_seeds` says of how many seeds; SAEs that are in such a row name
    it in `pooled_as`. `own` is 1 for what was given besides sweeps and shipped testbeds. Every row has every column;
    None where a number does not exist.
    Raises RunError and ValueError as `read_sources` does.
    """
    return rows_of(read_sources(sources))


def rows_of(studies: Sequence[Study]) -> list[Row]:
    """`collect`, of studies already open."""
    rows = [
        _row(study, testbed, scored)
        for study in studies
        for testbed in study.testbeds
        for scored in (*testbed.subjects, *map(Scored, testbed.pooled))
    ]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return [{column: row.get(column) for column in columns} for row in rows]


def rows_at(study: Study, testbed: StudyTestbed) -> list[Row]:
    """The rows of one testbed of a study."""
    return [row for row in rows_of([study]) if row["hook_name"] == testbed.hook_name]


def _row(study: Study, testbed: StudyTestbed, scored: Scored) -> Row:
    scores, subject = scored.scores, scored.scores.subject
    sae = subject.get("sae", {})
    pooled_as = (pooled.subject["name"] for pooled in testbed.pooled if subject["name"] in pooled.subject["members"])
    row: Row = {
        "sweep": study.label,
        "game": None if study.game is None else study.game.spec,
        "hook_name": testbed.hook_name,
        "name": subject["name"],
        "kind": subject["kind"],
        "architecture": sae.get("architecture"),
        "n_latents": sae.get("n_latents", subject.get("n_latents") if subject["kind"] == SAE_KIND else None),
        "setting": setting(sae) or None,
        **{name: sae.get(name) for name in sparsity_fields()},
        **{name: sae.get(name) for name in RECIPE},
        "seed": sae.get("seed"),
        "n_seeds": len(subject.get("seeds", [0])) if sae or subject["kind"] == SAE_KIND else None,
        "pooled_as": next(pooled_as, None),
        "own": int(scored.own),
        "l0": _l0(scores),
        "headline": _headline(scores),
    }
    for name in sorted(scores, key=_place):
        row |= _columns(name, scores[name].plain(), row["headline"])
    return row


def _place(name: str) -> tuple[int, str]:
    """Registered scores in their order, then others."""
    known = list(registered_scores())
    return known.index(name) if name in known else len(known), name


def _l0(scores: Scores) -> float | None:
    """Mean number of latents that are on; None of a baseline that is not meant to be sparse.

    A subject that states its `k`, the L0 of the SAEs it is a ceiling of, has that. Of others it is the part `l0` of a
    score that measures it over whole games, or else that of the testbed's positions.
    """
    subject = scores.subject
    if "k" in subject:
        return float(subject["k"])
    baseline = baselines().get(subject["kind"])
    if baseline is not None and not baseline.has_l0:
        return None
    return next((value.parts["l0"] for value in scores.values() if "l0" in value.parts), subject["l0"])


def _headline(scores: Scores) -> str:
    """The property that the scores' main numbers are about."""
    headlines = (value.details["headline"] for value in scores.values() if "headline" in value.details)
    return next(headlines, scores.subject["testbed"]["properties"][0])


def _columns(name: str, value: Mapping[str, Any], headline: str) -> Row:
    """Everything that a score says, as flat columns. Of a property or a group, nothing stands in two columns."""
    groups = value["details"].get("groups", {})
    by_property = {
        prop: numbers for prop, numbers in value["details"].get("by_property", {}).items() if prop != headline
    }
    columns = _numbers(name, value, {part: n for part, n in value["parts"].items() if part not in groups | by_property})
    for group, numbers in sorted(groups.items()):
        beside = {part: number for part, number in numbers.items() if isinstance(number, float) and part != "value"}
        columns |= _numbers(f"{name}.{group}", numbers, beside)
    for prop, numbers in by_property.items():
        columns |= _numbers(f"{name}.{prop}", numbers, numbers["parts"])
    return columns


def _numbers(column: str, value: Mapping[str, Any], parts: Mapping[str, Any]) -> Row:
    """A value, the ends of its interval, and what stands beside it."""
    ends = dict(zip((f"{column}_low", f"{column}_high"), value["interval"] or (), strict=False))
    numbers = {f"{column}_{part}": number for part, number in parts.items() if isinstance(number, int | float)}
    return {column: value["value"], **ends, **numbers}
