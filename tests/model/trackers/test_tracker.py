"""A tracker gets every row of metrics once, whatever happens to the training, and never changes or stops one."""

import contextlib
import dataclasses
import json

import pytest
from fake_tracker import SERVICE

import boardgame_sae as bgs
from boardgame_sae.cli import main
from boardgame_sae.config import ConfigError
from boardgame_sae.files import RunError
from boardgame_sae.model import train as gpt_training
from boardgame_sae.model.trackers.tracker import tracked, trackers
from boardgame_sae.model.train import Training, train_gpt_run
from boardgame_sae.model.train_config import TrainGPTConfig
from boardgame_sae.runs import METRICS_FILE, TRACKED_FILE, Run
from boardgame_sae.saes.registry import sae_config
from boardgame_sae.saes.training import train as sae_training
from boardgame_sae.saes.training.on_testbed import train_on_testbed
from boardgame_sae.saes.training.train import TrainSAEConfig
from boardgame_sae.testbeds.testbed import Testbed

GPT = TrainGPTConfig(n_layers=1, d_model=8, n_heads=1, n_steps=12, batch_size=8, log_every=2, eval_every=6)
SAES = [sae_config("topk", d_model=16, n_latents=16, k=k) for k in (2, 4)]
SAE_TRAINING = TrainSAEConfig(n_activations=1200, n_harvested=1000, batch_size=100, log_every=2, n_calibration=200)


@pytest.fixture(autouse=True)
def _forget():
    SERVICE.clear()


def rows_of(folder):
    """What metrics.jsonl holds, as a tracker is sent it."""
    rows = [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]
    return [(row.pop("step"), row) for row in rows]


def only_run():
    (rows,) = SERVICE.rows.values()
    return rows


def only_run_after(work):
    work()
    return only_run()


def train_gpt(corpus, out, **how):
    return train_gpt_run(corpus, GPT, out=out, device="cpu", **how)


def interrupted(monkeypatch, cls, at_step, work):
    """Do some work in which a training is interrupted before a step."""
    advance = cls.advance

    def advance_or_stop(training, *args):
        if training.step == at_step:
            raise KeyboardInterrupt
        return advance(training, *args)

    with monkeypatch.context() as patch:
        patch.setattr(cls, "advance", advance_or_stop)
        with pytest.raises(KeyboardInterrupt):
            work()


def test_a_gpts_training_sends_each_row_and_has_the_bytes_of_one_without(tiny_corpus, tmp_path, capsys):
    plain, followed = (train_gpt(tiny_corpus, tmp_path / name, tracker=name) for name in ("none", "fake"))
    assert only_run() == rows_of(followed) and len(rows_of(followed)) == 8
    for name in ("DONE", METRICS_FILE, "model.safetensors", "run.json"):
        assert (plain / name).read_bytes() == (followed / name).read_bytes(), name
    assert not (followed / TRACKED_FILE).exists()
    (run,) = SERVICE.opened
    assert run.config["n_layers"] == 1 and run.config["inputs"] == {"corpus": tiny_corpus.hash}
    assert run.id == f"gpt-{run.config['hash']}" and SERVICE.finished == [run.id] and not run.resumed
    assert capsys.readouterr().out == "", "what a tracker prints is no result"


def test_a_finished_run_is_reused_and_sends_nothing(tiny_corpus, tmp_path):
    train_gpt(tiny_corpus, tmp_path / "run")
    train_gpt(tiny_corpus, tmp_path / "run", tracker="fake")
    assert not SERVICE.opened


@pytest.mark.parametrize(("checkpoint_seconds", "stops"), [(0, (3, 7, 9)), (1000, (7, 3, 9))])
def test_a_resumed_training_sends_no_row_twice_and_leaves_none_out(
    tiny_corpus, tmp_path, monkeypatch, checkpoint_seconds, stops
):
    """With no checkpoint all steps are made again, with one at each step none."""

    def work():
        return train_gpt(tiny_corpus, tmp_path, tracker="fake", checkpoint_seconds=checkpoint_seconds)

    for at_step in stops:
        interrupted(monkeypatch, Training, at_step, work)
    assert only_run_after(work) == rows_of(tmp_path)
    assert len({run.id for run in SERVICE.opened}) == 1 and SERVICE.opened[-1].resumed


def test_a_tracker_that_comes_late_gets_what_was_before(tiny_corpus, tmp_path, monkeypatch):
    interrupted(monkeypatch, Training, 7, lambda: train_gpt(tiny_corpus, tmp_path, checkpoint_seconds=0))
    assert only_run_after(lambda: train_gpt(tiny_corpus, tmp_path, tracker="fake")) == rows_of(tmp_path)
    assert not SERVICE.opened[0].resumed


def test_saes_on_one_stream_are_runs_of_their_own_and_resume(tiny_model, tiny_corpus, tmp_path, monkeypatch):
    testbed = Testbed(tiny_model, tiny_corpus, n_games=20)
    plain = train_on_testbed(testbed, SAES, SAE_TRAINING, outs=[tmp_path / "a", tmp_path / "b"], device="cpu")
    outs = [tmp_path / "c", tmp_path / "d"]

    def work():
        return train_on_testbed(testbed, SAES, SAE_TRAINING, outs=outs, device="cpu", tracker="fake")

    interrupted(monkeypatch, sae_training._Trainee, 7, work)
    followed = work()
    assert list(SERVICE.rows.values()) == [rows_of(folder) for folder in followed]
    for one, other in zip(plain, followed, strict=True):
        assert (one / "DONE").read_bytes() == (other / "DONE").read_bytes()
    ks = [run.config["sae"]["k"] for run in SERVICE.opened]
    assert ks == [2, 4, 2, 4] and [run.kind for run in SERVICE.opened] == ["sae"] * 4


@pytest.mark.parametrize("failing", ["open", "log", 3, "finish"])
def test_a_tracker_that_fails_is_told_of_once_and_the_training_goes_on(tiny_corpus, tmp_path, capsys, failing):
    SERVICE.failing.add(failing)
    folder = train_gpt(tiny_corpus, tmp_path, tracker="fake")
    assert (folder / "DONE").exists() and len(rows_of(folder)) == 8
    said = capsys.readouterr().err
    assert said.count("warning: the tracker fake failed (no network); the training goes on") == 1


def test_what_a_failing_tracker_missed_is_sent_when_the_training_resumes(tiny_corpus, tmp_path, monkeypatch):
    SERVICE.failing.add(3)
    interrupted(monkeypatch, Training, 9, lambda: train_gpt(tiny_corpus, tmp_path, tracker="fake"))
    assert len(only_run()) == 2
    assert only_run_after(lambda: train_gpt(tiny_corpus, tmp_path, tracker="fake")) == rows_of(tmp_path)


def test_unknown_trackers_and_missing_libraries_are_named_before_anything_is_trained(
    tiny_corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr(gpt_training, "_train", None)
    with pytest.raises(ConfigError, match="unknown tracker 'wandbb'; did you mean 'wandb'"):
        train_gpt(tiny_corpus, tmp_path / "a", tracker="wandbb")
    with pytest.raises(RunError, match=r"pip install 'boardgame-sae\[trackers\]'"):
        train_gpt(tiny_corpus, tmp_path / "b", tracker="absent")


def test_from_python_and_the_command_line(tiny_corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path))
    model = bgs.train_gpt(tiny_corpus, config=GPT, device="cpu", tracker="fake")
    testbed = Testbed(model, tiny_corpus, n_games=20)
    bgs.train_sae(testbed, "topk", SAE_TRAINING, n_latents=16, k=2, device="cpu", tracker="fake")
    assert [run.kind for run in SERVICE.opened] == ["gpt", "sae"]
    words = [f"--{field.name.replace('_', '-')}={getattr(GPT, field.name)}" for field in dataclasses.fields(GPT)
             if field.name in ("n_layers", "d_model", "n_heads", "n_steps", "batch_size", "log_every")]  # fmt: skip
    corpus = str(tiny_corpus.path.parent)
    assert main(["train-gpt", "--corpus", corpus, *words, "--device", "cpu", "--tracker", "fake"]) == 0
    assert [run.kind for run in SERVICE.opened] == ["gpt", "sae", "gpt"]
    assert main(["train-gpt", "--corpus", corpus, "--tracker", "fkae"]) == 2
    assert "unknown tracker 'fkae'; did you mean 'fake'?" in capsys.readouterr().err
    with contextlib.suppress(SystemExit):
        main(["train-sae", "--help"])
    assert "Trackers: absent, fake, trackio, wandb." in " ".join(capsys.readouterr().out.split())


def test_two_trackers_count_for_themselves(tmp_path):
    with Run("gpt", "x", {}, out=tmp_path) as run:
        (tmp_path / TRACKED_FILE).write_text("other\n" * 5)
        with tracked([run], "fake"):
            for step in range(3):
                run.log(step=step, loss=1.0)
    assert [step for step, _ in only_run()] == [0, 1, 2]
    assert (tmp_path / TRACKED_FILE).read_text() == "other\n" * 5 + "fake\n" * 3


def test_the_trackers():
    assert {"trackio", "wandb"} <= set(trackers()) and "none" not in trackers()
