"""Sparse probing against a reading by hand, the faults it repairs, and the order of SAEs that are known to differ."""

import numpy as np
import pytest
from planted import perfect_sae, planted, random_sae, trained_sae
from sklearn.linear_model import LogisticRegression

from boardgame_sae.metrics.saebench.sparse_probing import (
    KS,
    SparseProbingConfig,
    asked_questions,
    mean_difference_ranking,
    sparse_probing_score,
)
from boardgame_sae.metrics.subject import Subject

CFG = SparseProbingConfig(n_concepts=8, n_train=200, n_test=100)


@pytest.fixture(scope="module")
def bed(tiny_corpus):
    return planted(tiny_corpus, n_games=80)


@pytest.fixture(scope="module")
def saes(bed):
    return {"perfect": perfect_sae(bed), "trained": trained_sae(bed), "random": random_sae(bed)}


@pytest.fixture(scope="module")
def scored(bed, saes):
    return {name: sparse_probing_score(Subject(name, "sae", sae, bed), CFG) for name, sae in saes.items()}


def test_a_perfect_sae_is_above_a_trained_one_and_that_above_a_random_one(scored):
    perfect, trained, random = (scored[name] for name in ("perfect", "trained", "random"))
    assert perfect.value > 0.99 and perfect.value > trained.value > random.value > 0.45
    for value in scored.values():
        assert value.interval[0] <= value.value <= value.interval[1]
        assert value.parts["shuffled"] < 0.65


def test_it_is_what_scikit_learn_makes_of_the_same_examples(bed, saes, scored):
    """By hand, with dense latents: ranking, regression on the first k, accuracy, mean over concepts."""
    subject, accuracy = Subject("trained", "sae", saes["trained"], bed), {k: [] for k in KS}
    dense = {
        s: np.concatenate([part.to_dense() for part in subject.latents(s)]) for s in ("train", "validation", "test")
    }
    for _, examples in bed.once(asked_questions, CFG):
        x = {split: dense[split][examples[split].row_N] for split in dense}
        y = {split: examples[split].true_N for split in dense}
        difference_F = np.abs(x["train"][y["train"]].mean(0) - x["train"][~y["train"]].mean(0))
        order = np.lexsort((np.arange(len(difference_F)), -difference_F))
        for k in KS:
            scale = x["train"][:, order[:k]].std(0) + 1e-12
            fits = [
                LogisticRegression(C=c, max_iter=1000).fit(x["train"][:, order[:k]] / scale, y["train"])
                for c in (0.01, 0.1, 1.0)
            ]
            best = max(fits, key=lambda fit: fit.score(x["validation"][:, order[:k]] / scale, y["validation"]))
            accuracy[k].append(best.score(x["test"][:, order[:k]] / scale, y["test"]))
    numbers = {1: scored["trained"].value, **{k: scored["trained"].parts[f"top_{k}"] for k in KS[1:]}}
    for k in KS:
        assert numbers[k] == pytest.approx(np.mean(accuracy[k]), abs=2e-3)


def test_every_subject_is_asked_the_same_and_the_ceiling_is_the_same(scored):
    """The published package draws new negatives for each SAE and each k: the probe's accuracy moves with the draw."""
    names = [[row["concept"] for row in value.details["by_concept"]] for value in scored.values()]
    assert names[0] == names[1] == names[2]
    assert len({value.parts["probe"] for value in scored.values()}) == 1
    sums = [value.sums for value in scored.values()]
    sums[0].check_same_games(sums[1])


def test_test_games_choose_nothing(bed, saes):
    """Other truths in test games change accuracies, but neither latents nor the probes' penalties."""
    before = sparse_probing_score(Subject("x", "sae", saes["trained"], bed), CFG)
    other = planted(bed.corpus, n_games=80)
    for _, examples in other.once(asked_questions, CFG):
        examples["test"].true_N[:] = ~examples["test"].true_N
    after = sparse_probing_score(Subject("x", "sae", saes["trained"], other), CFG)
    for a, b in zip(before.details["by_concept"], after.details["by_concept"], strict=True):
        assert a["latents"] == b["latents"]
        for name, accuracy in a["accuracy"].items():
            assert b["accuracy"][name] == pytest.approx(1 - accuracy, abs=1e-6)


def test_ranking_is_by_the_absolute_difference_of_means_and_ties_keep_their_order():
    x_ND = np.array([[1.0, 0, 5, 2], [1, 0, 5, 2], [1, 2, 0, 0], [1, 2, 0, 0]])
    assert mean_difference_ranking(x_ND, np.array([True, True, False, False])).tolist() == [2, 1, 3, 0]


def test_the_numbers_stand_under_saebenchs_names(scored):
    metrics, value = scored["trained"].details["eval_result_metrics"], scored["trained"]
    assert metrics["sae"]["sae_top_1_test_accuracy"] == value.value
    assert metrics["sae"]["sae_test_accuracy"] == value.parts["all_latents"]
    assert metrics["llm"]["llm_test_accuracy"] == value.parts["probe"]
    assert set(metrics["llm"]) == {"llm_test_accuracy", *(f"llm_top_{k}_test_accuracy" for k in KS)}
