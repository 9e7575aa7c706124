"""Targeted probe perturbation: does ablating the latents of one concept disturb its probe, and no other?

SAEBench's score with sets of five concepts of a game. Each concept has a linear probe; its n latents of largest effect
are ablated, and the accuracy of every probe of the set is measured. The score is the mean over concepts of the accuracy
that the own probe loses, less the mean of what the others lose.

Repaired: the published selection fills up with latents of no effect, those that are more active at negative examples,
once n exceeds the number of latents that have one; here only effects above zero are ablated. It draws new negatives
for each accuracy, so that ablating nothing scores up to .014; here examples are drawn once and ablating nothing scores
exactly 0. n is chosen on validation games; `top_n` gives every n as published.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from boardgame_sae.config import Count, config
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.saebench.ablation.effects import (
    N_ABLATED,
    alignment,
    largest,
    logits_without,
    mean_differences,
)
from boardgame_sae.metrics.saebench.data.concepts import concept_sets
from boardgame_sae.metrics.saebench.data.examples import ExamplesConfig, latent_rows, questions
from boardgame_sae.metrics.saebench.data.probes import ConceptProbe, concept_probes, rows_of
from boardgame_sae.metrics.score import Display, UnscorableError, score
from boardgame_sae.metrics.statistics.statistic import Statistic
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.testbeds.testbed import Testbed

SET_SIZE = 5
"""Concepts in a set, as published."""


@config
class TPPConfig(ExamplesConfig):
    """How many sets of concepts, and how many examples of each concept."""

    n_sets: Count = 4
    """Maximum number of sets of five concepts; each set is of one property."""


def _numbers(sums: Mapping[str, np.ndarray], details: Mapping[str, Any]) -> dict[str, np.ndarray]:  # noqa: ARG001
    """The score at the chosen n, its two parts, and the score at every n; sums (R, sets x ablated x read)."""
    shape = (len(sums["asked"]), -1, SET_SIZE, SET_SIZE)
    asked, own = np.maximum(sums["asked"].reshape(shape), 1), np.eye(SET_SIZE, dtype=bool)

    def lost(right: str) -> tuple[np.ndarray, np.ndarray]:
        """(R,): accuracy lost by the own probe, and by the others."""
        lost_RSCC = (sums["right_0"] - sums[right]).reshape(shape) / asked
        return lost_RSCC[..., own].mean((1, 2)), lost_RSCC[..., ~own].mean((1, 2))

    intended, unintended = lost("right_chosen")
    by_n = {f"top_{n}": np.subtract(*lost(f"right_{n}")) for n in N_ABLATED}
    return {"value": intended - unintended, "intended": intended, "unintended": unintended, **by_n}


TPP = Statistic(
    ("asked", *(f"right_{n}" for n in (0, *N_ABLATED)), "right_chosen"), _numbers, same=("asked", "right_0")
)


@score(
    "tpp",
    title="Targeted probe perturbation",
    meaning="Accuracy that a concept's probe loses when its latents are ablated, less what other concepts' probes lose",
    source="SAEBench (arXiv 2503.09532), TPP; Karvonen et al. 2024 (arXiv 2411.18895)",
    suites=("quick", "saebench"),
    order=13,
    low=-1.0,
    needs=("W_dec",),
    config=TPPConfig,
    quick={"n_sets": 2, "n_train": 1000, "n_test": 500},
    statistic=TPP,
    display=Display(
        parts={
            "intended": "lost by the own probe",
            "unintended": "lost by other probes",
            **{f"top_{n}": f"{n} latents ablated" for n in N_ABLATED},
        },
        columns=("_intended", "_unintended"),
        unit="accuracy",
    ),
)
def tpp_score(subject: Subject, cfg: TPPConfig) -> ScoreValue:
    """TPP on board truth; ablating nothing, as a subject does whose latents have no effect, scores 0.

    Raises UnscorableError when no property has five concepts that can be asked about.
    """
    sets = subject.testbed.once(probed_sets, cfg)
    chosen = [[_ranked(subject, probe) for probe in probes] for probes in sets]
    validation, test = (_counts(subject, sets, chosen, split) for split in ("validation", "test"))
    once = {name: count_BP.sum(0)[None].astype(float) for name, count_BP in validation.items()}
    numbers = _numbers(once | {"right_chosen": once["right_0"]}, {})
    by_n = {n: float(numbers[f"top_{n}"][0]) for n in N_ABLATED}
    best = max(by_n, key=lambda n: by_n[n])
    value = TPP.score(GameSums.dense(test | {"right_chosen": test[f"right_{best}"]}, TPP.same))
    details = _details(value, sets, chosen, by_n, cfg, subject.testbed)
    return value._replace(details={"n_ablated": best, **details})


def probed_sets(testbed: Testbed, cfg: TPPConfig) -> list[list[ConceptProbe]]:
    """The sets of concepts, with their probes. Raises UnscorableError when no property has enough concepts for one."""
    sets = concept_sets(testbed, cfg.n_sets, SET_SIZE)
    if not sets:
        raise UnscorableError(f"no property has {SET_SIZE} concepts with enough examples; use more games")
    return [concept_probes(testbed, questions(testbed, chosen, cfg.sizes(), cfg.seed)) for chosen in sets]


class Ranked(NamedTuple):
    """The latents that matter to one probe."""

    latents: np.ndarray
    """By effect, the largest first; at most as many as are ever ablated."""
    alignment_F: np.ndarray
    """What one unit of each latent adds to the probe's logit."""


def _ranked(subject: Subject, probe: ConceptProbe) -> Ranked:
    train = probe.examples["train"]
    difference_F = mean_differences(latent_rows(subject, "train", train.row_N), train.true_N)
    alignment_F = alignment(subject, probe.classifier)
    effects_F = np.maximum(difference_F, 0) * alignment_F
    return Ranked(largest(effects_F, max(N_ABLATED)), alignment_F)


def _counts(
    subject: Subject, sets: Sequence[Sequence[ConceptProbe]], chosen: Sequence[Sequence[Ranked]], split: str
) -> dict[str, np.ndarray]:
    """Per game and (set, concept whose latents are ablated, concept that is read): asked, and right at every n."""
    n_games = len(subject.testbed.positions(split).games_B)
    shape = (n_games, len(sets), SET_SIZE, SET_SIZE)
    counts = {name: np.zeros(shape, np.int32) for name in ("asked", *(f"right_{n}" for n in (0, *N_ABLATED)))}
    for s, (probes, ranked) in enumerate(zip(sets, chosen, strict=True)):
        for j, read in enumerate(probes):
            examples = read.examples[split]
            latents_NF = latent_rows(subject, split, examples.row_N)
            clean_N = read.classifier.logits(rows_of(subject.testbed, split, examples.row_N))
            counts["asked"][:, s, :, j] = np.bincount(examples.game_N, minlength=n_games)[:, None]
            for i, ablated in enumerate(ranked):
                for n in (0, *N_ABLATED):
                    logits_N = logits_without(clean_N, latents_NF, ranked[j].alignment_F, ablated.latents[:n])
                    right_N = (logits_N > 0) == examples.true_N
                    counts[f"right_{n}"][:, s, i, j] = np.bincount(examples.game_N[right_N], minlength=n_games)
    return {name: count.reshape(n_games, -1) for name, count in counts.items()}


def _details(
    value: ScoreValue,
    sets: Sequence[Sequence[ConceptProbe]],
    chosen: Sequence[Sequence[Ranked]],
    by_n: Mapping[int, float],
    cfg: TPPConfig,
    testbed: Testbed,
) -> dict[str, Any]:
    rows = [
        [
            {
                "concept": probe.concept.name,
                "property": probe.concept.property,
                "probe_accuracy": round(probe.accuracy, 6),
                "n_latents_with_effect": len(ranked.latents),
                "latents": ranked.latents[:10].tolist(),
            }
            for probe, ranked in zip(probes, ranks, strict=True)
        ]
        for probes, ranks in zip(sets, chosen, strict=True)
    ]
    metrics = {f"tpp_threshold_{n}_total_metric": value.parts[f"top_{n}"] for n in N_ABLATED}
    config = {
        "random_seed": cfg.seed,
        "dataset_names": [testbed.corpus.game.name],
        "perform_scr": False,
        "n_values": list(N_ABLATED),
        "train_set_size": cfg.n_train,
        "test_set_size": cfg.n_test,
    }
    return {
        "on_validation": {str(n): round(total, 6) for n, total in by_n.items()},
        "sets": rows,
        "eval_config": config,
        "eval_result_metrics": {"tpp_metrics": metrics},
    }
