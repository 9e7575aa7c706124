"""Two processes learn what one learns, and a run of theirs that was killed ends in the bytes of one that was not."""

import json
import subprocess
import sys
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from boardgame_sae import cli
from boardgame_sae.config import ConfigError, to_mapping
from boardgame_sae.files import RunError
from boardgame_sae.model.data_parallel import Process, check_shares, places, share_of_mean
from boardgame_sae.model.train import train_gpt_run
from boardgame_sae.model.train_config import TrainGPTConfig
from boardgame_sae.runs.integrity import damaged_files, read_done

RATES = {"muon_lr": 2e-3, "adamw_lr": 1e-3}
"""So low that steps do not amplify rounding, as a first part of a training at high rates does."""
CFG = TrainGPTConfig(
    n_layers=2, d_model=16, n_heads=2, n_steps=30, batch_size=16, log_every=1, eval_every=15, seed=1, **RATES
)


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def two(tiny_corpus, tmp_path_factory):
    """A run of two processes."""
    return train_gpt_run(tiny_corpus, CFG, out=tmp_path_factory.mktemp("two") / "run", device="cpu", devices=2)


def test_two_processes_have_one_s_curve(two, tiny_corpus, tmp_path):
    one = train_gpt_run(tiny_corpus, CFG, out=tmp_path / "one", device="cpu")
    assert [line.keys() for line in metrics(two)] == [line.keys() for line in metrics(one)]
    for of_two, of_one in zip(metrics(two), metrics(one), strict=True):
        assert of_two == pytest.approx(of_one, abs=1e-4)
    assert metrics(one)[0]["train_loss"] - metrics(one)[-2]["train_loss"] > 0.1, "it learned"
    assert (two / "run.json").read_bytes() == (one / "run.json").read_bytes(), "the same run but for rounding"
    assert (two / "cfg.json").read_bytes() == (one / "cfg.json").read_bytes()
    assert read_done(two).summary["devices"] == 2 and "devices" not in read_done(one).summary
    assert damaged_files(two) == [] and not (two / "state.safetensors").exists()


def test_a_finished_run_is_reused_whatever_the_number(two, tiny_corpus):
    before = (two / "DONE").stat().st_mtime_ns
    assert train_gpt_run(tiny_corpus, CFG, out=two, device="cpu") == two
    assert (two / "DONE").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_killed_run_of_two_processes_resumes_on_two_alone_and_to_the_same_bytes(two, tiny_corpus, tmp_path):
    cfg, out = tmp_path / "cfg.json", tmp_path / "run"
    cfg.write_text(json.dumps(to_mapping(CFG)))
    code = f"""
if __name__ == "__main__":
    from boardgame_sae.config import from_yaml
    from boardgame_sae.model.train import TrainGPTConfig, train_gpt_run
    from boardgame_sae.transcripts.corpus import Corpus
    corpus, cfg = Corpus.open({str(tiny_corpus.path)!r}), from_yaml(TrainGPTConfig, {str(cfg)!r})
    train_gpt_run(corpus, cfg, out={str(out)!r}, device="cpu", devices=2, checkpoint_seconds=0)
"""
    (tmp_path / "train.py").write_text(code)
    with subprocess.Popen([sys.executable, tmp_path / "train.py"], stderr=subprocess.DEVNULL) as trainer:
        while not (out / "state.safetensors").exists():
            assert trainer.poll() is None, "it ended before it could be killed"
            time.sleep(0.001)
        trainer.kill()
    assert not (out / "DONE").exists()
    with pytest.raises(RunError, match="killed while it trained with --devices 2; with 1 it would end in other bytes"):
        train_gpt_run(tiny_corpus, CFG, out=out, device="cpu")
    train_gpt_run(tiny_corpus, CFG, out=out, device="cpu", devices=2)
    for name in ("model.safetensors", "cfg.json", "metrics.jsonl", "legality.json", "run.json", "DONE"):
        assert (out / name).read_bytes() == (two / name).read_bytes(), name


def test_devices_that_do_not_share_a_batch_evenly_are_refused_before_anything_is_made(tiny_corpus, tmp_path, capsys):
    with pytest.raises(ConfigError, match="batch_size 16 does not divide among 3 devices; give a multiple, or fewer"):
        train_gpt_run(tiny_corpus, CFG, out=tmp_path / "run", device="cpu", devices=3)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="batch_size 16, 8 of each corpus, does not divide among 16 devices"):
        check_shares(16, 2, 16)
    words = ["train-gpt", "--corpus", str(tiny_corpus.path), "--devices", "3", "--device", "cpu"]
    assert cli.main(words) == 2 and "does not divide among 3 devices" in capsys.readouterr().err


def test_devices_that_are_not_there_are_refused(monkeypatch):
    assert [place.rank for place in places("cpu", 3)] == [0, 1, 2]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for kind in ("cuda", "mps"):
        with pytest.raises(ConfigError, match=f"2 devices asked for, but this machine has 1 of kind {kind}"):
            places(kind, 2)


class Counting(Process):
    """One of several processes, of which each has a number of items."""

    def __init__(self, counts):
        self.n, self.counts = len(counts), counts

    def mean(self, value):
        return torch.tensor(self.counts, dtype=torch.float).mean()


@given(st.lists(st.lists(st.floats(-5, 5), min_size=1, max_size=6), min_size=1, max_size=4))
def test_the_mean_over_processes_is_that_over_all_items(items):
    process = Counting([len(own) for own in items])
    shares = [share_of_mean(process, torch.tensor(own).mean(), torch.tensor(len(own))) for own in items]
    every = torch.tensor([value for own in items for value in own])
    assert float(torch.stack(shares).mean()) == pytest.approx(float(every.mean()), abs=1e-4)
