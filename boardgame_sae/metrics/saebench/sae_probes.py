"""Sparse probing as sae-probes does it: latents ranked on a common scale, sparse regressions, areas under their curves.

The questions are those of `sparse_probing`. Each latent is divided by its mean activation where it is on, latents are
ranked by the absolute difference of their means between true and false examples, and an L1-penalised (or L2-penalised)
logistic regression reads the first k of 1, 2 and 5. The value is the mean over concepts of the area under the ROC curve
of the k that is best on validation: the chance that of a true and a false test example the true one has the larger
logit. From .5, what guessing has, to 1; higher is better. `accuracy` and `f1` (mean of the F1 of true and of false,
weighted by how many there are) are those of the same probes.

An area is no ratio of sums over games, so logits are counted in bins, set on validation, between which the order is
kept: from these counts come the area (ties within a bin count half; it differs from the exact one by less than .01),
accuracy and F1, and all their intervals.

Repaired: sae-probes penalises the weights of latents as they are, so that the scale of a latent decides whether it is
used; here inputs have variance 1. It takes k from a list and leaves the choice to the reader; here k, like the penalty,
is chosen on validation games.

Source: Kantamneni et al. 2025 (arXiv 2502.16681), sae-probes 0.4; SAEBench 0.6, `sparse_probing_sae_probes`.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from boardgame_sae.config import config, seed_for
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.saebench.data.examples import Question, latent_rows
from boardgame_sae.metrics.saebench.data.linear import Classifier, area_under_curve, fit, fit_lasso
from boardgame_sae.metrics.saebench.data.probes import concept_probes, rows_of
from boardgame_sae.metrics.saebench.sparse_probing import KS, SparseProbingConfig, asked_questions
from boardgame_sae.metrics.score import Chance, Display, score
from boardgame_sae.metrics.statistics.statistic import Statistic
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import SPLITS

STRENGTHS = (100.0, 10.0, 1.0, 0.1, 0.01, 0.001)
"""Inverse penalties to choose from; those that sae-probes has beyond these change nothing, or leave no weight."""
N_BINS = 32
"""Bins of logits: half of them below zero."""
READINGS = ("chosen", *(f"top_{k}" for k in KS), "probe", "shuffled")
"""The probes of a concept: of the chosen k, of each k, of all residual channels, and of shuffled labels."""


@config
class SAEProbesConfig(SparseProbingConfig):
    """Which concepts are asked about, with how many examples, and how sparse the regression is."""

    penalty: Literal["l1", "l2"] = "l1"
    """Penalty of the regression on latents."""

    @property
    def questions(self) -> SparseProbingConfig:
        """The same questions as those of `sparse_probing`."""
        return SparseProbingConfig(n_concepts=self.n_concepts, n_train=self.n_train, n_test=self.n_test, seed=self.seed)


def _numbers(sums: Mapping[str, np.ndarray], details: Mapping[str, Any]) -> dict[str, np.ndarray]:  # noqa: ARG001
    """Means over concepts; sums (R, concepts x bins)."""
    means = {name: {key: part.mean(1) for key, part in _by_concept(sums, name).items()} for name in READINGS}
    numbers = {"value": means["chosen"]["auc"], "accuracy": means["chosen"]["accuracy"], "f1": means["chosen"]["f1"]}
    for name in (*(f"top_{k}" for k in KS), "probe"):
        numbers |= {
            name: means[name]["auc"],
            f"{name}_accuracy": means[name]["accuracy"],
            f"{name}_f1": means[name]["f1"],
        }
    return numbers | {"shuffled": means["shuffled"]["auc"]}


def _by_concept(sums: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """auc, accuracy and f1 of one of READINGS, (R, concepts) each."""
    true, false = (sums[f"{name}_{kind}"].reshape(-1, sums[f"{name}_{kind}"].shape[-1] // N_BINS, N_BINS)
                   for kind in ("true", "false"))  # fmt: skip
    n_true, n_false = true.sum(-1), false.sum(-1)
    below = false.cumsum(-1) - false / 2
    auc = (true * below).sum(-1) / np.maximum(n_true * n_false, 1)
    true_yes, false_yes = (part[..., N_BINS // 2 :].sum(-1) for part in (true, false))
    true_no, false_no = n_true - true_yes, n_false - false_yes
    wrong, asked = true_no + false_yes, np.maximum(n_true + n_false, 1)
    f1 = sum(n * 2 * right / np.maximum(2 * right + wrong, 1) for n, right in ((n_true, true_yes), (n_false, false_no)))
    return {"auc": auc, "accuracy": (true_yes + false_no) / asked, "f1": f1 / asked}


AREA = Statistic(
    tuple(f"{name}_{kind}" for name in READINGS for kind in ("true", "false")),
    _numbers,
    same=("probe_true", "probe_false"),
)


@score(
    "sparse_probing_sae_probes",
    title="Sparse probing (sae-probes)",
    meaning="Mean over concepts of the area under the curve of an L1 logistic regression on the best few latents",
    source="sae-probes (arXiv 2502.16681), in SAEBench (arXiv 2503.09532) as sparse_probing_sae_probes",
    suites=("saebench",),
    order=10,
    config=SAEProbesConfig,
    statistic=AREA,
    display=Display(
        parts={
            "accuracy": "accuracy",
            "f1": "weighted F1",
            **{f"top_{k}": f"{k} latent{'s' * (k > 1)}" for k in KS},
            **{f"top_{k}_accuracy": f"accuracy of {k} latent{'s' * (k > 1)}" for k in KS},
            **{f"top_{k}_f1": f"weighted F1 of {k} latent{'s' * (k > 1)}" for k in KS},
            "probe": "all residual channels (ceiling)",
            "probe_accuracy": "accuracy of all residual channels",
            "probe_f1": "weighted F1 of all residual channels",
            "shuffled": "shuffled labels (chance)",
        },
        columns=("_f1", "_probe"),
        chance=Chance("shuffled", shared=False),
        unit="area under the curve on test",
    ),
)
def sae_probes_score(subject: Subject, cfg: SAEProbesConfig) -> ScoreValue:
    """Sparse probing of sae-probes on board truth.

    Raises UnscorableError when no label of the testbed is true, and false, often enough to be asked about.
    """
    asked = subject.testbed.once(asked_questions, cfg.questions)
    channels = subject.testbed.once(channel_curves, cfg.questions)
    with threadpool_limits(1):  # products too small for a second thread, which would wait for the first
        read = [_read(subject, question, cfg) for question in asked]
    game_sums = [
        _count(question, one.curves | {"probe": probe}, len(subject.testbed.positions("test").games_B))
        for question, one, probe in zip(asked, read, channels, strict=True)
    ]
    counts = {name: np.concatenate([sums[name] for sums in game_sums], axis=1) for name in AREA.sums}
    value = AREA.score(GameSums.dense(counts, AREA.same))
    return value._replace(details=_details(value, counts, asked, read, cfg))


class Curve(NamedTuple):
    """What a probe of one concept says of its test examples."""

    logits_N: np.ndarray
    edges_E: np.ndarray
    """Between bins of logits: N_BINS - 1, set on validation; the middle one is 0."""


class Read(NamedTuple):
    """The probes of one concept on a subject's latents."""

    latents: list[int]
    """By normalised difference of means, as many as the largest k."""
    k: int
    """The chosen one."""
    curves: dict[str, Curve]
    """By name of READINGS."""


def channel_curves(testbed: Testbed, cfg: SparseProbingConfig) -> list[Curve]:
    """Probes of all residual channels (L2, as sae-probes' own baseline), the same for every subject of a testbed."""
    curves = []
    for probe in concept_probes(testbed, testbed.once(asked_questions, cfg)):
        validation_ND, test_ND = (
            rows_of(testbed, split, probe.examples[split].row_N) for split in ("validation", "test")
        )
        curves.append(_curve(probe.classifier, validation_ND, test_ND))
    return curves


def _read(subject: Subject, question: Question, cfg: SAEProbesConfig) -> Read:
    concept, examples = question
    latents = {split: latent_rows(subject, split, examples[split].row_N) for split in SPLITS}
    truths = {split: examples[split].true_N for split in SPLITS}
    ranking, fitted = _fitted(latents, truths, KS, cfg.penalty)
    k = max(KS, key=lambda k: fitted[k].on_validation)
    rng = np.random.default_rng(seed_for(cfg.seed, "shuffled labels", concept.name))
    shuffled, by_chance = _fitted(
        latents, {split: rng.permutation(truths[split]) for split in truths}, (k,), cfg.penalty
    )

    def curve(order: np.ndarray, probe: Probe) -> Curve:
        columns = order[: len(probe.classifier.weight_D)]
        return _curve(probe.classifier, *(latents[split][:, columns].toarray() for split in ("validation", "test")))

    curves = {f"top_{k}": curve(ranking, fitted[k]) for k in KS}
    curves |= {"chosen": curves[f"top_{k}"], "shuffled": curve(shuffled, by_chance[k])}
    return Read(ranking[: max(KS)].tolist(), k, curves)


class Probe(NamedTuple):
    """A classifier, and its area on validation."""

    classifier: Classifier
    on_validation: float


def _fitted(
    latents: Mapping[str, csr_array], truths: Mapping[str, np.ndarray], ks: tuple[int, ...], penalty: str
) -> tuple[np.ndarray, dict[int, Probe]]:
    """The ranking of the latents on train, and a probe of the first k for each of some k."""
    ranking = normalised_ranking(latents["train"], truths["train"])
    train, validation = (latents[split][:, ranking[: max(ks)]].toarray() for split in ("train", "validation"))
    probes = {}
    for k in ks:
        candidates = []
        for strength in STRENGTHS:
            classifier = (fit_lasso if penalty == "l1" else fit)(train[:, :k], truths["train"], strength)
            area = area_under_curve(classifier.logits(validation[:, :k]), truths["validation"])
            candidates.append(Probe(classifier, area))
        probes[k] = max(candidates, key=lambda probe: probe.on_validation)
    return ranking, probes


def normalised_ranking(latents_NF: csr_array, true_N: np.ndarray) -> np.ndarray:
    """Latents by the absolute difference of their means between true and false examples, the largest first.

    Each latent is divided by its mean where it is on, so that its scale does not matter.
    """
    sum_F = np.asarray(latents_NF.sum(0), np.float64).ravel()
    mean_on_F = sum_F / np.maximum(np.bincount(latents_NF.indices, minlength=len(sum_F)), 1)
    means = [np.asarray(latents_NF[rows_N].mean(0), np.float64).ravel() for rows_N in (true_N, ~true_N)]
    difference_F = np.abs(means[0] - means[1]) / np.where(mean_on_F > 0, mean_on_F, 1)
    return np.argsort(-difference_F, kind="stable")


def _curve(classifier: Classifier, validation_ND: Any, test_ND: Any) -> Curve:
    return Curve(classifier.logits(test_ND), bin_edges(classifier.logits(validation_ND)))


def bin_edges(logits_N: np.ndarray) -> np.ndarray:
    """(N_BINS - 1,): 0 in the middle, and on either side what cuts some logits into equal parts."""
    shares, sides = np.linspace(0, 1, N_BINS // 2 + 1)[1:-1], (logits_N[logits_N <= 0], logits_N[logits_N > 0])
    below, above = (np.quantile(side, shares) if len(side) else np.zeros(len(shares)) for side in sides)
    return np.concatenate([below, [0.0], above])


def _count(question: Question, curves: Mapping[str, Curve], n_games: int) -> dict[str, np.ndarray]:
    """(n_games, N_BINS) by name of AREA's sums: a concept's true and false test examples by the bin of their logit."""
    test, counts = question[1]["test"], {}
    for name in READINGS:
        bin_N = np.searchsorted(curves[name].edges_E, curves[name].logits_N)
        for kind, rows_N in (("true", test.true_N), ("false", ~test.true_N)):
            place_N = test.game_N[rows_N] * N_BINS + bin_N[rows_N]
            count = np.bincount(place_N, minlength=n_games * N_BINS).astype(np.int32)
            counts[f"{name}_{kind}"] = count.reshape(n_games, N_BINS)
    return counts


def _details(
    value: ScoreValue, counts: Mapping[str, np.ndarray], asked: list[Question], read: list[Read], cfg: SAEProbesConfig
) -> dict[str, Any]:
    totals = {name: part.sum(0, keepdims=True) for name, part in counts.items()}
    rows: dict[str, list[Any]] = {"dataset_name": [concept.name for concept, _ in asked]}
    for name, theirs in (*((f"top_{k}", f"sae_top_{k}") for k in KS), ("probe", "llm")):
        for key, numbers in _by_concept(totals, name).items():
            rows[f"{theirs}_test_{key}"] = [round(float(number), 6) for number in numbers[0]]
    keys = {"auc": "", "accuracy": "_accuracy", "f1": "_f1"}
    metrics = {
        "llm": {f"llm_test_{key}": value.parts[f"probe{ending}"] for key, ending in keys.items()},
        "sae": {f"sae_top_{k}_test_{key}": value.parts[f"top_{k}{ending}"] for k in KS for key, ending in keys.items()},
    }
    eval_config = {
        "random_seed": cfg.seed,
        "dataset_names": rows["dataset_name"],
        "reg_type": cfg.penalty,
        "setting": "normal",
        "ks": list(KS),
        "binarize": False,
        "include_llm_baseline": True,
        "baseline_method": "logreg",
    }
    by_concept = [
        {"concept": concept.name, "property": concept.property, "k": one.k, "latents": one.latents}
        for (concept, _), one in zip(asked, read, strict=True)
    ]
    return {
        "eval_config": eval_config,
        "eval_result_metrics": metrics,
        "eval_result_details": rows,
        "by_concept": by_concept,
    }
