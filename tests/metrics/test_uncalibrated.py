"""A batch-wise SAE whose threshold was never set is refused wherever it comes from, or calibrated on the testbed."""

import pytest
import torch
from exported_saes import dictionary, trained_like
from torch import nn

from boardgame_sae.files import RunError
from boardgame_sae.metrics.evaluate import evaluate
from boardgame_sae.metrics.results import Scores
from boardgame_sae.pipeline.score import score_saes, score_with_baselines
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.training.on_testbed import calibrated_on
from boardgame_sae.testbeds.testbed import Testbed, load_testbed
from boardgame_sae.testbeds.testbed import testbed_run as make_testbed

HOOK, K = "blocks.0.hook_resid_post", 3


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, HOOK, n_games=20)


def uncalibrated(bed, name="batch_topk"):
    return trained_like(name, bed.width, 24, k=K, calibrated=False)


class BatchTopKSAE(nn.Module):
    """The shape of dictionary_learning's object: a threshold that its `encode` uses, or, of old, none."""

    def __init__(self, width, threshold):
        super().__init__()
        self.k = torch.tensor(K)
        self.encoder = nn.Linear(width, 24)
        if threshold is not None:
            self.register_buffer("threshold", torch.tensor(threshold))

    def encode(self, x, return_active=False, use_threshold=True):
        z = self.encoder(x).relu()
        return z * (z > self.threshold)


class AutoEncoderTopK(BatchTopKSAE):
    """The shape of its TopK: the threshold is a by-product that its `encode` does not use."""

    def encode(self, x, return_topk=False, use_threshold=False):
        z = self.encoder(x).relu()
        largest = z.topk(K)
        return torch.zeros_like(z).scatter(1, largest.indices, largest.values)


@pytest.mark.parametrize("threshold", [-1.0, float("nan"), None])
def test_objects_are_refused(bed, threshold):
    with pytest.raises(ValueError, match=r"BatchTopKSAE has no threshold: it was never set.*--calibrate"):
        evaluate(BatchTopKSAE(bed.width, threshold), bed, "quick")
    if threshold is not None:
        evaluate(AutoEncoderTopK(bed.width, threshold), bed, "quick")
        evaluate(BatchTopKSAE(bed.width, 0.1), bed, "quick")


@pytest.mark.parametrize("name", ["batch_topk", "matryoshka_batch_topk"])
def test_ours_are_refused_as_objects_and_from_disk(bed, tmp_path, name):
    sae = uncalibrated(bed, name)
    with pytest.raises(ValueError, match="is in training"):
        evaluate(sae, bed, "quick")
    sae.save(tmp_path / "ours")
    theirs = dictionary(
        tmp_path / "theirs", name, d_model=bed.width, n_latents=24, k=K, tensors={"threshold": torch.tensor(-1.0)}
    )
    for folder in (tmp_path / "ours", theirs, str(theirs / "ae.pt")):
        for load in (load_sae, lambda path: evaluate(path, bed, "quick")):
            with pytest.raises(RunError, match=r"its threshold was never set.*--calibrate"):
                load(folder)


def test_calibrated_on_the_train_games_k_are_on_and_the_scores_say_so(bed, tmp_path):
    sae = uncalibrated(bed)
    sae.save(tmp_path)
    for given in (sae, tmp_path):
        found = evaluate(given, bed, "quick", calibrate=True)
        told = found.subject["calibration"]
        assert (told["testbed"], told["split"], told["k"]) == (bed.hash, "train", K)
        assert found["core"].parts["l0"] == pytest.approx(K, rel=0.2)
    assert not sae.calibrated
    ready = calibrated_on(bed, sae)
    acts_ND = bed.everywhere.activations("train")
    assert ready.metadata["calibration"]["n_activations"] == len(acts_ND)
    assert float((ready.encode(acts_ND) > 0).sum()) / len(acts_ND) == pytest.approx(K, abs=1e-3)
    assert calibrated_on(bed, ready) is ready
    assert "calibration" not in evaluate(trained_like("topk", bed.width, 24, k=K), bed, "quick", calibrate=True).subject


def test_runs_refuse_or_calibrate(tiny_model, tiny_corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path / "runs"))
    tiny_model.save(tmp_path / "model")
    where = {"hook_name": HOOK, "n_games": 20, "out": tmp_path / "bed", "device": "cpu"}
    bed = load_testbed(make_testbed(tmp_path / "model", tiny_corpus.path, **where), "cpu")
    uncalibrated(bed).save(tmp_path / "one/sae")
    for run in (score_saes, score_with_baselines):
        with pytest.raises(RunError, match=r"sae: its threshold was never set"):
            run([tmp_path / "one"], tmp_path / "bed", suite="quick", device="cpu")
    (folder,) = score_saes([tmp_path / "one"], tmp_path / "bed", suite="quick", device="cpu", calibrate=True)
    scores = Scores.load(folder)
    assert scores.subject["calibration"]["k"] == K and scores.subject["sae"]["sae_folder"] == "sae"
