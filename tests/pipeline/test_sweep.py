import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import other_scores
import pytest
import yaml

from boardgame_sae.cli import main
from boardgame_sae.config import ConfigError, read_yaml, to_mapping
from boardgame_sae.files import file_hash, read_json
from boardgame_sae.metrics.results import Scores
from boardgame_sae.metrics.score import scores_in
from boardgame_sae.pipeline.sweep import SweepConfig, sweep_config, sweep_run
from boardgame_sae.probes.fit import probe_results
from boardgame_sae.report.run import make_report
from boardgame_sae.runs.integrity import damaged_files
from boardgame_sae.saes.load import load_sae

STUDY = {
    "name": "tiny",
    "corpus": {"game": "othello4", "n_games": 800, "validation_fraction": 0.2, "test_fraction": 0.2},
    "model": {"n_layers": 2, "d_model": 16, "n_heads": 2, "n_steps": 10, "batch_size": 16},
    "probes": [
        {"n_train_games": 64, "n_test_games": 20, "games_a_step": 16},
        {"property": "legal_move", "n_train_games": 32, "n_test_games": 20, "games_a_step": 16},
    ],
    "n_games": 30,
    "training": {"n_activations": 640, "n_harvested": 500, "batch_size": 64},
    "saes": [
        {"architecture": "topk", "n_latents": [16, 24], "k": 4},
        {"architecture": "p_anneal", "n_latents": 16},
    ],
    "random_saes": [{"architecture": "topk", "n_latents": 16, "k": 4}],
    "suite": "supervised",
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corpus": {"game": "othello4", "n_gmaes": 8}}, "unknown field 'corpus.n_gmaes'"),
        ({"corpus": {"game": "othello4", "n_games": "800"}}, "field 'corpus.n_games' is '800'"),
        ({"corpus": {"game": "othelo4"}}, "othelo4"),
        ({"training": {"lr": "fast"}}, "field 'training.lr' is 'fast'"),
        ({"positions": "dot"}, "othello4 has no positions 'dot'; with one token per move: ply"),
        ({"probes": [{}, {"positions": "dot"}]}, "othello4 has no positions 'dot'"),
        ({"probes": {"property": "board"}}, "field 'probes' is .*: input should be a valid array"),
        ({"probes": [{"min_ply": -1}]}, "'probes.0.min_ply' is -1: must be at least 0"),
        ({"trainings": {}}, "unknown field 'trainings'; did you mean 'training'"),
        ({"preset": "huge"}, "unknown preset 'huge'"),
        ({"model": {"n_layer": 2}}, "unknown field 'n_layer'; did you mean 'n_layers'"),
        ({"saes": [{"n_latents": 16}]}, r"study\.yaml: saes\.0: needs an architecture"),
        ({"saes": [*STUDY["saes"], {"architecture": "top_k"}]}, r"saes\.2: unknown SAE architecture 'top_k'; .*topk"),
        ({"saes": [{"architecture": "topk", "n_latents": [64, 16], "k": 32}]}, r"saes\.0: .*between 1 and n_latents"),
        ({"saes": [{"architecture": "relu", "n_latents": "16"}]}, "field 'n_latents' is '16'"),
        ({"random_saes": [{"architecture": "relu", "n_latent": 4}]}, r"(?s)random_saes\.0: .*unknown field 'n_latent'"),
        ({"suite": "superviced"}, "field 'suite' is 'superviced': must be one of quick, .*did you mean 'supervised'"),
        (
            {"hook_names": ["blocks.1.hook_resid_post", "blocks.2.hook_resid_post"]},
            r"study\.yaml: no hook point 'blocks\.2",
        ),
        ({"hook_names": ["blocks.0.attn.hook_pattern"]}, r"study\.yaml: hook point .* holds pairs of tokens"),
        ({"probes": [{}, {"property": "bord"}]}, "unknown othello property 'bord'; did you mean 'board'"),
    ],
)
def test_a_bad_study_is_an_error_before_anything_runs(tmp_path, monkeypatch, change, message):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path / "runs"))
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**STUDY, **change}))
    with pytest.raises(ValueError, match=message):
        sweep_config(read_yaml(path), str(path))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"device": "cuda:99"}, "device 'cuda:99': torch .* finds none here"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"tracker": "tensorbord"}, "unknown tracker 'tensorbord'"),
    ],
)
def test_what_a_study_is_to_run_on_is_checked_before_anything_runs(tmp_path, monkeypatch, how, message):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path / "runs"))
    with pytest.raises(ConfigError, match=message):
        sweep_run(sweep_config(STUDY, "study.yaml"), **how)
    assert not (tmp_path / "runs").exists()


def test_a_study_of_a_suite_without_scores_is_an_error_that_lists_those_with_some(monkeypatch):
    other_scores.only(monkeypatch, *(replace(score, suites=("quick",)) for score in scores_in("all").values()))
    with pytest.raises(ConfigError, match=r"study\.yaml: no score .* 'causal' yet; .* are quick, all$"):
        sweep_config({**STUDY, "suite": "causal"}, "study.yaml")


def test_hook_points_of_a_study_of_a_testbed_are_those_of_its_gpt():
    study = {"name": "other layers", "testbed": "othello6-tiny", "hook_names": ["blocks.7.hook_resid_post"]}
    assert sweep_config(study, "study.yaml").hook_names == ("blocks.7.hook_resid_post",)
    with pytest.raises(ConfigError, match=r"study\.yaml: no hook point 'blocks\.8\.hook_resid_post' .* of 8 layers"):
        sweep_config({**study, "hook_names": ["blocks.8.hook_resid_post"]}, "study.yaml")


def test_a_study_without_a_name_is_an_error():
    with pytest.raises(ConfigError, match=r"study\.yaml: field 'name' is required"):
        sweep_config({"suite": "quick"}, "study.yaml")


def test_a_good_study_is_read_from_yaml_with_all_its_fields(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    cfg = sweep_config(read_yaml(path), str(path))
    assert isinstance(cfg, SweepConfig)
    assert (cfg.corpus.n_games, cfg.training.batch_size, cfg.saes[0]["n_latents"]) == (800, 64, [16, 24])
    assert json.loads(json.dumps(to_mapping(cfg)))["random_saes"] == STUDY["random_saes"]


def files_of(root):
    return {path.relative_to(root): path for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The root of the runs of a whole study, and the folder that lists them."""
    root = tmp_path_factory.mktemp("study") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOARDGAME_SAE_RUNS", str(root))
        return root, sweep_run(sweep_config(STUDY, "study"), device="cpu")


def test_a_study_lists_every_run_and_all_are_whole(study):
    _, folder = study
    listed = read_json(folder / "sweep.json")
    (bed,) = listed["testbeds"]
    assert bed["hook_name"] == "blocks.1.hook_resid_post"
    assert (len(bed["saes"]), len(bed["random_saes"]), len(bed["scores"])) == (3, 1, 4)
    probes = [[probe_results(folder) for folder in listed[name]] for name in ("probes", "random_probes")]
    assert [[found["property"] for found in each] for each in probes] == [["board", "legal_move"]] * 2
    assert probes[0] != probes[1]
    runs = [listed["corpus"], listed["model"], *listed["probes"], *listed["random_probes"]]
    runs += [bed["testbed"], bed["baselines"], *bed["saes"], *bed["random_saes"], *bed["scores"]]
    runs += [*bed["ceilings"], folder]
    for run in runs:
        assert (Path(run) / "DONE").exists(), run
        assert damaged_files(run) == [], run


def test_every_sae_of_the_grid_is_trained_and_scored_with_the_baselines_beside(study):
    (bed,) = read_json(study[1] / "sweep.json")["testbeds"]
    sizes = [(sae.trained_as["architecture"], sae.cfg.n_latents) for sae in map(load_sae, bed["saes"])]
    assert sizes == [("topk", 16), ("topk", 24), ("p_anneal", 16)]
    subjects = [Scores.from_json(Path(folder) / "scores.json").subject for folder in bed["scores"]]
    assert [subject["kind"] for subject in subjects] == ["sae", "sae", "sae", "random_gpt_sae"]
    assert [subject["sae"]["n_latents"] for subject in subjects] == [16, 24, 16, 16]
    for kind in ("probe", "neurons", "residual"):
        scores = Scores.from_json(Path(bed["baselines"]) / kind / "scores.json")
        assert scores.subject["kind"] == kind
        assert "coverage" in scores


def test_beside_the_saes_stand_probes_as_sparse_as_each(study):
    (bed,) = read_json(study[1] / "sweep.json")["testbeds"]
    subjects = [Scores.from_json(Path(folder) / "scores.json").subject for folder in bed["scores"]]
    expected = sorted({max(1, round(subject["l0"])) for subject in subjects if subject["kind"] == "sae"})
    assert [read_json(Path(folder) / "run.json")["config"]["k"] for folder in bed["ceilings"]] == expected
    for folder in bed["ceilings"]:
        scores = Scores.from_json(Path(folder) / "scores.json")
        assert scores.subject["kind"] == "sparse_probe"
        assert {"coverage", "board_reconstruction"} <= set(scores)


def test_run_again_a_study_reuses_everything(study, monkeypatch):
    root, folder = study
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(root))
    before = {name: path.stat().st_mtime_ns for name, path in files_of(root).items()}
    assert sweep_run(sweep_config(STUDY, "study"), device="cpu") == folder
    assert {name: path.stat().st_mtime_ns for name, path in files_of(root).items()} == before


def test_a_changed_study_reuses_all_that_the_change_does_not_touch(study, monkeypatch):
    root, folder = study
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(root))
    before = {name: path.stat().st_mtime_ns for name, path in files_of(root).items()}
    more = {**STUDY, "saes": [*STUDY["saes"], {"architecture": "relu", "n_latents": 16}]}
    other = sweep_run(sweep_config(more, "study"), device="cpu")
    assert other != folder
    after = {name: path.stat().st_mtime_ns for name, path in files_of(root).items()}
    assert {name: after[name] for name in before} == before
    new = {name.parts[0] + "/" + name.parts[1].rsplit("-", 1)[0] for name in after.keys() - before.keys()}
    assert {name.split("/")[0] for name in new} == {"sae", "scores", "sweep"}
    assert len(read_json(other / "sweep.json")["testbeds"][0]["saes"]) == 4


def test_a_study_can_ask_for_frozen_twins_of_its_saes(study, monkeypatch):
    root, folder = study
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(root))
    other = sweep_run(sweep_config({**STUDY, "baselines": ["frozen_decoder"]}, "study"), device="cpu")
    assert other != folder
    (bed,) = read_json(other / "sweep.json")["testbeds"]
    subjects = [Scores.from_json(Path(scores) / "scores.json").subject for scores in bed["scores"]]
    assert [subject["kind"] for subject in subjects] == ["sae"] * 3 + ["random_gpt_sae"] + ["frozen_decoder"] * 3
    assert [subject["sae"]["architecture"] for subject in subjects[4:]] == ["topk", "topk", "p_anneal"]
    assert "SAE with a frozen decoder" in (make_report([other]) / "table.md").read_text()


CHESS = {
    "name": "tiny-chess",
    "corpus": {
        "game": "chess",
        "players": ["search:depth=1,temperature=4/0.25"],
        "max_plies": 16,
        "n_games": 120,
        "validation_fraction": 0.25,
        "test_fraction": 0.25,
    },
    "model": {"n_layers": 1, "d_model": 16, "n_heads": 2, "n_ctx": 63, "n_steps": 4, "batch_size": 4},
    "probes": [{"property": "piece"}, {"positions": "ply"}, {"property": "skill", "min_ply": 4}],
    "n_games": 25,
    "training": {"n_activations": 640, "n_harvested": 500, "batch_size": 64},
    "saes": [{"architecture": "topk", "n_latents": 16, "k": 4}],
    "suite": "quick",
}


@pytest.fixture(scope="module")
def chess(tmp_path_factory):
    """What a study of chess lists, and its report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path_factory.mktemp("chess") / "runs"))
        folder = sweep_run(sweep_config(CHESS, "study"), device="cpu")
        return read_json(folder / "sweep.json"), make_report([folder], device="cpu")


def test_a_study_of_a_gpt_from_elsewhere_says_nothing_of_its_training(study, tmp_path, capsys):
    listed = read_json(study[1] / "sweep.json")
    source, made, bed = (str(tmp_path / name) for name in ("source", "imported", "bed"))
    assert main(["export", listed["model"], "--to", "transformer_lens", "--out", source]) == 0
    assert main(["import", source, "--out", made]) == 0
    assert main(["testbed", "--model", made, "--corpus", listed["corpus"], "--n-games", "20", "--out", bed]) == 0
    few = {"training": STUDY["training"], "probes": STUDY["probes"][:1], "saes": STUDY["saes"][1:]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"name": "theirs", "testbed": bed, **few}))
    assert main(["sweep", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "sweep"), "--device", "cpu"]) == 0
    assert "not measured, as this GPT was not trained here" in capsys.readouterr().out
    page = (make_report([tmp_path / "sweep"], out=tmp_path / "report", device="cpu") / "index.html").read_text()
    assert "theirs: a GPT of 2 layers and width 16 from elsewhere plays othello4." in page
    drawn = {path.stem for path in (tmp_path / "report/figures").glob("*.png")}
    assert {"probe_accuracy", "coverage_vs_l0"} < drawn and not drawn & {"legality", "learning_curve"}


def test_a_study_of_chess_has_probes_of_pieces_at_both_places_and_of_skill(chess):
    for name in ("probes", "random_probes"):
        found = [probe_results(folder) for folder in chess[0][name]]
        asked = [(each["property"], each["positions"], each["min_ply"]) for each in found]
        assert asked == [("piece", "dot", 0), ("piece", "ply", 0), ("skill", "dot", 4)]
        sizes = [len(each["hook_points"]["blocks.0.hook_resid_post"]["accuracy_S"]) for each in found]
        assert sizes == [64, 64, 1]
        ends = found[2]["hook_points"]["blocks.0.hook_resid_post"]["extremes"]
        assert (ends["low"], ends["high"]) == ("skill 0", "skill 1")
        assert all("extremes" not in each for each in found[0]["hook_points"].values())


def test_chess_is_scored_on_boards_and_on_the_mean_of_strategy(chess):
    (bed,) = chess[0]["testbeds"]
    for folder in (*bed["scores"], f"{bed['baselines']}/probe", f"{bed['baselines']}/neurons"):
        scores = Scores.from_json(Path(folder) / "scores.json")
        for name in ("coverage", "board_reconstruction"):
            details = scores[name].details
            assert details["headline"] == "piece_moved"
            assert {"threat", "legal_move"} <= set(details["high"])
            assert "en_passant" in details["unsupported"]
            high = [details["by_property"][prop]["value"] for prop in details["high"]]
            assert scores[name].parts["high"] == pytest.approx(sum(high) / len(high))


def test_the_report_of_chess_draws_its_boards(chess):
    page = (chess[1] / "index.html").read_text(encoding="utf-8")
    (drawn,) = (chess[1] / "latents").glob("*-boards.js")
    data = json.loads(drawn.read_text().partition(",")[2].removesuffix(");\n"))
    assert data["positions"] and any(data["boards"])
    for board in data["positions"]:
        picture = "".join(data["picture_parts"][part] for part in board["picture"])
        assert picture.count('<use href="#white-king"') == picture.count('<use href="#black-king"') == 1
    assert "skill 0 or skill 1" in page
    assert "unparsable" in page


def test_a_probe_of_what_the_games_do_not_tell_fails_before_a_gpt_is_trained(tmp_path, monkeypatch):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path / "runs"))
    corpus = {**CHESS["corpus"], "players": ["random"], "n_games": 20}
    with pytest.raises(ValueError, match=r"'skill' needs 'skill_first', .*temperatures.*Elo"):
        sweep_run(sweep_config({**CHESS, "corpus": corpus}, "study"), device="cpu")
    assert not (tmp_path / "runs/gpt").exists()


KILLED = """
import json, os, signal, sys
import torch
torch.set_num_threads(1)
os.fsync = lambda file: None  # a kill, unlike a power cut, loses nothing that was written
from boardgame_sae.pipeline import score as score_run
from boardgame_sae.pipeline.sweep import sweep_config, sweep_run
real, calls = score_run.evaluate, []
def evaluate(*arguments, **options):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **options)
score_run.evaluate = evaluate
sweep_run(sweep_config(json.loads(sys.argv[1]), "study"), device="cpu")
"""


def test_a_killed_study_run_again_ends_with_the_same_bytes(study, tmp_path, monkeypatch):
    root = tmp_path / "runs"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "BOARDGAME_SAE_RUNS": str(root)}
    driver = [sys.executable, "-c", KILLED, json.dumps(STUDY)]
    killed = subprocess.run(driver, capture_output=True, text=True, env=env)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(list(root.rglob("scores.json"))) == 2
    assert not list(root.glob("sweep/*"))
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(root))
    folder = sweep_run(sweep_config(STUDY, "study"), device="cpu")
    assert folder.name == study[1].name
    whole, resumed = files_of(study[0]), files_of(root)
    compared = [name for name in resumed if name.name not in ("timings.jsonl", "sweep.json", "DONE")]
    (bed,) = read_json(folder / "sweep.json")["testbeds"]
    assert sum(name.name == "scores.json" for name in compared) == 4 + 4 + len(bed["ceilings"])
    for name in compared:
        if name.name != "testbed.json":  # it holds the way to the corpus
            assert file_hash(resumed[name]) == file_hash(whole[name]), name
