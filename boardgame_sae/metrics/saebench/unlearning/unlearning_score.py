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
from typing import Any

import numpy as np

from boardgame_sae.config import Count, Seed, config
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.saebench.unlearning.clamp import MULTIPLIERS, N_LATENTS, RETAIN_THRESHOLDS
from boardgame_sae.metrics.saebench.unlearning.families import Task, task
from boardgame_sae.metrics.saebench.unlearning.forgetting import Clamping, Forgotten, forget, published_score
from boardgame_sae.metrics.score import Chance, Display, score
from boardgame_sae.metrics.statistics.statistic import Statistic
from boardgame_sae.metrics.subject import Subject


@config
class UnlearningConfig:
    """How many families, and how many games."""

    n_families: Count = 4
    """Maximum number of families."""
    n_games: Count = 300
    """Maximum number of validation and of test games whose positions are asked about; latents are chosen on all train
    games."""
    n_retain: Count = 1000
    """Maximum number of positions outside a family that are asked about, in each split."""
    seed: Seed = 0
    """Which those are, and of the shuffled labels."""


def _numbers(sums: Mapping[str, np.ndarray], details: Mapping[str, Any]) -> dict[str, np.ndarray]:  # noqa: ARG001
    """Means over families; sums (R, families)."""

    def mean(right: str, asked: str) -> np.ndarray:
        return (sums[right] / np.maximum(sums[asked], 1)).mean(1)

    left = mean("forget_right", "forget_asked")
    return {
        "value": 1 - left,
        "forget_accuracy": left,
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
    asked = subject.testbed.once(task, cfg.n_families, cfg.n_games, cfg.n_retain, cfg.seed)
    latents = Clamping(subject, asked)
    results = [forget(latents, family, cfg.seed) for family in asked.families]
    n_games = len(subject.testbed.positions("test").games_B)
    game_N = asked.plays["test"].above.where.game_N
    counts = {
        name: np.stack([np.bincount(game_N[one.counted[name]], minlength=n_games) for one in results], 1)
        for name in ACCURACIES.sums
    }
    published = float(np.mean([published_score(one.on_test) for one in results]))
    value = ACCURACIES.score(GameSums.dense(counts, ACCURACIES.same), {"unlearning_published": published})
    return value._replace(details=_details(value, counts, asked, results, cfg))


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
            "share": round(float(family.true_N.mean()), 6),
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
