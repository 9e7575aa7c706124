"""Sparse probing: how much of a concept the few latents that differ most tell, by logistic regression on them.

SAEBench's score with board truth as labels. Each concept (`data.concepts`) is a balanced question; latents are ranked
by the absolute difference of their means between true and false examples, and a logistic regression reads the first k.

Repaired: the published package draws new negatives for each class, k and SAE (accuracies of one SAE differ by up to
.008 with the draw); here a draw depends on the concept alone. It keeps the epoch of its full probes that is best on
test; here penalties are chosen on validation games.

Beside the SAE's: probes of the same number of residual channels, of all channels and of all latents, and probes of
shuffled labels, which show what fitting alone gives.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from boardgame_sae.config import Count, config, seed_for
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.saebench.data.concepts import concepts
from boardgame_sae.metrics.saebench.data.examples import ExamplesConfig, Question, latent_rows, questions
from boardgame_sae.metrics.saebench.data.linear import STRENGTHS, area_under_curve, fit, fit_chosen
from boardgame_sae.metrics.score import Chance, Display, UnscorableError, score
from boardgame_sae.metrics.statistics.statistic import Statistic
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import SPLITS

KS = (1, 2, 5)
"""Numbers of latents, as published."""


@config
class SparseProbingConfig(ExamplesConfig):
    """Which concepts are asked about, and with how many examples."""

    n_concepts: Count = 40
    """Maximum number of concepts."""


def _sums_of(name: str) -> list[str]:
    return [f"{name}_{k}" for k in KS] + [f"{name}_all"]


SUMS = ("asked", *_sums_of("channels"), *_sums_of("latents"), "latents_1_shuffled")
"""What is counted per game and concept: examples asked about, and how many of them each probe gets right."""


def _numbers(sums: Mapping[str, np.ndarray], details: Mapping[str, Any]) -> dict[str, np.ndarray]:  # noqa: ARG001
    """Mean over concepts of each probe's accuracy."""
    accuracy = {name: (sums[name] / np.maximum(sums["asked"], 1)).mean(1) for name in SUMS[1:]}
    parts = {f"top_{k}": accuracy[f"latents_{k}"] for k in KS[1:]} | {"all_latents": accuracy["latents_all"]}
    channels = {f"channels_top_{k}": accuracy[f"channels_{k}"] for k in KS} | {"probe": accuracy["channels_all"]}
    return {"value": accuracy["latents_1"], **parts, **channels, "shuffled": accuracy["latents_1_shuffled"]}


ACCURACY = Statistic(SUMS, _numbers, same=("asked", *_sums_of("channels")))


@score(
    "sparse_probing",
    title="Sparse probing",
    meaning="Mean over concepts of the accuracy, on balanced test examples, of a logistic regression on one latent",
    source="SAEBench (arXiv 2503.09532), sparse probing; Gurnee et al. 2023 (arXiv 2305.01610)",
    suites=("quick", "saebench"),
    order=10,
    config=SparseProbingConfig,
    quick={"n_concepts": 10, "n_train": 1000, "n_test": 500},
    statistic=ACCURACY,
    display=Display(
        parts={
            **{f"top_{k}": f"{k} latents" for k in KS[1:]},
            "all_latents": "all latents",
            **{f"channels_top_{k}": f"{k} residual channel{'s' * (k > 1)}" for k in KS},
            "probe": "all residual channels (ceiling)",
            "shuffled": "shuffled labels (chance)",
        },
        columns=("_top_5", "_probe"),
        chance=Chance("shuffled", shared=False),
        unit="accuracy on test",
    ),
)
def sparse_probing_score(subject: Subject, cfg: SparseProbingConfig) -> ScoreValue:
    """Sparse probing on board truth.

    Raises UnscorableError when no label of the testbed is true, and false, often enough to be asked about.
    """
    asked = subject.testbed.once(asked_questions, cfg)
    of_channels = subject.testbed.once(channel_readings, cfg)
    of_latents = [_read_latents(subject, question, cfg) for question in asked]
    n_games = len(subject.testbed.positions("test").games_B)
    counts = {name: np.zeros((n_games, len(asked)), np.int32) for name in SUMS}
    for column, ((_, examples), *readings) in enumerate(zip(asked, of_channels, of_latents, strict=True)):
        test = examples["test"]
        counts["asked"][:, column] = np.bincount(test.game_N, minlength=n_games)
        for name, right_N in (readings[0].right | readings[1].right).items():
            counts[name][:, column] = np.bincount(test.game_N[right_N], minlength=n_games)
    value = ACCURACY.score(GameSums.dense(counts, ACCURACY.same))
    return value._replace(details=_details(value, counts, asked, of_latents, subject.testbed, cfg))


class Reading(NamedTuple):
    """What the probes of one concept make of its test examples."""

    right: dict[str, np.ndarray]
    """bool (N,) by probe: whether each test example is told right."""
    inputs: list[int]
    """The latents (or channels) that differ most, in order; as many as the largest k."""
    auc: float
    """Area under the ROC curve of the probe of one input."""


def asked_questions(testbed: Testbed, cfg: SparseProbingConfig) -> list[Question]:
    """The concepts with their examples. Raises UnscorableError when there is no concept that can be asked about."""
    chosen = concepts(testbed, cfg.n_concepts)
    if not chosen:
        raise UnscorableError("no label is true, and false, at 20 positions of every split; use more games")
    return questions(testbed, chosen, cfg.sizes(), cfg.seed)


def channel_readings(testbed: Testbed, cfg: SparseProbingConfig) -> list[Reading]:
    """Probes of the residual channels, the same for every subject of a testbed."""
    acts = {split: testbed.activations(split).numpy() for split in SPLITS}
    return [
        _read({split: acts[split][examples[split].row_N] for split in SPLITS}, (concept, examples), "channels")
        for concept, examples in testbed.once(asked_questions, cfg)
    ]


def _read_latents(subject: Subject, question: Question, cfg: SparseProbingConfig) -> Reading:
    concept, examples = question
    latents = {split: latent_rows(subject, split, examples[split].row_N) for split in SPLITS}
    reading = _read(latents, question, "latents")
    rng = np.random.default_rng(seed_for(cfg.seed, "shuffled labels", concept.name))
    shuffled_N, test = rng.permutation(examples["train"].true_N), examples["test"]
    chosen = mean_difference_ranking(latents["train"], shuffled_N)[:1]
    probe = fit(dense(latents["train"], chosen), shuffled_N)
    told_N = probe.logits(dense(latents["test"], chosen)) > 0
    return reading._replace(right=reading.right | {"latents_1_shuffled": told_N == test.true_N})


def _read(inputs: Mapping[str, Any], question: Question, name: str) -> Reading:
    """Fit and test the probes of the first k inputs and of all; inputs: (N, D) by split, dense or sparse."""
    (_, examples), right, auc = question, dict[str, np.ndarray](), 0.0
    ranking = mean_difference_ranking(inputs["train"], examples["train"].true_N)
    truths = {split: examples[split].true_N for split in SPLITS}
    for k in (*KS, None):
        x = inputs if k is None else {split: dense(inputs[split], ranking[:k]) for split in SPLITS}
        probe = fit_chosen(x["train"], truths["train"], x["validation"], truths["validation"], STRENGTHS)
        logits_N = probe.logits(x["test"])
        right[f"{name}_{k or 'all'}"] = (logits_N > 0) == truths["test"]
        auc = area_under_curve(logits_N, truths["test"]) if k == KS[0] else auc
    return Reading(right, ranking[: max(KS)].tolist(), auc)


def mean_difference_ranking(x_ND: Any, true_N: np.ndarray) -> np.ndarray:
    """Inputs by the absolute difference of their means between true and false examples, the largest first."""
    means = [np.asarray(x_ND[rows_N].mean(0), np.float64).ravel() for rows_N in (true_N, ~true_N)]
    return np.argsort(-np.abs(means[0] - means[1]), kind="stable")


def dense(x_ND: Any, columns: np.ndarray) -> np.ndarray:
    """Some columns of a dense or sparse matrix, dense."""
    chosen = x_ND[:, columns]
    return chosen.toarray() if isinstance(chosen, csr_array) else chosen


def _details(
    value: ScoreValue,
    counts: Mapping[str, np.ndarray],
    asked: list[Question],
    of_latents: list[Reading],
    testbed: Testbed,
    cfg: SparseProbingConfig,
) -> dict[str, Any]:
    total = {name: part.sum(0) for name, part in counts.items()}
    by_concept = [
        {
            "concept": concept.name,
            "property": concept.property,
            "n_test": int(total["asked"][k]),
            "accuracy": {name: round(float(total[name][k] / total["asked"][k]), 6) for name in SUMS[1:]},
            "latents": reading.inputs,
            "auc_top_1": round(reading.auc, 6),
        }
        for k, ((concept, _), reading) in enumerate(zip(asked, of_latents, strict=True))
    ]
    sae = {"sae_test_accuracy": value.parts["all_latents"], "sae_top_1_test_accuracy": value.value}
    llm = {"llm_test_accuracy": value.parts["probe"]}
    for k in KS:
        llm[f"llm_top_{k}_test_accuracy"] = value.parts[f"channels_top_{k}"]
        if k > 1:
            sae[f"sae_top_{k}_test_accuracy"] = value.parts[f"top_{k}"]
    eval_config = {
        "random_seed": cfg.seed,
        "dataset_names": [testbed.corpus.game.name],
        "probe_train_set_size": cfg.n_train,
        "probe_test_set_size": cfg.n_test,
        "k_values": list(KS),
    }
    metrics = {"llm": llm, "sae": sae}
    return {"eval_config": eval_config, "eval_result_metrics": metrics, "by_concept": by_concept}
