"""Folders of every age and kind, opened here and by the published packages: equal latents; and SAELens's data store."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from shaken_weights import shaken

from boardgame_sae.files import RunError
from boardgame_sae.metrics.latent_source import as_latent_source
from boardgame_sae.saes.exchange import to_sae_lens
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.testbeds.testbed import Testbed

sae_lens = pytest.importorskip("sae_lens")
datasets = pytest.importorskip("datasets")
top_k = pytest.importorskip("dictionary_learning.trainers.top_k")

pytestmark = pytest.mark.interop
D, F, K = 16, 40, 5


def batch(n=200):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def assert_same(found, expected, tolerance=1e-5):
    z_NF = expected.encode(batch())
    assert 0 < (z_NF > 0).sum() < z_NF.numel()
    torch.testing.assert_close(found.encode(batch()), z_NF, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(found.decode(z_NF), expected.decode(z_NF), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("activation", [{"activation_fn": "topk"}, {"activation_fn_str": "topk"}, {}])
@pytest.mark.parametrize("told", [{"architecture": "topk"}, {}])
def test_topk_of_every_version_before_6(tmp_path, activation, told):
    """One that does not say `topk` anywhere is a ReLU SAE, for them as here."""
    shaken(sae_lens.TopKSAE(sae_lens.TopKSAEConfig(d_in=D, d_sae=F, k=K))).save_model(tmp_path)
    old = {"d_in": D, "d_sae": F, "dtype": "float32", "hook_name": "h", "activation_fn_kwargs": {"k": 2}}
    (tmp_path / "cfg.json").write_text(json.dumps({**old, **told, **activation}))
    sae = load_sae(tmp_path)
    assert_same(sae, sae_lens.SAE.load_from_disk(tmp_path))
    assert getattr(sae.cfg, "k", None) == (2 if told or activation else None)


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("subtract", [False, True])
def test_the_largest_by_size(tmp_path, rescale, subtract):
    fields = {"k": K, "rescale_acts_by_decoder_norm": rescale, "apply_b_dec_to_input": subtract}
    module = pytest.importorskip("sae_lens.saes.abstopk_sae")
    shaken(module.AbsTopKSAE(module.AbsTopKSAEConfig(d_in=D, d_sae=F, **fields))).save_model(tmp_path)
    theirs, sae = sae_lens.SAE.load_from_disk(tmp_path), load_sae(tmp_path)
    with torch.no_grad():
        z_NF, both_NF = theirs.encode(batch()), sae.encode(batch())
        assert (z_NF < 0).any()
        torch.testing.assert_close(both_NF, torch.cat([z_NF.relu(), (-z_NF).relu()], 1), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(sae.decode(both_NF), theirs.decode(z_NF), rtol=1e-5, atol=1e-5)


def test_the_largest_by_size_as_an_object_and_from_disk_are_the_same_latents(tmp_path, tiny_model, tiny_corpus):
    bed = Testbed(tiny_model, tiny_corpus, "blocks.0.hook_resid_post", n_games=8)
    module = pytest.importorskip("sae_lens.saes.abstopk_sae")
    thing = shaken(module.AbsTopKSAE(module.AbsTopKSAEConfig(d_in=D, d_sae=F, k=K)))
    thing.save_model(tmp_path)
    x_ND = bed.activations("train")
    live, disk = (as_latent_source(given, bed).read("train", 0, len(x_ND), x_ND) for given in (thing, tmp_path))
    np.testing.assert_allclose(live.to_dense(), disk.to_dense(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["Standard", "TopK", "JumpReLU", "Gated"])
def test_a_factor_beside_a_checkpoint_is_folded_as_they_fold_it(tmp_path, kind):
    cfg = getattr(sae_lens, f"{kind}SAEConfig")(d_in=D, d_sae=F, normalize_activations="expected_average_only_in")
    if kind == "TopK":
        cfg.k = K
    theirs = shaken(getattr(sae_lens, f"{kind}SAE")(cfg))
    theirs.save_model(tmp_path)
    with pytest.raises(RunError, match="fold_activation_norm_scaling_factor"):
        load_sae(tmp_path)
    (tmp_path / "activation_scaler.json").write_text('{"scaling_factor": 0.3}')
    theirs.fold_activation_norm_scaling_factor(0.3)
    assert_same(load_sae(tmp_path), theirs)


@pytest.mark.parametrize("normalization", ["layer_norm", "constant_norm_rescale"])
def test_what_normalises_each_activation_is_refused_from_disk_and_scored_as_the_object_it_names(
    tmp_path, tiny_model, tiny_corpus, normalization
):
    bed = Testbed(tiny_model, tiny_corpus, "blocks.0.hook_resid_post", n_games=8)
    cfg = sae_lens.StandardSAEConfig(d_in=D, d_sae=F, normalize_activations=normalization)
    shaken(sae_lens.StandardSAE(cfg)).save_model(tmp_path)
    with pytest.raises(RunError, match=r"score the object itself.*sae_lens\.SAE\.load_from_disk"):
        load_sae(tmp_path)
    thing, x_ND = sae_lens.SAE.load_from_disk(tmp_path), bed.activations("train")
    source = as_latent_source(thing, bed)
    with torch.no_grad():
        assert torch.equal(source.encode(x_ND), thing.encode(x_ND))
        assert torch.equal(source.decode(source.encode(x_ND)), thing(x_ND))


def test_a_dictionary_of_before_december_2024(tmp_path):
    dictionary = shaken(top_k.AutoEncoderTopK(D, F, K))
    old = {name: tensor for name, tensor in dictionary.state_dict().items() if name not in ("k", "threshold")}
    torch.save({f"_orig_mod.{name}": tensor for name, tensor in old.items()}, tmp_path / "ae.pt")
    trainer = {"dict_class": "AutoEncoderTopK", "trainer_class": "TrainerTopK", "k": K}
    (tmp_path / "config.json").write_text(json.dumps({"trainer": trainer}))
    assert_same(load_sae(tmp_path), dictionary)


@torch.no_grad()
def test_an_export_is_all_that_their_activations_store_needs(tmp_path, tiny_model, tiny_corpus):
    """Of an SAE that half precision stored; its rows are of norm 1 there."""
    bed = Testbed(tiny_model, tiny_corpus, "blocks.0.hook_resid_post", n_games=8)
    sae = make_sae("topk", d_model=bed.width, n_latents=F, k=K)
    sae.W_dec.copy_(sae.W_dec.half().float())
    sae.metadata = {"hook_name": bed.hook_name, "context_size": tiny_model.gpt.cfg.n_ctx}
    to_sae_lens(sae, tmp_path)
    theirs = sae_lens.SAE.load_from_disk(tmp_path)
    assert (theirs.W_dec.norm(dim=1) - 1).abs().max() < 2e-7
    n_ctx = tiny_model.gpt.cfg.n_ctx
    tokens = np.random.default_rng(0).integers(1, len(tiny_model.alphabet), (64, n_ctx)).tolist()
    data = datasets.Dataset.from_dict({"tokens": tokens}).with_format("torch")
    options = {
        "streaming": False,
        "store_batch_size_prompts": 2,
        "n_batches_in_buffer": 4,
        "train_batch_size_tokens": 8,
    }
    store = sae_lens.ActivationsStore.from_sae(tiny_model.to_transformer_lens(), theirs, data, **options)
    x_ND = store.get_activations(store.get_batch_tokens()).reshape(-1, bed.width)
    assert len(x_ND) == 2 * n_ctx
    torch.testing.assert_close(theirs.encode(x_ND), sae.encode(x_ND), rtol=1e-4, atol=1e-4)


def test_weights_keep_their_names(tmp_path):
    """What is written for them has the tensors that they write."""
    to_sae_lens(make_sae("gated", d_model=D, n_latents=F), tmp_path / "ours")
    sae_lens.GatedSAE(sae_lens.GatedSAEConfig(d_in=D, d_sae=F)).save_model(tmp_path / "theirs")
    ours, theirs = (load_file(tmp_path / name / "sae_weights.safetensors") for name in ("ours", "theirs"))
    assert {name: t.shape for name, t in ours.items()} == {name: t.shape for name, t in theirs.items()}
    save_file(
        {f"module.{name}": tensor for name, tensor in theirs.items()}, tmp_path / "theirs/sae_weights.safetensors"
    )
    assert load_sae(tmp_path / "theirs").cfg.n_latents == F
