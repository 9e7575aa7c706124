"""Spurious correlation removal: a probe that learned two concepts as one; does ablating the latents of one repair it?

SAEBench's score with two concepts of a game that are made to coincide: a biased probe sees only positions where both
are true or both false. The n latents of largest effect on the probe of one concept, the spurious one, are ablated; the
score is the share of the accuracy on the other concept that the bias cost and ablation gives back,

    (accuracy ablated - accuracy biased) / (accuracy of an unbiased probe - accuracy biased).

Each pair has two directions, either concept being the spurious one.

Repaired: published shares are unbounded below where the bias cost little (-2.8 on boards); here shares are cut to
[-1, 1], and a direction counts only where the bias cost at least 2 points on validation games. Published, the direction
is the one whose biased accuracy is lower, and a tie has no score; here every direction that counts does. n is chosen on
validation games. The published numbers, by the published formula on the same examples, are among the details.
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
from boardgame_sae.metrics.saebench.ablation.quadrants import Pair, pairs
from boardgame_sae.metrics.saebench.data.examples import ExamplesConfig, latent_rows
from boardgame_sae.metrics.saebench.data.linear import Classifier
from boardgame_sae.metrics.saebench.data.probes import fit_probe, rows_of
from boardgame_sae.metrics.score import Display, UnscorableError, score
from boardgame_sae.metrics.statistics.statistic import Statistic
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.testbeds.testbed import Testbed

LEAST_BIAS = 0.02
"""Accuracy that the bias must cost on validation games for a direction to count."""


@config
class SCRConfig(ExamplesConfig):
    """How many pairs of concepts, and how many examples, a quarter of them of each combination of the two."""

    n_pairs: Count = 8
    """Maximum number of pairs."""


def _numbers(sums: Mapping[str, np.ndarray], details: Mapping[str, Any]) -> dict[str, np.ndarray]:  # noqa: ARG001
    """Mean share over the directions that count; sums (R, directions)."""
    asked = np.maximum(sums["asked"], 1)
    cost = np.maximum(sums["clean"] - sums["biased"], 1e-9 * asked)
    chosen, *by_n = (
        np.clip((sums[f"right_{n}"] - sums["biased"]) / cost, -1, 1).mean(1) for n in ("chosen", *N_ABLATED)
    )
    accuracies = {name: (sums[name] / asked).mean(1) for name in ("clean", "biased")}
    return {"value": chosen, **accuracies, **{f"top_{n}": share for n, share in zip(N_ABLATED, by_n, strict=True)}}


COUNTED = ("asked", "clean", "biased", *(f"right_{n}" for n in N_ABLATED))
SHARES = Statistic((*COUNTED, "right_chosen"), _numbers, same=COUNTED[:3])


@score(
    "scr",
    title="Spurious correlation removal",
    meaning="Share of the accuracy that a spurious concept costs a probe and that ablating its latents gives back",
    source="SAEBench (arXiv 2503.09532), SCR; Karvonen et al. 2024 (arXiv 2411.18895)",
    suites=("saebench",),
    order=12,
    low=-1.0,
    needs=("W_dec",),
    config=SCRConfig,
    statistic=SHARES,
    display=Display(
        parts={
            "clean": "accuracy of unbiased probes",
            "biased": "accuracy of biased probes",
            **{f"top_{n}": f"{n} latents ablated" for n in N_ABLATED},
        },
        columns=("_top_20",),
        unit="share of accuracy",
    ),
)
def scr_score(subject: Subject, cfg: SCRConfig) -> ScoreValue:
    """SCR on board truth; ablating nothing scores 0.

    Raises UnscorableError when no two concepts occur in all combinations, or bias costs no probe of any pair anything.
    """
    biases = subject.testbed.once(biased_probes, cfg)
    counts = [cost >= LEAST_BIAS for bias in biases for cost in bias.costs]
    if not any(counts):
        raise UnscorableError(f"bias costs none of the {len(biases)} pairs of concepts any accuracy; use more games")
    chosen = [[attributed(subject, bias, spurious) for spurious in (1, 0)] for bias in biases]
    validation, test = (_counted(subject, biases, chosen, split) for split in ("validation", "test"))
    once = {name: count_BP.sum(0)[None, counts].astype(float) for name, count_BP in validation.items()}
    numbers = _numbers(once | {"right_chosen": once["biased"]}, {})
    by_n = {n: float(numbers[f"top_{n}"][0]) for n in N_ABLATED}
    best = max(by_n, key=lambda n: by_n[n])
    counting = {name: count_BP[:, counts] for name, count_BP in test.items()}
    value = SHARES.score(GameSums.dense(counting | {"right_chosen": counting[f"right_{best}"]}, SHARES.same))
    details = _details(biases, by_n, test, cfg, subject.testbed)
    return value._replace(details={"n_ablated": best, "counts": counts, **details})


class Bias(NamedTuple):
    """A pair of concepts with their probes."""

    pair: Pair
    unbiased: tuple[Classifier, Classifier]
    """Probes of each concept, trained where the other is true half of the time."""
    biased: Classifier
    """A probe trained where both coincide."""
    costs: tuple[float, float]
    """Accuracy on each concept that the bias costs, on validation games."""


def biased_probes(testbed: Testbed, cfg: SCRConfig) -> list[Bias]:
    """The pairs with their probes. Raises UnscorableError when no two concepts occur in all four combinations."""
    biases = []
    for pair in pairs(testbed, cfg.n_pairs, cfg.sizes(), cfg.seed):
        biased, _ = fit_probe(testbed, pair.biased)
        unbiased = [fit_probe(testbed, examples)[0] for examples in pair.balanced]
        costs = []
        for probe, examples in zip(unbiased, pair.balanced, strict=True):
            part = examples["validation"]
            acts_ND = rows_of(testbed, "validation", part.row_N)
            right = [((one.logits(acts_ND) > 0) == part.true_N).mean() for one in (probe, biased)]
            costs.append(float(right[0] - right[1]))
        biases.append(Bias(pair, (unbiased[0], unbiased[1]), biased, (costs[0], costs[1])))
    if not biases:
        raise UnscorableError("no two concepts occur in all four combinations often enough; use more games")
    return biases


def attributed(subject: Subject, bias: Bias, spurious: int) -> np.ndarray:
    """The latents of largest absolute effect on the probe of one concept of a pair, in order: the published choice."""
    train = bias.pair.balanced[spurious]["train"]
    difference_F = mean_differences(latent_rows(subject, "train", train.row_N), train.true_N)
    return largest(np.abs(difference_F * alignment(subject, bias.unbiased[spurious])), max(N_ABLATED))


def _counted(
    subject: Subject, biases: Sequence[Bias], chosen: Sequence[Sequence[np.ndarray]], split: str
) -> dict[str, np.ndarray]:
    """Per game and (pair, concept asked about): asked, and right of the clean, biased and ablated probes."""
    n_games = len(subject.testbed.positions(split).games_B)
    counts = {name: np.zeros((n_games, len(biases), 2), np.int32) for name in COUNTED}
    for p, bias in enumerate(biases):
        alignment_F = alignment(subject, bias.biased)
        for kept in range(2):
            examples = bias.pair.balanced[kept][split]
            acts_ND = rows_of(subject.testbed, split, examples.row_N)
            latents_NF = latent_rows(subject, split, examples.row_N)
            biased_N = bias.biased.logits(acts_ND)
            logits = {"clean": bias.unbiased[kept].logits(acts_ND), "biased": biased_N}
            for n in N_ABLATED:
                logits[f"right_{n}"] = logits_without(biased_N, latents_NF, alignment_F, chosen[p][kept][:n])
            counts["asked"][:, p, kept] = np.bincount(examples.game_N, minlength=n_games)
            for name, logits_N in logits.items():
                right_N = (logits_N > 0) == examples.true_N
                counts[name][:, p, kept] = np.bincount(examples.game_N[right_N], minlength=n_games)
    return {name: count.reshape(n_games, -1) for name, count in counts.items()}


def _details(
    biases: Sequence[Bias],
    by_n: Mapping[int, float],
    test: Mapping[str, np.ndarray],
    cfg: SCRConfig,
    testbed: Testbed,
) -> dict[str, Any]:
    rows = [
        {
            "concepts": [concept.name for concept in bias.pair.concepts],
            "properties": [concept.property for concept in bias.pair.concepts],
            "probe_accuracies": [round(accuracy, 6) for accuracy in bias.pair.accuracies],
            "bias_costs": [round(cost, 6) for cost in bias.costs],
        }
        for bias in biases
    ]
    eval_config = {
        "random_seed": cfg.seed,
        "dataset_names": [testbed.corpus.game.name],
        "perform_scr": True,
        "n_values": list(N_ABLATED),
        "train_set_size": cfg.n_train,
        "test_set_size": cfg.n_test,
    }
    return {
        "on_validation": {str(n): round(share, 6) for n, share in by_n.items()},
        "pairs": rows,
        "eval_config": eval_config,
        "eval_result_metrics": {"scr_metrics": published_shares(test)},
    }


def published_shares(counts: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The published numbers, from (B, pairs x directions) counts: each direction, and the one where bias costs more.

    A share whose denominator is below .001 is 0; a pair whose directions tie has no share of its own.
    Source: SAEBench 0.6, `evals.scr_and_tpp.main.get_scr_plotting_dict`.
    """
    total = {name: count.sum(0).reshape(-1, 2) for name, count in counts.items()}
    accuracy = {name: total[name] / total["asked"] for name in total if name != "asked"}
    cost_P2, lower_P = accuracy["clean"] - accuracy["biased"], accuracy["biased"].argmin(1)
    untied_P = accuracy["biased"][:, 0] != accuracy["biased"][:, 1]
    shares = {}
    for n in N_ABLATED:
        gain_P2 = accuracy[f"right_{n}"] - accuracy["biased"]
        share_P2 = np.where(cost_P2 < 0.001, 0.0, gain_P2 / np.where(cost_P2 < 0.001, 1, cost_P2))
        shares[f"scr_dir1_threshold_{n}"], shares[f"scr_dir2_threshold_{n}"] = share_P2.mean(0).tolist()
        if untied_P.any():
            chosen_P = share_P2[np.arange(len(share_P2)), lower_P]
            shares[f"scr_metric_threshold_{n}"] = float(chosen_P[untied_P].mean())
    return shares
