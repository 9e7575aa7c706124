"""Small corpora and a small GPT, made once a session; every run goes into a temporary folder."""

import os

import hypothesis
import numba
import pytest
import torch

from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.train import train_gpt_run
from boardgame_sae.model.train_config import TrainGPTConfig
from boardgame_sae.transcripts.corpus import Corpus
from boardgame_sae.transcripts.generate import generate

torch.set_num_threads(1)
hypothesis.settings.register_profile("tests", deadline=None, derandomize=True, database=None, max_examples=50)
hypothesis.settings.load_profile("tests")

TINY_GAMES = {"game": "othello4", "n_games": 600, "validation_fraction": 0.2, "test_fraction": 0.2}
TINY_GPT = TrainGPTConfig(
    n_layers=2, d_model=16, n_heads=2, n_steps=20, batch_size=16, log_every=5, eval_every=10, seed=3
)


@pytest.fixture(autouse=True)
def _one_thread():
    """The same bytes need the same number of threads, and numba's parallel loops change torch's."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    torch.set_num_threads(1)
    yield
    numba.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _runs_in_a_temporary_folder(tmp_path_factory):
    """A test that names no folder must not write into the checkout."""
    before = os.environ.get("BOARDGAME_SAE_RUNS")
    os.environ["BOARDGAME_SAE_RUNS"] = str(tmp_path_factory.mktemp("runs"))
    yield
    if before is None:
        del os.environ["BOARDGAME_SAE_RUNS"]
    else:
        os.environ["BOARDGAME_SAE_RUNS"] = before


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory) -> Corpus:
    """600 random othello4 games, one token per move; about a fifth each to validate and to test."""
    return generate(**TINY_GAMES, out=tmp_path_factory.mktemp("corpus") / "move")


@pytest.fixture(scope="session")
def tiny_corpus_char(tmp_path_factory) -> Corpus:
    """The games of `tiny_corpus`, one token a character."""
    return generate(**TINY_GAMES, tokenization="char", out=tmp_path_factory.mktemp("corpus") / "char")


@pytest.fixture(scope="session")
def tiny_model(tiny_corpus, tmp_path_factory) -> GameModel:
    """A GPT of 2 layers and width 16, 20 steps into learning `tiny_corpus`; its folder is a finished run."""
    out = tmp_path_factory.mktemp("gpt") / "tiny"
    return GameModel.load(train_gpt_run(tiny_corpus, TINY_GPT, out=out, device="cpu"), "cpu")
