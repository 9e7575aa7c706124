"""sae-probes on boards: a reading by hand, areas from counts, the repaired scale, and SAEs that are known to differ."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import perfect_sae, planted, random_sae, trained_sae
from scipy.sparse import csr_array
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from boardgame_sae.metrics.saebench import sae_probes
from boardgame_sae.metrics.saebench.data.linear import fit_lasso
from boardgame_sae.metrics.saebench.sae_probes import (
    KS,
    N_BINS,
    STRENGTHS,
    SAEProbesConfig,
    _by_concept,
    bin_edges,
    normalised_ranking,
    sae_probes_score,
)
from boardgame_sae.metrics.saebench.sparse_probing import asked_questions
from boardgame_sae.metrics.subject import Subject

CFG = SAEProbesConfig(n_concepts=6, n_train=200, n_test=100)


@pytest.fixture(scope="module")
def bed(tiny_corpus):
    return planted(tiny_corpus, n_games=80)


@pytest.fixture(scope="module")
def saes(bed):
    return {"perfect": perfect_sae(bed), "trained": trained_sae(bed), "random": random_sae(bed)}


@pytest.fixture(scope="module")
def scored(bed, saes):
    return {name: sae_probes_score(Subject(name, "sae", sae, bed), CFG) for name, sae in saes.items()}


def test_a_perfect_sae_is_above_a_trained_one_and_that_above_a_random_one(scored):
    perfect, trained, random = (scored[name] for name in ("perfect", "trained", "random"))
    assert perfect.value > 0.99 and perfect.value > trained.value > random.value > 0.5
    assert perfect.parts["f1"] > trained.parts["f1"] > random.parts["f1"]
    for value in scored.values():
        assert value.interval[0] <= value.value <= value.interval[1]
        assert value.parts["shuffled"] == pytest.approx(0.5, abs=0.1)


def test_an_l2_penalty_gives_nearly_the_same(bed, saes, scored):
    cfg = SAEProbesConfig(n_concepts=6, n_train=200, n_test=100, penalty="l2")
    value = sae_probes_score(Subject("trained", "sae", saes["trained"], bed), cfg)
    assert value.value == pytest.approx(scored["trained"].value, abs=0.05)
    assert value.details["eval_config"]["reg_type"] == "l2"


def test_it_is_what_a_plain_reading_of_the_same_examples_gives(bed, saes, scored, monkeypatch):
    """By hand, with dense latents and scikit-learn's numbers: areas from logits in the same bins to the last digit.

    Of the logits themselves they are to 0.005 where bins are fine: with the score's own, on one SAE or another, it is
    more, and which SAE is trained here depends on the machine's rounding.
    """
    subject = Subject("trained", "sae", saes["trained"], bed)
    areas, binned, f1s = ({k: [] for k in KS} for _ in range(3))
    dense = {
        s: np.concatenate([part.to_dense() for part in subject.latents(s)]) for s in ("train", "validation", "test")
    }
    for _, examples in bed.once(asked_questions, CFG.questions):
        x = {split: dense[split][examples[split].row_N].astype(np.float64) for split in dense}
        y = {split: examples[split].true_N for split in dense}
        on = x["train"] != 0
        scale_F = x["train"].sum(0) / np.maximum(on.sum(0), 1)
        scaled = x["train"] / np.where(scale_F > 0, scale_F, 1)
        order = np.argsort(-np.abs(scaled[y["train"]].mean(0) - scaled[~y["train"]].mean(0)), kind="stable")
        for k in KS:
            fits = [fit_lasso(x["train"][:, order[:k]], y["train"], strength) for strength in STRENGTHS]
            best = max(fits, key=lambda fit: roc_auc_score(y["validation"], fit.logits(x["validation"][:, order[:k]])))
            logits_N = best.logits(x["test"][:, order[:k]])
            edges = bin_edges(best.logits(x["validation"][:, order[:k]]))
            binned[k].append(roc_auc_score(y["test"], np.searchsorted(edges, logits_N)))
            areas[k].append(roc_auc_score(y["test"], logits_N))
            f1s[k].append(f1_score(y["test"], logits_N > 0, average="weighted"))
    monkeypatch.setattr(sae_probes, "N_BINS", 1024)
    fine = sae_probes_score(Subject("trained", "sae", saes["trained"], bed), CFG)
    for k in KS:
        assert scored["trained"].parts[f"top_{k}"] == pytest.approx(np.mean(binned[k]), abs=1e-9)
        assert fine.parts[f"top_{k}"] == pytest.approx(np.mean(areas[k]), abs=5e-3)
        assert scored["trained"].parts[f"top_{k}_f1"] == pytest.approx(np.mean(f1s[k]), abs=1e-6)


@given(seed=st.integers(0, 10**6), n=st.integers(4, 200), ties=st.booleans())
def test_counts_in_bins_give_accuracy_and_f1_exactly_and_the_area_nearly(seed, n, ties):
    rng = np.random.default_rng(seed)
    true_N = rng.random(n) < 0.5
    true_N[:2] = True, False
    logits_N = rng.normal(size=n) + true_N
    logits_N = np.round(logits_N) if ties else logits_N
    bin_N = np.searchsorted(bin_edges(logits_N), logits_N)
    sums = {f"x_{kind}": np.bincount(bin_N[rows_N], minlength=N_BINS)[None].astype(float)
            for kind, rows_N in (("true", true_N), ("false", ~true_N))}  # fmt: skip
    found = {name: float(number[0, 0]) for name, number in _by_concept(sums, "x").items()}
    assert found["accuracy"] == pytest.approx(accuracy_score(true_N, logits_N > 0))
    assert found["f1"] == pytest.approx(f1_score(true_N, logits_N > 0, average="weighted"))
    tolerance = 1 / N_BINS if n > 50 else 0.2
    assert found["auc"] == pytest.approx(roc_auc_score(true_N, logits_N), abs=tolerance)


def test_the_scale_of_a_latent_changes_neither_its_rank_nor_its_probe():
    """sae-probes penalises weights of unscaled latents: a latent of small activations is not used, or others are."""
    rng = np.random.default_rng(0)
    x_NF = np.maximum(rng.normal(size=(400, 6)), 0)
    true_N = x_NF[:, 2] + 0.3 * rng.normal(size=400) > 0.4
    small = np.array([1, 1, 1e-4, 1, 1, 1])
    orders = [normalised_ranking(csr_array(x_NF * scale), true_N).tolist() for scale in (np.ones(6), small)]
    assert orders[0] == orders[1] and orders[0][0] == 2
    fits = [fit_lasso(x_NF[:, [2, 3]] * scale, true_N, 0.1) for scale in (1.0, [1e-4, 1])]
    np.testing.assert_allclose(fits[0].logits(x_NF[:, [2, 3]]), fits[1].logits(x_NF[:, [2, 3]] * [1e-4, 1]), atol=1e-3)


def test_test_games_choose_nothing(bed, saes):
    """Other truths in test games turn areas around, but neither latents, k nor penalties."""
    other = planted(bed.corpus, n_games=80)
    for _, examples in other.once(asked_questions, CFG.questions):
        examples["test"].true_N[:] = ~examples["test"].true_N
    before, after = (sae_probes_score(Subject("x", "sae", saes["trained"], one), CFG) for one in (bed, other))
    assert before.details["by_concept"] == after.details["by_concept"]
    assert after.value == pytest.approx(1 - before.value, abs=1e-9)
    assert after.parts["top_1_accuracy"] == pytest.approx(1 - before.parts["top_1_accuracy"], abs=1e-9)


def test_the_questions_are_those_of_sparse_probing_and_drawn_once(bed, scored):
    assert bed.once(asked_questions, CFG.questions) is bed.once(asked_questions, SAEProbesConfig(**vars(CFG)).questions)
    assert len({value.parts["probe"] for value in scored.values()}) == 1
    sums = [value.sums for value in scored.values()]
    sums[0].check_same_games(sums[1])


def test_the_numbers_stand_under_saebenchs_names(scored):
    value = scored["trained"]
    metrics, rows = value.details["eval_result_metrics"], value.details["eval_result_details"]
    assert metrics["sae"]["sae_top_1_test_auc"] == value.parts["top_1"]
    assert metrics["sae"]["sae_top_5_test_f1"] == value.parts["top_5_f1"]
    assert (
        metrics["llm"]["llm_test_auc"] == value.parts["probe"] == pytest.approx(np.mean(rows["llm_test_auc"]), abs=1e-5)
    )
    assert len({len(column) for column in rows.values()}) == 1
