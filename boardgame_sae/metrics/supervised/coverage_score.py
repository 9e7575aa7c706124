"""The score `coverage`, and the table of what each latent is a classifier of."""

import numpy as np

from boardgame_sae.metrics.counting.f1 import above_chance, always_on_f1, f1
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.score import Chance, Display, score
from boardgame_sae.metrics.statistics.property_means import PropertyMeans
from boardgame_sae.metrics.statistics.statistic import finite
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.metrics.supervised.by_property import (
    PAPER,
    QUICK,
    SupervisedConfig,
    by_square,
    classes_of,
    groups_of,
    layout_of,
    means_statistic,
    rounded,
    together,
)
from boardgame_sae.metrics.supervised.property_results import latent_classes, property_results
from boardgame_sae.metrics.supervised.published import published

COVERAGE = means_statistic(PropertyMeans.mean_f1)
ABOVE_CHANCE = means_statistic(PropertyMeans.mean_above_chance)


@score(
    "coverage",
    title="Coverage",
    meaning="Mean over properties of the F1 of the best single latent for each, chosen on train, measured on test",
    source=PAPER + ", section 3.2",
    suites=("quick", "supervised"),
    order=0,
    config=SupervisedConfig,
    quick=QUICK,
    statistic=COVERAGE,
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
def coverage_score(subject: Subject, cfg: SupervisedConfig) -> ScoreValue:
    """Coverage of each property. Raises ValueError when no class of any property has enough examples."""
    results = subject.once(property_results)
    layout = layout_of(results)
    sums = GameSums.concatenate(
        [result.covered.select(range(result.covered.n_columns - 1)) for result in results]
        + [result.covered.select([result.covered.n_columns - 1]) for result in results]
    )
    totals = sums.totals()
    by_class = [
        {name: total_P[stop - size : stop] for name, total_P in totals.items()}
        for stop, size in zip(layout.stops, layout.sizes, strict=True)
    ]
    n_positions_Q = totals["positives"][layout.stops[-1] :]
    always_on = [always_on_f1(counts["positives"] / n) for counts, n in zip(by_class, n_positions_Q, strict=True)]
    beside = {
        "always_on": [float(always_on_C.mean()) for always_on_C in always_on],
        "in_sample": [float(result.train_f1_C.mean()) for result in results],
    }
    if cfg.reference:
        beside["reference"] = [subject.once(published)[result.columns.name].coverage for result in results]
    by_property = {}
    for q, (result, counts) in enumerate(zip(results, by_class, strict=True)):
        f1_C = f1(*counts.values())
        true_positives_C, predicted_positives_C, positives_C = counts.values()
        details = {
            **classes_of(result),
            "f1": rounded(f1_C),
            "precision": rounded(true_positives_C / np.maximum(predicted_positives_C, 1)),
            "recall": rounded(true_positives_C / np.maximum(positives_C, 1)),
            "always_on": rounded(always_on[q]),
            "latent": result.latent_C.tolist(),
            "threshold": rounded(result.threshold_C),
            "by_square": by_square(result, f1_C, np.mean),
        }
        parts = {name: values[q] for name, values in beside.items()}
        by_property[result.columns.name] = ScoreValue(0.0, None, parts, details)
    parts, details = together(subject, by_property)
    details["groups"] = groups_of(layout, beside)
    above = ABOVE_CHANCE.estimates([sums], details)
    for name, estimate in above.items():
        if name in details["groups"]:
            details["groups"][name]["above_chance"] = estimate.value
        else:
            scored = details["by_property"][name]
            scored["parts"]["above_chance"] = estimate.value
            scored["details"]["above_chance_interval"] = finite(estimate)
    parts["above_chance"] = above[details["headline"]].value
    return COVERAGE.score(sums, parts, details)._replace(latents=_latents_table(subject))


def _latents_table(subject: Subject) -> dict[str, np.ndarray]:
    """A row for each latent: the class it predicts best, and how well, on test."""
    best, columns = subject.once(latent_classes), subject.testbed.columns
    # one name more than columns: the last stands for column -1, of latents without a class
    property_names, class_names = np.full((2, columns[-1].stop + 1), "", object)
    for property_ in columns:
        property_names[property_.start : property_.stop] = property_.name
        class_names[property_.start : property_.stop] = property_.class_names
    (true_positives_F, predicted_positives_F), positives_F = best.counts, best.positives_F
    f1_F = f1(true_positives_F, predicted_positives_F, positives_F)
    always_F = always_on_f1(positives_F / best.n_positions_F)
    known_F, test = best.column_F >= 0, subject.latents("test")
    return {
        "latent": np.arange(len(true_positives_F)),
        "density": np.sum([np.diff(part.indptr_F1) for part in test], axis=0) / sum(part.n_positions for part in test),
        "max_activation": best.max_activation_F.astype(np.float64),
        "property": property_names[best.column_F],
        "label": class_names[best.column_F],
        "threshold": np.where(known_F, best.threshold_F, 0.0),
        "precision": true_positives_F / np.maximum(predicted_positives_F, 1),
        "recall": true_positives_F / np.maximum(positives_F, 1),
        "f1": f1_F,
        "train_f1": best.train_f1_F,
        "always_on": np.where(known_F, always_F, 0.0),
        "above_chance": np.where(known_F, above_chance(f1_F, always_F), 0.0),
        "n_precise": best.n_precise_F,
    }
