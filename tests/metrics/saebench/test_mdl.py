"""Description length against plain loops, the published faults, and the order of SAEs that are known to differ."""

import numpy as np
import pytest
import torch
from planted import perfect_sae, permuted_sae, planted, random_sae, trained_sae

from boardgame_sae.config import ConfigError, from_mapping
from boardgame_sae.metrics.saebench.data.gaussian import gaussian
from boardgame_sae.metrics.saebench.mdl import (
    BINS,
    MDLConfig,
    latent_bits,
    latent_code,
    mdl_score,
    plain_code,
    published_length,
)
from boardgame_sae.metrics.subject import Subject

CFG = MDLConfig(tolerance=0.1, n_fit=4000, n_validation=500)


@pytest.fixture(scope="module")
def bed(tiny_corpus):
    return planted(tiny_corpus, n_games=110, noise=0.02, width=128, properties=("board",))


@pytest.fixture(scope="module")
def saes(bed):
    return {"perfect": perfect_sae(bed), "trained": trained_sae(bed, k=16), "random": random_sae(bed, k=16)}


@pytest.fixture(scope="module")
def scored(bed, saes):
    saes = saes | {"permuted": permuted_sae(saes["trained"])}
    return {name: mdl_score(Subject(name, "sae", sae, bed), CFG) for name, sae in saes.items()}


def dense_latents(subject, split):
    return np.concatenate([part.to_dense() for part in subject.latents(split)]).astype(np.float64)


def test_a_perfect_sae_is_shorter_than_a_trained_one_and_that_than_random_and_permuted_ones(scored):
    length = {name: value.value for name, value in scored.items()}
    assert length["perfect"] < length["trained"] < min(length["random"], length["permuted"])
    assert length["perfect"] < scored["perfect"].parts["dense"] < length["random"]
    for value in scored.values():
        assert value.interval[0] <= value.value <= value.interval[1]
        assert value.value == pytest.approx(sum(value.parts[name] for name in ("support", "values", "remainder")))


def test_an_sae_that_says_nothing_is_no_shorter_than_the_dense_code(bed, saes):
    """As published, a dead SAE is described in no bits at all, and scores best."""
    dead = random_sae(bed, k=16)
    dead.W_enc.data.zero_()
    dead.b_enc.data.fill_(-1)
    subject = Subject("dead", "sae", dead, bed)
    value = mdl_score(subject, CFG)
    assert published_length(subject, 4) == 0
    assert value.parts["remainder"] == pytest.approx(value.parts["dense"], rel=0.02)
    assert value.value > 0.98 * value.parts["dense"]


@pytest.mark.parametrize("n_bins", [4, 32])
def test_bits_are_those_of_plain_loops(bed, saes, n_bins):
    subject = Subject("trained", "sae", saes["trained"], bed)
    code, train, test = (
        latent_code(subject, n_bins),
        dense_latents(subject, "train"),
        dense_latents(subject, "test")[:40],
    )
    support_N, values_N = latent_bits(code, subject.latents("test"))
    for n, row in enumerate(test):
        support = values = 0.0
        for f, z in enumerate(row):
            on = train[:, f] > 0
            p = (on.sum() + 0.5) / (len(train) + 1)
            support -= np.log2(p if z > 0 else 1 - p)
            if z > 0:
                edges = np.linspace(0, max(train[:, f].max(), 1e-9) if on.any() else 1.0, n_bins + 1)
                counts = np.bincount(np.clip(np.searchsorted(edges, train[on, f]), 1, n_bins) - 1, minlength=n_bins)
                mine = np.clip(np.searchsorted(edges, z), 1, n_bins) - 1
                values -= np.log2((counts[mine] + 0.5) / (counts.sum() + n_bins / 2))
        assert support_N[n] == pytest.approx(support, rel=1e-6)
        assert values_N[n] == pytest.approx(values, rel=1e-2)  # an activation on an edge of a bin may round either way


def test_a_quantised_latent_is_within_half_a_bin_and_one_that_is_off_stays_off(bed, saes):
    """The published quantiser turns every latent on that is off, by half a bin."""
    subject = Subject("trained", "sae", saes["trained"], bed)
    code, z_NF = latent_code(subject, 8), torch.from_numpy(dense_latents(subject, "train"))
    quantised_NF, width_F = code.quantise(z_NF), torch.from_numpy(code.max_F / 8)
    assert ((quantised_NF > 0) == (z_NF > 0)).all()
    assert ((quantised_NF - z_NF).abs() <= width_F / 2 + 1e-6).all()
    edges = torch.linspace(0, code.max_F[0], 9, dtype=torch.float64)
    published = (edges[:-1] + edges[1:])[(torch.bucketize(z_NF[:, 0].contiguous(), edges).clamp(1, 8) - 1)] / 2
    assert (published > 0).all() and (z_NF[:, 0] == 0).any()


def test_the_published_number_is_its_formula(bed, saes):
    subject = Subject("trained", "sae", saes["trained"], bed)
    test, train, total = dense_latents(subject, "test"), dense_latents(subject, "train"), 0.0

    def entropy(shares):
        return -sum(share * np.log2(share) for share in shares if share > 0)

    for f in range(test.shape[1]):
        p = (test[:, f] > 0).mean()
        counts = np.histogram(test[:, f], np.linspace(0, max(100.0, train[:, f].max()), 9))[0]
        total += entropy([p, 1 - p]) + p * entropy(counts / counts.sum())
    assert published_length(subject, 8) == pytest.approx(total, rel=1e-6)


def test_explained_variance_and_the_remainder_are_those_of_the_quantised_latents(bed, saes):
    subject, plain = Subject("trained", "sae", saes["trained"], bed), bed.once(plain_code, CFG)
    value = mdl_score(subject, CFG)
    code, x_ND = latent_code(subject, value.parts["n_bins"]), bed.activations("test").double()
    rebuilt_ND = (
        saes["trained"].decode(code.quantise(torch.from_numpy(dense_latents(subject, "test"))).float()).detach()
    )
    error, spread = ((x_ND - rebuilt_ND) ** 2).sum(), ((x_ND - bed.activations("train").double().mean(0)) ** 2).sum()
    assert value.parts["explained_variance"] == pytest.approx(float(1 - error / spread), abs=1e-5)
    assert value.parts["dense"] == pytest.approx(plain.gaussian.bits(x_ND).mean(), rel=1e-9)
    assert gaussian(x_ND, plain.precision).bits(x_ND).mean() <= value.parts["dense"] + 1e-6


def test_the_number_of_bins_is_the_shortest_on_validation_whatever_test_games_hold(bed, saes, scored):
    other = planted(bed.corpus, n_games=110, noise=0.02, width=128, properties=("board",))
    other._acts["test"] = bed.activations("test").flip(0) * 3
    before, after = scored["trained"], mdl_score(Subject("trained", "sae", saes["trained"], other), CFG)
    assert before.details["on_validation"] == after.details["on_validation"]
    assert before.parts["n_bins"] == after.parts["n_bins"]
    assert before.value != after.value
    lengths = before.details["on_validation"]
    assert lengths[str(before.parts["n_bins"])] == min(lengths.values()) and set(lengths) == set(map(str, BINS))


def test_a_tolerance_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="tolerance must be above 0"):
        from_mapping(MDLConfig, {"tolerance": 0}, "mdl")
