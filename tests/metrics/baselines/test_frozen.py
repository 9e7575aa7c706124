"""Twins of an SAE with a part frozen."""

from types import SimpleNamespace

import pytest
import torch

from boardgame_sae.config import to_mapping
from boardgame_sae.metrics.baselines.registry import SAE_KIND, NoTwinError, find_baseline, kind_of, twin_baselines
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.saes.training.on_testbed import train_sae
from boardgame_sae.testbeds.testbed import Testbed

FIELDS = {"n_latents": 24, "k": 4, "n_activations": 640, "n_harvested": 500, "batch_size": 64, "n_calibration": 100}
KINDS = {"frozen_decoder": "decoder", "soft_frozen_decoder": "soft_decoder", "frozen_encoder": "encoder"}
each_kind = pytest.mark.parametrize(("kind", "frozen"), KINDS.items())


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, "blocks.0.hook_resid_post", n_games=20)


@pytest.fixture(scope="module")
def trained(bed, tmp_path_factory):
    """The folder of a BatchTopK SAE, which is saved in another form than it was trained in."""
    folder = tmp_path_factory.mktemp("sae") / "batch_topk"
    train_sae(bed, "batch_topk", out=folder, **FIELDS)
    return folder


@each_kind
def test_the_twin_has_the_saes_config_and_training_but_for_what_is_frozen(bed, trained, kind, frozen):
    baseline, sae = find_baseline(kind), load_sae(trained)
    twin = load_sae(baseline.of_sae(trained, bed, "cpu"))
    assert twin.trained_as == sae.trained_as
    assert twin.metadata["training"] == sae.metadata["training"] | {"frozen": frozen}
    assert twin.metadata["testbed"] == sae.metadata["testbed"] and baseline.variant(bed) is bed
    assert (kind_of(twin), kind_of(sae)) == (kind, SAE_KIND)
    assert frozen == "soft_decoder" or not torch.equal(twin.W_enc, sae.W_enc)  # this short, no row leaves its cone
    drawn = make_sae(**sae.trained_as)
    unchanged = {name: torch.equal(getattr(twin, name), getattr(drawn, name)) for name in ("W_dec", "W_enc", "b_enc")}
    assert [name for name, same in unchanged.items() if same] == {
        "decoder": ["W_dec"], "soft_decoder": [], "encoder": ["W_enc", "b_enc"]
    }[frozen]  # fmt: skip


@each_kind
def test_a_twin_on_the_random_gpt_of_a_frozen_sae_is_of_the_random_gpt_first(kind, frozen):
    about = {"training": {"frozen": frozen}, "random_weights": True}
    assert kind_of(SimpleNamespace(metadata=about)) == "random_gpt_sae"


@pytest.mark.parametrize("training", [None, "decoder", ["frozen"], {}, {"frozen": ""}, {"frozen": None}])
def test_an_sae_that_says_something_else_of_its_training_is_no_twin(training):
    assert kind_of(SimpleNamespace(metadata={"training": training})) == SAE_KIND


@each_kind
@pytest.mark.parametrize("architecture", ["identity", "random"])
def test_an_sae_that_is_not_trained_has_no_such_twin(bed, tmp_path, kind, frozen, architecture):
    make_sae(architecture, d_model=bed.width, n_latents=2 * bed.width).save(tmp_path / "sae")
    with pytest.raises(NoTwinError, match=f"'{architecture}' are not trained, so nothing of them is frozen"):
        find_baseline(kind).of_sae(tmp_path / "sae", bed, "cpu")


def test_an_sae_whose_training_is_unknown_gets_a_twin_trained_with_our_defaults(bed, tmp_path, monkeypatch):
    sae = make_sae("topk", d_model=bed.width, n_latents=24, k=4)
    sae.save(tmp_path / "sae")
    asked = {}

    def trained(testbed, configs, cfg, *, device):
        asked.update(testbed=testbed, configs=configs, cfg=cfg)
        return [tmp_path / "twin"]

    monkeypatch.setattr("boardgame_sae.metrics.baselines.twins.train_on_testbed", trained)
    assert find_baseline("frozen_decoder").of_sae(tmp_path / "sae", bed, "cpu") == tmp_path / "twin"
    assert asked["testbed"] is bed and [to_mapping(cfg) for cfg in asked["configs"]] == [to_mapping(sae.cfg)]
    assert asked["cfg"] == type(asked["cfg"])(frozen="decoder")


def test_only_the_random_gpts_twin_is_trained_unasked():
    assert [baseline.kind for baseline in twin_baselines()] == ["random_gpt_sae"]
    assert twin_baselines([]) == []
    assert [baseline.kind for baseline in twin_baselines(["frozen_encoder", "frozen_encoder"])] == ["frozen_encoder"]
