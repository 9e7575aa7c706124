"""A sweep in processes: the same bytes for any number, failures that stop nothing else, parts, and a dry run."""

import os
import re
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from boardgame_sae.cli import main
from boardgame_sae.config import ConfigError
from boardgame_sae.files import RunError, file_hash, read_json
from boardgame_sae.launch import Died, map_as_done
from boardgame_sae.pipeline import score
from boardgame_sae.pipeline.engines.engine import Engine
from boardgame_sae.pipeline.engines.on_ray import map_on_ray
from boardgame_sae.pipeline.plan import Part
from boardgame_sae.pipeline.sweep import sweep_config, sweep_part, sweep_run

SOUND = [{"architecture": "topk", "n_latents": [16, 24], "k": 4}]
DIVERGING = {"architecture": "relu", "n_latents": 16, "lr": 1e30}
STUDY = {
    "name": "tiny",
    "corpus": {"game": "othello4", "n_games": 800, "validation_fraction": 0.2, "test_fraction": 0.2},
    "model": {"n_layers": 1, "d_model": 16, "n_heads": 2, "n_steps": 4, "batch_size": 16},
    "probes": [{"n_train_games": 64, "n_test_games": 20, "games_a_step": 16}],
    "n_games": 30,
    "training": {"n_activations": 640, "n_harvested": 500, "batch_size": 64},
    "saes": SOUND,
    "suite": "supervised",
}


def study(**changes):
    return sweep_config({**STUDY, **changes}, "study")


def bytes_of(root):
    """Hashes of all files of all runs but those that tell times or paths."""
    told = ("timings.jsonl", "testbed.json", "sweep.json", "DONE")
    files = (path for path in Path(root).rglob("*") if path.is_file() and path.name not in told)
    return {str(path.relative_to(root)): file_hash(path) for path in files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The root of the runs of a study that one process made."""
    root = tmp_path_factory.mktemp("whole") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOARDGAME_SAE_RUNS", str(root))
        sweep_run(study(), device="cpu")
    return root


def test_two_workers_and_small_groups_give_the_bytes_of_one_process(whole, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", "runs")
    folder = sweep_run(study(), workers=2, device="cpu", engine=Engine(saes_per_group=1))
    assert bytes_of("runs") == bytes_of(whole)
    assert read_json(folder / "sweep.json")["testbeds"][0]["saes"][0].startswith("runs/sae/topk-4-16-")
    assert "group 3 of 3: " in capfd.readouterr().err


def test_parts_do_all_and_the_sweep_after_them_only_lists_it(whole, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path / "runs"))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    words = ["sweep", str(tmp_path / "study.yaml"), "--device", "cpu"]
    assert main([*words, "--part", "1/2"]) == 0
    assert "part 1/2 is done, 1 groups; after all parts" in capsys.readouterr().out
    assert sweep_part(study(), Part(2, 2), device="cpu") == 1
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    assert not (tmp_path / "runs/sweep").exists()
    assert main(words) == 0
    assert bytes_of(tmp_path / "runs") == bytes_of(whole)
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert main([*words, "--part", "3/2"]) == 2


def test_what_fails_is_listed_and_all_else_is_finished(whole, tmp_path, monkeypatch, capfd):
    def evaluate(latents, testbed, *words, **options):
        if options["name"].startswith("topk-4-24"):
            raise ZeroDivisionError("a fault that nobody foresaw")
        return real(latents, testbed, *words, **options)

    real, root, file = score.evaluate, tmp_path / "runs", tmp_path / "study.yaml"
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(root))
    file.write_text(yaml.safe_dump({**STUDY, "saes": [DIVERGING, *SOUND]}))
    words = ["sweep", str(file), "--device", "cpu"]
    diverged = "\n  relu-0.1-16 at blocks.0.hook_resid_post: "

    monkeypatch.setattr(score, "evaluate", evaluate)  # in this process
    assert main(words) == 1
    said = capfd.readouterr().err
    assert f"error: 2 failed, and all else is done:{diverged}" in said and "a lower lr than 1e+30" in said
    assert re.search(r"\n  scores of topk-4-24-\w+: ZeroDivisionError: a fault that nobody foresaw\n", said)
    assert len(list(root.glob("sae/topk-*/DONE"))) == 2 and not (root / "sweep").exists()
    first = {path: path.stat().st_mtime_ns for path in root.rglob("DONE")}

    assert main([*words, "--workers", "2"]) == 1
    said = capfd.readouterr().err
    assert f"error: 1 failed, and all else is done:{diverged}" in said and "Traceback" not in said
    assert not (root / "sweep").exists()
    second = {path: path.stat().st_mtime_ns for path in root.rglob("DONE")}
    assert first.items() < second.items()

    file.write_text(yaml.safe_dump(STUDY))
    assert main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in second} == second
    assert bytes_of(whole).items() <= bytes_of(root).items()


def test_a_dry_run_says_what_is_left_and_writes_nothing(whole, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path / "none"))
    (tmp_path / "study.yaml").write_text(
        yaml.safe_dump({**STUDY, "saes": [*SOUND, {"architecture": "relu", "n_latents": 8}]})
    )
    words = ["sweep", str(tmp_path / "study.yaml"), "--device", "cpu", "--dry-run"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert (
        "tiny: 3 SAEs; 2 groups" in said
        and "0 of 3 trained" in said
        and "baselines at blocks.0.hook_resid_post" in said
    )
    assert "48 latents, 1,632 parameters; 640 activations" in said  # 2 * 16 * 48 weights, 48 + 3 * 16 biases
    assert "first: games, GPT, probes, testbeds" in said and "no SAE was scored here" in said
    assert not (tmp_path / "none").exists()
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(whole))
    before = bytes_of(whole)
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "2 of 3 trained" in said and "first:" not in said and "baselines at blocks.0.hook_resid_post: done" in said
    assert "as those of 2 SAEs scored here" in said
    assert "disk: at most" in said and "0 B of activations" in said and "time: about" in said
    assert bytes_of(whole) == before


def test_a_dry_run_counts_twins_and_takes_what_is_never_trained_as_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path / "none"))
    grid = [{"architecture": "random", "n_latents": 8, "k": 2}, {"architecture": "identity", "n_latents": 32}]
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**STUDY, "saes": grid}))
    assert main(["sweep", str(path), "--device", "cpu", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "tiny: 2 SAEs" in said and "0 s of training" in said and "as baselines" not in said
    one = {"architecture": "topk", "n_latents": 16, "k": 4}
    path.write_text(yaml.safe_dump({**STUDY, "saes": [one], "baselines": ["frozen_decoder", "frozen_encoder"]}))
    alone = 2 * 16 * 16 + 16 + 16  # weights and biases
    assert main(["sweep", str(path), "--device", "cpu", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "beside them, as baselines: at most 2 SAEs" in said
    assert f"{3 * 4 * alone / 1e3:.3g} kB of SAEs" in said  # it and its twins, four bytes for each number


@pytest.mark.parametrize(
    ("given", "flag"), [({"address": "auto"}, "address"), ({"gpus_per_group": 0.5}, "gpus-per-group")]
)
def test_settings_of_a_cluster_need_one(given, flag):
    with pytest.raises(ConfigError, match=f"--{flag} is for --engine ray"):
        Engine(**given).check()


def test_without_ray_the_extra_is_named(whole, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(whole))
    with pytest.raises(
        RuntimeError, match=r"--engine ray needs ray, which is not installed: .*boardgame-sae\[cluster\]"
    ):
        sweep_run(study(), device="cpu", engine=Engine(engine="ray"))


def die_sometimes(path: Path) -> str:
    """Die at the first call, or, of `always`, at each."""
    if path.name == "always" or not path.exists():
        path.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return path.name


def test_a_ray_that_does_not_start_is_an_error_that_says_what_to_do(monkeypatch):
    def init(**_):
        raise Exception("The current node timed out during startup.\nMore of that.")

    ray = SimpleNamespace(is_initialized=lambda: False, init=init)
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(RunError, match=r"default address \(The current node timed out during startup\.\); start one"):
        list(map_on_ray(abs, [1], Engine(engine="ray"), 1))


def test_a_worker_that_dies_costs_its_own_input_a_try_and_no_other(tmp_path):
    for name in ("a", "c"):
        (tmp_path / name).write_text("")
    inputs = [tmp_path / name for name in ("a", "once", "always", "c")]
    found = dict(map_as_done(die_sometimes, inputs, workers=2, retries=1))
    died = Died("its process died 2 times: out of memory, or killed")
    assert found == {0: "a", 1: "once", 2: died, 3: "c"}
