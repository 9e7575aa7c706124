"""sae-probes' and SAEBench's own functions on our tensors: probes, rankings, decoder variance, quantised latents."""

import os
import sys
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from planted import planted, trained_sae
from scipy.sparse import csr_array

os.environ["JAXTYPING_DISABLE"] = "1"  # with beartype, its type checks refuse its own arguments
pytest.importorskip("sae_bench")

from sae_bench.evals.meta_structure.eval_output import MetaStructureEvalOutput
from sae_bench.evals.meta_structure.main import _decoder_variance_metrics
from sae_bench.evals.sparse_probing import probe_training
from sae_bench.sae_bench_utils.testing_utils import validate_eval_output_format_file

from boardgame_sae.metrics.evaluate import about_subject
from boardgame_sae.metrics.results import Scores
from boardgame_sae.metrics.saebench.data.linear import area_under_curve, fit, fit_lasso
from boardgame_sae.metrics.saebench.mdl import latent_code
from boardgame_sae.metrics.saebench.meta_structure import (
    MetaStructureConfig,
    meta_structure_score,
    train_meta_sae,
    unit_rows,
    variance_explained,
)
from boardgame_sae.metrics.saebench.result_file import write_result_files
from boardgame_sae.metrics.saebench.sae_probes import SAEProbesConfig, normalised_ranking, sae_probes_score
from boardgame_sae.metrics.saebench.sparse_probing import asked_questions, mean_difference_ranking
from boardgame_sae.metrics.subject import Subject

pytestmark = pytest.mark.interop
CFG = SAEProbesConfig(n_concepts=4, n_train=600, n_test=200)
META = MetaStructureConfig(n_steps=100)


@pytest.fixture(scope="module")
def subject(tiny_corpus):
    bed = planted(tiny_corpus, n_games=110, width=128, properties=("board",))
    return Subject("trained", "sae", trained_sae(bed, k=16), bed)


@pytest.fixture(scope="module")
def dense(subject):
    """Latents of each split, float32, without those that are never on: the order of ties is nobody's."""
    return {split: np.concatenate([part.to_dense() for part in subject.latents(split)]).astype(np.float32)
            for split in ("train", "validation", "test")}  # fmt: skip


@pytest.fixture(scope="module")
def examples(subject, dense):
    """(x, y) of train and test for each concept."""
    asked = subject.testbed.once(asked_questions, CFG.questions)
    return [{split: (dense[split][one[split].row_N], one[split].true_N) for split in dense} for _, one in asked]


def test_the_k_latents_of_largest_mean_difference_are_its_own(examples):
    for one in examples:
        x, y = one["train"]
        for k in (1, 2, 5, 20):
            mask = probe_training.get_top_k_mean_diff_mask(torch.from_numpy(x), torch.from_numpy(y.astype(np.int32)), k)
            assert set((~mask).nonzero()[:, 0].tolist()) == set(mean_difference_ranking(x, y)[:k].tolist())


def test_a_probe_on_scaled_inputs_is_its_own(examples):
    """Theirs takes inputs as they are, so it is given ours divided by their deviations."""
    for one in examples:
        (x, y), (x_test, y_test) = one["train"], one["test"]
        best = mean_difference_ranking(x, y)[:5]
        scale = x[:, best].std(0)
        tensors = [torch.from_numpy(part) for part in (x[:, best] / scale, y.astype(np.int32),
                                                       x_test[:, best] / scale, y_test.astype(np.int32))]  # fmt: skip
        theirs, accuracy = probe_training.train_sklearn_probe(*tensors)
        ours = fit(x[:, best], y, 1.0)
        np.testing.assert_allclose(ours.weight_D * scale, theirs.coef_[0], atol=2e-3)
        assert ((ours.logits(x_test[:, best]) > 0) == y_test).mean() == pytest.approx(accuracy, abs=1 / len(y_test))


def test_the_ranking_on_a_common_scale_is_sae_probes_own(examples):
    evals = pytest.importorskip("sae_probes.run_sae_evals")
    for one in examples:
        x, y = one["train"]
        normalize = evals.mean_act_normalization
        theirs = evals.get_sorted_indices(torch.from_numpy(x), torch.from_numpy(y.astype(np.int64)), normalize)
        ours = normalised_ranking(csr_array(x), y)
        assert ours[:20].tolist() == theirs[:20].tolist()


def penalised(weight_D, bias, x_ND, true_N, strength, penalty):
    """What a regression minimises."""
    norm = np.abs(weight_D).sum() if penalty == "l1" else (weight_D**2).sum() / 2
    return np.logaddexp(0, -np.where(true_N, 1, -1) * (x_ND @ weight_D + bias)).sum() + norm / strength


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_the_regression_is_sae_probes_own_at_its_strength_and_on_the_rows_it_is_fitted_on(examples, penalty):
    """Its last 100 training rows, unshuffled, choose C, and are then trained on; ours are validation games."""
    training = pytest.importorskip("sae_probes.utils_training")
    for one in examples:
        (x, y), (x_test, y_test) = one["train"], one["test"]
        best = normalised_ranking(csr_array(x), y)[:5]
        scale = x[:, best].std(0)
        shuffled = np.random.default_rng(0).permutation(len(y))  # ours stand in the order of games
        scaled, truth = (x[:, best] / scale)[shuffled], y[shuffled].astype(int)
        theirs = training.find_best_reg(
            scaled, truth, x_test[:, best] / scale, y_test.astype(int), penalty=penalty, seed=42
        )
        ours = (fit_lasso if penalty == "l1" else fit)(x[:, best], y, theirs.classifier.C)
        weights, rows = (ours.weight_D * scale, theirs.classifier.coef_[0]), scaled[np.argsort(shuffled)]
        biases = (ours.bias, theirs.classifier.intercept_[0])
        losses = [penalised(*both, rows, y, theirs.classifier.C, penalty) for both in zip(weights, biases, strict=True)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
        np.testing.assert_allclose(*weights, atol=2e-2)  # how far its solver is from the minimum when it stops
        logits_N = ours.logits(x_test[:, best])
        assert area_under_curve(logits_N, y_test) == pytest.approx(theirs.metrics.test_auc, abs=1e-3)
        assert ((logits_N > 0) == y_test).mean() == pytest.approx(theirs.metrics.test_acc, abs=2 / len(y_test))


def test_the_probe_of_one_latent_has_its_area_whatever_the_strength(examples):
    training = pytest.importorskip("sae_probes.utils_training")
    for one in examples:
        (x, y), (x_test, y_test) = one["train"], one["test"]
        best = normalised_ranking(csr_array(x), y)[:1]
        shuffled = np.random.default_rng(0).permutation(len(y))
        theirs = training.find_best_reg(
            x[shuffled][:, best], y[shuffled].astype(int), x_test[:, best], y_test.astype(int), penalty="l1", seed=42
        )
        for strength in (0.1, 100.0):
            area = area_under_curve(fit_lasso(x[:, best], y, strength).logits(x_test[:, best]), y_test)
            assert area == pytest.approx(theirs.metrics.test_auc, abs=1e-4)


def test_variance_explained_of_a_decoder_is_its_own_given_the_meta_sae(subject):
    rows = unit_rows(subject)
    meta = train_meta_sae(rows, 32, META)
    with torch.no_grad():
        theirs = _decoder_variance_metrics(meta, rows, eval_batch_size=50)
    assert variance_explained(meta, rows) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("n_bins", [4, 32])
def test_latents_that_are_on_are_quantised_as_its_own_and_those_that_are_off_are_not(
    subject, dense, n_bins, monkeypatch
):
    """Theirs puts every latent that is off into the middle of its first bin: with 4 bins an eighth of its maximum."""
    monkeypatch.setitem(sys.modules, "loguru", MagicMock())  # it imports it and does not require it
    mdl = pytest.importorskip("sae_bench.evals.mdl.main")
    code, z_NF = latent_code(subject, n_bins), torch.from_numpy(dense["test"])
    bins = mdl.build_bins(torch.zeros(z_NF.shape[1]), torch.from_numpy(code.max_F).float(), num_bins=n_bins)
    theirs, ours = mdl.quantize_features_to_bin_midpoints(z_NF, bins), code.quantise(z_NF)
    on_NF = z_NF > 0
    assert ((theirs - ours).abs()[on_NF] < 1e-4).float().mean() > 0.999  # the edges of bins may round either way
    assert (ours[~on_NF] == 0).all()
    middle_NF = torch.from_numpy(code.max_F).float().expand_as(z_NF) / (2 * n_bins)
    torch.testing.assert_close(theirs[~on_NF], middle_NF[~on_NF], rtol=1e-4, atol=1e-5)


def test_its_files_are_what_sae_bench_writes(subject, tmp_path):
    values = {
        "sparse_probing_sae_probes": sae_probes_score(subject, CFG),
        "meta_structure": meta_structure_score(subject, META),
    }
    write_result_files(Scores(about_subject(subject, {}), values), tmp_path)
    probes = pytest.importorskip("sae_bench.evals.sparse_probing_sae_probes.eval_output")
    outputs = {
        "meta_structure": MetaStructureEvalOutput,
        "sparse_probing_sae_probes": probes.SparseProbingSaeProbesEvalOutput,
    }
    for name, output in outputs.items():
        (file,) = (tmp_path / name).glob("*_eval_results.json")
        validate_eval_output_format_file(str(file), output)
