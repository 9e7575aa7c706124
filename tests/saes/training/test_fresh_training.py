"""Training on games that are played for the purpose: the same bytes however often it is killed, and whoever trains."""

import json

import pytest

from boardgame_sae.activations import stream
from boardgame_sae.config import ConfigError
from boardgame_sae.saes.registry import sae_config
from boardgame_sae.saes.training import train as module
from boardgame_sae.saes.training.on_testbed import train_on_testbed, train_sae
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
