"""The supervised scores of a subject on a testbed: chosen on train and validation, reported on test.

The headline is the testbed's first property (what stands on each square); the others stand beside it, with the plain
means over the low-level and over the high-level ones (`low`, `high`), and the number that the published code would give
(`reference`). Classes that a split hardly ever shows are listed, not averaged, and so are properties without any other.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from boardgame_sae.metrics.counting.game_counts import GameCounts
from boardgame_sae.metrics.coverage import always_on_f1
from boardgame_sae.metrics.directions import direction_recovery
from boardgame_sae.metrics.intervals.property_means import Layout, f1
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.score import Chance, Display, score
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.metrics.supervised.measure import PropertyResult, Supervised, supervised
from boardgame_sae.resampling import Estimate, estimates

PAPER = "Karvonen et al. 2024 (arXiv 2408.00113)"


def layout_of(found: Supervised) -> Layout:
    """How the scored classes of a subject stand side by side."""
    return Layout(
        tuple(each.columns.name for each in found.properties),
        tuple(each.columns.level for each in found.properties),
        tuple(len(each.chosen_C) for each in found.properties),
    )


@score(
    "coverage",
    title="Coverage",
    meaning="Mean over properties of the F1 of the best single latent for each, chosen on train, measured on test",
    source=PAPER + ", section 3.2",
    suites=("quick", "supervised"),
    display=Display(
        main=True,
        parts={
            "above_chance": "above chance",
            "always_on": "always on (chance)",
            "in_sample": "in sample",
            "reference": "as the published code computes it",
        },
        columns=("_above_chance", ".high"),
        chance=Chance("always_on"),
        figure="coverage_vs_l0",
        unit="F1 on test",
    ),
)
def coverage_score(subject: Subject) -> ScoreValue:
    """Coverage of each property."""
    found = supervised(subject)
    layout = layout_of(found)
    classes = GameCounts.concatenate(
        [each.covered.select(range(each.covered.n_properties - 1)) for each in found.properties]
        + [each.covered.select([each.covered.n_properties - 1]) for each in found.properties]
    )
    value_K, above_K = _estimated(classes, layout, layout.coverage, layout.above_chance)
    totals_PX = classes.totals()
    always = [always_on_f1(part[:, 2] / n) for part, n in _with_positions(totals_PX, layout)]
    in_sample = [float(each.train_f1_C.mean()) for each in found.properties]
    reference = [each.reference_coverage for each in found.properties]
    beside = {
        "always_on": [float(each.mean()) for each in always],
        "in_sample": in_sample,
        **({"reference": reference} if subject.full else {}),
    }
    by_property = {}
    for q, each in enumerate(found.properties):
        hit_C, said_C, true_C = totals_PX[layout.stops[q] - layout.sizes[q] : layout.stops[q]].T
        details = {
            **_classes(each),
            "f1": _rounded(f1(np.stack([hit_C, said_C, true_C], axis=-1))),
            "precision": _rounded(hit_C / np.maximum(said_C, 1)),
            "recall": _rounded(hit_C / np.maximum(true_C, 1)),
            "always_on": _rounded(always[q]),
            "latent": each.latent_C.tolist(),
            "threshold": _rounded(each.threshold_C),
            "by_square": _by_square(each, f1(np.stack([hit_C, said_C, true_C], axis=-1)), np.mean),
            "above_chance_interval": _pair(above_K[q]),
        }
        parts = {"above_chance": above_K[q].value, **{name: values[q] for name, values in beside.items()}}
        by_property[each.columns.name] = ScoreValue(value_K[q].value, _pair(value_K[q]), parts, details)
    if "latents" not in subject.kept:
        subject.kept["latents"] = _latents_table(subject, found)
    groups = _groups(layout, value_K, {"above_chance": above_K}, beside)
    return _together(subject, by_property, groups, classes)


@score(
    "board_reconstruction",
    title="Board reconstruction",
    meaning="F1 on test of boards rebuilt as the union of what latents of at least 95% precision on train say",
    source=PAPER + ", section 3.3",
    suites=("quick", "supervised"),
    display=Display(
        main=True,
        parts={"reference": "as the published code computes it"},
        columns=(".high",),
        figure="coverage_vs_l0",
        unit="F1 on test",
    ),
)
def reconstruction_score(subject: Subject) -> ScoreValue:
    """Board reconstruction from the classes of each property."""
    found = supervised(subject)
    layout = layout_of(found)
    classes = GameCounts.concatenate([each.rebuilt for each in found.properties])
    (value_K,) = _estimated(classes, layout, layout.reconstruction)
    totals_PX, by_property = classes.totals(), {}
    for q, each in enumerate(found.properties):
        own_CX = totals_PX[layout.stops[q] - layout.sizes[q] : layout.stops[q]]
        hit, said, true = own_CX.sum(axis=0)
        parts = {
            "precision": float(hit / max(1, said)),
            "recall": float(hit / max(1, true)),
            "threshold": each.threshold,
        }
        details = {**_classes(each), "f1": _rounded(f1(own_CX))}
        details["by_square"] = _by_square(each, own_CX, lambda own: f1(own.sum(axis=0)))
        if each.f1_T is not None and each.n_classifiers_T is not None:
            details |= {"f1_T": _rounded(each.f1_T), "n_classifiers": each.n_classifiers_T.tolist()}
            if each.reference_rebuilt is not None:
                parts["reference"] = each.reference_rebuilt.value
                details["reference_last"] = each.reference_rebuilt.last
                details["reference_threshold"] = each.reference_rebuilt.threshold
        by_property[each.columns.name] = ScoreValue(value_K[q].value, _pair(value_K[q]), parts, details)
    shared = all("reference" in each.parts for each in by_property.values())
    beside = {"reference": [each.parts["reference"] for each in by_property.values()]} if shared else {}
    return _together(subject, by_property, _groups(layout, value_K, {}, beside), classes)


@score(
    "direction_recovery",
    title="Direction recovery",
    meaning="Mean cosine of decoder rows with the directions that linear probes read, matched one to one",
    source="mean matched cosine, after Cunningham et al. 2023 (arXiv 2309.08600)",
    suites=("supervised",),
    low=-1.0,
    needs=("W_dec", "probes"),
    display=Display(
        parts={
            "random": "random directions (chance)",
            "means": "by mean differences",
            "means_random": "random directions, by mean differences (chance)",
            "encoder": "by encoder columns",
        },
        chance=Chance("random", shared=False),
        figure="direction_recovery",
        panels={"": "Directions that probes read", "_means": "Differences of means"},
        unit="mean matched cosine",
    ),
)
def direction_score(subject: Subject) -> ScoreValue:
    """Direction recovery of each property's classes that have examples enough.

    A probe's weights say how to read a class, a decoder row says what is written: where the activations' noise is not
    alike in all directions these differ, even for a perfect SAE. So beside the value stands `means`, the same for the
    differences of the mean activations with and without each class, and `encoder`, of encoder columns and probes.
    """
    testbed, encoder, by_property = subject.testbed, subject.encoder, {}
    alive_F = np.any([np.diff(part.indptr_F1) > 0 for part in subject.latents("train")], axis=0)
    means_PD = _mean_differences(subject)
    for columns in testbed.columns:
        chosen_C = np.flatnonzero(testbed.supported_P[columns.start : columns.stop])
        if not len(chosen_C) or columns.name not in testbed.probes:
            continue
        W_dec, probe_CD = encoder.W_dec, testbed.probes[columns.name].directions()[chosen_C]
        assert W_dec is not None
        found = direction_recovery(W_dec, probe_CD, alive_F=alive_F, n_random=3)
        written = direction_recovery(W_dec, means_PD[columns.start + chosen_C], alive_F=alive_F, n_random=1)
        parts = {"random": found.random, "means": written.value, "means_random": written.random}
        if encoder.W_enc is not None:
            parts["encoder"] = direction_recovery(encoder.W_enc.T, probe_CD, alive_F=alive_F, n_random=1).value
        details = {
            "columns": [columns.labels[c] for c in chosen_C],
            "cosine": _rounded(found.cosine_P),
            "latent": found.latent_P.tolist(),
            "nearest": _rounded(found.nearest_P),
        }
        by_property[columns.name] = ScoreValue(found.value, None, parts, details)
    if not by_property:
        raise ValueError("the testbed has no probe of a property that is scored; fit some with `boardgame-sae probe`")
    return _together(subject, by_property, {}, None)


def _estimated(
    counts: GameCounts, layout: Layout, *statistics: Callable[[np.ndarray], np.ndarray]
) -> list[list[Estimate]]:
    """Every number of some statistics with its interval, all from the same resamples."""
    found = estimates(counts, lambda sums: np.concatenate([each(sums) for each in statistics], axis=1))
    n = len(layout.numbers())
    return [found[i * n : (i + 1) * n] for i in range(len(statistics))]


def _with_positions(totals_PX: np.ndarray, layout: Layout) -> list[tuple[np.ndarray, int]]:
    """Of each property its classes' totals, and the number of positions where its truth is known."""
    return [
        (totals_PX[stop - size : stop], int(totals_PX[layout.stops[-1] + q, 2]))
        for q, (stop, size) in enumerate(zip(layout.stops, layout.sizes, strict=True))
    ]


def _groups(
    layout: Layout, value_K: Sequence[Estimate], more: dict[str, Sequence[Estimate]], beside: dict[str, list[Any]]
) -> dict[str, Any]:
    """Of each group: members, value, interval, and the plain means of what stands beside."""
    found = {}
    for place, (name, members) in enumerate(layout.groups().items(), start=len(layout.names)):
        found[name] = {
            "members": [layout.names[q] for q in members],
            "value": value_K[place].value,
            "interval": _pair(value_K[place]),
            **{key: values[place].value for key, values in more.items()},
            **{key: float(np.mean([values[q] for q in members])) for key, values in beside.items()},
        }
    return found


def _together(
    subject: Subject, by_property: dict[str, ScoreValue], groups: dict[str, Any], counts: GameCounts | None
) -> ScoreValue:
    """The first property as the headline, the others and the groups beside it."""
    headline = next(iter(by_property))
    first = by_property[headline]
    parts = dict(first.parts)
    parts |= {name: group["value"] for name, group in groups.items()}
    parts |= {name: value.value for name, value in by_property.items() if name != headline}
    levels = {each.name: each.level for each in subject.testbed.columns}
    details = {
        "headline": headline,
        "high": [name for name in by_property if levels[name] == "high"],
        "groups": groups,
        "layout": [[name, levels[name], len(value.details["columns"])] for name, value in by_property.items()],
        "unsupported": [each.name for each in subject.testbed.columns if each.name not in by_property],
        "by_property": {name: value.plain() for name, value in by_property.items()},
    }
    return ScoreValue(first.value, first.interval, parts, details, counts)


def _classes(result: PropertyResult) -> dict[str, Any]:
    """Which classes are scored, and which are left out for want of examples."""
    columns = result.columns
    left_out = sorted(set(range(columns.stop - columns.start)) - set(result.chosen_C.tolist()))
    return {
        "level": columns.level,
        "columns": [columns.labels[c] for c in result.chosen_C],
        "square": columns.square_P[result.chosen_C].tolist(),
        "unsupported": [columns.labels[c] for c in left_out],
    }


def _by_square(result: PropertyResult, values_C: np.ndarray, combine: Callable[[np.ndarray], Any]) -> dict[str, float]:
    """One number for each square that has a scored class, from those of its classes; nothing for a whole position."""
    square_C = result.columns.square_P[result.chosen_C]
    found = {}
    for square in sorted(set(square_C[square_C >= 0].tolist())):
        name = result.columns.labels[result.chosen_C[square_C == square][0]].split()[0]
        found[name] = round(float(combine(values_C[square_C == square])), 6)
    return found


def _latents_table(subject: Subject, found: Supervised) -> dict[str, np.ndarray]:
    """A row for each latent: the class it tells best, and how well, on test."""
    cards, columns = found.cards, subject.testbed.columns
    names, labels = np.array(["", *[""] * columns[-1].stop], object), np.array([""] * (columns[-1].stop + 1), object)
    for each in columns:
        names[each.start : each.stop], labels[each.start : each.stop] = each.name, list(each.labels)
    hit_F, on_F, true_F = cards.met.hit_F, cards.met.on_F, cards.true_F
    f1_F = 2 * hit_F / np.maximum(on_F + true_F, 1)
    always_F = always_on_f1(true_F / cards.n_positions_F)
    known_F, test = cards.column_F >= 0, subject.latents("test")
    return {
        "latent": np.arange(len(hit_F)),
        "density": np.sum([np.diff(part.indptr_F1) for part in test], axis=0) / sum(part.n_positions for part in test),
        "max_activation": cards.max_activation_F.astype(np.float64),
        "property": names[cards.column_F],
        "label": labels[cards.column_F],
        "threshold": np.where(known_F, cards.threshold_F, 0.0),
        "precision": hit_F / np.maximum(on_F, 1),
        "recall": hit_F / np.maximum(true_F, 1),
        "f1": f1_F,
        "train_f1": cards.train_f1_F,
        "always_on": np.where(known_F, always_F, 0.0),
        "above_chance": np.where(known_F, (f1_F - always_F) / np.maximum(1 - always_F, 1e-9), 0.0),
        "n_precise": cards.n_precise_F,
    }


@torch.no_grad()
def _mean_differences(subject: Subject) -> np.ndarray:
    """(P, D): mean activation where a class is true less the mean where it is not, on train."""
    testbed = subject.testbed
    n_P = np.zeros(testbed.columns[-1].stop)
    true_PD, all_D, n = np.zeros((len(n_P), testbed.width)), np.zeros(testbed.width), 0
    for start, stop, *_ in testbed.spans("train"):
        acts_ND, labels_NP = testbed.read("train", start, stop).numpy(), testbed.labels("train", start, stop)
        true_PD += labels_NP.T.astype(np.float32) @ acts_ND
        all_D += acts_ND.sum(axis=0, dtype=np.float64)
        n_P += labels_NP.sum(axis=0)
        n += len(acts_ND)
    others_PD = (all_D - true_PD) / np.maximum(n - n_P, 1)[:, None]
    return true_PD / np.maximum(n_P, 1)[:, None] - others_PD


def _pair(estimate: Estimate) -> tuple[float, float] | None:
    """The interval, or None where it is not defined."""
    return estimate.interval if np.isfinite(estimate.interval).all() else None


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 6) for value in values]
