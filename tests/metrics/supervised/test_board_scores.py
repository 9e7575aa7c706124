import os
import subprocess
import sys

import baseline_scores
import brute_force
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from boardgame_sae.metrics.baselines.activations import Channels, Neurons
from boardgame_sae.metrics.baselines.probes import ProbeOutputs
from boardgame_sae.metrics.score import scores_in
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.metrics.supervised.by_property import SupervisedConfig
from boardgame_sae.metrics.supervised.coverage_score import coverage_score
from boardgame_sae.metrics.supervised.reconstruction_score import reconstruction_score
from boardgame_sae.probes.fit import ProbeConfig, load_probe, probe_run
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.testbeds import testbed as testbeds
from boardgame_sae.testbeds.testbed import Testbed

HOOK = "blocks.0.hook_resid_post"
GRID = brute_force.GRID
FULL = SupervisedConfig()
N = 6
"""Games per split: so few that some classes have no support."""


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, HOOK, n_games=N)


def spying(bed):
    """Latents that know something of the board, so that there are classifiers: noisy tokens of the game's own truth."""
    given = {}
    for seed, split in enumerate(("train", "validation", "test")):
        labels_NP = bed.labels(split)[:, :32].astype(np.float32)
        rng = np.random.default_rng(seed)
        strength = 0.2 + 0.8 * rng.random(labels_NP.shape)
        wrong = rng.random(labels_NP.shape) < np.linspace(0, 0.2, 32)
        weak_NF = np.where(wrong, 0.3 * rng.random(labels_NP.shape), 0)
        given[split] = np.maximum(labels_NP * strength, weak_NF)[:, ::3].astype(np.float32)
    return given


@pytest.fixture(scope="module")
def subject(bed):
    return Subject("spying", "sae", spying(bed), bed)


def test_scoring_leaves_torchs_number_of_threads_and_so_its_rounding_alone():
    """In a process of its own, as numba's threads start only once."""
    script = """
import numpy
import torch
from boardgame_sae.metrics.counting.latent_columns import as_latents
torch.set_num_threads(1)
torch.ones(300, 300) @ torch.ones(300, 300)
before = torch.get_num_threads()
as_latents(numpy.ones((3000, 30), numpy.float32))
print(before, torch.get_num_threads())
"""
    env = {**os.environ, "NUMBA_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, check=True)
    assert done.stdout == "1 1\n"


def latents(subject, split):
    return subject.given[split]


def supported(bed, start, stop):
    return [p for p in range(start, stop) if bed.supported_P[p]]


def test_coverage_equals_a_brute_force_selection_on_train_measured_on_test(bed, subject):
    columns = supported(bed, 0, 32)
    assert 10 < len(columns) < 32
    rows = brute_force.held_out(
        latents(subject, "train"),
        bed.labels("train")[:, columns],
        latents(subject, "test"),
        bed.labels("test")[:, columns],
    )
    found = coverage_score(subject, FULL)
    assert found.value == pytest.approx(np.mean([row[6] for row in rows]), abs=1e-9)
    assert found.parts["in_sample"] == pytest.approx(np.mean([row[0] for row in rows]), abs=1e-9)
    assert found.parts["always_on"] == pytest.approx(np.mean([row[7] for row in rows]), abs=1e-9)
    above = np.mean([(row[6] - row[7]) / (1 - row[7]) for row in rows])
    assert found.parts["above_chance"] == pytest.approx(above, abs=1e-9)
    details = found.details["by_property"]["mine_yours"]["details"]
    assert details["latent"] == [row[1] for row in rows]
    np.testing.assert_allclose(details["threshold"], [row[2] for row in rows], atol=1e-6)
    np.testing.assert_allclose(details["f1"], [row[6] for row in rows], atol=1e-6)
    assert 0.3 < found.value < 1


def test_the_published_coverage_stands_beside_it_over_all_classes_and_their_published_number(bed, subject):
    expected = brute_force.coverage_reference(latents(subject, "train"), bed.labels("train")[:, :32], denominator=48)
    assert coverage_score(subject, FULL).parts["reference"] == pytest.approx(expected, abs=1e-9)


def test_every_other_property_stands_beside_the_headline(bed, subject):
    for score in (coverage_score, reconstruction_score):
        found = score(subject, FULL)
        by_property = found.details["by_property"]
        assert list(by_property) == ["mine_yours", "legal_move", "flipped"]
        assert found.value == by_property["mine_yours"]["value"]
        for name in ("legal_move", "flipped"):
            assert found.parts[name] == by_property[name]["value"]
    columns = supported(bed, 32, 48)
    train, test = (bed.labels(split)[:, columns] for split in ("train", "test"))
    rows = brute_force.held_out(latents(subject, "train"), train, latents(subject, "test"), test)
    assert coverage_score(subject, FULL).parts["legal_move"] == pytest.approx(
        np.mean([row[6] for row in rows]), abs=1e-9
    )


def test_averaged_and_left_out_classes_are_listed_with_their_squares(bed, subject):
    for score in (coverage_score, reconstruction_score):
        for columns in bed.columns:
            details = score(subject, FULL).details["by_property"][columns.name]["details"]
            chosen = [p - columns.start for p in supported(bed, columns.start, columns.stop)]
            assert details["columns"] == [columns.class_names[p] for p in chosen]
            assert details["square"] == [columns.square_P[p] for p in chosen]
            assert details["unsupported"] == [label for label in columns.class_names if label not in details["columns"]]
            assert len(details["f1"]) == len(chosen)
            assert details["level"] == columns.level


def rebuilt(bed, subject):
    """Board reconstruction of mine_yours by definition: t chosen on validation, F1 on test, boards and truth there."""
    columns = supported(bed, 0, 32)
    split_of = {
        split: (latents(subject, split), bed.labels(split)[:, columns]) for split in ("train", "validation", "test")
    }
    train_NF, train_NP = split_of["train"]
    max_F = train_NF.max(0)

    def on(latents_NF, t):
        return latents_NF > np.float32(GRID[t]) * max_F

    def boards(split, t):
        hits_FP = on(train_NF, t).T.astype(int) @ train_NP
        n_F = on(train_NF, t).sum(0)
        rules_FP = (hits_FP >= 10) & (hits_FP >= 0.95 * n_F[:, None]) & (n_F[:, None] > 0)
        return (on(split_of[split][0], t).astype(int) @ rules_FP) > 0

    def f1(split, t):
        said_NP, true_NP = boards(split, t), split_of[split][1]
        hits = (said_NP & true_NP).sum()
        return 2 * hits / (said_NP.sum() + true_NP.sum()) if hits else 0.0

    best = int(np.argmax([f1("validation", t) for t in range(11)]))
    return best, [f1("test", t) for t in range(11)], boards("test", best), split_of["test"][1]


def test_board_reconstruction_equals_its_definition_with_the_threshold_chosen_on_validation(bed, subject):
    best, f1_T, said_NP, true_NP = rebuilt(bed, subject)
    found = reconstruction_score(subject, FULL)
    assert 0.1 < f1_T[best] < 1
    assert found.value == pytest.approx(f1_T[best], abs=1e-9)
    assert found.parts["threshold"] == pytest.approx(GRID[best])
    assert found.parts["precision"] == pytest.approx((said_NP & true_NP).sum() / said_NP.sum(), abs=1e-9)
    assert found.parts["recall"] == pytest.approx((said_NP & true_NP).sum() / true_NP.sum(), abs=1e-9)
    details = found.details["by_property"]["mine_yours"]["details"]
    np.testing.assert_allclose(details["f1_T"], f1_T, atol=1e-6)
    by_class = 2 * (said_NP & true_NP).sum(0) / (said_NP.sum(0) + true_NP.sum(0))
    np.testing.assert_allclose(details["f1"], by_class, atol=1e-6)


@pytest.mark.parametrize("score", [coverage_score, reconstruction_score])
def test_the_bootstrap_interval_holds_the_value_and_is_not_a_point(subject, score):
    low, high = score(subject, FULL).interval
    assert low < score(subject, FULL).value < high
    assert high - low < 0.3


def test_coverages_interval_equals_a_bootstrap_over_games_by_hand(bed, subject):
    details = coverage_score(subject, FULL).details["by_property"]["mine_yours"]["details"]
    columns, game_N = supported(bed, 0, 32), bed.positions("test").game_N
    train_NF, test_NF = latents(subject, "train"), latents(subject, "test")
    true_NP = bed.labels("test")[:, columns]
    edges = np.float32(details["threshold"]) * train_NF.max(0)[details["latent"]]
    said_NP = test_NF[:, details["latent"]] > edges
    values = []
    for drawn in np.random.default_rng(0).integers(N, size=(1000, N)):
        hits, said, true = (
            sum(table[game_N == game].sum(0) for game in drawn) for table in (said_NP & true_NP, said_NP, true_NP)
        )
        values.append((2 * hits / np.maximum(said + true, 1)).mean())
    np.testing.assert_allclose(coverage_score(subject, FULL).interval, np.quantile(values, [0.025, 0.975]), atol=1e-9)


def test_too_few_games_to_support_the_headline_is_an_error(tiny_model, tiny_corpus):
    small = Testbed(tiny_model, tiny_corpus, HOOK, n_games=1)
    with pytest.raises(ValueError, match=r"no class of mine_yours, legal_move, flipped .* score more games"):
        coverage_score(Subject("x", "sae", make_sae("relu", d_model=16, n_latents=8), small), FULL)


@torch.no_grad()
def test_a_subject_encodes_each_splits_scored_positions_once_span_by_span(bed, monkeypatch):
    monkeypatch.setattr(testbeds, "GAMES_AT_ONCE", 4)
    sae = make_sae("topk", d_model=bed.width, n_latents=24, k=4)
    subject = Subject("x", "sae", sae, bed)
    found = subject.latents("test")
    assert found is subject.latents("test")
    assert [part.n_positions for part in found] == [stop - start for start, stop, *_ in bed.spans("test")]
    assert len(found) == 2
    dense_NF = np.concatenate([part.to_dense() for part in found])
    expected_NF = sae.encode(bed.activations("test")).numpy()
    np.testing.assert_allclose(dense_NF, expected_NF, rtol=1e-5, atol=1e-6)
    assert subject.l0 == (dense_NF > 0).sum() / len(dense_NF)


def test_channels_and_neurons_are_the_signed_parts_of_the_activations():
    x_ND = torch.tensor([[1.0, -2.0], [0.0, 3.0]])
    assert Neurons().encode(x_ND).tolist() == [[1, 0], [0, 3]]
    assert Channels().encode(x_ND).tolist() == [[1, 0, 0, 2], [0, 3, 0, 0]]


@pytest.fixture(scope="module")
def probed(tiny_model, tiny_corpus, tmp_path_factory):
    """The testbed with a probe of each of its properties."""
    bed, root = Testbed(tiny_model, tiny_corpus, HOOK, n_games=N), tmp_path_factory.mktemp("probes")
    shared = {"hook_names": (HOOK,), "fit": "closed_form", "n_train_games": 200, "n_test_games": 20}
    for name in bed.properties:
        folder = probe_run(bed.model, bed.corpus, ProbeConfig(property=name, **shared), out=root / name)
        bed.probes[name] = load_probe(folder, HOOK)
    return bed


def test_probes_as_latents_give_the_probability_of_every_column_of_the_labels(probed):
    acts_ND = probed.activations("test")
    found_NP = ProbeOutputs(list(probed.probes.values())).encode(acts_ND)
    assert found_NP.shape == probed.labels("test").shape
    columns = []
    for probe in probed.probes.values():
        chance_NSC = F.softmax(torch.einsum("nd,dsc->nsc", acts_ND, probe.weight_DSC) + probe.bias_SC, dim=-1)
        columns.append(chance_NSC[:, :, 1:].flatten(1))  # class 0 stands for none of the labels
    torch.testing.assert_close(found_NP, torch.cat(columns, dim=1))
    right = ((found_NP > 0.5).numpy() == probed.labels("test"))[:, probed.supported_P].mean()
    assert right > 0.7


def test_baselines_are_probe_neurons_and_channels_at_their_own_hook_points(probed):
    found = baseline_scores.made_of_testbed(probed)
    assert [scores.subject["kind"] for scores in found.values()] == list(found)
    assert list(found) == ["probe", "probe_sae", "neurons", "residual"]
    hooks = {kind: scores.subject["testbed"]["hook_name"] for kind, scores in found.items()}
    assert hooks == {"probe": HOOK, "neurons": "blocks.0.mlp.hook_post", "residual": HOOK, "probe_sae": HOOK}
    for kind, scores in found.items():
        assert {"coverage", "board_reconstruction"} <= set(scores)
        met = {"probes", "decode", "W_dec"} if kind in ("residual", "probe_sae") else {"probes"}
        assert set(scores) == {name for name, score in scores_in("supervised").items() if set(score.needs) <= met}
    assert found["probe"]["coverage"].value > found["probe"]["coverage"].parts["always_on"] + 0.05


def test_a_probes_boards_are_what_it_finds_likelier_than_the_cut_of_best_f1_on_validation(probed):
    found = reconstruction_score(Subject("probe", "probe", ProbeOutputs(list(probed.probes.values())), probed), FULL)
    columns = supported(probed, 0, 32)
    says = {
        split: ProbeOutputs(list(probed.probes.values())).encode(probed.activations(split)).numpy()[:, columns]
        for split in ("validation", "test")
    }

    def scored(split, cut):
        precision, recall, f1 = brute_force.micro(says[split] > np.float32(cut), probed.labels(split)[:, columns])
        return {"f1": f1, "precision": precision, "recall": recall}

    cuts = [round(0.05 * i, 2) for i in range(1, 20)]
    cut = max(cuts, key=lambda cut: scored("validation", cut)["f1"])
    assert cuts[0] < cut < cuts[-1]
    assert found.parts["threshold"] == cut
    expected = scored("test", cut)
    assert found.value == pytest.approx(expected["f1"], abs=1e-9)
    assert found.parts["precision"] == pytest.approx(expected["precision"], abs=1e-9)
    assert found.parts["recall"] == pytest.approx(expected["recall"], abs=1e-9)
    assert "reference" not in found.parts
