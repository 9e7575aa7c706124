"""The score `board_reconstruction`."""

import numpy as np

from boardgame_sae.metrics.counting.f1 import f1
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.score import Display, score
from boardgame_sae.metrics.statistics.property_means import PropertyMeans
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
from boardgame_sae.metrics.supervised.property_results import property_results
from boardgame_sae.metrics.supervised.published import published

RECONSTRUCTION = means_statistic(PropertyMeans.pooled_f1)


@score(
    "board_reconstruction",
    title="Board reconstruction",
    meaning="F1 on test of boards rebuilt as the union of what latents of at least 95% precision on train predict",
    source=PAPER + ", section 3.3",
    suites=("quick", "supervised"),
    order=1,
    config=SupervisedConfig,
    quick=QUICK,
    statistic=RECONSTRUCTION,
    display=Display(
        main=True,
        parts={"reference": "as the published code computes it"},
        columns=(".high",),
        figure="coverage_vs_l0",
        unit="F1 on test",
    ),
)
def reconstruction_score(subject: Subject, cfg: SupervisedConfig) -> ScoreValue:
    """Board reconstruction from the classes of each property.

    Raises ValueError when no class of any property has enough examples.
    """
    results = subject.once(property_results)
    layout, by_property = layout_of(results), {}
    for result in results:
        counts = result.rebuilt.totals()
        true_positives_C, predicted_positives_C, positives_C = counts.values()
        parts = {
            "precision": float(true_positives_C.sum() / max(1, predicted_positives_C.sum())),
            "recall": float(true_positives_C.sum() / max(1, positives_C.sum())),
            "threshold": result.threshold,
        }
        details = {**classes_of(result), "f1": rounded(f1(*counts.values()))}
        counts_CX = np.stack(list(counts.values()), axis=1)
        details["by_square"] = by_square(result, counts_CX, lambda own_CX: f1(*own_CX.sum(axis=0)))
        if result.f1_T is not None and result.n_classifiers_T is not None:
            details |= {"f1_T": rounded(result.f1_T), "n_classifiers": result.n_classifiers_T.tolist()}
        reference = subject.once(published)[result.columns.name].reconstruction if cfg.reference else None
        if reference is not None:
            parts["reference"] = reference.value
            details |= {"reference_last": reference.last, "reference_threshold": reference.threshold}
        by_property[result.columns.name] = ScoreValue(0.0, None, parts, details)
    parts, details = together(subject, by_property)
    shared = all("reference" in value.parts for value in by_property.values())
    beside = {"reference": [value.parts["reference"] for value in by_property.values()]} if shared else {}
    details["groups"] = groups_of(layout, beside)
    return RECONSTRUCTION.score(GameSums.concatenate([result.rebuilt for result in results]), parts, details)
