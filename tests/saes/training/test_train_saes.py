import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from synthetic import sparse_activations

from boardgame_sae.activations.store import ActivationStore
from boardgame_sae.config import ConfigError, to_mapping
from boardgame_sae.files import file_hash, read_json
from boardgame_sae.runs import Run
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.registry import make_sae, sae_config
from boardgame_sae.saes.training import train as module
from boardgame_sae.saes.training.on_testbed import train_sae
from boardgame_sae.saes.training.train import TrainSAEConfig, lr_factor, train_saes_run
from boardgame_sae.testbeds.testbed import Testbed

CFG = TrainSAEConfig(n_activations=64 * 40, batch_size=64, lr=3e-3, log_every=7)
SAES = {
    "relu": {"sparsity_coefficient": 0.05},
    "topk": {"n_latents": 96, "k": 2, "dead_after": 500, "auxiliary_coefficient": 0.1},
    "p_anneal": {
        "sparsity_coefficient": 0.05, "n_updates": 5, "anneal_start": 0.1, "queue_length": 6, "resample_every": 9,
    },
    "batch_topk": {"n_latents": 96, "k": 2, "dead_after": 500, "k_start": 6, "k_anneal": 0.5},
}  # fmt: skip


def config_of(name):
    return sae_config(name, d_model=16, **{"n_latents": 24, **SAES[name]})


def train(store, names, root, cfg=CFG, **options):
    folders = train_saes_run(
        store, [config_of(name) for name in names], cfg, outs=[root / name for name in names], device="cpu", **options
    )
    return dict(zip(names, folders, strict=True))


@pytest.fixture(scope="module")
def together(store, tmp_path_factory):
    return train(store, list(SAES), tmp_path_factory.mktemp("together"))


def assert_same_run(one, other):
    for name in ("sae.safetensors", "cfg.json", "metrics.jsonl"):
        assert file_hash(one / name) == file_hash(other / name), name


@pytest.mark.parametrize("name", SAES)
def test_an_sae_trained_alone_has_the_bytes_of_one_trained_beside_others(store, together, tmp_path, name):
    assert_same_run(train(store, [name], tmp_path)[name], together[name])


def test_saes_of_several_learning_rates_share_a_stream_and_have_the_bytes_of_each_alone(store, tmp_path):
    trainings = [replace(CFG, lr=lr, snapshots=snapshots) for lr, snapshots in ((1e-3, ()), (1e-2, (0.5,)))]
    outs = [tmp_path / "low", tmp_path / "high"]
    train_saes_run(store, [config_of("topk")] * 2, trainings, outs=outs, device="cpu")
    for training, out in zip(trainings, outs, strict=True):
        assert_same_run(train(store, ["topk"], tmp_path / f"{out.name} alone", training)["topk"], out)
    with pytest.raises(ValueError, match="share a stream only if"):
        train_saes_run(store, [config_of("topk")] * 2, [CFG, replace(CFG, seed=1)], outs=outs, device="cpu")


def test_runs_are_opened_in_one_order_whatever_the_order_they_are_given_in(store, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(module, "Run", lambda *words, **options: opened.append(words[4].name) or Run(*words, **options))
    train(store, ["topk", "relu"], tmp_path)
    train(store, ["relu", "topk"], tmp_path)
    assert opened == ["relu", "topk"] * 2


def test_saes_trained_in_another_order_have_the_same_bytes(store, together, tmp_path):
    for name, folder in train(store, list(SAES)[::-1], tmp_path).items():
        assert_same_run(folder, together[name])


def test_checkpoints_change_no_byte_of_the_result(store, together, tmp_path):
    for name, folder in train(store, list(SAES), tmp_path, checkpoint_seconds=0).items():
        assert_same_run(folder, together[name])


def test_the_seed_of_the_stream_decides_the_order_of_the_activations(store, together, tmp_path):
    other = train(store, ["topk"], tmp_path, TrainSAEConfig(**{**to_mapping(CFG), "seed": 1}))["topk"]
    assert not torch.equal(load_sae(other).W_dec, load_sae(together["topk"]).W_dec)


KILLED = """
import json, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from boardgame_sae.activations.store import ActivationStore
from boardgame_sae.config import from_mapping
from boardgame_sae.saes.training import train
from boardgame_sae.saes.registry import sae_config
job = json.loads(sys.argv[1])
os.fsync = lambda file: None  # a kill, unlike a power cut, loses nothing that was written
real, steps = train._Trainee.advance, []
def advance(self, x_ND):
    steps.append(1)
    if len(steps) == job["kill_at"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, x_ND)
train._Trainee.advance = advance
configs = [sae_config(**fields) for fields in job["saes"]]
cfg = from_mapping(train.TrainSAEConfig, job["cfg"])
train.train_saes_run(
    ActivationStore.open(job["store"]), configs, cfg, outs=job["outs"], device="cpu", checkpoint_seconds=0
)
"""


def assert_beyond_weights(annealed, *others):
    """What makes the test below bite: an exponent and a coefficient that moved, latents that died."""
    assert 0 < int(annealed["/sae/stage"]) < 4
    assert float(annealed["/sae/coefficient"]) != pytest.approx(0.05)
    assert int(annealed["/sae/n_queued"]) > 0
    for state in others:
        assert state["/sae/tokens_since_fired_F"].max() > 500


def test_training_killed_halfway_resumes_to_the_same_bytes(store, together, tmp_path, monkeypatch):
    """Killed after the exponent has changed and while latents count as dead, between two lines of metrics."""
    names = ["p_anneal", "topk", "batch_topk"]
    job = {
        "store": str(store.path),
        "saes": [to_mapping(config_of(name)) for name in names],
        "cfg": to_mapping(CFG),
        "outs": [str(tmp_path / name) for name in names],
        "kill_at": 3 * 25 + 2,  # the first SAE has made its 26th step, the others not: 25 are saved
    }
    driver = [sys.executable, "-c", KILLED, json.dumps(job)]
    killed = subprocess.run(driver, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    for name in names:
        assert (tmp_path / name / "state.safetensors").exists()
        assert not (tmp_path / name / "DONE").exists()
    assert_beyond_weights(*(load_file(tmp_path / name / "state.safetensors") for name in names))
    steps, real = [], module._Trainee.advance
    monkeypatch.setattr(module._Trainee, "advance", lambda self, x_ND: (steps.append(self.step), real(self, x_ND))[1])
    for name, folder in train(store, names, tmp_path).items():
        assert_same_run(folder, together[name])
        assert not (folder / "state.safetensors").exists()
    assert steps == [step for step in range(25, 40) for _ in names]


def test_finished_saes_are_reused_and_only_missing_ones_trained(store, together, tmp_path, monkeypatch):
    before = {path: path.stat().st_mtime_ns for folder in together.values() for path in folder.iterdir()}
    root, trained = together["relu"].parent, []
    monkeypatch.setattr(module, "_train", lambda store, runs, *rest: trained.append([sae for sae, *_ in runs]))
    assert train(store, list(SAES), root) == together
    assert trained == []
    assert {path: path.stat().st_mtime_ns for path in before} == before
    configs = [config_of("relu"), config_of("topk")]
    train_saes_run(store, configs, CFG, outs=[together["relu"], tmp_path / "new"], device="cpu")
    assert trained == [[configs[1]]]


def test_a_width_that_is_not_the_stores_is_an_error_that_names_both(store, tmp_path):
    wrong = sae_config("topk", d_model=8, n_latents=24, k=2)
    with pytest.raises(ValueError, match=r"width 8 .* width 16; give d_model=16") as caught:
        train_saes_run(store, [config_of("relu"), wrong], CFG, outs=[tmp_path / "a", tmp_path / "b"], device="cpu")
    assert str(store.path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_start_leaves_no_folder_locked(store, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").touch()
    arguments = {"outs": [tmp_path / "free", tmp_path / "taken"], "device": "cpu"}
    with pytest.raises(RuntimeError, match="holds file but no run"):
        train_saes_run(store, [config_of("relu"), config_of("topk")], CFG, **arguments)
    arguments["outs"][1] = tmp_path / "other"
    assert len(train_saes_run(store, [config_of("relu"), config_of("topk")], CFG, **arguments)) == 2


def test_metrics_are_logged_every_so_many_steps_and_at_the_last(together):
    rows = [json.loads(line) for line in (together["topk"] / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [7, 14, 21, 28, 35, 40]
    assert rows[-1]["explained_variance"] > rows[0]["explained_variance"]
    assert all(row["l0"] <= 2 for row in rows)
    assert rows[-1]["loss"] == pytest.approx(rows[-1]["reconstruction"] + rows[-1]["auxiliary"], rel=1e-5)
    assert rows[-1]["auxiliary"] > 0


def test_the_saved_sae_takes_raw_activations_and_says_how_it_was_trained(store, together):
    for folder in together.values():
        sae = load_sae(folder)
        assert sae.metadata["activation_scale"] == store.mean_norm
        assert sae.metadata["training"] == to_mapping(CFG)
    sae, x_ND = load_sae(together["topk"]), torch.from_numpy(np.array(store.acts_ND[:500]))
    rows = [json.loads(line) for line in (together["topk"] / "metrics.jsonl").read_text().splitlines()]
    spread = (x_ND - x_ND.mean(0)).pow(2).sum(1).mean()
    explained = float(1 - (x_ND - sae(x_ND)).detach().pow(2).sum(1).mean() / spread)
    assert explained == pytest.approx(rows[-1]["explained_variance"], abs=0.15)


def test_without_normalisation_the_activations_come_as_they_are(store, tmp_path):
    raw = TrainSAEConfig(**{**to_mapping(CFG), "normalize_activations": False})
    assert load_sae(train(store, ["topk"], tmp_path, raw)["topk"]).metadata["activation_scale"] == 1.0


def test_topk_recovers_the_dictionary_that_made_the_activations(tmp_path):
    acts_ND, atoms_FD = sparse_activations(30_000, seed=5)
    cfg = TrainSAEConfig(n_activations=128 * 700, batch_size=128, lr=1e-2, log_every=400)
    (folder,) = train_saes_run(
        ActivationStore(Path("memory"), {"made": "here"}, acts_ND),
        [sae_config("topk", d_model=16, n_latents=48, k=2, dead_after=5000)],
        cfg,
        outs=[tmp_path / "sae"],
        device="cpu",
    )

    def nearest(sae):
        return float((sae.W_dec.detach().double() @ torch.from_numpy(atoms_FD).T).max(0).values.mean())

    assert nearest(load_sae(folder)) > 0.95
    assert nearest(make_sae("topk", d_model=16, n_latents=48, k=2)) < 0.7


@pytest.mark.parametrize(("warmup", "decay"), [(0.1, 0.2), (0.0, 0.0), (0.03, 1.0)])
def test_the_learning_rate_rises_stays_and_falls_to_nearly_zero(warmup, decay):
    cfg = TrainSAEConfig(n_activations=1000, batch_size=10, lr_warmup=warmup, lr_decay=decay)
    factors = [lr_factor(step, cfg) for step in range(cfg.n_steps)]
    assert cfg.n_steps == 100
    for step, factor in enumerate(factors):
        rising = (step + 1) / max(1, 100 * warmup)
        falling = (100 - step) / max(1, 100 * decay)
        assert factor == pytest.approx(min(1, rising, falling))
        assert factor > 0


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, "blocks.0.hook_resid_post", n_games=20)


FIELDS = {"n_latents": 24, "k": 3, "n_activations": 640, "n_harvested": 500, "batch_size": 64}


def test_train_sae_trains_on_the_testbeds_hook_point_and_remembers_it(bed, tmp_path):
    sae = train_sae(bed, "topk", out=tmp_path / "sae", **FIELDS)
    assert sae.cfg == sae_config("topk", d_model=16, n_latents=24, k=3)
    told = sae.metadata
    assert told["hook_name"] == "blocks.0.hook_resid_post"
    assert (told["game"], told["model"], told["testbed"]) == ("othello4", bed.model.hash, bed.hash)
    assert told["random_weights"] is False
    assert told["training"]["n_activations"] == 640
    before = (tmp_path / "sae/sae.safetensors").stat().st_mtime_ns
    assert torch.equal(train_sae(bed, "topk", out=tmp_path / "sae", **FIELDS).W_dec, sae.W_dec)
    assert (tmp_path / "sae/sae.safetensors").stat().st_mtime_ns == before


def test_a_folders_name_says_architecture_sparsity_and_width(bed, tmp_path, monkeypatch):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path))
    short = {"n_latents": 8, "n_activations": 64, "batch_size": 64}
    train_sae(bed, "topk", k=2, **short), train_sae(bed, "relu", sparsity_coefficient=0.05, **short)
    train_sae(bed, "random", k=3, **short)
    names = {folder.name.rpartition("-")[0] for folder in (tmp_path / "sae").iterdir()}
    assert names == {"topk-2-8", "relu-0.05-8", "random-3-8"}


def test_an_sae_of_the_random_twin_says_so(bed, tmp_path):
    twin = train_sae(bed.random_twin(), "relu", out=tmp_path / "twin", n_latents=8, n_activations=64, batch_size=64)
    assert twin.metadata["random_weights"] is True


def test_the_seed_of_train_sae_seeds_weights_and_stream(bed, tmp_path):
    folder = tmp_path / "seeded"
    train_sae(bed, "topk", out=folder, seed=4, **FIELDS)
    config = read_json(folder / "run.json")["config"]
    assert config["sae"]["seed"] == config["training"]["seed"] == 4


def test_an_unknown_field_of_train_sae_is_an_error_that_names_it(bed):
    with pytest.raises(ConfigError, match="unknown field 'n_latent'; did you mean 'n_latents'"):
        train_sae(bed, "topk", n_latent=24)
    with pytest.raises(ConfigError, match="field 'batch_size' is '64'"):
        train_sae(bed, "topk", n_latents=24, batch_size="64")


@pytest.mark.parametrize("how", [{"tracker": "tensorbord"}, {"device": "cuda:99"}])
def test_what_a_training_runs_on_is_checked_before_activations_are_harvested(bed, monkeypatch, how):
    monkeypatch.setattr(Testbed, "harvest", lambda *_: pytest.fail("harvested"))
    with pytest.raises(ConfigError):
        train_sae(bed, n_latents=16, k=4, **how)
