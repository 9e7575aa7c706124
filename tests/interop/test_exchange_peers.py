"""SAEs written for SAELens and dictionary_learning, opened there; and theirs, opened here: equal latents."""

import dataclasses
import json

import pytest
import torch
from shaken_weights import shaken

from boardgame_sae.saes.exchange import to_dictionary_learning, to_sae_lens
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.registry import architectures, config_class, make_sae

sae_lens = pytest.importorskip("sae_lens")
peer = pytest.importorskip("dictionary_learning.utils")
dictionaries = pytest.importorskip("dictionary_learning.dictionary")
top_k = pytest.importorskip("dictionary_learning.trainers.top_k")
batch_top_k = pytest.importorskip("dictionary_learning.trainers.batch_top_k")
matryoshka = pytest.importorskip("dictionary_learning.trainers.matryoshka_batch_top_k")

pytestmark = pytest.mark.interop
D, F, K = 12, 40, 5


def ours(name, *, unit=True, **fields):
    """A calibrated SAE of ours with every parameter away from its start."""
    if "k" in {field.name for field in dataclasses.fields(config_class(name))}:
        fields = {"k": K, **fields}
    sae = shaken(make_sae(name, d_model=D, n_latents=F, **fields))
    with torch.no_grad():
        if "threshold" in dict(sae.named_parameters()):
            sae.threshold.abs_()
        if unit:
            sae.W_dec /= sae.W_dec.norm(dim=1, keepdim=True)
    sae.calibrate([batch(seed=5)])
    sae.metadata = {"hook_name": "blocks.3.hook_resid_post", "model": "abc", "inference": {"l0": 4.5}}
    return sae.inference().eval()


def batch(n=200, seed=1):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def assert_same(found, expected):
    """Equal latents and reconstructions; in float64, so that only the weights count."""
    found, expected, x_ND = found.to(torch.float64), expected.to(torch.float64), batch().double()
    z_NF = expected.encode(x_ND)
    assert 0 < (z_NF > 0).sum() < z_NF.numel()
    for one, other in ((found.encode(x_ND), z_NF), (found.decode(z_NF), expected.decode(z_NF))):
        assert one.dtype == torch.float64
        assert (one - other).abs().max() <= 1e-6 * other.abs().max()


@pytest.mark.parametrize("unit", [True, False], ids=["unit rows", "any rows"])
@pytest.mark.parametrize("subtract", [True, False], ids=["less b_dec", "b_dec stays"])
@pytest.mark.parametrize("name", architectures())
def test_sae_lens_opens_every_architecture_with_the_same_latents(tmp_path, name, subtract, unit):
    sae = ours(name, subtract_b_dec=subtract, unit=unit)
    to_sae_lens(sae, tmp_path)
    theirs = sae_lens.SAE.load_from_disk(tmp_path)
    assert_same(theirs, sae)
    assert (theirs.cfg.metadata.hook_name, theirs.cfg.metadata.l0) == ("blocks.3.hook_resid_post", 4.5)
    assert theirs.cfg.metadata.training_architecture == name


@pytest.mark.parametrize("unit", [True, False], ids=["unit rows", "any rows"])
@pytest.mark.parametrize("subtract", [True, False], ids=["less b_dec", "b_dec stays"])
@pytest.mark.parametrize("name", architectures())
def test_dictionary_learning_opens_every_architecture_with_the_same_latents(tmp_path, name, subtract, unit):
    sae = ours(name, subtract_b_dec=subtract, unit=unit)
    to_dictionary_learning(sae, tmp_path)
    theirs, config = peer.load_dictionary(str(tmp_path), "cpu")
    assert_same(theirs, sae)
    assert config["trainer"]["layer"] == 3


# SAEs that SAELens made and saved


def config_of(cls, **fields):
    known = {field.name for field in dataclasses.fields(cls)}
    return cls(d_in=D, d_sae=F, **{key: value for key, value in fields.items() if key in known})


@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("kind", ["Standard", "Gated", "JumpReLU", "TopK"])
def test_saes_of_sae_lens_keep_their_latents(tmp_path, kind, rescale, subtract):
    cfg = config_of(
        getattr(sae_lens, f"{kind}SAEConfig"),
        apply_b_dec_to_input=subtract, k=K, rescale_acts_by_decoder_norm=rescale,
    )  # fmt: skip
    shaken(getattr(sae_lens, f"{kind}SAE")(cfg)).save_model(tmp_path)
    theirs = sae_lens.SAE.load_from_disk(tmp_path)
    sae = load_sae(tmp_path)
    assert_same(sae, theirs)
    assert sae.metadata["foreign"]["metadata"]["sae_lens_version"] == sae_lens.__version__


TRAINED = {
    "Standard": "relu",
    "Gated": "gated",
    "JumpReLU": "jumprelu",
    "TopK": "topk",
    "BatchTopK": "batch_topk",
    "MatryoshkaBatchTopK": "matryoshka_batch_topk",
}


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize(("kind", "name"), TRAINED.items())
def test_trained_saes_of_sae_lens_keep_their_latents(tmp_path, kind, name, rescale):
    cfg = config_of(
        getattr(sae_lens, f"{kind}TrainingSAEConfig"), k=K, rescale_acts_by_decoder_norm=rescale,
        matryoshka_widths=[10, F], use_sparse_activations=False,
    )  # fmt: skip
    training = shaken(getattr(sae_lens, f"{kind}TrainingSAE")(cfg))
    if hasattr(training, "topk_threshold"):
        training.topk_threshold.fill_(0.7)
    training.save_inference_model(tmp_path)
    sae = load_sae(tmp_path)
    assert_same(sae, sae_lens.SAE.load_from_disk(tmp_path))
    assert sae.trained_as["architecture"] == name
    assert sae.trained_as.get("k") == (K if "topk" in name else None)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_other_number_formats_of_sae_lens_become_float32(tmp_path, dtype):
    shaken(sae_lens.StandardSAE(config_of(sae_lens.StandardSAEConfig, dtype=dtype))).save_model(tmp_path)
    sae = load_sae(tmp_path)
    assert sae.dtype == torch.float32
    assert_same(sae, sae_lens.SAE.load_from_disk(tmp_path))


def test_a_config_of_before_version_6_means_what_sae_lens_takes_it_for(tmp_path):
    shaken(sae_lens.TopKSAE(config_of(sae_lens.TopKSAEConfig, k=3))).save_model(tmp_path)
    old = {
        "d_in": D, "d_sae": F, "dtype": "float32", "hook_point": "blocks.1.hook_resid_pre", "model_name": "gpt2",
        "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}, "normalize_activations": False,
    }  # fmt: skip
    (tmp_path / "cfg.json").write_text(json.dumps(old))
    theirs, sae = sae_lens.SAE.load_from_disk(tmp_path), load_sae(tmp_path)
    assert_same(sae, theirs)
    assert sae.metadata["hook_name"] == theirs.cfg.metadata.hook_name == "blocks.1.hook_resid_pre"


# dictionaries that dictionary_learning made and saved


def save_dictionary(folder, dictionary, **trainer):
    torch.save(dictionary.state_dict(), folder / "ae.pt")
    card = {"trainer": {"dict_class": type(dictionary).__name__, "layer": 2, "lm_name": "m", **trainer}}
    (folder / "config.json").write_text(json.dumps(card))


DICTIONARIES = {
    "AutoEncoder": lambda: dictionaries.AutoEncoder(D, F),
    "AutoEncoderNew": lambda: dictionaries.AutoEncoderNew(D, F),
    "GatedAutoEncoder": lambda: dictionaries.GatedAutoEncoder(D, F),
    "JumpReluAutoEncoder": lambda: dictionaries.JumpReluAutoEncoder(D, F),
    "AutoEncoderTopK": lambda: top_k.AutoEncoderTopK(D, F, K),
    "BatchTopKSAE": lambda: batch_top_k.BatchTopKSAE(D, F, K),
    "MatryoshkaBatchTopKSAE": lambda: matryoshka.MatryoshkaBatchTopKSAE(D, F, K, [10, 30]),
}


@pytest.mark.parametrize("size", [0.0, 0.3], ids=["as made", "shaken"])
@pytest.mark.parametrize("kind", DICTIONARIES)
def test_dictionaries_keep_their_latents(tmp_path, kind, size):
    """Also norms: an AutoEncoder's are folded by its loader, a JumpReLU's thresholds may be negative."""
    torch.manual_seed(0)
    dictionary = shaken(DICTIONARIES[kind](), size=size)
    if "TopKSAE" in kind:
        dictionary.threshold.fill_(0.7)
    save_dictionary(tmp_path, dictionary, **({"k": K} if "TopK" in kind else {}))
    theirs, _ = peer.load_dictionary(str(tmp_path), "cpu")
    sae = load_sae(tmp_path)
    assert_same(sae, theirs)
    assert (sae.metadata["layer"], sae.metadata["lm_name"]) == (2, "m")
    to_dictionary_learning(sae, tmp_path / "back")
    assert_same(peer.load_dictionary(str(tmp_path / "back"), "cpu")[0], theirs)
    to_sae_lens(sae, tmp_path / "on")
    assert_same(sae_lens.SAE.load_from_disk(tmp_path / "on"), theirs)
