from types import SimpleNamespace

import pytest

from boardgame_sae.config import ConfigError
from boardgame_sae.pipeline import grid as grid_module
from boardgame_sae.pipeline.grid import expand, train_grid
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


def test_saes_of_one_training_share_a_stream_and_come_back_in_the_order_of_the_grid(monkeypatch, tmp_path):
    shared = []

    def trained(testbed, saes, cfg, *, outs, device):
        shared.append((cfg.n_activations, [sae.architecture for sae in saes]))
        return [tmp_path / f"{sae.architecture}-{cfg.n_activations}" for sae in saes]

    monkeypatch.setattr(grid_module, "train_on_testbed", trained)
    grid = [{"architecture": ["topk", "relu"], "n_latents": 64, "n_activations": [500, 2000]}]
    folders = train_grid(SimpleNamespace(width=12), grid, TrainSAEConfig(), "cpu")
    assert [folder.name for folder in folders] == ["topk-500", "topk-2000", "relu-500", "relu-2000"]
    assert shared == [(500, ["topk", "relu"]), (2000, ["topk", "relu"])]
