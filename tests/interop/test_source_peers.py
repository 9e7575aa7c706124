"""Live objects of SAELens and dictionary_learning as latent sources: the latents are those of their own encode."""

import dataclasses

import numpy as np
import pytest
import torch
from shaken_weights import shaken

from boardgame_sae.metrics.latent_source import as_latent_source
from boardgame_sae.testbeds.testbed import Testbed

sae_lens = pytest.importorskip("sae_lens")
transcoders = pytest.importorskip("sae_lens.saes.transcoder")
dictionaries = pytest.importorskip("dictionary_learning.dictionary")
top_k = pytest.importorskip("dictionary_learning.trainers.top_k")
batch_top_k = pytest.importorskip("dictionary_learning.trainers.batch_top_k")
matryoshka = pytest.importorskip("dictionary_learning.trainers.matryoshka_batch_top_k")

pytestmark = pytest.mark.interop
HOOK, OTHER, D, F, K = "blocks.0.hook_resid_post", "blocks.0.hook_mlp_out", 16, 40, 5


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, HOOK, n_games=8)


@pytest.fixture(scope="module")
def acts_ND(bed):
    return bed.activations("train")


def of_sae_lens(kind, module=sae_lens, **fields):
    """An SAE of theirs, made, not trained; fields that its kind does not have are left out."""
    cls = getattr(module, f"{kind}Config")
    known = {field.name for field in dataclasses.fields(cls)}
    cfg = cls(d_in=D, d_sae=F, **{name: value for name, value in fields.items() if name in known})
    cfg.metadata.hook_name, cfg.metadata.hook_name_out = fields.get("hook_name"), fields.get("hook_name_out")
    torch.manual_seed(0)
    return shaken(getattr(module, kind)(cfg))


@torch.no_grad()
def assert_read_as_they_read(thing, bed, x_ND, x_theirs=None, tolerance=0.0):
    """The latents of their own encode and, where there is a decode, their own reconstruction; the source."""
    thing.eval()
    source = as_latent_source(thing, bed)
    x_theirs = x_ND if x_theirs is None else x_theirs
    z_NF = thing.encode(x_theirs)
    signed_NF = z_NF.to_dense().float()
    parts = [signed_NF, -signed_NF] if (signed_NF < 0).any() else [signed_NF]
    expected = torch.cat(parts, dim=1).clamp(min=0)
    assert 0 < (expected > 0).sum() < expected.numel()
    found_NF = torch.from_numpy(source.read("train", 0, len(x_ND), x_ND).to_dense())
    torch.testing.assert_close(found_NF, expected, rtol=tolerance, atol=tolerance)
    assert source.given is thing and source.name == type(thing).__name__ and not source.is_given
    assert source.two_sided == (len(parts) == 2)
    if source.decode is not None:
        x_hat_ND = thing.decode(z_NF).float().reshape(x_ND.shape)
        for _ in range(2):
            found_ND = source.decode(source.encode(x_ND))
            torch.testing.assert_close(found_ND, x_hat_ND, rtol=tolerance, atol=tolerance)
            torch.testing.assert_close(source.decode(source.encode(x_ND)), found_ND)
    return source


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("kind", ["StandardSAE", "TopKSAE", "JumpReLUSAE", "GatedSAE", "MatchingPursuitSAE"])
def test_saes_of_sae_lens(bed, acts_ND, kind, rescale, dtype):
    thing = of_sae_lens(kind, k=K, rescale_acts_by_decoder_norm=rescale, hook_name=HOOK, dtype=dtype)
    source = assert_read_as_they_read(thing, bed, acts_ND, tolerance=1e-5 if dtype == "float64" else 0.0)
    assert (source.d_in, source.hook_name) == (D, HOOK)
    assert source.decode is not None
    assert torch.equal(source.W_dec, thing.W_dec.detach().float())
    assert torch.equal(source.W_enc, thing.W_enc.detach().float())


@pytest.mark.parametrize("normalization", ["layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("kind", ["StandardSAE", "TopKSAE", "JumpReLUSAE", "GatedSAE"])
def test_normalizations_that_sae_lens_undoes_once(bed, acts_ND, kind, normalization):
    thing = of_sae_lens(kind, k=K, normalize_activations=normalization)
    source = assert_read_as_they_read(thing, bed, acts_ND)
    z_NF = source.encode(acts_ND)
    assert torch.equal(source.decode(z_NF), source.decode(z_NF))
    with pytest.raises(AttributeError):
        thing.decode(z_NF), thing.decode(z_NF)


@pytest.mark.parametrize("normalization", ["expected_average_only_in", "covariance_whitening"])
def test_normalizations_that_are_not_folded_in_are_refused(bed, normalization):
    thing = of_sae_lens("StandardSAE", normalize_activations=normalization)
    with pytest.raises(ValueError, match="fold them into its weights"):
        as_latent_source(thing, bed)
    thing.fold_activation_norm_scaling_factor(0.7)
    assert as_latent_source(thing, bed).decode is not None


def test_heads_that_sae_lens_flattens(tiny_model, tiny_corpus):
    name = "blocks.0.attn.hook_z"
    bed = Testbed(tiny_model, tiny_corpus, name, n_games=8)
    x_ND = bed.activations("train")
    thing = of_sae_lens("StandardSAE", reshape_activations="hook_z", hook_name=name)
    apart = x_ND.unflatten(-1, (tiny_model.gpt.cfg.n_heads, -1))
    assert assert_read_as_they_read(thing, bed, x_ND, apart).hook_name == name


@pytest.mark.parametrize("kind", ["Transcoder", "SkipTranscoder", "JumpReLUTranscoder"])
@pytest.mark.parametrize("d_out", [D, 10])
@pytest.mark.parametrize("names", [(HOOK, OTHER), (HOOK, None), (None, None)])
def test_transcoders_of_sae_lens(bed, acts_ND, kind, d_out, names):
    fields = {"d_out": d_out, "apply_b_dec_to_input": False, "hook_name": names[0], "hook_name_out": names[1]}
    thing = of_sae_lens(kind, transcoders, **fields)
    source = assert_read_as_they_read(thing, bed, acts_ND)
    assert source.decode is None
    assert source.W_dec.shape == (F, d_out)
    assert (source.d_in, source.hook_name) == (D, names[0])


@pytest.mark.parametrize("kind", ["Standard", "TopK", "JumpReLU", "Gated"])
def test_saes_that_sae_lens_has_just_trained(bed, acts_ND, kind):
    """Also the TopK ones whose encode gives a sparse tensor."""
    thing = of_sae_lens(f"{kind}TrainingSAE", k=K, use_sparse_activations=True, hook_name=HOOK)
    assert assert_read_as_they_read(thing, bed, acts_ND, tolerance=1e-6).decode is not None


@pytest.mark.parametrize("kind", ["BatchTopK", "MatryoshkaBatchTopK"])
def test_saes_that_choose_among_a_whole_batch_are_refused_until_saved_for_inference(bed, acts_ND, kind, tmp_path):
    thing = of_sae_lens(f"{kind}TrainingSAE", k=K, matryoshka_widths=[10, F], use_sparse_activations=False)
    thing.topk_threshold.fill_(0.4)
    with torch.no_grad():
        x_ND = 10 * acts_ND
        assert not torch.equal(thing.encode(x_ND)[:20] > 0, thing.encode(x_ND[:20]) > 0)
    with pytest.raises(ValueError, match="save_inference_model"):
        as_latent_source(thing, bed)
    thing.save_inference_model(tmp_path)
    live = assert_read_as_they_read(sae_lens.SAE.load_from_disk(tmp_path), bed, acts_ND)
    loaded = as_latent_source(tmp_path, bed)
    torch.testing.assert_close(loaded.encode(acts_ND), live.encode(acts_ND))


def test_another_hook_point_or_width_of_sae_lens(bed):
    with pytest.raises(ValueError, match=r"says it reads blocks\.0\.hook_mlp_out, the testbed reads blocks\.0\.hook_r"):
        as_latent_source(of_sae_lens("StandardSAE", hook_name=OTHER), bed)
    with pytest.raises(ValueError, match=r"StandardSAE of width 16 cannot be scored at .* width 64"):
        as_latent_source(of_sae_lens("StandardSAE"), bed.at("blocks.0.mlp.hook_post"))


DICTIONARIES = {
    "AutoEncoder": lambda: dictionaries.AutoEncoder(D, F),
    "AutoEncoderNew": lambda: dictionaries.AutoEncoderNew(D, F),
    "GatedAutoEncoder": lambda: dictionaries.GatedAutoEncoder(D, F),
    "JumpReluAutoEncoder": lambda: dictionaries.JumpReluAutoEncoder(D, F),
    "AutoEncoderTopK": lambda: top_k.AutoEncoderTopK(D, F, K),
    "BatchTopKSAE": lambda: batch_top_k.BatchTopKSAE(D, F, K),
    "MatryoshkaBatchTopKSAE": lambda: matryoshka.MatryoshkaBatchTopKSAE(D, F, K, [10, 30]),
}


def of_dictionary_learning(kind, dtype=torch.float32):
    torch.manual_seed(0)
    dictionary = shaken(DICTIONARIES[kind]()).to(dtype)
    if "BatchTopK" in kind:
        dictionary.threshold.fill_(0.4)
    return dictionary


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("kind", DICTIONARIES)
def test_dictionaries(bed, acts_ND, kind, dtype):
    thing = of_dictionary_learning(kind, dtype)
    source = assert_read_as_they_read(thing, bed, acts_ND, acts_ND.to(dtype), 1e-5 if dtype is torch.float64 else 0.0)
    assert (source.d_in, source.hook_name) == (D, None)
    assert source.decode is not None
    W_dec = thing.W_dec if hasattr(thing, "W_dec") else thing.decoder.weight.T
    assert W_dec.shape == (F, D)
    assert torch.equal(source.W_dec, W_dec.detach().float())
    assert source.W_enc.shape == (D, F)


@pytest.mark.parametrize("kind", ["BatchTopKSAE", "MatryoshkaBatchTopKSAE"])
def test_batch_top_k_dictionaries_use_their_threshold(bed, acts_ND, kind):
    thing = of_dictionary_learning(kind)
    found_NF = as_latent_source(thing, bed).read("train", 0, len(acts_ND), acts_ND).to_dense()
    with torch.no_grad():
        assert not np.array_equal(found_NF, thing.encode(acts_ND, use_threshold=False).numpy())
    assert found_NF[found_NF > 0].min() > 0.4
    one_by_one = [as_latent_source(thing, bed).read("train", n, n + 1, acts_ND[n : n + 1]).to_dense() for n in range(9)]
    np.testing.assert_allclose(np.concatenate(one_by_one), found_NF[:9], rtol=1e-5)


def test_an_identity_dictionary_says_nothing_of_its_width(bed, acts_ND):
    source = assert_read_as_they_read(dictionaries.IdentityDict(), bed, acts_ND)
    assert (source.d_in, source.W_dec) == (None, None)


@pytest.mark.parametrize("kind", DICTIONARIES)
def test_batch_top_k_dictionaries_whose_threshold_was_never_set_are_refused_and_no_others(bed, kind):
    thing = DICTIONARIES[kind]()
    if "BatchTopK" in kind:
        with pytest.raises(ValueError, match=rf"{kind} has no threshold: it was never set"):
            as_latent_source(thing, bed)
    else:
        as_latent_source(thing, bed)


def test_another_width_of_dictionary_learning(bed):
    with pytest.raises(ValueError, match=r"AutoEncoder of width 16 cannot be scored at .* width 64"):
        as_latent_source(of_dictionary_learning("AutoEncoder"), bed.at("blocks.0.mlp.hook_post"))
