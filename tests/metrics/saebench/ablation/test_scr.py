"""SCR: pairs by rule, shares by hand, the published faults, and the order of SAEs that are known to differ."""

import numpy as np
import pytest
from planted import known_saes, planted

from boardgame_sae.metrics.saebench.ablation.effects import N_ABLATED
from boardgame_sae.metrics.saebench.ablation.quadrants import pairs
from boardgame_sae.metrics.saebench.ablation.scr import (
    LEAST_BIAS,
    SHARES,
    SCRConfig,
    biased_probes,
    published_shares,
    scr_score,
)
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.transcripts.corpus import SPLITS

CFG = SCRConfig(n_pairs=3, n_train=200, n_test=120)


@pytest.fixture(scope="module")
def bed(tiny_corpus):
    return planted(tiny_corpus, n_games=110, noise=0.3)


@pytest.fixture(scope="module")
def saes(bed):
    return known_saes(bed)


@pytest.fixture(scope="module")
def scored(bed, saes):
    return {name: scr_score(Subject(name, "sae", sae, bed), CFG) for name, sae in saes.items()}


def test_a_perfect_sae_is_above_a_trained_one_and_that_above_random_and_permuted_ones(scored):
    values = {name: value.value for name, value in scored.items()}
    assert values["perfect"] > values["trained"] > max(values["random"], values["permuted"])
    assert all(-1 <= value.value <= 1 for value in scored.values())


def test_pairs_are_on_two_squares_and_their_examples_are_of_all_combinations_alike(bed):
    sizes = {"train": 80, "validation": 40, "test": 40}
    chosen = pairs(bed, 4, sizes)
    names = [concept.name for pair in chosen for concept in pair.concepts]
    assert len(chosen) > 1 and len(set(names)) == len(names)
    for pair in chosen:
        a, b = (concept.column for concept in pair.concepts)
        for split in SPLITS:
            labels_NP, (first, second) = bed.labels(split), pair.balanced
            assert np.array_equal(first[split].row_N, second[split].row_N)
            assert np.array_equal(first[split].true_N, labels_NP[first[split].row_N, a])
            assert np.array_equal(second[split].true_N, labels_NP[second[split].row_N, b])
            counts = np.bincount(2 * first[split].true_N + second[split].true_N, minlength=4)
            assert len(set(counts.tolist())) == 1 and counts[0] <= sizes[split] // 4
            rows = pair.biased[split].row_N
            assert np.array_equal(labels_NP[rows, a], labels_NP[rows, b])
            assert np.array_equal(pair.biased[split].true_N, labels_NP[rows, a])


def test_the_shares_are_what_the_probes_read_of_rebuilt_activations(bed, saes, scored):
    sae, acts_ND = saes["trained"], bed.activations("test").double()
    z_NF = sae.encode(bed.activations("test")).detach().double()
    train_NF = sae.encode(bed.activations("train")).detach().double().numpy()
    W_dec, shares = sae.W_dec.detach().double(), {n: [] for n in N_ABLATED}
    for bias in biased_probes(bed, CFG):
        for kept, spurious in ((0, 1), (1, 0)):
            if bias.costs[kept] < LEAST_BIAS:
                continue
            train = bias.pair.balanced[spurious]["train"]
            rows_NF = train_NF[train.row_N]
            difference_F = rows_NF[train.true_N].mean(0) - rows_NF[~train.true_N].mean(0)
            effect_F = np.abs(difference_F * (W_dec.numpy() @ bias.unbiased[spurious].weight_D))
            part = bias.pair.balanced[kept]["test"]

            def accuracy(classifier, x_ND, part=part):
                return ((classifier.logits(x_ND[part.row_N].numpy()) > 0) == part.true_N).mean()

            clean, biased = (accuracy(one, acts_ND) for one in (bias.unbiased[kept], bias.biased))
            for n in N_ABLATED:
                ablated = [f for f in np.argsort(-effect_F)[:n] if effect_F[f] > 0]
                without_ND = acts_ND - z_NF[:, ablated] @ W_dec[ablated]
                shares[n].append(np.clip((accuracy(bias.biased, without_ND) - biased) / (clean - biased), -1, 1))
    for n in N_ABLATED:
        assert scored["trained"].parts[f"top_{n}"] == pytest.approx(np.mean(shares[n]), abs=0.02)


def counts_of(clean, biased, ablated, asked=1000):
    """Counts of one game in which every number of latents gives the same accuracies; (1, directions)."""
    rows = {"asked": [asked] * len(clean), "clean": clean, "biased": biased}
    rows |= {f"right_{n}": ablated for n in (*N_ABLATED, "chosen")}
    return {name: np.array([row]) for name, row in rows.items()}


def test_a_share_is_bounded_where_the_published_one_is_not():
    counts = counts_of(clean=[703, 900], biased=[701, 600], ablated=[400, 750])
    assert published_shares(counts)["scr_dir1_threshold_2"] == pytest.approx(-150.5)
    numbers = SHARES.compute({n: c.astype(float) for n, c in counts.items()}, {})
    assert numbers["value"][0] == pytest.approx((-1 + 0.5) / 2)


def test_a_tie_of_the_two_directions_has_a_score_where_the_published_one_has_none():
    counts = counts_of(clean=[900, 900], biased=[600, 600], ablated=[750, 900])
    assert "scr_metric_threshold_2" not in published_shares(counts)
    numbers = SHARES.compute({n: c.astype(float) for n, c in counts.items()}, {})
    assert numbers["value"][0] == pytest.approx(0.75)


def test_the_published_direction_is_the_one_that_bias_hurts_more():
    counts = counts_of(clean=[900, 950], biased=[600, 700], ablated=[660, 900])
    shares = published_shares(counts)
    assert shares["scr_dir1_threshold_5"] == pytest.approx(0.2) == shares["scr_metric_threshold_5"]
    assert shares["scr_dir2_threshold_5"] == pytest.approx(0.8)
