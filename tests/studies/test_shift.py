from dataclasses import replace

import numpy as np
import pytest
import torch
from planted import perfect_sae, planted
from scipy.sparse import csr_array

from boardgame_sae.config import ConfigError, from_mapping
from boardgame_sae.files import RunError
from boardgame_sae.metrics.saebench.ablation.quadrants import pairs
from boardgame_sae.metrics.saebench.ablation.scr import Bias, SCRConfig, biased_probes
from boardgame_sae.metrics.saebench.data.probes import fit_probe
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.studies.shift.ablation import Ablation, spurious_margins
from boardgame_sae.studies.shift.choices import (
    AS_MANY,
    CEILING,
    ERASED,
    ERASED_AGAIN,
    FLOOR,
    JUDGE,
    JUDGE_AGAIN,
    LINES,
    MARKS,
    RANDOM,
    ZERO,
)
from boardgame_sae.studies.shift.erasure import eraser
from boardgame_sae.studies.shift.shift import MARGINS, ShiftStudy, shift
from boardgame_sae.studies.shift.tasks import Task, outcome, tasks
from boardgame_sae.studies.study import Setting

SIZES = SCRConfig(n_train=400, n_test=200)


@pytest.fixture(scope="module")
def bed(tiny_corpus):
    """A planted testbed that has a direction for two concepts and for nothing else, and their pair."""
    whole = planted(tiny_corpus, n_games=120)
    pair = pairs(whole, 1, SIZES.sizes())[0]
    bed = planted(tiny_corpus, n_games=120)
    own = [concept.column for concept in pair.concepts]
    others = np.setdiff1d(np.arange(len(bed.directions_PD)), own)
    bed.directions_PD[others] = 0
    biased, unbiased = fit_probe(bed, pair.biased)[0], [fit_probe(bed, one)[0] for one in pair.balanced]
    return bed, Bias(pair, (unbiased[0], unbiased[1]), biased, (0.25, 0.25))


@pytest.mark.parametrize("intended", [0, 1])
def test_the_judge_chooses_exactly_the_latent_of_the_cue_and_the_probe_is_repaired(bed, intended):
    testbed, bias = bed
    task = Task(bias, intended)
    one = Ablation.of(Subject("perfect", "sae", perfect_sae(testbed), testbed), task)
    cue = bias.pair.concepts[task.spurious].column
    for margin in MARGINS:
        assert one.judged(margin).tolist() == [cue]
    none = np.array([], int)
    assert one.without(none, "test").intended < 0.85 and one.without(none, "test").worst < 0.6
    judged = one.judged(MARGINS[0])
    repaired = one.without(judged, "test")
    assert repaired.intended > 0.99 and repaired.worst > 0.97 and repaired.spurious == pytest.approx(0.5, abs=0.02)
    assert one.trained_again(judged).intended > 0.99
    assert one.without(np.array([bias.pair.concepts[intended].column]), "test").spurious > 0.99  # the other way round


def test_a_random_choice_repairs_nothing(bed):
    testbed, bias = bed
    sae = perfect_sae(testbed)
    with torch.no_grad():  # 100 latents more that are always on and write nothing
        sae.W_enc[:, 20:] = 0
        sae.b_enc[20:] = 1
        sae.W_dec[20:] = 0
    one = Ablation.of(Subject("padded", "sae", sae, testbed), Task(bias, 0))
    assert one.random(1, 5, 0).intended == pytest.approx(one.without(np.array([], int), "test").intended, abs=0.1)


def test_margins_tell_the_cue_its_opposite_the_intended_concept_and_what_is_neither():
    rng = np.random.default_rng(0)
    intended_N, spurious_N = (part.ravel() for part in np.meshgrid([False, True], [False, True] * 100, indexing="ij"))
    always, coin = np.ones(400), rng.random(400) < 0.5
    latents_NF = csr_array(np.stack([spurious_N, ~spurious_N, intended_N, always, coin], axis=1).astype(np.float32))
    margin_F = spurious_margins(latents_NF, intended_N, spurious_N)
    np.testing.assert_allclose(margin_F[:4], [1 / 2, 1 / 2, -1 / 2, 0], atol=1e-9)  # F1 of 1, and of half and half
    assert abs(margin_F[4]) < 0.1


def test_an_outcome_counts_accuracy_agreement_and_the_worst_group():
    intended_N, spurious_N = np.array([[0, 0, 1, 1], [0, 1, 0, 1]], bool)
    assert outcome(np.array([-1.0, 1, -1, 1]), intended_N, spurious_N) == (0.5, 1.0, 0.0, 0.0)
    assert outcome(np.array([-1.0, -1, 1, 1]), intended_N, spurious_N, 3) == (1.0, 0.5, 1.0, 3)


def test_after_erasing_no_mean_differs_and_what_is_independent_stays():
    rng = np.random.default_rng(0)
    true_N = np.arange(500) % 2 == 0
    x_ND = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + true_N[:, None] * rng.normal(size=6)
    changed_ND = eraser(x_ND, true_N)(x_ND)
    np.testing.assert_allclose(changed_ND[true_N].mean(0), changed_ND[~true_N].mean(0), atol=1e-9)
    assert np.linalg.matrix_rank(changed_ND - x_ND) == 1


def test_only_directions_that_the_bias_costs_accuracy_are_asked(bed, monkeypatch):
    testbed, bias = bed
    kept = {}

    def once(function, cfg):
        assert function is biased_probes
        return [bias._replace(costs=kept["costs"])]

    monkeypatch.setattr(testbed, "once", once)
    kept["costs"] = (0.5, 0.0)
    assert [task.intended for task in tasks(testbed, SIZES)] == [0]
    kept["costs"] = (0.0, 0.0)
    with pytest.raises(RunError, match="more games"):
        tasks(testbed, SIZES)


def test_the_study_puts_the_judge_between_floor_and_ceiling(bed, tmp_path, monkeypatch):
    testbed, bias = bed
    perfect_sae(testbed).save(tmp_path / "sae")
    for seed in (0, 1):
        monkeypatch.setitem(testbed._computed, (biased_probes, (replace(SIZES, seed=seed),)), [bias])
    cfg = ShiftStudy(saes=(str(tmp_path / "sae"),), pairs=SIZES, seeds=(0, 1))
    plan = shift(cfg, Setting(tmp_path, testbed, "cpu"))
    rows = {row["choice"]: row for row in (compute() for compute in plan.rows)}
    assert set(rows) == {*LINES, *MARKS}
    for how in (CEILING, ERASED, ERASED_AGAIN, JUDGE, JUDGE_AGAIN, AS_MANY):  # attribution takes two at least
        assert rows[how]["intended"] > 0.97, how
    assert rows[FLOOR]["intended"] < 0.85 and rows[JUDGE]["n_ablated"] == 1
    assert rows[ZERO]["intended"] < 0.85  # the threshold stays that of both latents
    assert rows[JUDGE]["intended_low"] <= rows[JUDGE]["intended"] <= rows[JUDGE]["intended_high"]
    assert rows[RANDOM]["intended"] < 0.97 and rows[JUDGE]["over_attribution"] > 0.4
    assert len(plan.figure(list(rows.values())).axes) == 3


def test_bad_settings_are_refused():
    for fields, said in (({"pairs": {"n_pairs": 0}}, "pairs.n_pairs"), ({"n_random": 0}, "n_random")):
        with pytest.raises(ConfigError, match=said):
            from_mapping(ShiftStudy, fields)
