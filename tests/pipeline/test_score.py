import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from boardgame_sae.metrics.baselines.readouts import sparse_probe

from boardgame_sae.files import RunError, file_hash, read_json, write_json
from boardgame_sae.metrics.evaluate import evaluate
from boardgame_sae.metrics.results import Scores
from boardgame_sae.pipeline import score as score_run
from boardgame_sae.pipeline.score import _fit_probes, random_gpt_twin, score_baselines, score_ceilings, score_saes
from boardgame_sae.runs import damaged_files
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.training.on_testbed import train_sae
from boardgame_sae.testbeds import testbed as testbeds

HOOK = "blocks.0.hook_resid_post"
FIELDS = {"n_latents": 24, "k": 4, "n_activations": 640, "n_harvested": 500, "batch_size": 64}


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def root(tiny_model, tiny_corpus, tmp_path_factory):
    """A testbed's folder, an SAE's and that of an SAE trained on the random-weights GPT; runs go beside them."""
    root = tmp_path_factory.mktemp("scored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOARDGAME_SAE_RUNS", str(root / "runs"))
        tiny_model.save(root / "model")
        arguments = {"hook_name": HOOK, "n_games": 20, "out": root / "bed", "device": "cpu"}
        testbeds.testbed_run(root / "model", tiny_corpus.path, **arguments)
        bed = testbeds.load_testbed(root / "bed", "cpu")
        train_sae(bed, "topk", out=root / "trained", **FIELDS)
        train_sae(bed.random_twin(), "topk", out=root / "random", **FIELDS)
        yield root


@pytest.fixture(scope="module")
def scored(root):
    return score_saes([root / "trained", root / "random"], root / "bed", suite="supervised", device="cpu")


def test_a_run_holds_what_evaluate_says_of_the_saved_sae(root, scored):
    bed = testbeds.load_testbed(root / "bed", "cpu")
    _fit_probes(bed, None)  # those of the run, reused
    found, expected = Scores.load(scored[0]), evaluate(load_sae(root / "trained"), bed)
    assert set(found) == set(expected) == {"coverage", "board_reconstruction", "direction_recovery", "core"}
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value.value, abs=1e-6)
        assert (found[name].counts is None) == (value.counts is None) == (name in ("direction_recovery", "core"))
    latents = pq.read_table(scored[0] / "latents.parquet").to_pydict()
    assert latents["label"] == expected.latents["label"].tolist()
    assert latents["f1"] == pytest.approx(expected.latents["f1"].tolist(), abs=1e-6)
    assert found.subject["skipped"] == {}
    assert found.subject["l0"] == pytest.approx(expected.subject["l0"])
    assert found.subject["kind"] == "sae"
    assert found.subject["sae"]["k"] == 4
    assert read_json(scored[0] / "DONE")["summary"] == {name: found[name].value for name in found}
    assert damaged_files(scored[0]) == []


def test_an_sae_of_the_random_gpt_is_scored_on_the_random_gpt(root, scored):
    twin = testbeds.load_testbed(root / "bed", "cpu").random_twin()
    found, expected = Scores.from_json(scored[1] / "scores.json"), evaluate(load_sae(root / "random"), twin)
    assert found.subject["kind"] == "random_gpt_sae"
    assert found.subject["testbed"]["model"] == twin.model.hash
    assert set(found) == set(expected)
    assert list(found.subject["skipped"]) == ["direction_recovery"]  # the probes are of another GPT
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value.value, abs=1e-6)


def test_finished_scores_are_reused_and_another_suite_is_another_run(root, scored):
    before = stamps(root / "runs")
    assert score_saes([root / "trained", root / "random"], root / "bed", suite="supervised", device="cpu") == scored
    assert stamps(root / "runs") == before
    (quick,) = score_saes([root / "trained"], root / "bed", suite="quick", device="cpu")
    assert quick not in scored


def test_the_core_file_has_saebenchs_fields_and_the_scores_numbers(scored):
    core, found = read_json(scored[0] / "core_eval_results.json"), Scores.from_json(scored[0] / "scores.json")
    assert core["eval_type_id"] == "core"
    assert set(core) == {
        "eval_type_id",
        "eval_config",
        "eval_id",
        "eval_result_metrics",
        "eval_result_details",
        "sae_lens_id",
        "sae_lens_release_id",
        "sae_lens_version",
        "sae_bench_commit_hash",
        "sae_cfg_dict",
        "eval_result_unstructured",
    }
    metrics = core["eval_result_metrics"]
    assert metrics["model_performance_preservation"]["ce_loss_score"] == found["core"].value
    assert metrics["sparsity"]["l0"] == found["core"].parts["l0"]
    assert core["sae_cfg_dict"]["n_latents"] == 24
    assert core["eval_config"]["n_tokens"] == metrics["token_stats"]["total_tokens_eval_reconstruction"]


def test_baselines_are_scored_into_one_run_that_is_reused(root):
    folder = score_baselines(root / "bed", device="cpu")
    found = {kind: Scores.from_json(folder / kind / "scores.json") for kind in ("probe", "neurons", "residual")}
    for kind, scores in found.items():
        assert scores.subject["kind"] == kind
        assert 0 < scores["coverage"].value <= 1
    before = stamps(root / "runs")
    assert score_baselines(root / "bed", device="cpu") == folder
    assert stamps(root / "runs") == before


def test_ceilings_are_probes_as_sparse_as_the_scored_saes_one_for_each_l0(root, scored):
    folders = score_ceilings(scored, root / "bed", device="cpu")
    sparsities = sorted({round(Scores.load(folder).subject["l0"]) for folder in scored})
    assert len(folders) == len(sparsities)
    bed = testbeds.load_testbed(root / "bed", "cpu")
    _fit_probes(bed, None)
    for folder, k in zip(folders, sparsities, strict=True):
        found, expected = Scores.load(folder), sparse_probe(bed, k)
        assert found.subject["kind"] == "sparse_probe"
        assert found.subject["name"] == f"linear probe, {k} on"
        assert set(found) == {"coverage", "board_reconstruction"}
        for name, value in expected.items():
            assert found[name].value == pytest.approx(value.value, abs=1e-6)
    before = stamps(root / "runs")
    assert score_ceilings(scored[::-1], root / "bed", device="cpu") == folders
    assert stamps(root / "runs") == before


def test_many_saes_share_ceilings_of_nearly_their_l0(root, tmp_path, monkeypatch):
    monkeypatch.setattr(score_run, "sparse_probe", lambda testbed, k, suite: Scores({"k": k}, {}, {}))
    folders = []
    for l0 in (0.3, 1.2, 5.2, 5.7, 15.0, 16.9, 23.0):
        folders.append(tmp_path / f"{l0}")
        Scores({"l0": l0}, {}, {}).save(folders[-1])
    found = score_ceilings(folders, root / "bed", suite="quick", device="cpu", exact=False)
    assert [Scores.load(folder).subject["k"] for folder in found] == [1, 6, 16, 23]


def test_a_packed_ceiling_is_given_as_it_is(root, scored, tmp_path):
    bed = Path(shutil.copytree(root / "bed", tmp_path / "bed"))
    for name in ("model", "corpus"):
        card = read_json(bed / "testbed.json")
        write_json(bed / "testbed.json", {**card, name: str((root / "bed" / card[name]).resolve())})
    k = round(Scores.load(scored[0]).subject["l0"])
    Scores({"suite": "supervised"}, {}, {}).save(bed / f"scores/probe-{k}")
    assert score_ceilings(scored[:1], bed, suite="quick", device="cpu") == [bed / f"scores/probe-{k}"]
    assert score_ceilings(scored[:1], bed, suite="all", device="cpu") != [bed / f"scores/probe-{k}"]


def test_the_random_twin_of_an_sae_has_its_config_and_training_and_scores_as_one(root):
    folder = random_gpt_twin(root / "trained", root / "bed", device="cpu")
    twin, sae = load_sae(folder), load_sae(root / "trained")
    assert twin.cfg == sae.cfg
    assert twin.metadata["training"] == sae.metadata["training"]
    assert twin.metadata["random_weights"] is True
    assert file_hash(folder / "sae.safetensors") == file_hash(root / "random" / "sae.safetensors")
    assert not torch.equal(twin.W_dec, sae.W_dec)


def test_an_unfinished_sae_run_is_an_error_that_says_so(root, tmp_path):
    for name in ("run.json", "cfg.json", "sae.safetensors"):
        (tmp_path / name).write_bytes((root / "trained" / name).read_bytes())
    with pytest.raises(RunError, match="not finished") as caught:
        score_saes([tmp_path], root / "bed", device="cpu")
    assert str(tmp_path) in str(caught.value)
