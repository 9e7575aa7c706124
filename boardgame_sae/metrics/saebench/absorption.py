"""Absorption: is a parent still told where one of its children is true, or has a latent of the child swallowed it?

SAEBench guesses at parents and children from first letters of words. A game gives them (`data.hierarchies`): `f3 mine`
is the parent of `f3 my knight`, `f3 my pawn`, .... The parent's main latents are the few that tell it best; the score
is the share of the child's positions at which they fail,

    1 - max(0, recall of the parent given the child - false positives of the parent),   lower is better,

mean over children, then over parents. A perfect SAE has 0. One that knows nothing has 1, and so has one that is always
on: the false positives are subtracted, so that saying yes to everything tells nothing. `parent` is the same given the
parent alone, and `gap` what the worst child adds to it: poor main latents make both large, absorption only the gap. A
common child's own latent may become a main latent of the parent, as published; `one_latent` is the score of the first
main latent alone.

Repaired: the published score asks a probe and not the truth; it chooses main latents by F1 on the test words that it
then measures; a dead or useless SAE scores low, which is good there; and it takes the cosine of decoder rows, so that
rows of another norm with the same reconstruction change it (.37 to .61 for norm 2). Here `fraction_published` and
`full_published` are the published formulas, with main latents chosen on validation games.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from boardgame_sae.config import Count, config, seed_for
from boardgame_sae.metrics.counting.f1 import f1
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.saebench.data.examples import Examples, ExamplesConfig, balanced, latent_rows
from boardgame_sae.metrics.saebench.data.hierarchies import Parent, parents
from boardgame_sae.metrics.saebench.data.linear import Classifier, fit
from boardgame_sae.metrics.saebench.data.probes import fit_probe, rows_of
from boardgame_sae.metrics.score import Display, UnscorableError, score
from boardgame_sae.metrics.statistics.statistic import ABOUT_COLUMNS, Statistic
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.testbeds.testbed import Testbed

MOST_MAIN, GAIN = 10, 0.03
"""Main latents at most, and the F1 that each one more must add, as published."""


@config
class AbsorptionConfig(ExamplesConfig):
    """How many parents, and how many examples of each; of each child there are at most `n_test` on test."""

    n_parents: Count = 24
    """Maximum number of parents."""


def _numbers(sums: Mapping[str, np.ndarray], details: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Means over children, then over parents; sums (R, children of all parents)."""
    parent_C = np.asarray(details[ABOUT_COLUMNS]["parent"])
    own = [np.flatnonzero(parent_C == number) for number in range(parent_C.max() + 1)]

    def lost(name: str, told: str) -> np.ndarray:
        """(R, children): share of the positions of `name` at which the parent is not told, beyond false positives."""
        rate = {kind: sums[f"{kind}_{told}"] / np.maximum(sums[f"{kind}_asked"], 1) for kind in (name, "false")}
        return 1 - np.maximum(0, rate[name] - rate["false"])

    by_child, parent = lost("child", "told"), lost("true", "told")
    parent_R = np.stack([parent[:, children].mean(1) for children in own], 1).mean(1)
    worst_R = np.stack([by_child[:, children].max(1) for children in own], 1).mean(1)
    one_R, all_R = (
        np.stack([part[:, children].mean(1) for children in own], 1).mean(1)
        for part in (lost("child", "told_by_one"), by_child)
    )
    return {"value": all_R, "parent": parent_R, "worst": worst_R, "gap": worst_R - parent_R, "one_latent": one_R}


RATES = Statistic(
    tuple(f"{name}_{count}" for name in ("child", "true", "false") for count in ("asked", "told", "told_by_one")),
    _numbers,
    same=("child_asked", "true_asked", "false_asked"),
)


@score(
    "absorption",
    title="Absorption",
    meaning="Share of a child's positions at which its parent's main latents fail to tell the parent",
    source="after Chanin et al. 2024 (arXiv 2409.14507) and SAEBench (arXiv 2503.09532), absorption",
    suites=("saebench",),
    order=11,
    better="lower",
    needs=("W_dec",),
    config=AbsorptionConfig,
    statistic=RATES,
    display=Display(
        parts={
            "parent": "given the parent alone",
            "worst": "given the worst child",
            "gap": "worst child less parent",
            "one_latent": "by one main latent",
            "fraction_published": "published fraction",
            "full_published": "published full absorption",
            "n_main": "main latents per parent",
        },
        columns=("_gap", "_fraction_published"),
        unit="share of positions",
    ),
)
def absorption_score(subject: Subject, cfg: AbsorptionConfig) -> ScoreValue:
    """Absorption by the hierarchies of the game.

    Raises UnscorableError when the game has no parent with two children that occur often enough.
    """
    families = subject.testbed.once(probed_parents, cfg)
    told = [_tell(subject, family) for family in families]
    counts = {name: np.concatenate([one.counts[name] for one in told], axis=1) for name in RATES.sums}
    parent_of_child = [number for number, family in enumerate(families) for _ in family.children]
    value = RATES.score(GameSums.dense(counts, RATES.same), details={ABOUT_COLUMNS: {"parent": parent_of_child}})
    asked = [one for one in told if one.n_read]
    published = {
        "fraction_published": float(np.mean([one.fraction for one in asked])) if asked else 0.0,
        "full_published": float(np.mean([one.full for one in asked])) if asked else 0.0,
        "n_main": float(np.mean([len(one.main) for one in told])),
    }
    details = value.details | _details(families, told, asked, cfg, subject.testbed)
    return value._replace(parts=value.parts | published, details=details)


class Family(NamedTuple):
    """A parent with what it is asked by."""

    parent: Parent
    examples: Mapping[str, Examples]
    children: list[Examples]
    """Test positions at which each child is true."""
    probe: Classifier
    """Of the parent, on activations."""


def probed_parents(testbed: Testbed, cfg: AbsorptionConfig) -> list[Family]:
    """The parents with examples and probes. Raises UnscorableError when the game has none that occurs often enough."""
    families = []
    for parent in parents(testbed, cfg.n_parents):
        examples = {
            split: balanced(
                parent.truth.true[split],
                testbed.positions(split).game_N,
                size // 2,
                seed_for(cfg.seed, "parent", parent.truth.name, split),
            )
            for split, size in cfg.sizes().items()
        }
        game_N, children = testbed.positions("test").game_N, []
        for child in parent.children:
            rows_N = np.flatnonzero(child.true["test"])
            rng = np.random.default_rng(seed_for(cfg.seed, "child", parent.truth.name, child.name))
            row_N = np.sort(rng.choice(rows_N, min(len(rows_N), cfg.n_test), replace=False))
            children.append(Examples(row_N, np.ones(len(row_N), bool), game_N[row_N]))
        families.append(Family(parent, examples, children, fit_probe(testbed, examples)[0]))
    if not families:
        raise UnscorableError(
            f"{testbed.corpus.game.name} has no parent with two children among its labels that occurs often enough "
            "(`Game.hierarchies`); use more games"
        )
    return families


class Told(NamedTuple):
    """What a subject makes of one parent."""

    main: list[int]
    """The parent's main latents."""
    counts: dict[str, np.ndarray]
    """(B games, children) by name."""
    n_read: int
    """Test positions that the parent's probe reads right, on which the published numbers rest."""
    fraction: float
    full: float


def _tell(subject: Subject, family: Family) -> Told:
    main, classifiers = main_latents(subject, family.examples)
    test, n_games = family.examples["test"], len(subject.testbed.positions("test").games_B)
    latents_NF = latent_rows(subject, "test", test.row_N)
    counts = {name: np.zeros((n_games, len(family.children)), np.int32) for name in RATES.sums}
    children_NF = [latent_rows(subject, "test", child.row_N) for child in family.children]
    for column, child in enumerate(family.children):
        counts["child_asked"][:, column] = np.bincount(child.game_N, minlength=n_games)
    for name, mask_N in (("true", test.true_N), ("false", ~test.true_N)):
        counts[f"{name}_asked"] += np.bincount(test.game_N[mask_N], minlength=n_games)[:, None]
    for told, classifier in (("told", classifiers[-1]), ("told_by_one", classifiers[0])):
        chosen = main[: len(classifier.weight_D)]
        says_N = classifier.logits(latents_NF[:, chosen].toarray()) > 0
        for name, mask_N in (("true", test.true_N), ("false", ~test.true_N)):
            counts[f"{name}_{told}"] += np.bincount(test.game_N[mask_N & says_N], minlength=n_games)[:, None]
        for column, (child, child_NF) in enumerate(zip(family.children, children_NF, strict=True)):
            child_says_N = classifier.logits(child_NF[:, chosen].toarray()) > 0
            counts[f"child_{told}"][:, column] = np.bincount(child.game_N[child_says_N], minlength=n_games)
    acts_ND = rows_of(subject.testbed, "test", test.row_N).astype(np.float64)
    read_N = test.true_N & (family.probe.logits(acts_ND) > 0)
    fraction_N, full_N = published_absorption(
        acts_ND[read_N], latents_NF[read_N], _decoder(subject), family.probe.weight_D, main
    )
    n_read = int(read_N.sum())
    return Told(main, counts, n_read, *((float(part.mean()) if n_read else 0.0) for part in (fraction_N, full_N)))


def main_latents(subject: Subject, examples: Mapping[str, Examples]) -> tuple[list[int], list[Classifier]]:
    """The latents that together tell a concept, and a classifier on the first one, the first two, ..., all of them.

    Latents are ranked by how much higher their mean is at true train examples; one more is taken as long as it adds
    more than `GAIN` to the F1 on validation.
    """
    latents = {split: latent_rows(subject, split, examples[split].row_N) for split in ("train", "validation")}
    train, validation = examples["train"], examples["validation"]
    difference_F = _means(latents["train"], train.true_N) - _means(latents["train"], ~train.true_N)
    order, best = np.argsort(-difference_F, kind="stable")[:MOST_MAIN].tolist(), -GAIN
    classifiers: list[Classifier] = []
    for k in range(1, len(order) + 1):
        candidate = fit(latents["train"][:, order[:k]].toarray(), train.true_N)
        says_N = candidate.logits(latents["validation"][:, order[:k]].toarray()) > 0
        reached = float(f1((says_N & validation.true_N).sum(), says_N.sum(), validation.true_N.sum()))
        if classifiers and reached <= best + GAIN:
            break
        classifiers, best = [*classifiers, candidate], reached
    return order[: len(classifiers)], classifiers


def _means(latents_NF: csr_array, rows_N: np.ndarray) -> np.ndarray:
    return np.asarray(latents_NF[rows_N].mean(0), np.float64).ravel()


def _decoder(subject: Subject) -> np.ndarray:
    assert subject.source.W_dec is not None
    return subject.source.W_dec.detach().cpu().double().numpy()


MIN_COSINE, MOST_ABSORBING, MIN_SHARE = 0.1, 3, 0.4
FULL_COSINE, ZERO = 0.025, 1e-8
"""Published limits: see `published_absorption`."""


def published_absorption(
    acts_ND: np.ndarray, latents_NF: csr_array, W_dec: np.ndarray, weight_D: np.ndarray, main: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The absorption fraction (N,) and full absorption (N,) of each position, by the published formulas.

    With u the probe's unit weight, c_j = cos(u, d_j), q_j = f_j c_j, a = x . u and M the sum of q over the main
    latents: A is the sum of the 3 largest q > 0 of other latents with c >= .1; the fraction is 0 if M >= a or
    A / a < .4, else 1 if M <= 0, else A' / (A' + M) with A' = min(A, a - M). Absorption is full where no main latent is
    on and the largest q of all has c >= .025, a >= 0 and q / a >= .4.
    Source: SAEBench 0.6, `evals.absorption.feature_absorption_calculator`.
    """
    u_D = weight_D / np.linalg.norm(weight_D)
    c_F = (W_dec @ u_D) / np.maximum(np.linalg.norm(W_dec, axis=1), 1e-12)
    a_N, q_NF = acts_ND @ u_D, (latents_NF * c_F).toarray()
    main_sum_N, candidates_NF = q_NF[:, main].sum(1), np.where(c_F >= MIN_COSINE, q_NF, 0.0)
    candidates_NF[:, main] = 0
    n_largest = min(MOST_ABSORBING, candidates_NF.shape[1])
    largest_NK = np.partition(candidates_NF, -n_largest, axis=1)[:, -n_largest:]
    absorbed_N = np.maximum(largest_NK, 0).sum(1)
    safe_N = np.where(a_N == 0, 1e-12, a_N)
    kept_N = np.minimum(absorbed_N, a_N - main_sum_N)
    fraction_N = np.where(main_sum_N <= 0, 1.0, kept_N / np.where(kept_N + main_sum_N == 0, 1, kept_N + main_sum_N))
    fraction_N = np.where((main_sum_N >= a_N) | (absorbed_N / safe_N < MIN_SHARE), 0.0, np.clip(fraction_N, 0, 1))
    top_N = q_NF.argmax(1)
    top_q_N = q_NF[np.arange(len(q_NF)), top_N]
    silent_N = (latents_NF[:, main].toarray() < ZERO).all(1)
    full_N = silent_N & (c_F[top_N] >= FULL_COSINE) & (a_N >= 0) & (top_q_N / safe_N >= MIN_SHARE)
    return fraction_N, full_N


def _details(
    families: Sequence[Family], told: Sequence[Told], asked: Sequence[Told], cfg: AbsorptionConfig, testbed: Testbed
) -> dict[str, Any]:
    rows = []
    for family, one in zip(families, told, strict=True):
        total = {name: one.counts[name].sum(0) for name in RATES.sums}
        rates = {
            name: total[f"{name}_told"] / np.maximum(total[f"{name}_asked"], 1) for name in ("child", "true", "false")
        }
        rows.append(
            {
                "parent": family.parent.truth.name,
                "main_latents": one.main,
                "recall": round(float(rates["true"][0]), 6),
                "false_positives": round(float(rates["false"][0]), 6),
                "recall_given": {
                    child.name: round(float(recall), 6)
                    for child, recall in zip(family.parent.children, rates["child"], strict=True)
                },
                "absorption_fraction": round(one.fraction, 6),
                "full_absorption": round(one.full, 6),
                "n_read": one.n_read,
            }
        )
    columns = {
        "absorption_fraction_score": [one.fraction for one in asked],
        "full_absorption_score": [one.full for one in asked],
        "num_split_features": [float(len(one.main)) for one in asked],
    }
    metrics = {}
    for name, numbers in columns.items():
        metrics[f"mean_{name}"] = float(np.mean(numbers)) if numbers else 0.0
        metrics[f"std_dev_{name}"] = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else 0.0
    eval_config = {"random_seed": cfg.seed, "f1_jump_threshold": GAIN, "max_k_value": MOST_MAIN}
    return {
        "by_parent": rows,
        "eval_type_id": "absorption_first_letter",
        "eval_config": eval_config | {"model_name": testbed.model.hash},
        "eval_result_metrics": {"mean": metrics},
    }
