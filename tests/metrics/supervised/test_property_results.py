"""A whole subject against loops, and against what must come out: planted truth, shuffled truth, nothing at all."""

import gc
import tempfile
from contextlib import contextmanager
from dataclasses import replace

import baseline_scores
import brute_force
import numpy as np
import pytest
import torch

from boardgame_sae.metrics.baselines.probes import ProbeOutputs, SparseProbeOutputs
from boardgame_sae.metrics.counting.game_sums import CLASSIFIER
from boardgame_sae.metrics.coverage import coverage, held_out_coverage
from boardgame_sae.metrics.evaluate import evaluate
from boardgame_sae.metrics.reconstruction import board_reconstruction
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.metrics.supervised.published_code import board_reconstruction_reference, coverage_reference
from boardgame_sae.probes.fit import ProbeConfig, load_probe, probe_run
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.testbeds import testbed as testbeds
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.generate import generate
from boardgame_sae.transcripts.labels import PackedLabels

HOOK = "blocks.0.hook_resid_post"
GRID = brute_force.GRID
SPLITS = ("train", "validation", "test")
N = 14
"""Games per split: so few that some classes have no support."""
LEVELS = {"low": ["mine_yours"], "high": ["legal_move", "flipped"]}


@contextmanager
def in_spans_of(n_games):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(testbeds, "GAMES_AT_ONCE", n_games)
        yield


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus):
    """Three spans per split. Where no move is legal, `legal_move` counts as unknown, as a partial property does."""
    with in_spans_of(5):
        bed = Testbed(tiny_model, tiny_corpus, HOOK, n_games=N)
        bed.columns = tuple(replace(each, partial=each.name == "legal_move") for each in bed.columns)
        assert [span.n_games for span in bed.spans("test")] == [5, 5, 4]
        yield bed


def noisy(bed):
    """Latents that know something of the truth, one never on, one always, one dead in the first half of train."""
    given = {}
    for seed, split in enumerate(SPLITS):
        rng = np.random.default_rng(seed)
        truth_NF = bed.labels(split)[:, [1, 6, 20, 35, 45, 54, 59]]
        strength_NF = rng.uniform(0.1, 1.2 if split == "test" else 1.0, truth_NF.shape)
        wrong_NF = rng.random(truth_NF.shape) < np.linspace(0, 0.15, truth_NF.shape[1])
        known_NF = np.where(truth_NF, strength_NF, np.where(wrong_NF, 0.4 * rng.random(truth_NF.shape), 0))
        late_N = (bed.positions(split).game_N >= N // 2) & truth_NF[:, 2]
        others_NF = np.stack([np.zeros(len(late_N)), np.full(len(late_N), 0.7), late_N * strength_NF[:, 2]], axis=1)
        given[split] = np.concatenate([known_NF, others_NF], axis=1).astype(np.float32)
    return given


NEVER_ON, ALWAYS_ON, LATE = 7, 8, 9


@pytest.fixture(scope="module")
def given(bed):
    return noisy(bed)


@pytest.fixture(scope="module")
def found(bed, given):
    return evaluate(given, bed)


class ByHand:
    """One property of the testbed: its scored classes, and latents, truth and games where that truth is known."""

    def __init__(self, bed, given, name):
        self.columns = next(each for each in bed.columns if each.name == name)
        own = slice(self.columns.start, self.columns.stop)
        self.chosen = np.flatnonzero(supported(bed)[own])
        self.labels = [self.columns.class_names[c] for c in self.chosen]
        self.all, self.sets, self.games = {}, {}, {}
        for split in SPLITS:
            labels_NP = bed.labels(split)[:, own]
            known_N = labels_NP.any(1) if self.columns.partial else np.ones(len(labels_NP), bool)
            self.all[split] = given[split][known_N], labels_NP[known_N]
            self.sets[split] = given[split][known_N], labels_NP[known_N][:, self.chosen]
            self.games[split] = bed.positions(split).game_N[known_N]
        self.max_F = brute_force.largest(self.sets["train"][0])
        self.rows = brute_force.held_out(*self.sets["train"], *self.sets["test"])

    def covered(self):
        """(N, C) on test: whether each class's chosen latent is on."""
        test_NF = self.sets["test"][0]
        on = {t: brute_force.is_on(test_NF, self.max_F, t) for t in {row[2] for row in self.rows}}
        return np.stack([on[row[2]][:, row[1]] for row in self.rows], axis=1)

    def rebuilt(self):
        """Threshold of best F1 on validation, F1 on test at each, classifiers at each, boards (N, C) on test."""
        found = brute_force.classifiers(*self.sets["train"], self.max_F, GRID, 0.95, 10)

        def boards(split, t):
            return brute_force.boards(found, self.sets[split][0], self.max_F, t, GRID[t], len(self.chosen))

        f1_TX = [[brute_force.micro(boards(s, t), self.sets[s][1])[2] for s in SPLITS[1:]] for t in range(len(GRID))]
        best = max(range(len(GRID)), key=lambda t: f1_TX[t][0])
        n_T = [sum(each[0] == t for each in found) for t in range(len(GRID))]
        return GRID[best], [each[1] for each in f1_TX], n_T, boards("test", best)

    def by_game(self, said_NC):
        """(B, C, 3) hits, said and true of every test game; and the positions of each game (B,)."""
        true_NC, game_N = self.sets["test"][1], self.games["test"]
        tables = [said_NC & true_NC, said_NC, true_NC]
        sums = [[table[game_N == game].sum(0) for table in tables] for game in range(N)]
        return np.array(sums).transpose(0, 2, 1), np.array([(game_N == game).sum() for game in range(N)])


def supported(bed):
    """Columns true and false ten times in every split, where their truth is known."""
    supported_P = np.ones(bed.columns[-1].stop, bool)
    for columns in bed.columns:
        for split in SPLITS:
            labels_NC = bed.labels(split)[:, columns.start : columns.stop]
            known_NC = labels_NC[labels_NC.any(1)] if columns.partial else labels_NC
            supported_P[columns.start : columns.stop] &= (known_NC.sum(0) >= 10) & ((~known_NC).sum(0) >= 10)
    return supported_P


def resampled(by_game, statistic):
    """The statistic on each of 1000 draws of games: of the drawn games' counts, one game after another."""
    draws = np.random.default_rng(0).integers(N, size=(1000, N))
    return np.array([statistic(*(sum(table[game] for game in drawn) for table in by_game)) for drawn in draws])


def mean_f1(sums_CX, n):
    return np.mean([2 * hit / (said + true) if said + true else 0 for hit, said, true in sums_CX])


def micro_f1(sums_CX, n):
    hit, said, true = np.sum(sums_CX, axis=0)
    return 2 * hit / (said + true) if said + true else 0.0


def above(sums_CX, n):
    found = []
    for hit, said, true in sums_CX:
        always = 2 * true / (n + true)
        found.append(((2 * hit / (said + true) if said + true else 0) - always) / (1 - always))
    return np.mean(found)


def ends(values_R):
    return tuple(np.quantile(values_R, [0.025, 0.975]))


@pytest.fixture(scope="module")
def by_hand(bed, given):
    return {columns.name: ByHand(bed, given, columns.name) for columns in bed.columns}


@pytest.mark.parametrize("name", ["mine_yours", "legal_move", "flipped"])
def test_coverage_of_a_property_equals_loops(found, by_hand, name):
    ours, hand = found["coverage"].details["by_property"][name], by_hand[name]
    f1 = [row[6] for row in hand.rows]
    assert 0.2 < np.mean(f1) < 1 and len(hand.chosen) < len(hand.columns.class_names) + (name == "mine_yours")
    assert ours["value"] == pytest.approx(np.mean(f1), abs=1e-12)
    assert ours["parts"]["in_sample"] == pytest.approx(np.mean([row[0] for row in hand.rows]), abs=1e-12)
    assert ours["parts"]["always_on"] == pytest.approx(np.mean([row[7] for row in hand.rows]), abs=1e-12)
    expected = np.mean([(row[6] - row[7]) / (1 - row[7]) for row in hand.rows])
    assert ours["parts"]["above_chance"] == pytest.approx(expected, abs=1e-12)
    details, said_NC = ours["details"], hand.covered()
    assert details["columns"] == hand.labels
    assert details["latent"] == [row[1] for row in hand.rows]
    single = [brute_force.micro(said_NC[:, [c]], hand.sets["test"][1][:, [c]]) for c in range(len(hand.chosen))]
    np.testing.assert_allclose(details["precision"], [each[0] for each in single], atol=1e-6)
    np.testing.assert_allclose(details["recall"], [each[1] for each in single], atol=1e-6)
    np.testing.assert_allclose(details["f1"], f1, atol=1e-6)
    np.testing.assert_allclose(details["threshold"], [row[2] for row in hand.rows], atol=1e-6)
    np.testing.assert_allclose(details["always_on"], [row[7] for row in hand.rows], atol=1e-6)
    counts = hand.by_game(said_NC)
    assert ours["interval"] == pytest.approx(ends(resampled(counts, mean_f1)), abs=1e-9)
    assert details["above_chance_interval"] == pytest.approx(ends(resampled(counts, above)), abs=1e-9)


@pytest.mark.parametrize("name", ["mine_yours", "legal_move", "flipped"])
def test_reconstruction_from_a_propertys_classes_equals_loops(found, by_hand, name):
    ours, hand = found["board_reconstruction"].details["by_property"][name], by_hand[name]
    threshold, f1_T, n_T, said_NC = hand.rebuilt()
    precision, recall, f1 = brute_force.micro(said_NC, hand.sets["test"][1])
    assert 0.05 < f1 < 1
    assert ours["value"] == pytest.approx(f1, abs=1e-12)
    assert ours["parts"]["precision"] == pytest.approx(precision, abs=1e-12)
    assert ours["parts"]["recall"] == pytest.approx(recall, abs=1e-12)
    assert ours["parts"]["threshold"] == threshold
    np.testing.assert_allclose(ours["details"]["f1_T"], f1_T, atol=1e-6)
    assert ours["details"]["n_classifiers"] == n_T
    single = [brute_force.micro(said_NC[:, [c]], hand.sets["test"][1][:, [c]])[2] for c in range(len(hand.chosen))]
    np.testing.assert_allclose(ours["details"]["f1"], single, atol=1e-6)
    assert ours["interval"] == pytest.approx(ends(resampled(hand.by_game(said_NC), micro_f1)), abs=1e-9)


@pytest.mark.parametrize("name", ["mine_yours", "legal_move", "flipped"])
def test_published_numbers_of_a_property_equal_loops_over_all_its_classes(bed, given, found, by_hand, name):
    """The scale is that of half the games, in which one latent never fires; 14 // 2 games end amidst a span."""
    hand = by_hand[name]
    first_N = bed.positions("train").game_N < N // 2
    max_F = brute_force.largest(given["train"][first_N])
    assert max_F[LATE] == 0 < hand.max_F[LATE]
    (train_NF, train_NP), test = hand.all["train"], hand.all["test"]
    alive_NF = train_NF * (max_F > 0)
    published_size = {"mine_yours": 48}.get(name, 16)
    expected = brute_force.coverage_reference(alive_NF, train_NP, published_size, max_F)
    coverage = found["coverage"].details["by_property"][name]
    assert coverage["parts"]["reference"] == pytest.approx(expected, abs=1e-12)
    rebuilt = found["board_reconstruction"].details["by_property"][name]
    square_P = hand.columns.square_P.tolist()
    value, threshold, _, _, last = brute_force.published((train_NF, train_NP), test, square_P, max_F)
    assert rebuilt["parts"]["reference"] == pytest.approx(value, abs=1e-12)
    assert rebuilt["details"]["reference_threshold"] == threshold
    assert rebuilt["details"]["reference_last"] == pytest.approx(last, abs=1e-12)


def test_a_group_is_the_plain_mean_of_its_properties_and_so_is_every_resample(found, by_hand):
    for score, statistics in (("coverage", {"value": mean_f1, "above_chance": above}), ("board_reconstruction", {})):
        groups, by_property = found[score].details["groups"], found[score].details["by_property"]
        assert {group: value["members"] for group, value in groups.items()} == LEVELS
        for group, members in LEVELS.items():
            keys = ("above_chance", "always_on", "in_sample", "reference") if score == "coverage" else ("reference",)
            assert set(groups[group]) == {"members", "value", "interval", *keys}
            for key in keys:
                expected = np.mean([by_property[name]["parts"][key] for name in members])
                assert groups[group][key] == pytest.approx(expected, abs=1e-12)
            assert groups[group]["value"] == pytest.approx(np.mean([by_property[name]["value"] for name in members]))
            assert found[score].parts[group] == groups[group]["value"]
            said = {name: by_hand[name].covered() if statistics else by_hand[name].rebuilt()[3] for name in members}
            statistic = mean_f1 if statistics else micro_f1
            drawn = [resampled(by_hand[name].by_game(said[name]), statistic) for name in members]
            assert groups[group]["interval"] == pytest.approx(ends(np.mean(drawn, axis=0)), abs=1e-9)


def test_each_square_has_the_mean_or_the_pooled_f1_of_its_classes(found, by_hand):
    for name, hand in by_hand.items():
        rebuilt_NC, covered_NC, true_NC = hand.rebuilt()[3], hand.covered(), hand.sets["test"][1]
        squares = [label.split()[0] for label in hand.labels]
        expected = {"coverage": {}, "board_reconstruction": {}}
        for square in dict.fromkeys(squares):
            own = [c for c, other in enumerate(squares) if other == square]
            single = [brute_force.micro(covered_NC[:, [c]], true_NC[:, [c]])[2] for c in own]
            expected["coverage"][square] = np.mean(single)
            expected["board_reconstruction"][square] = brute_force.micro(rebuilt_NC[:, own], true_NC[:, own])[2]
        for score, by_square in expected.items():
            ours = found[score].details["by_property"][name]["details"]["by_square"]
            assert set(ours) == set(by_square)
            assert ours == pytest.approx(by_square, abs=1e-6)


def test_sums_of_every_game_are_those_of_loops_class_after_class_then_positions(found, by_hand):
    covered = [hand.by_game(hand.covered()) for hand in by_hand.values()]
    rebuilt = [hand.by_game(hand.rebuilt()[3])[0] for hand in by_hand.values()]
    n_BQ = np.stack([n_B for _, n_B in covered], axis=1)
    expected = {
        "coverage": np.concatenate([*(sums for sums, _ in covered), np.stack([n_BQ] * 3, axis=2)], axis=1),
        "board_reconstruction": np.concatenate(rebuilt, axis=1),
    }
    for score, sums_BPX in expected.items():
        assert tuple(found[score].sums.parts) == CLASSIFIER
        for x, part in enumerate(found[score].sums.parts.values()):
            np.testing.assert_array_equal(part.toarray(), sums_BPX[:, :, x])
        sizes = [[name, "low" if name == "mine_yours" else "high", len(hand.chosen)] for name, hand in by_hand.items()]
        assert found[score].details["layout"] == sizes


def test_the_table_of_latents_equals_loops_over_every_latent_class_and_threshold(bed, given, found, by_hand):
    table = found.latents
    assert table["latent"].tolist() == list(range(10))
    np.testing.assert_allclose(table["density"], (given["test"] > 0).mean(0), atol=1e-12)
    told = {
        name: brute_force.tellings(*hand.sets["train"], np.ones(len(hand.chosen), bool))
        for name, hand in by_hand.items()
    }
    precise = [
        (name, f, p)
        for name, hand in by_hand.items()
        for f, p in {each[1:] for each in brute_force.classifiers(*hand.sets["train"], hand.max_F, GRID, 0.95, 10)}
    ]
    assert table["n_precise"].tolist() == [sum(each[1] == f for each in precise) for f in range(10)]
    properties = set()
    for f in range(10):
        row = {column: values[f] for column, values in table.items()}
        if f == NEVER_ON:
            assert (row["property"], row["label"]) == ("", "")
            assert not any(row[each] for each in ("precision", "recall", "f1", "train_f1", "above_chance", "always_on"))
            assert not row["threshold"] and not row["density"] and not row["max_activation"]
            continue
        name, hand = row["property"], by_hand[row["property"]]
        properties.add(name)
        p, t = hand.labels.index(row["label"]), GRID.index(row["threshold"])
        best = max(each[0] for own in told.values() for each in own[f])
        chosen = next(each for each in told[name][f] if each[1:3] == (t, p))
        assert chosen[0] == pytest.approx(best, abs=1e-12)
        train_NC, (test_NF, test_NC) = hand.sets["train"][1], hand.sets["test"]
        assert row["max_activation"] == hand.max_F[f]
        assert row["train_f1"] == pytest.approx(brute_force.f1(chosen[3], chosen[4], train_NC[:, p].sum()))
        on_N1, true_N1 = brute_force.is_on(test_NF, hand.max_F, GRID[t])[:, [f]], test_NC[:, [p]]
        precision, recall, f1 = brute_force.micro(on_N1, true_N1)
        positives, n = true_N1.sum(), len(true_N1)
        assert row["precision"] == pytest.approx(precision, abs=1e-12)
        assert row["recall"] == pytest.approx(recall, abs=1e-12)
        assert row["f1"] == pytest.approx(f1, abs=1e-12)
        assert row["always_on"] == pytest.approx(brute_force.f1(positives, n, positives), abs=1e-12)
        assert row["above_chance"] == pytest.approx(brute_force.above_chance(f1, positives, n), abs=1e-12)
    assert properties == set(by_hand)


def test_a_latent_is_on_at_a_share_of_all_positions_even_where_its_class_is_known_at_few(bed):
    known = {split: bed.labels(split)[:, 32:48].any(1) for split in SPLITS}
    given = {split: bed.labels(split)[:, [35]] + np.float32(0.5) * ~known[split][:, None] for split in SPLITS}
    table = evaluate(given, bed, "quick").latents
    assert table["property"].tolist() == ["legal_move"]
    assert table["density"][0] == pytest.approx((given["test"] > 0).mean(), abs=1e-12)
    assert not known["test"].all()


def assert_same(ours, theirs, *, exactly=True):
    """Two evaluations say the same, sums and tables of latents too."""
    assert set(ours) == set(theirs)
    assert ours.subject == theirs.subject
    for name, value in theirs.items():
        if exactly:
            assert ours[name].plain() == value.plain()
        assert ours[name].value == pytest.approx(value.value, abs=1e-6)
        assert (ours[name].sums is None) == (value.sums is None)
        if value.sums is not None:
            assert tuple(ours[name].sums.parts) == tuple(value.sums.parts)
            for part, theirs_BP in value.sums.parts.items():
                same = (ours[name].sums.parts[part] != theirs_BP).nnz == 0
                assert same or not exactly
    assert set(ours.latents) == set(theirs.latents)
    if exactly:
        for column, values in theirs.latents.items():
            np.testing.assert_array_equal(ours.latents[column], values)


@pytest.mark.parametrize("max_bytes", [1, 20_000])
def test_a_small_memory_budget_puts_latents_on_disk_and_changes_nothing(
    bed, given, found, max_bytes, monkeypatch, tmp_path
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert_same(evaluate(given, bed, max_bytes=max_bytes), found)
    gc.collect()
    assert not list(tmp_path.iterdir())
    sae = make_sae("topk", d_model=bed.width, n_latents=24, k=4)
    assert_same(evaluate(sae, bed, max_bytes=max_bytes), evaluate(sae, bed))


def test_the_temporary_folder_holds_what_is_beyond_half_the_budget_and_goes_with_the_subject(
    bed, given, monkeypatch, tmp_path
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    roomy = Subject("x", "sae", given, bed)
    sizes = [part.nbytes for part in roomy.latents("train")]
    assert not list(tmp_path.iterdir())
    tight = Subject("x", "sae", given, bed, max_bytes=2 * sum(sizes[:2]))
    for ours, theirs in zip(tight.latents("train"), roomy.latents("train"), strict=True):
        np.testing.assert_array_equal(ours.to_dense(), theirs.to_dense())
    (folder,) = tmp_path.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["train-2.rows.npy", "train-2.values.npy"]
    del tight, ours
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_how_many_games_are_counted_together_changes_nothing(bed, tiny_model, tiny_corpus, given, found):
    sae = make_sae("topk", d_model=bed.width, n_latents=24, k=4)
    by_number = {}
    for n_games in (1, 7, 128):
        with in_spans_of(n_games):
            other = Testbed(tiny_model, tiny_corpus, HOOK, n_games=N)
            other.columns = bed.columns
            assert len(other.spans("test")) == -(-N // n_games)
            assert_same(evaluate(given, other), found)
            by_number[n_games] = evaluate(sae, other)
    for n_games in (1, 7):
        assert_same(by_number[n_games], by_number[128], exactly=False)


def test_the_quick_suite_is_the_same_but_for_what_was_published(bed, given, found):
    quick = evaluate(given, bed, "quick")
    for score in ("coverage", "board_reconstruction"):
        ours, theirs = quick[score], found[score]
        assert (ours.value, ours.interval) == (theirs.value, theirs.interval)
        assert "reference" in theirs.parts and "reference" not in ours.parts
        assert "reference" not in str(ours.details)
        for name, value in theirs.details["by_property"].items():
            kept = {key: part for key, part in value["parts"].items() if key != "reference"}
            assert ours.details["by_property"][name]["parts"] == kept


# What must come out


def random_truth(bed, shares=(0.5, 0.5)):
    """The same testbed, but with truth that is independent coins: nothing follows from anything."""
    rng, labels = np.random.default_rng(3), {}
    for split in SPLITS:
        n = len(bed.positions(split))
        labels[split] = {
            each.name: PackedLabels.of(rng.random((n, each.stop - each.start)) < rng.uniform(*shares))
            for each in bed.columns
        }
    return Testbed(bed.model, bed.corpus, HOOK, n_games=bed.n_games, labels=labels)


def planted(bed, weakest=1.0):
    """Latents that are the labels, as strong as chance has it between `weakest` and 1."""
    rng = np.random.default_rng(5)
    return {
        split: (bed.labels(split) * rng.uniform(weakest, 1, bed.labels(split).shape)).astype(np.float32)
        for split in SPLITS
    }


def shuffled(given, always_on=True):
    """The same latents at other positions, so that they know nothing; and one that is always on."""
    rng, found = np.random.default_rng(7), {}
    for split, latents_NF in given.items():
        moved_NF = latents_NF[rng.permutation(len(latents_NF))]
        ones_N1 = np.ones((len(moved_NF), 1), np.float32)
        found[split] = np.concatenate([moved_NF, ones_N1], axis=1) if always_on else moved_NF
    return found


@pytest.fixture(scope="module")
def boards(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, HOOK, n_games=40)


@pytest.fixture(scope="module")
def coins(boards):
    return random_truth(boards)


@pytest.mark.parametrize("weakest", [0.05, 1.0])
def test_planted_latents_score_exactly_one_where_nothing_follows_from_anything(coins, weakest):
    found = evaluate(planted(coins, weakest), coins)
    for score in ("coverage", "board_reconstruction"):
        assert (found[score].value, found[score].interval) == (1, (1, 1))
        for value in found[score].details["by_property"].values():
            assert value["value"] == 1
            assert value["interval"] == (1, 1)
            assert set(value["details"]["f1"]) == set(value["details"]["by_square"].values()) == {1}
        for group in found[score].details["groups"].values():
            assert (group["value"], group["interval"]) == (1, (1, 1))
    for value in found["coverage"].details["by_property"].values():
        assert set(value["details"]["precision"]) == set(value["details"]["recall"]) == {1}
        assert value["parts"]["above_chance"] == value["parts"]["in_sample"] == 1
    for value in found["board_reconstruction"].details["by_property"].values():
        assert value["parts"]["precision"] == value["parts"]["recall"] == value["parts"]["reference"] == 1
    labels = [label for each in coins.columns for label in each.class_names]
    assert found.latents["label"].tolist() == labels
    for column in ("precision", "recall", "f1", "train_f1", "above_chance"):
        assert set(found.latents[column]) == {1}
    assert set(found.latents["n_precise"]) == {1}


def test_the_threshold_is_chosen_on_validation_however_bad_it_is_on_test(coins):
    given = planted(coins)
    false_N = np.random.default_rng(2).random(given["validation"].shape) < 0.3
    given["validation"] = np.where(false_N, np.maximum(given["validation"], np.float32(0.4)), given["validation"])
    given["test"] *= np.float32(0.3)
    for value in evaluate(given, coins)["board_reconstruction"].details["by_property"].values():
        assert (value["value"], value["parts"]["threshold"]) == (0, 0.4)
        assert value["details"]["f1_T"][:5] == [1, 1, 1, 0, 0]
        assert value["details"]["reference_threshold"] == 0


def test_a_class_that_only_test_hardly_shows_has_no_classifier_and_no_card(coins):
    labels = {}
    for split in SPLITS:
        truth = {each.name: coins.labels(split)[:, each.start : each.stop].copy() for each in coins.columns}
        truth["flipped"][9 if split == "test" else len(truth["flipped"]) :, 5] = False
        labels[split] = {name: PackedLabels.of(own_NP) for name, own_NP in truth.items()}
    bed = Testbed(coins.model, coins.corpus, HOOK, n_games=coins.n_games, labels=labels)
    found = evaluate(planted(bed), bed)
    assert found["coverage"].details["by_property"]["flipped"]["details"]["unsupported"] == ["b2 flipped"]
    rebuilt = found["board_reconstruction"].details["by_property"]["flipped"]
    assert rebuilt["value"] == 1
    assert rebuilt["details"]["n_classifiers"] == [15] * 10 + [0]
    assert found.latents["n_precise"].tolist() == [int(f != 48 + 5) for f in range(64)]
    assert "b2 flipped" not in found.latents["label"].tolist()


@pytest.mark.parametrize("weakest", [0.05, 1.0])
def test_planted_latents_cover_real_boards_exactly_and_rebuild_all_of_them(boards, weakest):
    """On a small board some classes nearly imply others, so that a right latent may say a little too much."""
    found = evaluate(planted(boards, weakest), boards)
    for value in found["coverage"].details["by_property"].values():
        assert (value["value"], value["interval"], value["parts"]["above_chance"]) == (1, (1, 1), 1)
        assert set(value["details"]["precision"]) == set(value["details"]["recall"]) == {1}
    for name, value in found["board_reconstruction"].details["by_property"].items():
        assert value["parts"]["recall"] == 1
        assert value["value"] == 1 if name != "mine_yours" else 0.98 < value["value"] < 1
    assert {value["value"] for value in found["coverage"].details["groups"].values()} == {1}


def test_shuffled_latents_are_exactly_at_chance_where_one_is_always_on(coins):
    """Half of the positions are true: an always-on latent has F1 2/3, and no shuffled one comes near on train."""
    found = evaluate(shuffled(planted(coins)), coins)
    for value in found["coverage"].details["by_property"].values():
        low, high = value["details"]["above_chance_interval"]
        assert low <= 0 <= high and high - low < 1e-9
        assert value["parts"]["above_chance"] == pytest.approx(0, abs=1e-12)
        assert value["value"] == pytest.approx(value["parts"]["always_on"], abs=1e-12)
        assert value["interval"][0] < value["parts"]["always_on"] < value["interval"][1]
        assert set(value["details"]["latent"]) == {64}
    for value in found["board_reconstruction"].details["by_property"].values():
        assert value["value"] == 0
        assert value["details"]["n_classifiers"] == [0] * 11


@pytest.mark.parametrize("always_on", [True, False])
def test_shuffled_latents_never_beat_chance_on_real_boards(boards, always_on):
    """What was best on train by luck alone is worse than chance on test, never better."""
    found = evaluate(shuffled(planted(boards), always_on), boards)
    for value in found["coverage"].details["by_property"].values():
        assert value["value"] <= value["parts"]["always_on"]
        assert value["details"]["above_chance_interval"][0] < 0
        if always_on:
            assert value["parts"]["above_chance"] > -0.05
    for value in found["board_reconstruction"].details["by_property"].values():
        assert value["value"] < 0.02


def test_what_shuffled_latents_lose_to_luck_vanishes_with_more_games(tiny_model, tiny_corpus):
    lost = []
    for n_games in (12, 100):
        bed = Testbed(tiny_model, tiny_corpus, HOOK, n_games=n_games)
        found = evaluate(shuffled(planted(bed)), bed, "quick")["coverage"].details["by_property"]
        lost.append([-found[name]["parts"]["above_chance"] for name in ("mine_yours", "legal_move")])
    assert max(lost[1]) < 0.01 < 0.04 < min(lost[0])


class Written:
    """Latents all on everywhere, whose decoder rows are as given."""

    def __init__(self, W_dec):
        self.W_dec = W_dec

    def encode(self, x):
        return x.new_ones(*x.shape[:-1], len(self.W_dec))

    def decode(self, z):
        return z @ self.W_dec


@pytest.fixture(scope="module")
def probed(tiny_model, tiny_corpus, tmp_path_factory):
    bed, root = Testbed(tiny_model, tiny_corpus, HOOK, n_games=40), tmp_path_factory.mktemp("probes")
    shared = {"hook_names": (HOOK,), "fit": "closed_form", "n_train_games": 100, "n_test_games": 20}
    for name in bed.properties:
        folder = probe_run(tiny_model, tiny_corpus, ProbeConfig(property=name, **shared), out=root / name)
        bed.probes[name] = load_probe(folder, HOOK)
    return bed


def test_decoder_rows_that_are_the_probe_directions_in_any_order_recover_all_of_them(probed):
    directions_PD = torch.cat([probe.directions() for probe in probed.probes.values()])
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(directions_PD)))
    scale_P1 = torch.from_numpy(np.random.default_rng(1).uniform(0.5, 3, (len(order), 1))).float()
    by_property = evaluate(Written(scale_P1 * directions_PD[order]), probed)["direction_recovery"].details[
        "by_property"
    ]
    assert list(by_property) == ["mine_yours", "legal_move", "flipped"]
    for name, value in by_property.items():
        columns = next(each for each in probed.columns if each.name == name)
        chosen = columns.start + np.flatnonzero(probed.supported_P[columns.start : columns.stop])
        assert value["value"] == pytest.approx(1, abs=1e-6)
        assert value["details"]["cosine"] == pytest.approx([1] * len(chosen), abs=1e-6)
        assert order[value["details"]["latent"]].tolist() == chosen.tolist()
        assert value["parts"]["random"] < 0.9


def test_decoder_rows_that_point_the_other_way_recover_nothing(probed):
    probe = probed.probes["flipped"]
    chosen_C = probed.supported_P[48:64]
    found = evaluate(Written(-probe.directions()[chosen_C]), probed)["direction_recovery"]
    assert found.details["by_property"]["flipped"]["value"] < 0.9
    assert found.details["by_property"]["flipped"]["parts"]["random"] > 0


# A probe of the same sparsity


@torch.no_grad()
def test_a_sparse_probe_has_k_of_each_propertys_labels_on_and_is_the_probe_with_all(probed):
    acts_ND, probes = probed.activations("test"), [*probed.probes.values()]
    dense_NP = ProbeOutputs(probes).encode(acts_ND)
    for k in (1, 3, 20):
        sparse_NP = SparseProbeOutputs(probes, k).encode(acts_ND)
        for columns in probed.columns:
            own = slice(columns.start, columns.stop)
            n_N = (sparse_NP[:, own] > 0).sum(1)
            assert (n_N == min(k, columns.stop - columns.start)).all()
            for sparse_P, dense_P in zip(sparse_NP[:30, own], dense_NP[:30, own], strict=True):
                largest = sorted(dense_P.tolist())[-k:]
                assert sorted(sparse_P[sparse_P > 0].tolist()) == largest
                assert (sparse_P == dense_P)[sparse_P > 0].all()
    assert torch.equal(SparseProbeOutputs(probes, 32).encode(acts_ND), dense_NP)
    assert SparseProbeOutputs([probes[0], 5], 2).encode(acts_ND)[:, 32:].tolist() == [[0] * 5] * len(acts_ND)
    with pytest.raises(ValueError, match="at least one output on, not k = 0"):
        SparseProbeOutputs(probes, 0)


def test_a_sparse_probe_covers_no_more_than_the_probe(probed):
    dense = evaluate(ProbeOutputs([*probed.probes.values()]), probed, kind="probe")
    sparse = {k: baseline_scores.as_sparse_as("sparse_probe", probed, k) for k in (1, 32)}
    assert sparse[1].subject["kind"] == "sparse_probe"
    assert sparse[1].subject["l0"] == 3  # one of each property
    assert_same_numbers(sparse[32], dense)
    for name, value in dense["coverage"].details["by_property"].items():
        assert sparse[1]["coverage"].details["by_property"][name]["value"] < value["value"] + 0.02
    assert sparse[1]["coverage"].value < dense["coverage"].value - 0.2
    assert sparse[1]["board_reconstruction"].value < dense["board_reconstruction"].value


def assert_same_numbers(ours, theirs):
    assert {name: value.plain() for name, value in ours.items()} == {n: v.plain() for n, v in theirs.items()}


# Nothing to speak of


def filled(bed, value, n_latents=1):
    return {split: np.full((len(bed.positions(split)), n_latents), value, np.float32) for split in SPLITS}


def test_latents_never_on_score_nothing_and_have_no_class(bed):
    found = evaluate(filled(bed, 0, 3), bed)
    for score in ("coverage", "board_reconstruction"):
        assert found[score].value == 0
        assert found[score].interval == (0, 0)
        assert found[score].parts["reference"] == 0
    assert found["coverage"].parts["above_chance"] < 0
    assert found.subject["l0"] == 0
    assert found.latents["label"].tolist() == found.latents["property"].tolist() == [""] * 3
    for column in ("density", "max_activation", "threshold", "f1", "above_chance", "n_precise"):
        assert not found.latents[column].any()


@pytest.mark.parametrize("value", [1e-6, 0.7, 1e6])
def test_one_latent_always_on_with_equal_activations_is_exactly_at_chance(bed, value):
    found = evaluate(filled(bed, value), bed)
    assert found.subject["l0"] == 1
    for each in found["coverage"].details["by_property"].values():
        assert each["details"]["f1"] == each["details"]["always_on"]
        assert each["parts"]["above_chance"] == pytest.approx(0, abs=1e-12)
        assert set(each["details"]["recall"]) == {1}
    assert found["board_reconstruction"].value == 0
    assert found.latents["density"].tolist() == [1]
    assert found.latents["above_chance"] == pytest.approx([0], abs=1e-12)


def test_a_property_that_is_always_or_never_true_is_named_and_not_scored(boards):
    labels = {}
    for split in SPLITS:
        truth = {each.name: boards.labels(split)[:, each.start : each.stop].copy() for each in boards.columns}
        truth["legal_move"][:] = np.arange(16) % 2 == 0
        truth["flipped"][:, 0] = True
        labels[split] = {name: PackedLabels.of(own_NP) for name, own_NP in truth.items()}
    bed = Testbed(boards.model, boards.corpus, HOOK, n_games=40, labels=labels)
    found = evaluate(planted(bed), bed)
    for score in ("coverage", "board_reconstruction"):
        assert found[score].details["unsupported"] == ["legal_move"]
        assert list(found[score].details["by_property"]) == ["mine_yours", "flipped"]
        assert "a1 flipped" in found[score].details["by_property"]["flipped"]["details"]["unsupported"]
        assert "legal_move" not in found[score].parts
    assert found["coverage"].value == 1
    always = found.latents["density"] == 1  # what is on wherever a certain class is true tells nothing of it
    assert always.sum() == 9 and np.abs(found.latents["above_chance"][always]).max() < 0.05


def test_tensors_without_latents_or_with_latents_that_say_nothing_are_taken_or_named():
    truth_NP = np.arange(60).reshape(30, 2) % 3 == 0
    always_NP = np.ones((30, 2), bool)
    for latents_NF in (np.zeros((30, 0)), np.zeros((30, 1)), np.full((30, 1), 0.5)):
        sets = (latents_NF, truth_NP, latents_NF, truth_NP)
        rebuilt = board_reconstruction(*sets)
        assert (rebuilt.value, rebuilt.precision, rebuilt.recall, rebuilt.threshold) == (0, 0, 0, 0)
        published = board_reconstruction_reference(*sets, np.array([0, 0]))
        assert (published.value, published.last, published.threshold) == (0, 0, 0)
        if not latents_NF.shape[1]:
            for call in (lambda x=latents_NF: coverage(x, truth_NP), lambda s=sets: held_out_coverage(*s)):
                with pytest.raises(ValueError, match="there are no latents"):
                    call()
            with pytest.raises(ValueError, match="there are no latents"):
                coverage_reference(latents_NF, truth_NP)
        elif latents_NF.any():
            held_out = held_out_coverage(*sets)
            assert (held_out.value, held_out.above_chance) == pytest.approx((held_out.always_on, 0))
            certain = held_out_coverage(latents_NF, always_NP, latents_NF, always_NP)
            assert certain.value == certain.always_on == 1
            assert np.isnan(certain.above_chance)
            assert board_reconstruction(latents_NF, always_NP, latents_NF, always_NP).value == 1
        else:
            assert coverage(latents_NF, truth_NP).value == held_out_coverage(*sets).value == 0


def test_no_latents_are_an_error(bed):
    with pytest.raises(ValueError, match="there are no latents"):
        evaluate({split: np.zeros((len(bed.positions(split)), 0)) for split in SPLITS}, bed)


def test_one_game_is_an_error_that_asks_for_more(tiny_model, tiny_corpus):
    bed = Testbed(tiny_model, tiny_corpus, HOOK, n_games=1)
    with pytest.raises(ValueError, match=r"no class of mine_yours, legal_move, flipped .* score more games"):
        evaluate(planted(bed), bed)


def test_an_empty_split_is_an_error_that_names_corpus_split_and_place(tiny_model, tmp_path):
    fields = {"game": "othello4", "n_games": 40, "validation_fraction": 0.3, "test_fraction": 0.0}
    corpus = generate(**fields, out=tmp_path / "corpus")
    bed = Testbed(tiny_model, corpus, HOOK)
    sae = make_sae("topk", d_model=bed.width, n_latents=8, k=2)
    with pytest.raises(ValueError, match=r"none of the 0 test games has a scored position \(`ply`\)") as caught:
        evaluate(sae, bed)
    assert str(tmp_path / "corpus") in str(caught.value)
