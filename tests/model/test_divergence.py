"""A GPT's training that diverges stops at once, says where, and keeps the last good checkpoint."""

import dataclasses
import math

import pytest
import torch
from safetensors.torch import load_file

from boardgame_sae.config import seed_for
from boardgame_sae.files import RunError
from boardgame_sae.model.train import Training, train_gpt_run
from boardgame_sae.model.train_config import TrainGPTConfig

CFG = TrainGPTConfig(n_layers=2, d_model=16, n_heads=2, n_steps=8, batch_size=16, log_every=4, seed=1)


def trained(corpus, cfg, out, **more):
    return train_gpt_run(corpus, cfg, out=out, device="cpu", **more)


def spoil(training, what):
    """Make something of a training's last step infinite, as an update that was too large does."""
    if what == "a weight":
        with torch.no_grad():
            training.gpt.blocks[1].mlp.up.bias[3] = math.inf
    else:
        training.last[what] = math.nan


@pytest.mark.parametrize(
    ("what", "step", "said"),
    [
        ("loss", 3, "the loss is nan at step 3, whose batch is number 2 of {path}: games "),
        ("gradient's norm", 3, "the gradient's norm is nan at step 3, whose batch is number 2 of {path}: games "),
        (
            "a weight",
            4,
            r"blocks.1.mlp.up.bias is no longer finite at step 4, whose batch is number 3 of {path}: games ",
        ),
    ],
)
def test_what_is_not_finite_ends_the_run_and_is_never_saved(tiny_corpus, tmp_path, monkeypatch, what, step, said):
    """A weight is looked at before anything is saved or measured."""
    advance = Training.advance

    def diverge(training):
        advance(training)
        if training.step == step:
            spoil(training, what)

    with monkeypatch.context() as patched:
        patched.setattr(Training, "advance", diverge)
        with pytest.raises(RunError) as error:
            trained(tiny_corpus, CFG, tmp_path / "run", checkpoint_seconds=0.0)
    message = str(error.value)
    assert said.format(path=tiny_corpus.path) in message
    assert f"; the last good checkpoint is of step {step - 1}; lower muon_lr and adamw_lr" in message
    games_B = tiny_corpus.batch_games("train", step - 1, CFG.batch_size, seed_for(CFG.seed, "order"))
    assert ", ".join(map(str, games_B[:8])) in message
    saved = load_file(tmp_path / "run/state.safetensors")
    assert all(bool(tensor.isfinite().all()) for tensor in saved.values())
    trained(tiny_corpus, CFG, tmp_path / "run")  # goes on from there to the bytes of a run that nothing befell
    trained(tiny_corpus, CFG, tmp_path / "other")
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "other"))
    assert one == other


def test_a_learning_rate_that_diverges_names_the_first_bad_step(tiny_corpus, tmp_path):
    with pytest.raises(RunError, match=r"at step \d, whose batch .* no checkpoint was saved before; lower muon_lr"):
        trained(tiny_corpus, dataclasses.replace(CFG, adamw_lr=1e30, muon_lr=1e30), tmp_path)
