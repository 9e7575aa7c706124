"""Autointerp by programs: the order of SAEs that are known to differ, chance, ceiling, and what is written."""

import numpy as np
import pytest
from planted import perfect_sae, planted, random_sae, trained_sae

from boardgame_sae.metrics.saebench.autointerp.program_score import AutointerpConfig, autointerp_score
from boardgame_sae.metrics.subject import Subject

CFG = AutointerpConfig(n_latents=25, n_explain=100, n_judge=60)


@pytest.fixture(scope="module")
def bed(tiny_corpus):
    return planted(tiny_corpus, n_games=110)


@pytest.fixture(scope="module")
def scored(bed):
    saes = {"perfect": perfect_sae(bed), "trained": trained_sae(bed), "random": random_sae(bed)}
    return {name: autointerp_score(Subject(name, "sae", sae, bed), CFG) for name, sae in saes.items()}


def test_a_perfect_sae_is_above_a_trained_one_and_that_above_a_random_one(scored):
    values = {name: value.value for name, value in scored.items()}
    assert values["perfect"] > 0.99 and values["perfect"] > values["trained"] > values["random"]


def test_chance_and_ceiling_stand_on_both_sides(scored):
    for value in scored.values():
        assert value.parts["other_latent"] < value.value <= value.parts["ceiling"]
        assert value.parts["other_latent"] == pytest.approx(0.5, abs=0.12)
        assert value.interval[0] <= value.value <= value.interval[1]


def test_latents_of_a_perfect_sae_are_explained_by_their_own_labels(bed, scored):
    names = [name for columns in bed.columns for name in columns.class_names]
    for row in scored["perfect"].details["latents"]:
        assert names[row["latent"]] in row["explanation"] or row["score"] > 0.95


def test_the_mean_and_deviation_over_latents_are_written_as_saebench_names_them(scored):
    details = scored["trained"].details
    scores = [row["score"] for row in details["latents"]]
    metrics = details["eval_result_metrics"]["autointerp"]
    assert metrics["autointerp_score"] == pytest.approx(np.mean(scores), abs=1e-6)
    assert metrics["autointerp_std_dev"] == pytest.approx(np.std(scores, ddof=1), abs=1e-6)
    assert scored["trained"].value == pytest.approx(np.mean(scores), abs=1e-6)


def test_an_sae_whose_latents_are_never_on_is_an_error_that_says_so(bed):
    sae = random_sae(bed)
    sae.W_enc.data.zero_()
    sae.b_enc.data.fill_(-1)
    with pytest.raises(ValueError, match="no latent is on, and off"):
        autointerp_score(Subject("silent", "sae", sae, bed), CFG)
