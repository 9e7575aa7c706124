"""Coverage and board reconstruction of a subject on a testbed: chosen on train and validation, reported on test.

The headline is the testbed's first property (what stands on each square); the others stand beside it, with `high`, the
plain mean over the high-level ones, and the number that the published code would give, `reference`, beside the
headline. Classes that a split hardly ever shows are listed, not averaged, and so are properties without any other.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from boardgame_sae.activations.testbed import PropertyColumns
from boardgame_sae.metrics.bootstrap import bootstrap_interval, counts_by_game
from boardgame_sae.metrics.coverage import coverage_reference, held_out_coverage, predictions
from boardgame_sae.metrics.latents import Latents
from boardgame_sae.metrics.reconstruction import (
    board_reconstruction,
    board_reconstruction_reference,
    predict_boards,
)
from boardgame_sae.metrics.score import ScoreValue, Subject, score

PAPER = "Karvonen et al. 2024 (arXiv 2408.00113)"


def _by_property(subject: Subject, measure: Callable[[Subject, PropertyColumns, np.ndarray], ScoreValue]) -> ScoreValue:
    """Measure every property of the testbed that has a supported class; the first is the headline.

    Details: the headline's name, all by name, the high-level ones, and those without a supported class.
    """
    testbed, found = subject.testbed, dict[str, ScoreValue]()
    for columns in testbed.columns:
        supported = np.flatnonzero(testbed.supported_P[columns.start : columns.stop])
        if len(supported):
            found[columns.name] = measure(subject, columns, supported + columns.start)
    if not found:
        names = ", ".join(columns.name for columns in testbed.columns)
        raise ValueError(f"no class of {names} is true and false often enough in every split; score more games")
    headline = next(iter(found))
    high = [each.name for each in testbed.columns if each.level == "high" and each.name in found]
    parts = dict(found[headline].parts)
    parts |= {"high": float(np.mean([found[name].value for name in high]))} if high else {}
    parts |= {name: value.value for name, value in found.items() if name != headline}
    details = {
        "headline": headline,
        "high": high,
        "unsupported": [each.name for each in testbed.columns if each.name not in found],
        "by_property": {name: value._asdict() for name, value in found.items()},
    }
    return ScoreValue(found[headline].value, found[headline].interval, parts, details)


class _Known(NamedTuple):
    """A subject's latents, a property's labels and the games, at the positions of a split where its truth is known."""

    latents: Latents
    labels_NP: np.ndarray
    game_N: np.ndarray


def _known(subject: Subject, columns: PropertyColumns, split: str) -> _Known:
    latents, labels_NP = subject.latents(split), subject.testbed.labels(split)
    game_N, known_N = subject.testbed.positions(split).game_N, columns.known(labels_NP)
    own_NP = labels_NP[:, columns.start : columns.stop]
    if known_N.all():
        return _Known(latents, own_NP, game_N)
    return _Known(latents.select_rows(known_N), own_NP[known_N], game_N[known_N])


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
    train, test = (_known(subject, columns, split) for split in ("train", "test"))
    train_NP, test_NP = (part.labels_NP[:, chosen - columns.start] for part in (train, test))
    found = held_out_coverage(train.latents, train_NP, test.latents, test_NP)
    counts = counts_by_game(predictions(found, test.latents), test_NP, test.game_N)
    interval = bootstrap_interval(_mean_f1, np.stack(counts, axis=-1))
    parts = {
        "above_chance": found.above_chance,
        "always_on": found.always_on,
        "in_sample": found.in_sample,
    }
    if columns.start == 0:
        size = subject.testbed.corpus.game.published_size(columns.name)
        parts["reference"] = coverage_reference(train.latents, train.labels_NP, denominator=size)
    base_P = test_NP.mean(0)
    details = {
        **_support(columns, chosen),
        "f1": _rounded(found.f1_P),
        "always_on": _rounded(2 * base_P / (1 + base_P)),
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
    train, validation, test = (_known(subject, columns, split) for split in ("train", "validation", "test"))
    both = train.latents, train.labels_NP, test.latents, test.labels_NP
    choosing = {"validation_latents_NF": validation.latents, "validation_labels_NP": validation.labels_NP}
    found = board_reconstruction(*both, **choosing)
    rebuilt = _rebuilt(test, columns, chosen, predict_boards(found, test.latents).numpy())
    parts = {**rebuilt.parts, "threshold": found.threshold}
    if columns.start == 0:
        parts["reference"] = board_reconstruction_reference(*both, columns.square_P).value
    details = {**rebuilt.details, "f1_T": _rounded(found.f1_T), "n_classifiers": found.n_classifiers_T.tolist()}
    return ScoreValue(found.value, rebuilt.interval, parts, details)


def _readout(subject: Subject, columns: PropertyColumns, chosen: np.ndarray) -> ScoreValue:
    """The boards that a readout of every label says: those above the probability of best F1 on validation."""
    validation, test = (_known(subject, columns, split) for split in ("validation", "test"))
    says_NP, test_NP = (part.latents.columns(columns.start, columns.stop).to_dense() for part in (validation, test))
    cut = max((round(0.05 * i, 2) for i in range(1, 20)), key=lambda cut: _f1(says_NP > cut, validation.labels_NP))
    rebuilt = _rebuilt(test, columns, chosen, test_NP > cut)
    return rebuilt._replace(parts={**rebuilt.parts, "threshold": cut})


def _rebuilt(test: _Known, columns: PropertyColumns, chosen: np.ndarray, said_NP: np.ndarray) -> ScoreValue:
    """Micro F1, precision and recall of rebuilt test boards, and F1 by label."""
    counts = [np.asarray(part) for part in counts_by_game(said_NP, test.labels_NP, test.game_N)]
    interval = bootstrap_interval(_micro_f1, np.stack([part.sum(1) for part in counts], axis=-1))
    hit_P, said_P, true_P = (part.sum(0) for part in counts)
    f1_P = 2 * hit_P / np.maximum(true_P + said_P, 1)
    parts = {
        "precision": float(hit_P.sum() / max(1, said_P.sum())),
        "recall": float(hit_P.sum() / max(1, true_P.sum())),
    }
    details = {**_support(columns, chosen), "f1": _rounded(f1_P[chosen - columns.start])}
    return ScoreValue(_f1(said_NP, test.labels_NP), interval, parts, details)


def _f1(said_NP: np.ndarray, true_NP: np.ndarray) -> float:
    """Micro F1 over all positions and labels."""
    return float(2 * (said_NP & true_NP).sum() / max(1, said_NP.sum() + true_NP.sum()))


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 6) for value in values]
