"""TPP against ablations by hand, the published selection's fault, and the order of SAEs that are known to differ."""

import numpy as np
import pytest
import torch
from planted import known_saes, planted, random_sae

from boardgame_sae.metrics.saebench.ablation.effects import N_ABLATED, largest
from boardgame_sae.metrics.saebench.ablation.tpp import SET_SIZE, TPPConfig, probed_sets, tpp_score
from boardgame_sae.metrics.subject import Subject

CFG = TPPConfig(n_sets=2, n_train=200, n_test=100)


@pytest.fixture(scope="module")
def bed(tiny_corpus):
    return planted(tiny_corpus, n_games=80)


@pytest.fixture(scope="module")
def saes(bed):
    return known_saes(bed)


@pytest.fixture(scope="module")
def scored(bed, saes):
    return {name: tpp_score(Subject(name, "sae", sae, bed), CFG) for name, sae in saes.items()}


def test_a_perfect_sae_is_above_a_trained_one_and_that_above_random_and_permuted_ones(scored):
    values = {name: value.value for name, value in scored.items()}
    assert values["perfect"] > values["trained"] > max(values["random"], values["permuted"]) > -0.1
    assert all(value.interval[0] <= value.value <= value.interval[1] for value in scored.values())


def test_it_is_what_probes_read_of_activations_that_are_rebuilt_without_the_latents(bed, saes, scored):
    """By hand: encode, set the latents to zero, decode, add the error, ask scikit-learn's weights again."""
    sae, acts_ND = saes["trained"], bed.activations("test")
    z_NF = sae.encode(acts_ND).detach()
    error_ND = acts_ND - sae.decode(z_NF).detach()
    train_NF = sae.encode(bed.activations("train")).detach().double().numpy()
    W_dec, totals = sae.W_dec.detach().double().numpy(), dict.fromkeys(N_ABLATED, 0.0)
    for probes in probed_sets(bed, CFG):
        for i, own in enumerate(probes):
            train = own.examples["train"]
            rows_NF = train_NF[train.row_N]
            difference_F = rows_NF[train.true_N].mean(0) - rows_NF[~train.true_N].mean(0)
            effect_F = np.maximum(difference_F, 0) * (W_dec @ own.classifier.weight_D)
            for n in N_ABLATED:
                ablated = [f for f in np.argsort(-effect_F)[:n] if effect_F[f] > 0]
                kept_NF = z_NF.clone()
                kept_NF[:, ablated] = 0
                rebuilt_ND = (sae.decode(kept_NF).detach() + error_ND).double().numpy()
                for j, read in enumerate(probes):
                    part = read.examples["test"]
                    clean = (read.classifier.logits(acts_ND[part.row_N].double().numpy()) > 0) == part.true_N
                    after = (read.classifier.logits(rebuilt_ND[part.row_N]) > 0) == part.true_N
                    weight = 1 / SET_SIZE if i == j else -1 / (SET_SIZE * (SET_SIZE - 1))
                    totals[n] += weight * float(clean.mean() - after.mean()) / CFG.n_sets
    for n in N_ABLATED:
        assert scored["trained"].parts[f"top_{n}"] == pytest.approx(totals[n], abs=2e-3)


def test_only_latents_with_an_effect_are_ablated():
    """The published selection takes the n largest of all effects, so zeros fill up what positive ones leave."""
    effects_F = np.array([0.0, 3.0, 0.0, 1.0, -2.0])
    published = torch.topk(torch.from_numpy(effects_F), k=4).indices.tolist()
    assert set(published) == {0, 1, 2, 3}
    assert largest(effects_F, 4).tolist() == [1, 3]


def test_ablating_nothing_scores_exactly_zero(bed):
    """Published, new negatives are drawn for each accuracy, so that it scores up to .014."""
    sae = random_sae(bed)
    with torch.no_grad():
        sae.W_dec.zero_()
    value = tpp_score(Subject("silent", "sae", sae, bed), CFG)
    assert value.value == 0 and value.interval == (0, 0)


def test_the_number_of_latents_is_the_best_on_validation(scored):
    for value in scored.values():
        on_validation = value.details["on_validation"]
        assert on_validation[str(value.details["n_ablated"])] == max(on_validation.values())
        assert value.value == value.parts[f"top_{value.details['n_ablated']}"]
        assert value.value == pytest.approx(value.parts["intended"] - value.parts["unintended"])
