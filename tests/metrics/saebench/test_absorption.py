"""Absorption: planted absorption is found, useless SAEs look bad, and published formulas hold at every position."""

import numpy as np
import pytest
import torch
from planted import perfect_sae, planted, random_sae, trained_sae
from scipy.sparse import csr_array

from boardgame_sae.metrics.saebench import absorption
from boardgame_sae.metrics.saebench.absorption import (
    AbsorptionConfig,
    absorption_score,
    probed_parents,
    published_absorption,
)
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.saes.registry import make_sae

CFG = AbsorptionConfig(n_parents=6, n_train=200, n_test=100)


@pytest.fixture(scope="module")
def bed(tiny_corpus):
    """Activations that are written by parents and children alike."""
    return planted(tiny_corpus, properties=("mine_yours", "occupied", "legal_move"), n_games=110)


def absorbing_sae(bed, child="mine"):
    """The perfect SAE, but the latent of `occupied` is off where `mine` is on, whose latent writes both."""
    names = [name for columns in bed.columns for name in columns.class_names]
    sae = perfect_sae(bed)
    with torch.no_grad():
        for index, name in enumerate(names):
            square, *what = name.split()
            if what == ["occupied"]:
                mine = names.index(f"{square} {child}")
                sae.W_enc[:, index] -= 2 * bed.directions_PD[mine]
                sae.W_dec[mine] += bed.directions_PD[index]
    return sae


@pytest.fixture(scope="module")
def scored(bed):
    trained = trained_sae(bed)
    silent = random_sae(bed)
    with torch.no_grad():
        silent.b_enc.fill_(-1e6)
    saes = {
        "perfect": perfect_sae(bed),
        "absorbing": absorbing_sae(bed),
        "trained": trained,
        "random": random_sae(bed),
        "dead": silent,
    }
    return {name: absorption_score(Subject(name, "sae", sae, bed), CFG) for name, sae in saes.items()}


def test_a_perfect_sae_absorbs_nothing_a_trained_one_less_than_a_random_one_and_a_dead_one_all(scored):
    values = {name: value.value for name, value in scored.items()}
    assert values["perfect"] < 0.01 < values["trained"] < values["random"] < values["dead"] == 1
    assert all(value.interval[0] <= value.value <= value.interval[1] for value in scored.values())


def test_planted_absorption_is_found_where_one_latent_stands_for_the_parent(scored):
    """More main latents than one include the child's own, as published: the parent is split, not absorbed."""
    absorbing, perfect = scored["absorbing"], scored["perfect"]
    assert perfect.parts["one_latent"] < 0.01
    share = np.mean(["occupied" in row["parent"] for row in absorbing.details["by_parent"]])
    assert absorbing.parts["one_latent"] == pytest.approx(share * 0.5, abs=0.1)
    assert absorbing.value < 0.5 * absorbing.parts["one_latent"]


def test_absorption_by_one_child_shows_as_a_gap(bed, monkeypatch):
    """With one main latent allowed, a child at which the parent is not told is named by its recall."""
    monkeypatch.setattr(absorption, "MOST_MAIN", 1)
    value = absorption_score(Subject("absorbing", "sae", absorbing_sae(bed), bed), CFG)
    for row in value.details["by_parent"]:
        low, high = sorted(row["recall_given"].values())[:: len(row["recall_given"]) - 1]
        assert high > 0.9 and (low < 0.1 if "occupied" in row["parent"] else low > 0.9)
    assert value.parts["gap"] > 0.2 and value.parts["fraction_published"] > 0.1


def test_decoder_norms_do_not_matter(bed):
    """Published, rows of norm 2 with the same reconstruction change the score; so does `fraction_published`."""
    sae = absorbing_sae(bed)
    doubled = make_sae("jumprelu", d_model=bed.width, n_latents=sae.cfg.n_latents)
    doubled.load_state_dict(sae.state_dict())
    with torch.no_grad():
        doubled.W_dec *= 2
        doubled.W_enc /= 2
        doubled.b_enc /= 2
        doubled.get_parameter("threshold").div_(2)
    first, second = (absorption_score(Subject("x", "sae", one.eval(), bed), CFG) for one in (sae, doubled))
    assert second.value == pytest.approx(first.value, abs=1e-9)
    assert second.parts["fraction_published"] != pytest.approx(first.parts["fraction_published"], abs=1e-3)


def test_main_latents_do_not_depend_on_test_games(bed, scored):
    sae, other = trained_sae(bed), planted(bed.corpus, properties=bed.properties, n_games=110)
    for family in other.once(probed_parents, CFG):
        family.examples["test"].true_N[:] = ~family.examples["test"].true_N
    after = absorption_score(Subject("x", "sae", sae, other), CFG)
    before = scored["trained"].details["by_parent"]
    assert [row["main_latents"] for row in before] == [row["main_latents"] for row in after.details["by_parent"]]


def published_by_hand(x_D, f_F, W_dec, w_D, main):
    """One position, after the published code."""
    u = w_D / np.linalg.norm(w_D)
    cosine = [float(row @ u / np.linalg.norm(row)) for row in W_dec]
    q = [f * c for f, c in zip(f_F, cosine, strict=True)]
    a, total = float(x_D @ u), sum(q[f] for f in main)
    others = sorted((q[f] for f in range(len(q)) if f not in main and cosine[f] >= 0.1 and q[f] > 0), reverse=True)
    absorbed = sum(others[:3])
    if total >= a or absorbed / a < 0.4:
        fraction = 0.0
    elif total <= 0:
        fraction = 1.0
    else:
        kept = min(absorbed, a - total)
        fraction = min(1.0, max(0.0, kept / (kept + total)))
    top = int(np.argmax(q))
    full = all(f_F[f] < 1e-8 for f in main) and cosine[top] >= 0.025 and a >= 0 and q[top] / a >= 0.4
    return fraction, full


def test_the_published_formulas_hold_at_every_position():
    rng = np.random.default_rng(0)
    W_dec, w_D, main = rng.normal(size=(12, 6)), rng.normal(size=6), [3, 7]
    latents_NF = np.maximum(rng.normal(size=(400, 12)), 0) * (rng.random((400, 12)) < 0.4)
    acts_ND = latents_NF @ W_dec + 0.5 * rng.normal(size=(400, 6)) + w_D * rng.uniform(0, 2, (400, 1))
    fraction_N, full_N = published_absorption(acts_ND, csr_array(latents_NF), W_dec, w_D, main)
    by_hand = [published_by_hand(x, f, W_dec, w_D, main) for x, f in zip(acts_ND, latents_NF, strict=True)]
    np.testing.assert_allclose(fraction_N, [fraction for fraction, _ in by_hand], atol=1e-12)
    assert full_N.tolist() == [full for _, full in by_hand]
    assert 0 < fraction_N.mean() < 1 and 0 < full_N.mean() < 1
