from dataclasses import replace
from types import SimpleNamespace

import pytest

from boardgame_sae.config import ConfigError
from boardgame_sae.pipeline import grid as grid_module
from boardgame_sae.pipeline.grid import Planned, expand, on_one_stream, train_grid
from boardgame_sae.saes.registry import sae_config
from boardgame_sae.saes.training.train import TrainSAEConfig


def test_a_grid_is_the_product_of_each_entrys_lists_one_entry_after_the_other():
    grid = [
        {"architecture": "topk", "n_latents": [16, 32], "k": [2, 4], "seed": 3},
        {"architecture": ["relu", "p_anneal"], "n_latents": 8},
    ]
    expected = [
        *(("topk", {"n_latents": n, "k": k, "seed": 3}) for n in (16, 32) for k in (2, 4)),
        *((architecture, {"n_latents": 8}) for architecture in ("relu", "p_anneal")),
    ]
    training = TrainSAEConfig()
    planned = expand(grid, 12, training)
    assert [one.sae for one in planned] == [
        sae_config(architecture, d_model=12, **fields) for architecture, fields in expected
    ]
    assert all(one.training == training for one in planned)
    assert expand([], 12, training) == []


def test_fields_of_the_training_among_those_of_an_sae_are_its_own():
    training = TrainSAEConfig(n_activations=1000, lr=1e-3)
    grid = [
        {"architecture": "topk", "n_latents": 8, "k": 2, "n_activations": [500, 2000]},
        {"architecture": "relu", "n_latents": 8, "frozen": "decoder"},
    ]
    planned = expand(grid, 12, training)
    assert [(one.training.n_activations, one.training.lr, one.training.frozen) for one in planned] == [
        (500, 1e-3, ""), (2000, 1e-3, ""), (1000, 1e-3, "decoder")
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"saes\.0: its training: field 'n_activations' is 0"):
        expand([{"architecture": "topk", "n_latents": 8, "k": 2, "n_activations": 0}], 12, training)


def test_saes_share_a_stream_where_they_can_and_come_back_in_the_order_of_the_grid(monkeypatch, tmp_path):
    shared = []

    def trained(testbed, saes, trainings, *, outs, device, tracker):
        shared.append([(sae.architecture, own.n_activations, own.lr) for sae, own in zip(saes, trainings, strict=True)])
        return [tmp_path / "-".join(map(str, one)) for one in shared[-1]]

    monkeypatch.setattr(grid_module, "train_on_testbed", trained)
    grid = [
        {"architecture": ["topk", "relu"], "n_latents": 64, "n_activations": [500, 2000]},
        {"architecture": "relu", "n_latents": 64, "lr": [0.1, 0.2], "n_activations": 500},
    ]
    folders = train_grid(SimpleNamespace(width=12), grid, TrainSAEConfig(), "cpu")
    assert [folder.name for folder in folders] == [
        "topk-500-0.0", "topk-2000-0.0", "relu-500-0.0", "relu-2000-0.0", "relu-500-0.1", "relu-500-0.2",
    ]  # fmt: skip
    short = [("topk", 500, 0.0), ("relu", 500, 0.0), ("relu", 500, 0.1), ("relu", 500, 0.2)]
    assert shared == [short, [("topk", 2000, 0.0), ("relu", 2000, 0.0)]]


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"batch_size": 64}, {"n_activations": 10}, {"n_harvested": 10}, {"source": "fresh"},
               {"harvest_dtype": "float16"}, {"normalize_activations": False}, {"n_calibration": 10}]
)  # fmt: skip
def test_trainings_that_read_other_activations_share_no_stream(change):
    sae = sae_config("relu", d_model=4, n_latents=8)
    training = TrainSAEConfig(n_activations=5000)
    assert on_one_stream([Planned(sae, training), Planned(sae, replace(training, **change))]) == [[0], [1]]


@pytest.mark.parametrize(
    "change", [{"lr": 1.0}, {"lr_warmup": 0.5}, {"lr_decay": 0.5}, {"dead_window": 10}, {"log_every": 1},
               {"snapshots": (0.5,)}, {"frozen": "decoder"}, {"reuse": 3}, {"batch_size": 512}]
)  # fmt: skip
def test_trainings_that_read_the_same_activations_share_a_stream(change):
    sae = sae_config("relu", d_model=4, n_latents=8)
    training = TrainSAEConfig(n_activations=5000)
    assert on_one_stream([Planned(sae, training), Planned(sae, replace(training, **change))]) == [[0, 1]]
