"""Latents below zero are scored as what they are, a latent for either sign: by brute force, from disk or not."""

import json

import numpy as np
import pytest
import scipy.sparse
import torch
from safetensors.torch import save_file

from boardgame_sae.metrics.counting.latent_columns import both_signs, lowest
from boardgame_sae.metrics.coverage import coverage
from boardgame_sae.metrics.evaluate import evaluate
from boardgame_sae.metrics.latent_source import as_latent_source
from boardgame_sae.testbeds.testbed import Testbed

HOOK, LATENTS, K = "blocks.0.hook_resid_post", 10, 3
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, HOOK, n_games=12)


class AbsTopK:
    """The k largest latents by size, with their sign."""

    def __init__(self, width):
        generator = torch.Generator().manual_seed(0)
        self.W_enc = torch.randn(width, LATENTS, generator=generator)
        self.W_dec = torch.nn.functional.normalize(torch.randn(LATENTS, width, generator=generator), dim=1)

    def encode(self, x_ND):
        pre_NF = x_ND @ self.W_enc
        kept = pre_NF.abs().topk(K).indices
        return torch.zeros_like(pre_NF).scatter(1, kept, pre_NF.gather(1, kept))

    def decode(self, z_NF):
        return z_NF @ self.W_dec


class TwoEach(AbsTopK):
    """The same, written by hand as two latents for each."""

    def __init__(self, width):
        super().__init__(width)
        self.W_enc = torch.cat([self.W_enc, -self.W_enc], 1)
        self.W_dec = torch.cat([self.W_dec, -self.W_dec])

    def encode(self, x_ND):
        pre_NF = (x_ND @ self.W_enc).relu()
        largest = pre_NF.topk(K)
        return torch.zeros_like(pre_NF).scatter(1, largest.indices, largest.values)


def saved(thing, folder):
    """The AbsTopK as SAELens saves one."""
    folder.mkdir(exist_ok=True)
    width = len(thing.W_enc)
    zeros = {"b_enc": torch.zeros(LATENTS), "b_dec": torch.zeros(width)}
    save_file({"W_enc": thing.W_enc, "W_dec": thing.W_dec, **zeros}, folder / "sae_weights.safetensors")
    cfg = {"architecture": "abstopk", "d_in": width, "d_sae": LATENTS, "k": K, "dtype": "float32"}
    (folder / "cfg.json").write_text(json.dumps({**cfg, "metadata": {"sae_lens_version": "6.50.0"}}))
    return folder


def test_an_object_a_folder_and_two_latents_by_hand_have_the_same_scores(bed, tmp_path):
    thing, by_hand = AbsTopK(bed.width), TwoEach(bed.width)
    expected = evaluate(by_hand, bed, "supervised")
    for given in (thing, saved(thing, tmp_path / "sae")):
        found = evaluate(given, bed, "supervised")
        assert list(found) == list(expected)
        for name, value in expected.items():
            assert found[name].value == pytest.approx(value.value, abs=1e-6), name
            for part, number in value.parts.items():
                assert found[name].parts[part] == pytest.approx(number, abs=1e-5, nan_ok=True), (name, part)
        assert found.subject["l0"] == found["core"].parts["l0"] == K
    assert evaluate(thing, bed, "quick").subject["two_sided"] is True
    assert "two_sided" not in evaluate(by_hand, bed, "quick").subject


def test_latents_are_the_positive_and_the_negative_parts_and_the_reconstruction_stays(bed):
    thing, x_ND = AbsTopK(bed.width), bed.activations("test")
    source, z_NF = as_latent_source(thing, bed), thing.encode(x_ND)
    expected = torch.cat([z_NF.clamp(min=0), (-z_NF).clamp(min=0)], 1)
    assert torch.equal(source.encode(x_ND), expected)
    np.testing.assert_array_equal(source.read("test", 0, len(x_ND), x_ND).to_dense(), expected.numpy())
    torch.testing.assert_close(source.decode(source.encode(x_ND)), thing.decode(z_NF))
    assert torch.equal(source.W_dec, torch.cat([thing.W_dec, -thing.W_dec]))
    assert torch.equal(source.W_enc, torch.cat([thing.W_enc, -thing.W_enc], 1))


FORMS = {
    "torch": lambda z: z,
    "numpy": torch.Tensor.numpy,
    "csr": torch.Tensor.to_sparse_csr,
    "coo": torch.Tensor.to_sparse,
    "scipy": lambda z: scipy.sparse.csr_array(z.numpy()),
    "half": torch.Tensor.half,
}


@pytest.mark.parametrize("form", FORMS)
def test_coverage_by_brute_force(bed, form):
    """The best F1 over latents, their negatives and thresholds, tried one by one."""
    thing = AbsTopK(bed.width)
    dense = {split: thing.encode(bed.activations(split)).half().float() for split in SPLITS}
    source = as_latent_source({split: FORMS[form](z) for split, z in dense.items()}, bed)
    assert source.two_sided
    labels_NP = bed.labels("test")[:, :6]
    found = coverage(source.read("test", 0, len(labels_NP)), labels_NP)
    for p in range(labels_NP.shape[1]):
        best = 0.0
        for signed_NF in (dense["test"].numpy(), -dense["test"].numpy()):
            for z_N in signed_NF.T:
                for share in np.arange(11) / 10:
                    says_N = z_N > np.float32(share) * max(z_N.max(), 0)
                    hits = (says_N & labels_NP[:, p]).sum()
                    best = max(best, 2 * hits / max(1, says_N.sum() + labels_NP[:, p].sum()))
        assert found.f1_P[p] == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("form", [*FORMS])
def test_the_lowest_latent_and_both_signs_of_every_kind_of_matrix(form):
    z_NF = torch.tensor([[1.0, -2.0, 0.0], [0.0, 0.5, 3.0]])
    assert lowest(FORMS[form](z_NF)) == -2
    assert lowest(FORMS[form](z_NF.clamp(min=0))) == 0
    expected = torch.cat([z_NF.clamp(min=0), (-z_NF).clamp(min=0)], 1)
    np.testing.assert_array_equal(both_signs(FORMS[form](z_NF)).to_dense(), expected.numpy())
    assert lowest(FORMS[form](torch.zeros(0, 3))) == 0


@pytest.mark.parametrize("suite", ["quick", "supervised"])
def test_what_goes_below_zero_only_later_is_an_error_not_another_number(bed, suite):
    """Nothing is left out silently, wherever the first latent below zero comes."""

    class Late(AbsTopK):
        calls = 0

        def encode(self, x_ND):
            self.calls += 1
            z_NF = super().encode(x_ND)
            return z_NF if self.calls > 2 else z_NF.clamp(min=0)

    with pytest.raises(ValueError, match=r"the encode of Late gave latents below zero, which it did not at the first"):
        evaluate(Late(bed.width), bed, suite)
