import warnings

import numpy as np
import pytest
from planted import perfect_sae, planted
from scipy.sparse import csr_array

from boardgame_sae.metrics.saebench.data.concepts import concepts, truth
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.studies.probing_regimes.methods import Reading, baselines, read, sae_probes
from boardgame_sae.studies.probing_regimes.places import Case, draw, places, with_wrong_labels
from boardgame_sae.studies.probing_regimes.probing_regimes import (
    ProbingRegimesStudy,
    latents_of,
    loaded,
    probing_regimes,
    untrained_like,
)
from boardgame_sae.studies.probing_regimes.quiver import Quiver, best, quiver
from boardgame_sae.studies.probing_regimes.tables import means, totals
from boardgame_sae.studies.study import Setting
from boardgame_sae.transcripts.corpus import SPLITS

SIZES = {"train": 16, "validation": 16, "test": 400}
LABEL = 7
"""The latent that is the label, where one is."""


def superposition(seed, *, is_label=True, d_model=24, n_latents=200):
    """Sparse latents, activations that hold them in superposition, and a label: one of the latents, or a coin."""
    rng = np.random.default_rng(seed)
    rows_FD = rng.normal(size=(n_latents, d_model)) / np.sqrt(d_model)
    acts, latents, truths = {}, {}, {}
    for split, n in SIZES.items():
        truths[split] = rng.permutation(np.arange(n) % 2 == 0)
        on_NF = rng.random((n, n_latents)) < 0.05
        if is_label:
            on_NF[:, LABEL] = truths[split]
        z_NF = on_NF * rng.uniform(0.5, 1.5, on_NF.shape)
        acts[split], latents[split] = (z_NF @ rows_FD).astype(np.float32), csr_array(z_NF.astype(np.float32))
    return acts, latents, truths


def test_an_sae_that_has_the_label_as_a_latent_wins_where_labels_are_few():
    quivers = [quiver(acts, {"sae": latents}, [], truths) for acts, latents, truths in map(superposition, range(4))]
    assert np.mean([one.gain for one in quivers]) > 0.1
    assert min(one.saes["sae"].on_test for one in quivers) > 0.95
    assert np.mean([one.chosen for one in quivers]) > 0.5


def test_an_sae_that_knows_nothing_gains_nothing_and_validation_leaks_nothing_into_test():
    sets = [superposition(100 + seed, is_label=False) for seed in range(10)]
    quivers = [quiver(acts, {"sae": latents}, [latents], truths) for acts, latents, truths in sets]
    spread = np.std([one.gain for one in quivers]) / np.sqrt(len(quivers))
    assert abs(np.mean([one.gain for one in quivers])) < 3 * spread + 0.005
    assert np.mean([one.alone for one in quivers]) == pytest.approx(0.5, abs=0.02)
    assert all(one.gain == one.control_gain for one in quivers)
    assert max(one.on_validation for each in quivers for one in each.saes.values()) > 0.7  # so validation could mislead


def test_latents_of_something_else_gain_nothing_where_a_baseline_is_perfect():
    acts, latents, truths = superposition(0, is_label=False)
    for split, true_N in truths.items():
        acts[split] = acts[split] + 5 * true_N[:, None]
    one = quiver(acts, {"sae": latents}, [], truths)
    assert one.alone > 0.99 and one.gain == 0 and one.chosen == 0


def test_of_methods_that_tie_on_validation_none_is_favoured():
    assert best([Reading(0.9, 0.6), Reading(0.9, 0.8), Reading(0.5, 1.0)]) == pytest.approx(0.7)
    tied = Quiver(
        {"a": Reading(0.9, 0.6), "b": Reading(0.1, 0.6)}, {"s": Reading(0.9, 0.8), "t": Reading(0.9, 0.7)}, []
    )
    assert tied.chosen == pytest.approx(2 / 3) and tied.gain == pytest.approx(0.1)


@pytest.mark.parametrize("n", [4, 64])
def test_every_method_reads_a_plain_property_and_converges_without_a_warning(n):
    rng = np.random.default_rng(0)
    truths = {split: np.arange(k) % 2 == 0 for split, k in (("train", n), ("validation", 16), ("test", 200))}
    acts = {split: (8 * true_N[:, None] + rng.normal(size=(len(true_N), 12))) for split, true_N in truths.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, estimators in baselines(n, 12).items():
            assert read(estimators, acts, truths).on_test > 0.95, name
        latents = {split: csr_array(np.maximum(x, 0)) for split, x in acts.items()}
        assert read(sae_probes(), latents, truths).on_test > 0.95


def test_labels_are_wrong_as_often_as_asked_in_either_class():
    true_N = np.arange(100) < 40
    label_N = with_wrong_labels(true_N, 0.25, np.random.default_rng(0))
    assert (label_N != true_N)[true_N].sum() == 10 and (label_N != true_N)[~true_N].sum() == 15
    assert (with_wrong_labels(true_N, 0, np.random.default_rng(0)) == true_N).all()


@pytest.fixture(scope="module")
def bed(tiny_corpus):
    return planted(tiny_corpus, n_games=120)


def test_shifts_draw_test_examples_of_other_games_and_plies(bed):
    one = concepts(bed, 1)[0]
    whole = places(bed, None, "random", 0)
    assert all(place.allowed_N.all() for place in whole.values())
    early = places(bed, "plies", "random", 0)
    ply = {split: bed.positions(split).ply_N for split in SPLITS}
    assert ply["train"][early["train"].allowed_N].max() < ply["test"][early["test"].allowed_N].min()
    opened = places(bed, "openings", "random", 0)
    first = {}
    for split in SPLITS:
        where = bed.positions(split)
        games = where.games_B[np.unique(where.game_N[opened[split].allowed_N])]
        first[split] = {int(moves[0]) for moves in bed.corpus.record(games)}
    assert first["train"] == first["validation"] and not first["train"] & first["test"]
    other = places(bed, "player", "epsilon_greedy:epsilon=0", 0)["test"]
    assert other.testbed is not bed and len(other.allowed_N) == len(other.testbed.positions("train"))
    again = places(bed, "player", "epsilon_greedy:epsilon=0", 0)["test"]
    assert again.testbed is other.testbed  # played once
    drawn = draw(Case("covariate shift", "other plies", 8, shift="plies"), one, early, 10, 0)
    assert drawn is not None and early["test"].allowed_N[drawn["test"].row_N].all()


def test_examples_are_as_many_as_asked_as_true_as_asked_and_the_same_at_test(bed):
    one = concepts(bed, 1)[0]
    where = places(bed, None, "random", 0)
    rare, few = (
        draw(case, one, where, 20, 0) for case in (Case("imbalance", "rare", 40, share=0.1), Case("few", "8", 8))
    )
    assert rare is not None and few is not None
    assert [int(rare[split].label_N.sum()) for split in SPLITS] == [4, 4, 10]
    assert [len(few[split].row_N) for split in SPLITS] == [8, 8, 20]
    assert rare["test"].row_N.tolist() == few["test"].row_N.tolist()
    true_N = truth(bed, "train", [one.column])[0][:, 0]
    assert (true_N[few["train"].row_N] == few["train"].label_N).all()
    assert draw(Case("few", "many", 10**6), one, where, 20, 0) is None


def test_an_sae_of_other_activations_is_refused_by_its_name(bed, tmp_path):
    make_sae("topk", d_model=bed.width + 1, n_latents=8, k=2).save(tmp_path / "other")
    with pytest.raises(ValueError, match=r"other of width"):
        loaded(bed, (str(tmp_path / "other"),))


def test_untrained_saes_are_as_wide_and_as_sparse(bed, tmp_path):
    sae = perfect_sae(bed)
    sae.save(tmp_path / "sae")
    (other,) = untrained_like(bed, (str(tmp_path / "sae"),), 0)
    own, random = (latents_of(bed, "test", each) for each in (sae, other))
    assert own.shape == random.shape and random.nnz == pytest.approx(own.nnz, rel=0.2)


def test_the_study_finds_a_planted_sae_useful_and_its_totals_are_means_over_settings(bed, tmp_path):
    perfect_sae(bed).save(tmp_path / "sae")
    cfg = ProbingRegimesStudy(
        saes=(str(tmp_path / "sae"),),
        n_properties=2,
        scarce=(8, 32),
        shares=(),
        flips=(),
        shifts=(),
        n_test=40,
        seeds=(0, 1),
    )
    plan = probing_regimes(cfg, Setting(tmp_path, bed, "cpu"))
    rows = [compute() for compute in plan.rows]
    (total,) = plan.totals(rows)
    assert total["gain"] == pytest.approx(np.mean([row["gain"] for row in rows])) and total["gain"] > 0
    assert total["gain_low"] <= total["gain"] <= total["gain_high"]
    assert len(plan.figure(rows).axes) == 2


def test_a_property_that_lacks_examples_in_one_setting_counts_in_the_others():
    quivers = {
        name: Quiver({"a": Reading(0.5, 0.6)}, {"s": Reading(0.9, test)}, [Reading(0.1, 0.5)])
        for name, test in (("x", 0.8), ("y", 1))
    }
    rows = [
        {"regime": "r", "setting": "s", **means([quivers])},
        {"regime": "r", "setting": "t", **means([{"x": quivers["x"]}])},
    ]
    assert totals(rows)[0]["gain"] == pytest.approx(0.3) and totals(rows)[0]["n_properties"] == 2


def test_properties_that_not_all_seeds_have_are_left_out_and_seeds_widen_the_intervals():
    def of(gains):
        return {
            name: Quiver({"a": Reading(0.5, 0.6)}, {"s": Reading(0.9, 0.6 + gain)}, [Reading(0.1, 0.5)])
            for name, gain in gains.items()
        }

    one, other = of({"x": 0.1, "y": 0.1, "z": 0.4}), of({"x": 0.3, "y": 0.3})
    row, alone = means([one, other]), means([{name: one[name] for name in "xy"}])
    assert row["n_properties"] == 2 and row["gain"] == pytest.approx(0.2) and row["seeds"] == 2
    assert alone["gain_high"] - alone["gain_low"] == pytest.approx(0)
    assert row["gain_high"] - row["gain_low"] > 0.5  # two seeds .2 apart: 12.7 standard errors of .1 either way
    (total,) = totals([{"regime": "r", "setting": "s", **row}])
    assert [total[name] for name in ("gain", "gain_low", "gain_high")] == pytest.approx(
        [row[name] for name in ("gain", "gain_low", "gain_high")]
    )
    assert total["by_property"] == {"x": pytest.approx([0.6, 0.2, 0]), "y": pytest.approx([0.6, 0.2, 0])}


def test_totals_do_not_depend_on_the_order_of_properties_which_a_resumed_study_sorts():
    rng = np.random.default_rng(0)
    by_property = {name: rng.random((2, 3)).tolist() for name in "bcade"}
    row = {"regime": "r", "setting": "s", "saes": 1.0, "chosen": 0.0}
    given, resumed = ([row | {"by_property": own}] for own in (by_property, dict(sorted(by_property.items()))))
    assert totals(given) == totals(resumed)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"saes": ()}, "need an entry"),
        ({"saes": ("a", "a")}, "twice"),
        ({"scarce": (2,)}, "at least 4"),
        ({"shares": (0.0,)}, "between 0 and 1"),
        ({"player": "epsilon_greeedy"}, "did you mean 'epsilon_greedy'"),
        ({"scarce": (), "shares": (), "flips": (), "shifts": ()}, "need an entry"),
    ],
)
def test_bad_settings_are_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        ProbingRegimesStudy(**fields)
