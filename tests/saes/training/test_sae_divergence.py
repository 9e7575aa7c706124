"""SAEs that diverge stop, say where, keep their last good state, and leave those beside them alone."""

import dataclasses
import math

import pytest
import torch
from safetensors.torch import load_file

from boardgame_sae.files import RunError, file_hash, read_json
from boardgame_sae.runs import is_done
from boardgame_sae.saes.registry import sae_config
from boardgame_sae.saes.training import train as module
from boardgame_sae.saes.training.train import TrainSAEConfig, train_saes_run, useless

CFG = TrainSAEConfig(n_activations=64 * 20, batch_size=64, lr=3e-3, log_every=6)
TOPK, RELU = (sae_config(name, d_model=16, n_latents=24, **more) for name, more in (("topk", {"k": 3}), ("relu", {})))


def train(store, configs, root, cfg=CFG, **options):
    outs = [root / config.architecture for config in configs]
    return train_saes_run(store, configs, cfg, outs=outs, device="cpu", **options)


@torch.no_grad()
def spoil(sae, loss, what):
    if what == "loss":
        loss.total.fill_(math.nan)
    else:
        sae.b_dec[2] = math.inf


@pytest.mark.parametrize("saves", [True, False], ids=["saves at each step", "saves nothing"])
@pytest.mark.parametrize("what", ["loss", "weight"])
def test_what_diverges_stops_and_what_trains_beside_it_does_not(store, tmp_path, monkeypatch, what, saves):
    """Step 9 is not logged. So a weight is only found where states are saved; else the loss of step 10 tells of it."""
    step_of = module.training_step

    def diverge(sae, optimizer, x_ND, step, lr):
        loss = step_of(sae, optimizer, x_ND, step, lr)
        if sae.cfg == TOPK and step == 8:
            spoil(sae, loss, what)
        return loss

    with monkeypatch.context() as patched:
        patched.setattr(module, "training_step", diverge)
        with pytest.raises(RunError) as error:
            train(store, [TOPK, RELU], tmp_path / "run", checkpoint_seconds=0.0 if saves else 1e9)
    message = str(error.value)
    said = "the loss is not finite at step 9, whose batch is number 8 of"
    if what == "weight":
        said = "b_dec is no longer finite after step 9" if saves else "the loss is not finite at step 10"
    assert message.startswith(f"{tmp_path / 'run/topk'}: {said}") and message.count("\n") == 0
    kept = "the last good checkpoint is of step 8" if saves else "no checkpoint was saved before"
    assert f" of {store.path}; {kept}; train it with a lower lr than 0.003" in message
    assert is_done(tmp_path / "run/relu") and not is_done(tmp_path / "run/topk")
    if saves:
        saved = load_file(tmp_path / "run/topk/state.safetensors")
        assert all(bool(tensor.isfinite().all()) for tensor in saved.values())
    else:
        assert not (tmp_path / "run/topk/state.safetensors").exists()
    train(store, [TOPK], tmp_path / "run")  # goes on from there to the bytes of a run that nothing befell
    train(store, [TOPK, RELU], tmp_path / "other")
    for name in ("topk/sae.safetensors", "topk/metrics.jsonl", "relu/sae.safetensors"):
        assert file_hash(tmp_path / "run" / name) == file_hash(tmp_path / "other" / name)


def test_a_learning_rate_that_diverges_ends_in_the_message_and_saves_nothing_broken(store, tmp_path):
    with pytest.raises(RunError, match=r"relu: .* finite .*; train it with a lower lr than 1e\+30"):
        train(store, [RELU], tmp_path, dataclasses.replace(CFG, lr=1e30))
    assert not (tmp_path / "relu/sae.safetensors").exists()


def test_an_sae_that_is_worthless_says_so_loudly_and_in_its_metadata(store, tmp_path, capsys):
    dead = sae_config("relu", d_model=16, n_latents=24, sparsity_coefficient=1e6)
    (folder,) = train(store, [dead], tmp_path, dataclasses.replace(CFG, n_activations=64 * 200, lr=0.05))
    about, errors = read_json(folder / "cfg.json")["metadata"], capsys.readouterr().err
    assert about["warnings"] == useless(about["inference"]) and about["warnings"]
    for warning in about["warnings"]:
        assert f"warning: {folder}: {warning}" in errors
    (sound,) = train(store, [TOPK], tmp_path)
    assert "warnings" not in read_json(sound / "cfg.json")["metadata"]
    assert "warning" not in capsys.readouterr().err


def test_both_ways_of_being_worthless_are_told_and_no_others():
    sound = {"alive": 0.5, "explained_variance": 0.2, "l0": 1.0}
    assert useless(sound) == []
    assert "every latent of this SAE is dead" in useless({**sound, "alive": 0.0})[0]
    assert "explained variance is -0.25, below zero" in useless({**sound, "explained_variance": -0.25})[0]
    assert len(useless({"alive": 0.0, "explained_variance": -1.0})) == 2


def test_activations_that_do_not_vary_train_without_an_undefined_number(tmp_path, monkeypatch):
    class Still:
        """Activations that are all the same."""

        path, hash, content = tmp_path / "still", "0", {}
        width, mean_norm, batches_per_pass = 16, 4.0, None

        def stream(self, batch_size, seed):
            return self

        def batch(self, number):
            return torch.ones(64, 16)

    (folder,) = train(Still(), [TOPK], tmp_path)
    assert is_done(folder)
