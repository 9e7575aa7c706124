"""Coverage and board reconstruction of a subject on a testbed: chosen on train and validation, reported on test.

The headline is the testbed's first property (what stands on each square); the others stand beside it, and the number
that the published code would give, `reference`, beside the headline. Classes that a
split hardly ever shows are listed, not averaged.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from boardgame_sae.activations.testbed import PropertyColumns
from boardgame_sae.metrics.bootstrap import bootstrap_interval, counts_by_game
from boardgame_sae.metrics.coverage import coverage_reference, held_out_coverage, predictions
from boardgame_sae.metrics.reconstruction import (
    board_reconstruction,
    board_reconstruction_reference,
    predict_boards,
)
from boardgame_sae.metrics.score import ScoreValue, Subject, score

PAPER = "Karvonen et al. 2024 (arXiv 2408.00113)"


def _by_property(subject: Subject, measure: Callable[[Subject, PropertyColumns, np.ndarray], ScoreValue]) -> ScoreValue:
    """Measure every property of the testbed; the first is the headline, all stand in the details."""
    testbed, found = subject.testbed, {}
    for columns in testbed.columns:
        supported = np.flatnonzero(testbed.supported_P[columns.start : columns.stop])
        if len(supported):
            found[columns.name] = measure(subject, columns, supported + columns.start)
    headline = testbed.columns[0].name
    if headline not in found:
        raise ValueError(f"no class of {headline} is true and false often enough in every split; score more games")
    parts = dict(found[headline].parts)
    parts |= {f"{name}": value.value for name, value in found.items() if name != headline}
    by_property = {name: {**value._asdict(), "details": value.details} for name, value in found.items()}
    return ScoreValue(found[headline].value, found[headline].interval, parts, {"by_property": by_property})


def _support(columns: PropertyColumns, chosen: np.ndarray) -> dict[str, Any]:
    """Which classes are averaged, and which are left out for want of examples."""
    left_out = sorted(set(range(columns.start, columns.stop)) - set(chosen.tolist()))
    return {
        "level": columns.level,
        "columns": [columns.labels[i - columns.start] for i in chosen],
        "square": columns.square_P[chosen - columns.start].tolist(),
        "unsupported": [columns.labels[i - columns.start] for i in left_out],
    }


@score(
    "coverage",
    title="Coverage",
    meaning="Mean over properties of the F1 of the best single latent for each, chosen on train, measured on test",
    source=PAPER + ", section 3.2",
    suites=("quick", "supervised"),
)
def coverage_score(subject: Subject) -> ScoreValue:
    """Coverage of each property."""
    return _by_property(subject, _coverage)


def _coverage(subject: Subject, columns: PropertyColumns, chosen: np.ndarray) -> ScoreValue:
    labels = {split: subject.testbed.labels(split)[:, chosen] for split in ("train", "test")}
    train, test = subject.latents("train"), subject.latents("test")
    found = held_out_coverage(train, labels["train"], test, labels["test"])
    counts = counts_by_game(predictions(found, test), labels["test"], subject.testbed.positions("test").game_N)
    interval = bootstrap_interval(_mean_f1, np.stack(counts, axis=-1))
    parts = {
        "above_chance": found.above_chance,
        "always_on": found.always_on,
        "in_sample": found.in_sample,
    }
    if columns.start == 0:
        everything = subject.testbed.labels("train")[:, : columns.stop]
        size = subject.testbed.corpus.game.published_size(columns.name)
        parts["reference"] = coverage_reference(train, everything, denominator=size)
    details = {
        **_support(columns, chosen),
        "f1": _rounded(found.f1_P),
        "latent": found.latent_P.tolist(),
        "threshold": _rounded(found.threshold_P),
    }
    return ScoreValue(found.value, interval, parts, details)


def _mean_f1(sums_RPX: np.ndarray) -> np.ndarray:
    """Mean over properties of F1 from resampled sums (R, P, 3) of true positives, on, positives."""
    tp_RP, on_RP, positives_RP = np.moveaxis(sums_RPX, -1, 0)
    return (2 * tp_RP / np.maximum(on_RP + positives_RP, 1)).mean(-1)


def _micro_f1(sums_RX: np.ndarray) -> np.ndarray:
    tp_R, on_R, positives_R = np.moveaxis(sums_RX, -1, 0)
    return 2 * tp_R / np.maximum(on_R + positives_R, 1)


@score(
    "board_reconstruction",
    title="Board reconstruction",
    meaning="F1 on test of boards rebuilt as the union of what latents of at least 95% precision on train say",
    source=PAPER + ", section 3.3",
    suites=("quick", "supervised"),
)
def reconstruction_score(subject: Subject) -> ScoreValue:
    """Board reconstruction from the classes of each property."""
    return _by_property(subject, _reconstruction)


def _reconstruction(subject: Subject, columns: PropertyColumns, chosen: np.ndarray) -> ScoreValue:
    if getattr(subject.encoder, "reads_labels", False):
        return _readout(subject, columns, chosen)
    own = slice(columns.start, columns.stop)
    labels = {split: subject.testbed.labels(split)[:, own] for split in ("train", "validation", "test")}
    train, test = subject.latents("train"), subject.latents("test")
    found = board_reconstruction(
        train,
        labels["train"],
        test,
        labels["test"],
        validation_latents_NF=subject.latents("validation"),
        validation_labels_NP=labels["validation"],
    )
    rebuilt = _rebuilt(subject, columns, chosen, predict_boards(found, test).numpy())
    parts = {**rebuilt.parts, "threshold": found.threshold}
    if columns.start == 0:
        published = board_reconstruction_reference(train, labels["train"], test, labels["test"], columns.square_P)
        parts["reference"] = published.value
    details = {**rebuilt.details, "f1_T": _rounded(found.f1_T), "n_classifiers": found.n_classifiers_T.tolist()}
    return ScoreValue(found.value, rebuilt.interval, parts, details)


def _readout(subject: Subject, columns: PropertyColumns, chosen: np.ndarray) -> ScoreValue:
    """The boards that a readout of every label says: those above the probability of best F1 on validation."""
    own = slice(columns.start, columns.stop)
    says_NP, true_NP = subject.latents("validation").to_dense()[:, own], subject.testbed.labels("validation")[:, own]
    cut = max((round(0.05 * i, 2) for i in range(1, 20)), key=lambda cut: _f1(says_NP > cut, true_NP))
    rebuilt = _rebuilt(subject, columns, chosen, subject.latents("test").to_dense()[:, own] > cut)
    return rebuilt._replace(parts={**rebuilt.parts, "threshold": cut})


def _rebuilt(subject: Subject, columns: PropertyColumns, chosen: np.ndarray, said_NP: np.ndarray) -> ScoreValue:
    """Micro F1, precision and recall of rebuilt test boards, and F1 by label."""
    true_NP = subject.testbed.labels("test")[:, columns.start : columns.stop]
    counts = [np.asarray(part) for part in counts_by_game(said_NP, true_NP, subject.testbed.positions("test").game_N)]
    interval = bootstrap_interval(_micro_f1, np.stack([part.sum(1) for part in counts], axis=-1))
    hit_P, said_P, true_P = (part.sum(0) for part in counts)
    f1_P = 2 * hit_P / np.maximum(true_P + said_P, 1)
    parts = {
        "precision": float(hit_P.sum() / max(1, said_P.sum())),
        "recall": float(hit_P.sum() / max(1, true_P.sum())),
    }
    details = {**_support(columns, chosen), "f1": _rounded(f1_P[chosen - columns.start])}
    return ScoreValue(_f1(said_NP, true_NP), interval, parts, details)


def _f1(said_NP: np.ndarray, true_NP: np.ndarray) -> float:
    """Micro F1 over all positions and labels."""
    return float(2 * (said_NP & true_NP).sum() / max(1, said_NP.sum() + true_NP.sum()))


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 6) for value in values]
