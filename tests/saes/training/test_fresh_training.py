"""Training on games that are played for the purpose: the same bytes however often it is killed, and whoever trains."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from boardgame_sae.activations import stream
from boardgame_sae.config import ConfigError
from boardgame_sae.files import read_json
from boardgame_sae.saes.architectures.topk import TopKConfig
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.registry import sae_class, sae_config
from boardgame_sae.saes.training import train as module
from boardgame_sae.saes.training.on_testbed import train_on_testbed, train_sae
from boardgame_sae.saes.training.recipe import BATCH_SIZES, BUDGETS, batch_size_for, learning_rate_for
from boardgame_sae.saes.training.train import TrainSAEConfig
from boardgame_sae.testbeds.testbed import Testbed

FILES = ("sae.safetensors", "cfg.json", "metrics.jsonl")
CFG = TrainSAEConfig(
    source="fresh", n_activations=6400, batch_size=100, n_calibration=300, log_every=10, lr=1e-3, dead_window=500
)
SAES = [sae_config(name, d_model=16, n_latents=32, k=4) for name in ("topk", "batch_topk")]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(stream, "BLOCK_BYTES", 2048 * 4 * 16)


@pytest.fixture
def testbed(tiny_model, tiny_corpus) -> Testbed:
    return Testbed(tiny_model, tiny_corpus, "blocks.1.hook_resid_post", n_games=50)


def contents(folder):
    return [(folder / name).read_bytes() for name in FILES]


def test_killed_trainings_and_lonely_ones_end_with_the_same_bytes(testbed, tmp_path, monkeypatch):
    together = train_on_testbed(testbed, SAES, CFG, outs=[tmp_path / "a", tmp_path / "b"], device="cpu")
    (alone,) = train_on_testbed(testbed, SAES[1:], CFG, outs=[tmp_path / "alone"], device="cpu")
    assert contents(alone) == contents(together[1])
    advance = module._Trainee.advance

    def killed(trainee, x_ND):
        if trainee.step == 37:
            raise KeyboardInterrupt
        advance(trainee, x_ND)

    outs = [tmp_path / "killed a", tmp_path / "killed b"]
    with monkeypatch.context() as patch:
        patch.setattr(module._Trainee, "advance", killed)
        patch.setattr(module.time, "perf_counter", iter(range(0, 10**6, 100)).__next__)  # a state at every step
        with pytest.raises(KeyboardInterrupt):
            train_on_testbed(testbed, SAES, CFG, outs=outs, device="cpu")
    assert all((out / "state.safetensors").exists() and not (out / "DONE").exists() for out in outs)
    again = train_on_testbed(testbed, SAES, CFG, outs=outs, device="cpu")
    assert [contents(folder) for folder in again] == [contents(folder) for folder in together]


def test_snapshots_are_saes_of_their_step_and_leave_the_training_alone(testbed, tmp_path, monkeypatch):
    shares = (0.001, 0.5, 1.0)
    cfg = replace(CFG, snapshots=shares)
    (plain,) = train_on_testbed(testbed, SAES[1:], CFG, outs=[tmp_path / "plain"], device="cpu")
    (folder,) = train_on_testbed(testbed, SAES[1:], cfg, outs=[tmp_path / "kept"], device="cpu")
    weights = {share: load_sae(folder / f"snapshots/{share:g}") for share in shares}
    assert [weights[share].metadata["snapshot"]["step"] for share in shares] == [1, 32, 64]
    last = load_sae(folder)
    for name, tensor in load_sae(plain).state_dict().items():
        assert torch.equal(tensor, last.state_dict()[name])
        assert torch.equal(tensor, weights[1.0].state_dict()[name])
    assert all(sae.calibrated for sae in weights.values())
    early, late = (weights[share].metadata["inference"]["explained_variance"] for share in (0.001, 1.0))
    assert early < late
    kept, advance = (folder / "snapshots/0.5/sae.safetensors").read_bytes(), module._Trainee.advance

    def killed(trainee, x_ND):
        if trainee.step == 40:
            raise KeyboardInterrupt
        advance(trainee, x_ND)

    with monkeypatch.context() as patch:
        patch.setattr(module._Trainee, "advance", killed)
        with pytest.raises(KeyboardInterrupt):
            train_on_testbed(testbed, SAES[1:], cfg, outs=[tmp_path / "killed"], device="cpu")
    (again,) = train_on_testbed(testbed, SAES[1:], cfg, outs=[tmp_path / "killed"], device="cpu")
    assert contents(again) == contents(folder)
    assert (again / "snapshots/0.5/sae.safetensors").read_bytes() == kept


def test_settings_left_open_are_the_architecture_s_at_the_budget(testbed, tmp_path):
    cfg = replace(CFG, batch_size=0, lr=0.0, n_activations=2048)
    folders = train_on_testbed(testbed, SAES, cfg, outs=[tmp_path / "a", tmp_path / "b"], device="cpu")
    for folder, sae_cfg in zip(folders, SAES, strict=True):
        training = read_json(folder / "cfg.json")["metadata"]["training"]
        assert training["batch_size"] == batch_size_for(2048) == BATCH_SIZES[0]
        assert training["lr"] == sae_class(sae_cfg.architecture).learning_rates[0]
    (told,) = train_on_testbed(
        testbed,
        SAES[:1],
        replace(cfg, **{name: training[name] for name in ("batch_size", "lr")}),
        device="cpu",
        outs=[tmp_path / "a"],
    )  # the same run, so that it is reused
    assert told == folders[0]


@given(st.integers(1, 10**9))
def test_settings_lie_between_those_of_the_nearest_budgets(n_activations):
    rates = (4e-3, 1e-3, 5e-4)
    above = min(np.searchsorted(BUDGETS, n_activations), len(BUDGETS) - 1)
    below = max(0, above - 1) if n_activations < BUDGETS[-1] else above
    assert rates[above] * 0.94 <= learning_rate_for(n_activations, rates) <= rates[below] * 1.06
    assert batch_size_for(n_activations) in {2**power for power in range(9, 14)}
    for budget, rate, size in zip(BUDGETS, rates, BATCH_SIZES, strict=True):
        assert (learning_rate_for(budget, rates), batch_size_for(budget)) == (rate, size)


def test_latents_are_1024_unless_a_number_or_a_whole_config_says_otherwise(testbed, tmp_path):
    fields = {"n_activations": 200, "n_harvested": 200, "batch_size": 100, "n_calibration": 100}
    given_config = TopKConfig(d_model=testbed.width, n_latents=24, k=4)
    asked = {"default": ("topk", {}), "number": ("topk", {"n_latents": 40}), "config": (given_config, {})}
    asked["both"] = (given_config, {"n_latents": 16})
    widths = {
        name: train_sae(testbed, architecture, out=tmp_path / name, **more, **fields).cfg.n_latents
        for name, (architecture, more) in asked.items()
    }
    assert widths == {"default": 1024, "number": 40, "config": 24, "both": 16}


def test_an_sae_says_what_it_was_trained_on(testbed, tmp_path):
    fields = {"n_latents": 32, "k": 4, "n_activations": 1000, "batch_size": 100, "n_calibration": 100}
    fresh = train_sae(testbed, "topk", source="fresh", out=tmp_path / "fresh", **fields)
    harvested = train_sae(testbed, "topk", n_harvested=500, out=tmp_path / "harvested", **fields)
    assert (fresh.metadata["training"]["source"], harvested.metadata["training"]["source"]) == ("fresh", "harvest")
    runs = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("fresh", "harvested")]
    assert "n_harvested" not in runs[0]["config"]["training"]
    assert "source" not in runs[1]["config"]["training"], "runs made before there was a choice are known again"
    assert runs[0]["inputs"] != runs[1]["inputs"]


def test_a_corpus_that_cannot_be_played_on_is_refused_before_anything_is_trained(testbed, tmp_path, monkeypatch):
    monkeypatch.setitem(testbed.corpus.__dict__, "config", {**testbed.corpus.config, "players": ["stockfish:nodes=1"]})
    with pytest.raises(ConfigError, match="no fresh games can be played like these"):
        train_sae(testbed, "topk", source="fresh", out=tmp_path / "never", n_latents=8, k=2)
    assert not (tmp_path / "never").exists()
