import pytest
import torch

from boardgame_sae.files import RunError, file_hash
from boardgame_sae.metrics.baselines.random_gpt import of_random_weights, random_gpt_twin
from boardgame_sae.metrics.baselines.registry import SAE_KIND, NoTwinError, kind_of
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.training.on_testbed import train_sae
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.imports.importer import make_corpus

FIELDS = {"n_latents": 24, "k": 4, "n_activations": 640, "n_harvested": 500, "batch_size": 64}


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, "blocks.0.hook_resid_post", n_games=20)


def test_the_twin_of_an_sae_has_its_config_and_training_and_learned_on_random_weights(bed, tmp_path, monkeypatch):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path / "runs"))
    sae = train_sae(bed, "topk", out=tmp_path / "trained", **FIELDS)
    train_sae(bed.random_twin(), "topk", out=tmp_path / "random", **FIELDS)
    folder = random_gpt_twin(tmp_path / "trained", bed, "cpu")
    twin = load_sae(folder)
    assert twin.cfg == sae.cfg
    assert twin.metadata["training"] == sae.metadata["training"]
    assert twin.metadata["random_weights"] is True
    assert (of_random_weights(twin), of_random_weights(sae)) == (True, False)
    assert (kind_of(twin), kind_of(sae)) == ("random_gpt_sae", SAE_KIND)
    assert file_hash(folder / "sae.safetensors") == file_hash(tmp_path / "random/sae.safetensors")
    assert not torch.equal(twin.W_dec, sae.W_dec)
    assert random_gpt_twin(tmp_path / "trained", bed, "cpu") == folder
    with pytest.raises(RunError):
        random_gpt_twin(tmp_path / "nothing", bed, "cpu")


def test_an_sae_that_read_fresh_games_has_no_twin_on_games_that_cannot_be_played_on(bed, tmp_path, monkeypatch):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path / "runs"))
    train_sae(bed, "topk", out=tmp_path / "fresh", **{**FIELDS, "source": "fresh", "n_calibration": 64})
    games = bed.corpus.game.texts(bed.corpus.record(bed.corpus.games("train")[:60]))
    own = make_corpus(games, bed.corpus.game.name, test_fraction=0.3, out=tmp_path / "own")
    with pytest.raises(NoTwinError, match="none can be played like those of this corpus"):
        random_gpt_twin(tmp_path / "fresh", Testbed(bed.model, own, bed.hook_name, n_games=5), "cpu")
    assert random_gpt_twin(tmp_path / "fresh", bed, "cpu").is_dir()
