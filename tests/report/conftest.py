"""One tiny finished study (4x4 Othello, a GPT of a dozen steps), made once and only read by the tests."""

from pathlib import Path

import pytest

from boardgame_sae.pipeline.study_folder import Study, read_study
from boardgame_sae.pipeline.sweep import sweep_config, sweep_run

STUDY = {
    "name": "tiny",
    "corpus": {"game": "othello4", "n_games": 600, "validation_fraction": 0.2, "test_fraction": 0.2},
    "model": {
        "n_layers": 2,
        "d_model": 16,
        "n_heads": 2,
        "n_steps": 12,
        "batch_size": 16,
        "log_every": 4,
        "eval_every": 6,
    },
    "probes": [{"n_train_games": 128, "n_test_games": 64}],
    "n_games": 60,
    "training": {"n_activations": 4000, "n_harvested": 4000, "batch_size": 256, "log_every": 5},
    "saes": [
        {"architecture": "topk", "n_latents": 32, "k": [2, 6]},
        {"architecture": "relu", "n_latents": 32, "sparsity_coefficient": 0.05},
        {"architecture": "topk", "n_latents": 32, "k": 6, "seed": 1},
    ],
    "random_saes": [{"architecture": "topk", "n_latents": 32, "k": 6}],
}


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep's folder; its runs root is two folders above."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOARDGAME_SAE_RUNS", str(root))
        return sweep_run(sweep_config(STUDY, "tiny"), device="cpu")


@pytest.fixture(scope="session")
def study(sweep: Path) -> Study:
    return read_study(sweep)
