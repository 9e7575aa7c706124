"""Unlearning: can a model be made to forget one family of positions, and nothing else, by clamping latents?

SAEBench's score with families of positions that a game gives (`families`). Latents that are on in the family and rarely
elsewhere are clamped below zero (`clamp`), and the model is asked for a move. Only positions at which it was right
before count, so that accuracy is 1 before, and the score is

    1 - accuracy in the family afterwards,    higher is better,

mean over families, 0 where nothing can be clamped without losing more than 1% of the accuracy elsewhere. `shuffled` is
what the same setting does with latents that are chosen by shuffled labels.

Published, latents are clamped at every token of a question. A game goes through positions to forget on its way to those
to retain, so that here they are clamped at the position that is asked about alone.

Repaired: of 16 settings the published score takes the best on the data that it reports; here the setting is chosen on
validation games, and `unlearning_published` is the best on test. Published multipliers are in raw units of activations,
here in units of each latent's mean. Published frequencies pass through text of six digits, and files are named by the
number of latents found, so that settings overwrite each other; here every setting is computed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from boardgame_sae.config import Count, Seed, config, seed_for
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.saebench.data.examples import latent_rows
from boardgame_sae.metrics.saebench.unlearning.clamp import (
    MULTIPLIERS,
    N_LATENTS,
    RETAIN_THRESHOLDS,
    SETTINGS,
    Setting,
    clamped,
    frequencies,
    means_where_on,
    top_latents,
)
from boardgame_sae.metrics.saebench.unlearning.families import Family, Task, task
from boardgame_sae.metrics.score import Chance, Display, score
from boardgame_sae.metrics.statistics.statistic import Statistic
from boardgame_sae.metrics.subject import Subject

LEAST_RETAINED = 0.99
"""Accuracy elsewhere that a setting must leave, as published."""


@config
class UnlearningConfig:
    """How many families, and how many games."""

    n_families: Count = 4
    """Maximum number of families."""
    n_games: Count = 150
    """Maximum number of validation and of test games that are played with clamped latents; latents are chosen on all
    train games."""
    seed: Seed = 0
    """Of the shuffled labels."""


def _numbers(sums: Mapping[str, np.ndarray], details: Mapping[str, Any]) -> dict[str, np.ndarray]:  # noqa: ARG001
    """Means over families; sums (R, families)."""

    def mean(right: str, asked: str) -> np.ndarray:
        return (sums[right] / np.maximum(sums[asked], 1)).mean(1)

    forget = mean("forget_right", "forget_asked")
    return {
        "value": 1 - forget,
        "forget_accuracy": forget,
        "retain_accuracy": mean("retain_right", "retain_asked"),
        "shuffled": 1 - mean("forget_right_shuffled", "forget_asked"),
    }


ASKED = ("forget_asked", "retain_asked")
ACCURACIES = Statistic((*ASKED, "forget_right", "retain_right", "forget_right_shuffled"), _numbers, same=ASKED)


@score(
    "unlearning",
    title="Unlearning",
    meaning="Share of a family's positions no longer played right once latents are clamped, at 1% lost elsewhere",
    source="SAEBench (arXiv 2503.09532), unlearning; Farrell et al. 2024 (arXiv 2410.19278)",
    suites=("saebench",),
    order=15,
    needs=("W_dec",),
    config=UnlearningConfig,
    statistic=ACCURACIES,
    display=Display(
        parts={
            "forget_accuracy": "accuracy in the family",
            "retain_accuracy": "accuracy elsewhere",
            "shuffled": "latents chosen by shuffled labels (chance)",
            "unlearning_published": "best setting on test",
        },
        columns=("_retain_accuracy",),
        chance=Chance("shuffled", shared=False),
        unit="1 - accuracy",
    ),
)
def unlearning_score(subject: Subject, cfg: UnlearningConfig) -> ScoreValue:
    """Unlearning on board truth.

    Raises UnscorableError when no label is true often enough where the model plays right.
    """
    asked = subject.testbed.once(task, cfg.n_families, cfg.n_games)
    latents = Clamping(subject, asked)
    results = [_forget(latents, family, cfg.seed) for family in asked.families]
    shape = len(subject.testbed.positions("test").games_B)
    game_N = asked.plays["test"].above.where.game_N
    counts = {
        name: np.stack([np.bincount(game_N[one.counted[name]], minlength=shape) for one in results], 1).astype(np.int32)
        for name in ACCURACIES.sums
    }
    published = float(np.mean([published_score(one.on_test) for one in results]))
    value = ACCURACIES.score(GameSums.dense(counts, ACCURACIES.same), {"unlearning_published": published})
    return value._replace(details=_details(value, counts, asked, results, cfg))


class Accuracy(NamedTuple):
    """What a setting leaves, of positions that were right before."""

    forget: float
    retain: float


class Forgotten(NamedTuple):
    """What becomes of one family."""

    setting: Setting | None
    """The one that is best on validation; None where none retains enough."""
    latents: list[int]
    counted: dict[str, np.ndarray]
    """bool (N,) by name of the sums: which of the test positions count."""
    on_validation: list[Accuracy]
    """Of every setting."""
    on_test: list[Accuracy]


class Clamping:
    """A subject's latents at the positions of a task."""

    def __init__(self, subject: Subject, asked: Task) -> None:
        assert subject.source.W_dec is not None
        self.W_dec, self.plays = subject.source.W_dec, asked.plays
        n_train = len(subject.testbed.positions("train"))
        self.train_NF: csr_array = latent_rows(subject, "train", np.arange(n_train))
        self.mean_F = means_where_on(self.train_NF)
        self.played = {
            split: latent_rows(subject, split, np.arange(len(one.top_N))) for split, one in asked.plays.items()
        }

    def top(self, split: str, chosen: np.ndarray, multiplier: float) -> np.ndarray:
        """(N,): the most probable tokens once some latents are clamped."""
        latents_NK = self.played[split][:, chosen].toarray()
        return self.plays[split].top_with(clamped(latents_NK, -multiplier * self.mean_F[chosen], self.W_dec[chosen]))


def _forget(latents: Clamping, family: Family, seed: int) -> Forgotten:
    ranked = _ranked(latents.train_NF, family.forget["train"], family.retain["train"])
    on_validation, on_test = (_accuracies(latents, family, ranked, split) for split in ("validation", "test"))
    test = latents.plays["test"]
    best, own, after_N, shuffled_N = best_setting(on_validation), np.zeros(0, np.int64), test.top_N, test.top_N
    setting = None if best is None else SETTINGS[best]
    if setting is not None:
        own = ranked[setting.retain_threshold][: setting.n_latents]
        after_N = latents.top("test", own, setting.multiplier)
        shuffled_N = _shuffled(latents, family, setting, seed)
    asked = family.right("test", test, test.top_N)
    after, shuffled = (family.right("test", test, top_N) for top_N in (after_N, shuffled_N))
    counted = {
        "forget_asked": asked[0],
        "retain_asked": asked[1],
        "forget_right": asked[0] & after[0],
        "retain_right": asked[1] & after[1],
        "forget_right_shuffled": asked[0] & shuffled[0],
    }
    return Forgotten(setting, own.tolist(), counted, on_validation, on_test)


def _accuracies(latents: Clamping, family: Family, ranked: Mapping[float, np.ndarray], split: str) -> list[Accuracy]:
    """What each setting leaves; settings that clamp the same latents alike are computed once."""
    play, found = latents.plays[split], dict[tuple[tuple[int, ...], float], Accuracy]()
    clean = family.right(split, play, play.top_N)
    for setting in SETTINGS:
        own = ranked[setting.retain_threshold][: setting.n_latents]
        if _key(own, setting) not in found:
            after = family.right(split, play, latents.top(split, own, setting.multiplier))
            shares = (float(after_N[clean_N].mean()) for clean_N, after_N in zip(clean, after, strict=True))
            found[_key(own, setting)] = Accuracy(*shares)
    return [found[_key(ranked[setting.retain_threshold][: setting.n_latents], setting)] for setting in SETTINGS]


def _key(chosen: np.ndarray, setting: Setting) -> tuple[tuple[int, ...], float]:
    return tuple(chosen.tolist()), setting.multiplier


def _ranked(train_NF: csr_array, forget_N: np.ndarray, retain_N: np.ndarray) -> dict[float, np.ndarray]:
    """The latents that may be clamped, by threshold."""
    forget_F, retain_F = frequencies(train_NF, forget_N), frequencies(train_NF, retain_N)
    return {threshold: top_latents(forget_F, retain_F, threshold) for threshold in RETAIN_THRESHOLDS}


def _shuffled(latents: Clamping, family: Family, setting: Setting, seed: int) -> np.ndarray:
    """(N,): the most probable tokens on test once latents are clamped that shuffled labels choose."""
    rng = np.random.default_rng(seed_for(seed, "shuffled labels", family.concept.name))
    order = rng.permutation(len(family.forget["train"]))
    forget_N, retain_N = family.forget["train"][order], family.retain["train"][order]
    own = _ranked(latents.train_NF, forget_N, retain_N)[setting.retain_threshold][: setting.n_latents]
    return latents.top("test", own, setting.multiplier)


def best_setting(accuracies: Sequence[Accuracy]) -> int | None:
    """The setting that leaves the lowest accuracy in the family, of those that retain enough; None if none does."""
    kept = [number for number, accuracy in enumerate(accuracies) if accuracy.retain >= LEAST_RETAINED]
    return min(kept, key=lambda number: accuracies[number].forget, default=None)


def published_score(accuracies: Sequence[Accuracy]) -> float:
    """1 - the lowest accuracy in the family over all settings; that of settings that retain too little counts as 1."""
    return 1 - min(one.forget if one.retain >= LEAST_RETAINED else 1.0 for one in accuracies)


def _details(
    value: ScoreValue,
    counts: Mapping[str, np.ndarray],
    asked: Task,
    results: Sequence[Forgotten],
    cfg: UnlearningConfig,
) -> dict[str, Any]:
    total = {name: part.sum(0).tolist() for name, part in counts.items()}
    by_family = [
        {
            "family": family.concept.name,
            "property": family.concept.property,
            "has_own_moves": family.moves_V is not None,
            "share": round(float(family.forget["train"].mean()), 6),
            "n_forget": total["forget_asked"][k],
            "n_retain": total["retain_asked"][k],
            "setting": None if one.setting is None else one.setting._asdict(),
            "latents": one.latents,
            "forget_accuracy": round(total["forget_right"][k] / max(total["forget_asked"][k], 1), 6),
            "retain_accuracy": round(total["retain_right"][k] / max(total["retain_asked"][k], 1), 6),
            "best_on_test": round(published_score(one.on_test), 6),
        }
        for k, (family, one) in enumerate(zip(asked.families, results, strict=True))
    ]
    eval_config = {
        "random_seed": cfg.seed,
        "dataset_names": [family.concept.name for family in asked.families],
        "intervention_method": "clamp_feature_activation",
        "retain_thresholds": list(RETAIN_THRESHOLDS),
        "n_features_list": list(N_LATENTS),
        "multipliers": [int(multiplier) for multiplier in MULTIPLIERS],
        "dataset_size": cfg.n_games,
        "llm_dtype": "float32",
    }
    metrics = {"unlearning": {"unlearning_score": value.value}}
    return {"by_family": by_family, "eval_config": eval_config, "eval_result_metrics": metrics}
