"""Training learns, and a run that was killed anywhere ends in the bytes of one that was not."""

import dataclasses
import json
import math
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch

from boardgame_sae.config import ConfigError, from_mapping, to_mapping
from boardgame_sae.files import RunError, read_json
from boardgame_sae.model import train
from boardgame_sae.model.data_parallel import Place, Process
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import GPT, GPTConfig
from boardgame_sae.model.legality import legality
from boardgame_sae.model.muon import Muon
from boardgame_sae.model.train import (
    Training,
    lr_factor,
    make_optimizers,
    next_token_loss,
    recipe,
    train_gpt,
    train_gpt_run,
)
from boardgame_sae.model.train_config import PRESETS, TrainGPTConfig, preset
from boardgame_sae.runs import canonical_json
from boardgame_sae.runs.integrity import damaged_files
from boardgame_sae.transcripts.generate import generate

CFG = TrainGPTConfig(n_layers=2, d_model=16, n_heads=2, n_steps=40, batch_size=16, log_every=4, eval_every=12, seed=1)
ARTIFACTS = ("model.safetensors", "cfg.json", "metrics.jsonl", "legality.json", "run.json", "DONE")


def trained(corpus, cfg, out, **more):
    return train_gpt_run(corpus, cfg, out=out, device="cpu", **more)


@pytest.fixture(scope="module")
def whole(tiny_corpus, tmp_path_factory):
    """A run that nobody disturbed."""
    return trained(tiny_corpus, CFG, tmp_path_factory.mktemp("whole") / "run")


def differing(a, b, names=ARTIFACTS):
    return [name for name in names if (a / name).read_bytes() != (b / name).read_bytes()]


# The rate, the loss, the optimisers


def test_the_rate_rises_stays_and_falls_in_straight_lines_to_just_above_zero():
    cfg = dataclasses.replace(CFG, n_steps=1000, warmup_fraction=0.1, decay_fraction=0.4)
    rates = np.array([lr_factor(step, cfg) for step in range(1000)])
    assert np.allclose(rates[:100], np.arange(1, 101) / 100)
    assert (rates[99:601] == 1).all()
    assert np.allclose(rates[600:], np.arange(400, 0, -1) / 400)


def test_the_rate_is_never_zero_nor_above_one_even_without_phases():
    for n_steps in (1, 2, 7):
        for warmup in (0.0, 0.5, 1.0):
            for decay in (0.0, 0.5, 1.0):
                cfg = dataclasses.replace(CFG, n_steps=n_steps, warmup_fraction=warmup, decay_fraction=decay)
                assert all(0 < lr_factor(step, cfg) <= 1 for step in range(n_steps))


def test_each_cycle_has_the_rates_of_a_training_of_its_length():
    once = dataclasses.replace(CFG, n_steps=20)
    twice = dataclasses.replace(CFG, n_steps=40, cycles=2)
    assert [lr_factor(step, twice) for step in range(40)] == 2 * [lr_factor(step, once) for step in range(20)]


def test_a_cycle_goes_on_from_the_last_one_s_weights_and_nothing_else(tiny_corpus):
    """The first cycle is a training of its length; the second needs only its weights, and its place among the games."""
    once, twice = dataclasses.replace(CFG, n_steps=8), dataclasses.replace(CFG, n_steps=16, cycles=2)
    process = Process(Place("cpu"))
    first, whole, second = Training(tiny_corpus, once, process), *(Training(tiny_corpus, twice, process) for _ in "ab")
    losses = [first.advance() for _ in range(8)]
    second.gpt.load_state_dict(first.gpt.state_dict())
    second.step = 8
    assert losses + [second.advance() for _ in range(8)] == [whole.advance() for _ in range(16)]
    for a, b in zip(second.gpt.parameters(), whole.gpt.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_loss_is_the_mean_over_tokens_that_are_no_padding():
    gpt = GPT(GPTConfig(n_layers=1, d_model=8, n_heads=2, d_vocab=6, n_ctx=5), seed=2)
    games = [[1, 2, 3, 4, 5, 1], [2, 4, 0, 0, 0, 0], [3, 3, 3, 0, 0, 0]]
    losses = []
    for game in games:
        real = [token for token in game if token]
        chances = gpt(torch.tensor([real[:-1]]))[0].softmax(-1)
        losses += [-math.log(chances[place, token].item()) for place, token in enumerate(real[1:])]
    assert len(losses) == 5 + 1 + 2
    tokens_BL = torch.tensor(games)
    assert abs(next_token_loss(gpt, tokens_BL, tokens_BL != 0).item() - sum(losses) / 8) < 1e-6


def test_token_0_counts_where_it_is_present():
    gpt = GPT(GPTConfig(n_layers=1, d_model=8, n_heads=2, d_vocab=6, n_ctx=5), seed=2)
    games = [[0, 2, 0, 4], [0, 0]]
    log_probs = [gpt(torch.tensor([game[:-1]]))[0].log_softmax(-1) for game in games]
    losses = [
        -logs[i, token].item() for game, logs in zip(games, log_probs, strict=True) for i, token in enumerate(game[1:])
    ]
    present_BL = torch.tensor([[True] * 4, [True, True, False, False]])
    found = next_token_loss(gpt, torch.tensor([[0, 2, 0, 4], [0, 0, 0, 0]]), present_BL)
    assert len(losses) == 4 and abs(found.item() - sum(losses) / 4) < 1e-6


def test_more_padding_changes_no_gradient():
    gradients = []
    for n_pads in (0, 2):
        gpt = GPT(GPTConfig(n_layers=1, d_model=8, n_heads=2, d_vocab=6, n_ctx=5), seed=2)
        tokens_BL = torch.tensor([[1, 2, 3, 4] + [0] * n_pads, [5, 4, 0, 0] + [0] * n_pads])
        next_token_loss(gpt, tokens_BL, tokens_BL != 0).backward()
        gradients.append([weight.grad for weight in gpt.blocks.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_muon_turns_the_blocks_matrices_adamw_the_rest_and_each_weight_has_one_of_them():
    gpt = GPT(GPTConfig(n_layers=2, d_model=8, n_heads=2, d_vocab=6, n_ctx=5))
    muon, adamw = make_optimizers(gpt, CFG)
    names = {id(weight): name for name, weight in gpt.named_parameters()}
    turned, others = (
        [names[id(weight)] for group in optimizer.param_groups for weight in group["params"]]
        for optimizer in (muon, adamw)
    )
    assert isinstance(muon, Muon) and isinstance(adamw, torch.optim.AdamW)
    assert sorted(turned + others) == sorted(names.values())
    assert len(turned) == 2 * 6 and all(name.startswith("blocks.") and name.endswith("weight") for name in turned)
    assert not any(".ln" in name or name.endswith("bias") for name in turned)


# A run


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_learning_lowers_the_loss_and_makes_moves_legal(whole, tiny_corpus):
    losses = [row["train_loss"] for row in metrics(whole) if "train_loss" in row]
    assert losses[-1] < losses[0] - 0.3
    seen = json.loads((whole / "legality.json").read_text())
    assert seen["test"]["loss"] < seen["random_weights"]["loss"] - 0.3
    assert seen["test"]["legal_rate"] > seen["random_weights"]["legal_rate"] + 0.1
    assert seen["test"]["loss"] > seen["test"]["loss_floor"]


def test_metrics_are_logged_at_their_steps_and_the_last(whole):
    rows = metrics(whole)
    assert [row["step"] for row in rows if "train_loss" in row] == list(range(4, 41, 4))
    assert [row["step"] for row in rows if "legal_rate" in row] == [12, 24, 36, 40]
    assert [row["rate"] for row in rows if "rate" in row] == [lr_factor(step - 1, CFG) for step in range(4, 41, 4)]


def test_the_logged_loss_is_the_mean_since_the_last_line(whole, tiny_corpus):
    training = Training(tiny_corpus, CFG, Process(Place("cpu")))
    losses = [training.advance() for _ in range(8)]
    assert [row["train_loss"] for row in metrics(whole) if "train_loss" in row][:2] == [
        sum(losses[:4]) / 4,
        sum(losses[4:]) / 4,
    ]


def test_the_last_metrics_and_the_legality_file_are_those_of_the_saved_model(whole, tiny_corpus):
    model = GameModel.load(whole, "cpu")
    seen = json.loads((whole / "legality.json").read_text())
    for split in ("validation", "test"):
        assert seen[split] == json.loads(json.dumps(to_mapping(legality(model, tiny_corpus, split=split))))
    assert metrics(whole)[-1]["validation_loss"] == seen["validation"]["loss"]


def test_a_finished_run_is_whole_keeps_no_resume_state_and_is_not_trained_again(whole, tiny_corpus, monkeypatch):
    monkeypatch.setattr(train, "Training", None)
    assert trained(tiny_corpus, CFG, whole) == whole
    assert damaged_files(whole) == [] and not (whole / "state.safetensors").exists()


def test_the_card_says_how_the_model_was_made(whole, tiny_corpus):
    model = GameModel.load(whole, "cpu")
    assert from_mapping(TrainGPTConfig, model.card["training"]) == CFG
    assert model.hash == json.loads((whole / "run.json").read_text())["hash"]
    assert model.card["corpus"] == tiny_corpus.config


def test_a_run_is_known_by_its_cycles_only_where_there_are_several(whole):
    """So GPTs that were trained before there were cycles stay those that a study asks for."""
    assert {**recipe(CFG), "cycles": 1} == to_mapping(CFG) and "cycles" not in recipe(CFG)
    assert read_json(whole / "run.json")["config"] == recipe(CFG)
    several = dataclasses.replace(CFG, n_steps=CFG.n_steps * 2, cycles=2)
    assert recipe(several) == to_mapping(several)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(whole, tiny_corpus, tmp_path):
    again = trained(tiny_corpus, CFG, tmp_path / "again")
    assert differing(whole, again) == []
    other = trained(tiny_corpus, dataclasses.replace(CFG, seed=2), tmp_path / "other")
    assert "model.safetensors" in differing(whole, other) and "metrics.jsonl" in differing(whole, other)


def test_how_often_states_are_saved_changes_no_byte(whole, tiny_corpus, tmp_path):
    assert differing(whole, trained(tiny_corpus, CFG, tmp_path / "run", checkpoint_seconds=0)) == []


# Killed runs

DRIVER = """
    import sys, time
    import torch
    from boardgame_sae.config import from_yaml
    from boardgame_sae.model import train
    from boardgame_sae.transcripts.corpus import Corpus

    torch.set_num_threads(1)
    advance = train.Training.advance
    train.Training.advance = lambda training: (time.sleep(0.05), advance(training))[1]
    cfg = from_yaml(train.TrainGPTConfig, sys.argv[3])
    train.train_gpt_run(Corpus.open(sys.argv[1]), cfg, out=sys.argv[2], device="cpu", checkpoint_seconds=0)
"""


def test_a_run_killed_by_the_system_resumes_to_the_same_bytes(whole, tiny_corpus, tmp_path):
    out, cfg = tmp_path / "run", tmp_path / "cfg.yaml"
    cfg.write_text(json.dumps(to_mapping(CFG)))
    command = [sys.executable, "-c", textwrap.dedent(DRIVER), tiny_corpus.path, out, cfg]
    log = out / "metrics.jsonl"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as trainer:
        while not log.exists() or log.read_bytes().count(b"\n") < 4:
            assert trainer.poll() is None, "it ended before it could be killed"
            time.sleep(0.005)
        trainer.kill()
    assert (out / "state.safetensors").exists() and not (out / "DONE").exists()
    assert log.read_bytes().count(b"\n") < len(metrics(whole))
    assert differing(whole, trained(tiny_corpus, CFG, out)) == []


class Stop(BaseException):
    """What ends a run, as a kill would."""


def stopped(corpus, out, monkeypatch, at, checkpoint_every=1):
    """A run that ends while it makes step `at`; a state is saved after every so many steps."""
    advance, save_state = Training.advance, train.Run.save_state

    def advance_or_stop(training):
        if training.step + 1 == at:
            raise Stop
        return advance(training)

    def save_sometimes(run, tensors, meta):
        if meta["step"] % checkpoint_every == 0:
            save_state(run, tensors, meta)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", advance_or_stop)
        patch.setattr(train.Run, "save_state", save_sometimes)
        with pytest.raises(Stop):
            trained(corpus, CFG, out, checkpoint_seconds=0)


@pytest.mark.parametrize(("at", "checkpoint_every"), [(1, 1), (4, 1), (5, 1), (14, 5), (26, 10), (40, 1)])
def test_a_run_stopped_at_any_step_resumes_to_the_same_bytes(
    whole, tiny_corpus, tmp_path, monkeypatch, at, checkpoint_every
):
    stopped(tiny_corpus, tmp_path, monkeypatch, at, checkpoint_every)
    assert differing(whole, trained(tiny_corpus, CFG, tmp_path)) == []


def test_a_run_stopped_twice_resumes_to_the_same_bytes(whole, tiny_corpus, tmp_path, monkeypatch):
    stopped(tiny_corpus, tmp_path, monkeypatch, 9, 3)
    stopped(tiny_corpus, tmp_path, monkeypatch, 23, 4)
    assert differing(whole, trained(tiny_corpus, CFG, tmp_path)) == []


def test_a_run_stopped_after_its_last_step_is_finished_without_another_step(whole, tiny_corpus, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(train, "write_json", lambda *_: (_ for _ in ()).throw(Stop))
        with pytest.raises(Stop):
            trained(tiny_corpus, CFG, tmp_path)
    monkeypatch.setattr(Training, "advance", None)
    assert differing(whole, trained(tiny_corpus, CFG, tmp_path)) == []


def forget_moments(state, fresh):
    state["optimizers"] = fresh["optimizers"]


def forget_muon(state, fresh):
    state["optimizers"][0] = fresh["optimizers"][0]


def forget_adamw(state, fresh):
    state["optimizers"][1] = fresh["optimizers"][1]


def forget_weights(state, fresh):
    state["gpt"] = fresh["gpt"]


def forget_step(state, fresh):
    state["step"] = 0


def forget_losses(state, fresh):
    state["losses"] = []


@pytest.mark.parametrize(
    ("forget", "damaged"),
    [
        (forget_moments, "model.safetensors"),
        (forget_muon, "model.safetensors"),
        (forget_adamw, "model.safetensors"),
        (forget_weights, "model.safetensors"),
        (forget_step, "model.safetensors"),
        (forget_losses, "metrics.jsonl"),
    ],
)
def test_a_resume_that_forgot_a_part_of_the_state_would_be_seen(
    whole, tiny_corpus, tmp_path, monkeypatch, forget, damaged
):
    stopped(tiny_corpus, tmp_path, monkeypatch, 15, 1)

    def restore(training, tensors, meta):
        fresh = train.unpack_state(*train.pack_state(contents(training)))
        state = {**train.unpack_state(tensors, meta["state"]), "step": meta["step"], "losses": meta["losses"]}
        forget(state, fresh)
        training.gpt.load_state_dict(state["gpt"])
        for optimizer, saved in zip(training.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        training.step, training.losses = state["step"], list(state["losses"])

    monkeypatch.setattr(Training, "restore", restore)
    assert damaged in differing(whole, trained(tiny_corpus, CFG, tmp_path))


def contents(training):
    optimizers = [optimizer.state_dict() for optimizer in training.optimizers]
    return {"gpt": training.gpt.state_dict(), "optimizers": optimizers}


def test_a_state_restored_through_json_goes_on_as_if_nothing_had_happened(tiny_corpus):
    process = Process(Place("cpu"))
    first = Training(tiny_corpus, CFG, process)
    for _ in range(6):
        first.advance()
    tensors, meta = first.state()
    second = Training(tiny_corpus, CFG, process)
    second.restore(tensors, json.loads(canonical_json(meta)))
    assert second.step == 6 and second.losses == first.losses
    assert [first.advance() for _ in range(4)] == [second.advance() for _ in range(4)]
    for a, b in zip(first.gpt.parameters(), second.gpt.parameters(), strict=True):
        assert torch.equal(a, b)


# What is refused


def test_another_config_in_the_folder_of_a_run_is_refused(whole, tiny_corpus):
    with pytest.raises(RunError, match="its config has seed = 1, not 2"):
        trained(tiny_corpus, dataclasses.replace(CFG, seed=2), whole)


def test_another_corpus_in_the_folder_of_a_run_is_refused(whole, tiny_corpus_char):
    with pytest.raises(RunError, match="its inputs has corpus"):
        trained(tiny_corpus_char, CFG, whole)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_corpus_without_held_out_games_is_refused_before_training(tmp_path, split):
    fractions = {"validation_fraction": 0.4, "test_fraction": 0.4, f"{split}_fraction": 0.0}
    corpus = generate("othello4", n_games=30, **fractions, out=tmp_path / "corpus")
    with pytest.raises(ValueError, match=f"1 {split} games asked for, it has 0"):
        trained(corpus, CFG, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"n_steps": 0}, "field 'n_steps' is 0: must be at least 1"),
        ({"log_every": 0}, "field 'log_every' is 0: must be at least 1"),
        ({"eval_every": -1}, "field 'eval_every' is -1: must be at least 1"),
        ({"batch_size": 0}, "field 'batch_size' is 0: must be at least 1"),
        ({"n_ctx": 0}, "field 'n_ctx' is 0: must be at least 1"),
        ({"cycles": 3}, "n_steps 2800 do not divide into 3 cycles"),
        ({"n_heads": 3}, "d_model 128 does not divide into 3 heads"),
        ({"n_step": 5}, "did you mean 'n_steps'"),
        ({"precision": "64"}, "precision"),
    ],
)
def test_a_bad_setting_is_refused(change, complaint):
    with pytest.raises(ConfigError, match=complaint):
        preset("tiny", **change)


def test_a_preset_is_changed_only_where_it_is_told_and_an_unknown_one_is_refused(tiny_corpus):
    assert preset("paper", n_steps=7) == dataclasses.replace(PRESETS["paper"], n_steps=7)
    with pytest.raises(ConfigError, match="unknown preset 'huge'; the presets are tiny, small, paper"):
        preset("huge")
    with pytest.raises(ConfigError, match="unknown preset 'huge'"):
        train_gpt(tiny_corpus, "huge")
    with pytest.raises(ConfigError, match="preset: is a TrainGPTConfig; give it as config="):
        train_gpt(tiny_corpus, TrainGPTConfig())  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="corpus: is an object of the type list; give a Corpus, or its folder"):
        train_gpt(["f5"])  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"nowhere.*: no such corpus"):
        train_gpt("nowhere")


def test_train_gpt_gives_the_model_of_its_run(whole, tiny_corpus, tmp_path):
    changes = {name: value for name, value in to_mapping(CFG).items() if value != getattr(PRESETS["tiny"], name)}
    model = train_gpt(tiny_corpus, "tiny", out=tmp_path / "run", device="cpu", **changes)
    again = train_gpt(tiny_corpus.path.parent, "tiny", out=tmp_path / "run", device="cpu", **changes)
    assert again.hash == model.hash
    assert differing(whole, tmp_path / "run") == [] and model.hash == GameModel.load(whole, "cpu").hash


def test_expected_targets_are_the_mean_over_the_moves_that_could_have_been_played():
    torch.manual_seed(0)
    logits_V = torch.randn(1, 3, 6)
    possible_BLV = torch.tensor([[[0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]]], dtype=torch.bool)
    tokens_BL = torch.tensor([[5, 2, 4, 0]])
    found = next_token_loss(lambda _: logits_V, tokens_BL, tokens_BL != 0, possible_BLV)
    log_V = logits_V.double().log_softmax(-1)
    by_hand = [-(log_V[0, 0, 1] + log_V[0, 0, 2]) / 2, -(log_V[0, 1, 3] + log_V[0, 1, 4] + log_V[0, 1, 5]) / 3]
    assert abs(float(found) - float(sum(by_hand)) / 2) < 1e-6


def test_expected_targets_learn_and_are_refused_where_moves_were_not_equally_likely(
    tiny_corpus, tiny_corpus_char, tmp_path
):
    cfg = dataclasses.replace(CFG, targets="expected", n_steps=30)
    folder = train_gpt_run(tiny_corpus, cfg, out=tmp_path / "expected", device="cpu")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [row["train_loss"] for row in rows if "train_loss" in row]
    assert losses[-1] < losses[0]
    with pytest.raises(ConfigError, match="one token per move"):
        train_gpt_run(tiny_corpus_char, cfg, out=tmp_path / "refused", device="cpu")
