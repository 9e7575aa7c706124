"""Parts of an SAE that are not trained, for every architecture, from either source and after a kill."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from boardgame_sae.config import ConfigError, content_hash, from_mapping, to_mapping
from boardgame_sae.pipeline.sweep import SweepConfig, study_identity, sweep_config
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.registry import architectures, config_class, make_sae, sae_class, sae_config
from boardgame_sae.saes.training import freeze
from boardgame_sae.saes.training import train as module
from boardgame_sae.saes.training.freeze import MIN_COSINE, within_cosine
from boardgame_sae.saes.training.on_testbed import train_on_testbed, train_sae
from boardgame_sae.saes.training.train import TrainSAEConfig, train_saes_run, training_identity
from boardgame_sae.testbeds.testbed import Testbed

SIZES = {"d_model": 16, "n_latents": 40}
TRAINED = [name for name in architectures() if sae_class(name).trains]
UNTRAINED = [name for name in architectures() if not sae_class(name).trains]
LIVELY = {"k": 3, "k_start": 6, "k_anneal": 0.5, "dead_after": 64, "auxiliary_coefficient": 0.5, "resample_every": 4,
          "sparsity_coefficient": 2.0, "n_updates": 3, "anneal_start": 0.1, "bandwidth": 0.5}  # fmt: skip
"""Fields with which latents die, are revived and resampled within few steps."""
PARTS = ("decoder", "soft_decoder", "encoder")
each_part = pytest.mark.parametrize("frozen", PARTS)


def config_of(name):
    own = {field.name for field in dataclasses.fields(config_class(name))}
    return sae_config(name, **SIZES, **{key: value for key, value in LIVELY.items() if key in own})


def training(frozen, **fields):
    return TrainSAEConfig(n_activations=64 * 20, batch_size=64, lr=3e-2, n_calibration=256, frozen=frozen, **fields)


def ends_of_steps(monkeypatch):
    """What every SAE's parameters are after each step, by architecture."""
    seen, advance = {}, module._Trainee.advance

    def watched(trainee, x_ND):
        advance(trainee, x_ND)
        now = {name: weight.detach().clone() for name, weight in trainee.sae.named_parameters()}
        seen.setdefault(trainee.sae.cfg.architecture, []).append(now)

    monkeypatch.setattr(module._Trainee, "advance", watched)
    return seen


def cosines(rows_FD, others_FD):
    return torch.nn.functional.cosine_similarity(rows_FD.double(), others_FD.double(), dim=1)


def check_kept(frozen, start, now):
    """Whether the part that is frozen is where it must be."""
    if frozen == "soft_decoder":
        assert cosines(now["W_dec"], start["W_dec"]).min() >= MIN_COSINE
    for name in {"decoder": ["W_dec"], "soft_decoder": [], "encoder": ["W_enc", "b_enc"]}[frozen]:
        assert torch.equal(now[name], start[name]), name


@each_part
def test_after_every_step_of_every_architecture_the_frozen_part_is_where_it_was_drawn(
    store, tmp_path, monkeypatch, frozen
):
    seen, configs = ends_of_steps(monkeypatch), [config_of(name) for name in TRAINED]
    folders = train_saes_run(store, configs, training(frozen), outs=[tmp_path / name for name in TRAINED], device="cpu")
    assert list(seen) == TRAINED
    kept = {"decoder": {"W_dec"}, "soft_decoder": set(), "encoder": {"W_enc", "b_enc"}}[frozen]
    for cfg, folder in zip(configs, folders, strict=True):
        start = dict(make_sae(**to_mapping(cfg)).named_parameters())
        for now in seen[cfg.architecture]:
            check_kept(frozen, start, now)
        for name in start.keys() - kept:
            assert not torch.equal(seen[cfg.architecture][-1][name], start[name]), (cfg.architecture, name)
        saved = load_sae(folder)
        assert saved.metadata["training"]["frozen"] == frozen
        if frozen == "decoder":  # the saved form may have folded the norms of the rows
            torch.testing.assert_close(cosines(saved.W_dec, start["W_dec"]), torch.ones(40).double())


def test_a_soft_decoder_reaches_the_edge_and_goes_no_further(store, tmp_path, monkeypatch):
    seen = ends_of_steps(monkeypatch)
    for frozen in ("", "soft_decoder"):
        train_saes_run(store, [config_of("relu")], training(frozen), outs=[tmp_path / (frozen or "free")], device="cpu")
    start = make_sae(**to_mapping(config_of("relu"))).W_dec.detach()
    free, soft = (cosines(seen["relu"][index]["W_dec"], start) for index in (19, 39))
    assert (free < MIN_COSINE).sum() > 10, "else nothing is tested"
    assert soft.min() == pytest.approx(MIN_COSINE, abs=1e-5)
    torch.testing.assert_close(seen["relu"][39]["W_dec"].norm(dim=1), torch.ones(40))


@each_part
def test_a_frozen_training_that_is_killed_resumes_to_the_same_bytes(store, tmp_path, monkeypatch, frozen):
    names, cfg = ["relu", "topk", "jumprelu"], training(frozen)
    configs = [config_of(name) for name in names]
    whole = train_saes_run(store, configs, cfg, outs=[tmp_path / f"{name} whole" for name in names], device="cpu")
    outs, advance = [tmp_path / name for name in names], module._Trainee.advance

    def killed(trainee, x_ND):
        if trainee.step == 11:
            raise KeyboardInterrupt
        advance(trainee, x_ND)

    with monkeypatch.context() as patch:
        patch.setattr(module._Trainee, "advance", killed)
        with pytest.raises(KeyboardInterrupt):
            train_saes_run(store, configs, cfg, outs=outs, device="cpu", checkpoint_seconds=0)
    assert all((out / "state.safetensors").exists() for out in outs)
    again = train_saes_run(store, configs, cfg, outs=outs, device="cpu")
    for one, other in zip(whole, again, strict=True):
        for file in ("sae.safetensors", "cfg.json"):
            assert (one / file).read_bytes() == (other / file).read_bytes()


@pytest.mark.parametrize("source", ["harvest", "fresh"])
def test_either_source_of_activations_serves(tiny_model, tiny_corpus, tmp_path, source):
    bed = Testbed(tiny_model, tiny_corpus, "blocks.1.hook_resid_post", n_games=20)
    fields = {"n_latents": 32, "k": 4, "n_activations": 1000, "batch_size": 100, "n_calibration": 100, "seed": 3}
    sae = train_sae(bed, "topk", source=source, n_harvested=500, frozen="decoder", out=tmp_path / "sae", **fields)
    assert torch.equal(sae.W_dec, make_sae("topk", d_model=16, n_latents=32, k=4, seed=3).W_dec)
    assert not torch.equal(sae.W_enc, make_sae("topk", d_model=16, n_latents=32, k=4, seed=3).W_enc)


def test_frozen_weights_take_no_share_of_a_clipped_gradient(store):
    sae = make_sae("topk", **SIZES, k=3)
    frozen = freeze.FrozenWeights(sae, "encoder")
    x_ND = torch.tensor(store.acts_ND[:64])
    module.training_step(sae, module.adam(sae, 1e-2), x_ND, 0, 1e-2)
    frozen.hold()
    sae.loss(x_ND).total.backward()
    assert sae.W_enc.grad is None and sae.b_enc.grad is None
    assert sae.W_dec.grad is not None


@pytest.mark.parametrize("name", UNTRAINED)
@each_part
def test_an_architecture_that_is_not_trained_is_refused_before_a_folder_is_made(store, tmp_path, name, frozen):
    with pytest.raises(ValueError, match=f"'{name}' are not trained, so nothing of them is frozen"):
        train_saes_run(store, [config_of(name)], training(frozen), outs=[tmp_path / "sae"], device="cpu")
    assert not (tmp_path / "sae").exists()
    study = {"name": "s", "saes": [{"architecture": name, **SIZES, "d_model": 64, "n_latents": 256}]}
    with pytest.raises(ConfigError, match=f"here.yaml: .*'{name}' are not trained"):
        sweep_config({**study, "training": {"frozen": frozen}}, "here.yaml")


def tied_by_property(sae):
    class Tied(type(sae)):
        W_enc = property(lambda self: self.W_dec.T)

    del sae._parameters["W_enc"]
    sae.__class__ = Tied
    return sae


def tied_by_sharing(sae):
    sae.W_enc = nn.Parameter(torch.zeros(2))
    sae.W_enc = sae.W_dec
    return sae


@pytest.mark.parametrize("tie", [tied_by_property, tied_by_sharing])
@each_part
def test_an_sae_with_tied_weights_is_refused(monkeypatch, tie, frozen):
    cfg = sae_config("topk", **SIZES, k=3)
    monkeypatch.setattr(freeze, "sae_from_config", lambda cfg: tie(make_sae(**to_mapping(cfg))))
    with pytest.raises(ValueError, match=r"have no W_(enc|dec) of their own"):
        freeze.check_freezable(cfg, frozen)
    freeze.check_freezable(cfg, "")


def test_runs_made_before_anything_could_be_frozen_are_known_again():
    assert content_hash(training_identity(TrainSAEConfig(batch_size=2048, lr=3e-4))) == "b83ba4e6"
    assert "frozen" not in training_identity(TrainSAEConfig(source="fresh"))
    hashes = {content_hash(training_identity(TrainSAEConfig(frozen=frozen))) for frozen in ("", *PARTS)}
    assert len(hashes) == 4
    identity = study_identity(SweepConfig(name="s"))
    assert "baselines" not in identity and "frozen" not in identity["training"]
    assert study_identity(SweepConfig(name="s", baselines=("frozen_decoder",)))["baselines"] == ["frozen_decoder"]


def test_a_part_that_there_is_not_is_an_error():
    with pytest.raises(ConfigError, match=r"field 'frozen' is 'decoders'"):
        from_mapping(TrainSAEConfig, {"frozen": "decoders"}, "here")


@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.8, 0.99]), st.floats(1e-3, 1e3))
def test_rows_are_turned_to_the_nearest_direction_within_the_cone(seed, min_cosine, norm):
    generator = torch.Generator().manual_seed(seed)
    unit_FD = torch.nn.functional.normalize(torch.randn(6, 5, generator=generator).double(), dim=1)
    rows_FD = norm * torch.randn(6, 5, generator=generator).double()
    rows_FD[0] = -norm * unit_FD[0]  # the opposite direction: every edge is as near
    turned_FD = within_cosine(rows_FD, unit_FD, min_cosine)
    torch.testing.assert_close(turned_FD.norm(dim=1), rows_FD.norm(dim=1))
    before, after = cosines(rows_FD, unit_FD), cosines(turned_FD, unit_FD)
    assert after.min() >= min_cosine - 1e-9
    inside = before >= min_cosine
    assert torch.equal(turned_FD[inside], rows_FD[inside])
    on_edge = ~inside & (torch.arange(6) > 0)
    torch.testing.assert_close(after[on_edge], torch.full_like(after[on_edge], min_cosine))
    angle_between = cosines(turned_FD, rows_FD)[on_edge].acos()
    torch.testing.assert_close(angle_between, before[on_edge].acos() - torch.tensor(min_cosine).double().acos())


def test_a_row_of_zeros_stays():
    assert not within_cosine(torch.zeros(2, 3), torch.eye(3)[:2], 0.8).any()


def test_twins_train_together_as_alone(tiny_model, tiny_corpus, tmp_path):
    bed = Testbed(tiny_model, tiny_corpus, "blocks.1.hook_resid_post", n_games=20)
    configs = [sae_config(name, d_model=16, n_latents=32, k=4) for name in ("topk", "batch_topk")]
    cfg = training("soft_decoder", n_harvested=500)
    outs = [tmp_path / "a", tmp_path / "b"]
    together = train_on_testbed(bed, configs, cfg, outs=outs, device="cpu")
    (alone,) = train_on_testbed(bed, configs[1:], cfg, outs=[tmp_path / "alone"], device="cpu")
    assert (alone / "sae.safetensors").read_bytes() == (together[1] / "sae.safetensors").read_bytes()
