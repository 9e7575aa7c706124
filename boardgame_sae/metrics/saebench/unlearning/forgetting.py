"""How well a family of positions can be forgotten: by the setting, of all, that is best on validation games."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from boardgame_sae.config import seed_for
from boardgame_sae.metrics.saebench.data.examples import latent_rows
from boardgame_sae.metrics.saebench.unlearning.clamp import (
    RETAIN_THRESHOLDS,
    SETTINGS,
    Setting,
    clamped,
    frequencies,
    means_where_on,
    top_latents,
)
from boardgame_sae.metrics.saebench.unlearning.families import MEASURED, Family, Task
from boardgame_sae.metrics.subject import Subject

LEAST_RETAINED = 0.99
"""Accuracy elsewhere that a setting must leave, as published."""


class Accuracy(NamedTuple):
    """What a setting leaves, of positions that were right before."""

    forget: float
    retain: float


class Forgotten(NamedTuple):
    """What becomes of one family."""

    setting: Setting | None
    """The one that is best on validation; None where none retains enough."""
    latents: list[int]
    """Those that it clamps."""
    counted: dict[str, np.ndarray]
    """By name of the score's sums: the numbers of the test positions that count."""
    on_test: list[Accuracy]
    """Of every setting."""


class Clamping:
    """A subject's latents at the positions of a task."""

    def __init__(self, subject: Subject, asked: Task) -> None:
        assert subject.source.W_dec is not None
        self.W_dec, self.plays = subject.source.W_dec, asked.plays
        self.train_NF: csr_array = latent_rows(subject, "train", np.arange(len(subject.testbed.positions("train"))))
        self.mean_F = means_where_on(self.train_NF)
        rows = {split: np.arange(len(one.top_N)) for split, one in asked.plays.items()}
        self.played = {split: latent_rows(subject, split, row_N) for split, row_N in rows.items()}

    def top(self, split: str, row_N: np.ndarray, chosen: np.ndarray, multiplier: float) -> np.ndarray:
        """(N,): the most probable tokens at some positions once some latents are clamped there."""
        latents_NK = self.played[split][row_N][:, chosen].toarray()
        changes_ND = clamped(latents_NK, -multiplier * self.mean_F[chosen], self.W_dec[chosen])
        return self.plays[split].top_with(row_N, changes_ND)

    def right(self, family: Family, split: str, chosen: np.ndarray, multiplier: float) -> tuple[np.ndarray, np.ndarray]:
        """bool: at which of the positions asked about, in the family and elsewhere, the model is right then."""
        asked = family.asked[split]
        top_N = self.top(split, np.concatenate(asked), chosen, multiplier)
        return family.right(self.plays[split], asked, top_N)


def forget(latents: Clamping, family: Family, seed: int) -> Forgotten:
    """Choose a setting on validation, and see what it does on test."""
    ranked = _ranked(latents.train_NF, family.true_N, family.false_N)
    on_validation, on_test = (_accuracies(latents, family, ranked, split) for split in MEASURED)
    asked, best = family.asked["test"], best_setting(on_validation)
    setting = None if best is None else SETTINGS[best]
    own, multiplier = _chosen(ranked, setting)
    after = latents.right(family, "test", own, multiplier)
    shuffled, _ = latents.right(family, "test", _chosen(_shuffled(latents, family, seed), setting)[0], multiplier)
    counted = {
        "forget_asked": asked.forget_N,
        "retain_asked": asked.retain_N,
        "forget_right": asked.forget_N[after[0]],
        "retain_right": asked.retain_N[after[1]],
        "forget_right_shuffled": asked.forget_N[shuffled],
    }
    return Forgotten(setting, own.tolist(), counted, on_test)


def _chosen(ranked: Mapping[float, np.ndarray], setting: Setting | None) -> tuple[np.ndarray, float]:
    """The latents of a setting, and its multiplier; none where there is no setting."""
    if setting is None:
        return np.zeros(0, np.int64), 0.0
    return ranked[setting.retain_threshold][: setting.n_latents], setting.multiplier


def _accuracies(latents: Clamping, family: Family, ranked: Mapping[float, np.ndarray], split: str) -> list[Accuracy]:
    """What each setting leaves; settings that clamp the same latents alike are computed once."""
    found = dict[tuple[tuple[int, ...], float], Accuracy]()
    keys = [(tuple(chosen.tolist()), multiplier) for chosen, multiplier in (_chosen(ranked, one) for one in SETTINGS)]
    for chosen, multiplier in dict.fromkeys(keys):
        right = latents.right(family, split, np.array(chosen, np.int64), multiplier)
        found[chosen, multiplier] = Accuracy(*(float(part.mean()) for part in right))
    return [found[key] for key in keys]


def _ranked(train_NF: csr_array, true_N: np.ndarray, false_N: np.ndarray) -> dict[float, np.ndarray]:
    """The latents that may be clamped, by threshold."""
    forget_F, retain_F = frequencies(train_NF, true_N), frequencies(train_NF, false_N)
    return {threshold: top_latents(forget_F, retain_F, threshold) for threshold in RETAIN_THRESHOLDS}


def _shuffled(latents: Clamping, family: Family, seed: int) -> dict[float, np.ndarray]:
    """The latents that shuffled labels would choose."""
    rng = np.random.default_rng(seed_for(seed, "shuffled labels", family.concept.name))
    order = rng.permutation(len(family.true_N))
    return _ranked(latents.train_NF, family.true_N[order], family.false_N[order])


def best_setting(accuracies: Sequence[Accuracy]) -> int | None:
    """The setting that leaves the lowest accuracy in the family, of those that retain enough; None if none does."""
    kept = [number for number, accuracy in enumerate(accuracies) if accuracy.retain >= LEAST_RETAINED]
    return min(kept, key=lambda number: accuracies[number].forget, default=None)


def published_score(accuracies: Sequence[Accuracy]) -> float:
    """1 - the lowest accuracy in the family over all settings; that of settings that retain too little counts as 1."""
    return 1 - min(one.forget if one.retain >= LEAST_RETAINED else 1.0 for one in accuracies)
