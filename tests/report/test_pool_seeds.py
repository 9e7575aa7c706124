"""Pooled seeds, against loops over seeds, resamples, properties and classes."""

import numpy as np
import pytest

from boardgame_sae.files import read_json
from boardgame_sae.intervals import pooled
from boardgame_sae.metrics.counting.game_sums import CLASSIFIER, GameSums
from boardgame_sae.metrics.results import Scores, ScoreValue
from boardgame_sae.metrics.statistics.pool_seeds import pool, pool_scores, siblings
from boardgame_sae.report.rows import rows_of

SIZES = {"board": 3, "move": 2, "fork": 1}
LEVELS = {"board": "low", "move": "high", "fork": "high"}
N_GAMES = 7


def drawn(n_seeds, seed):
    """For each training seed what is said, (seeds, N, P); what is true, (N, P); and the game of each position."""
    rng = np.random.default_rng(seed)
    game_N = np.repeat(np.arange(N_GAMES), rng.integers(3, 9, N_GAMES))
    true_NP = rng.random((len(game_N), 6)) < 0.4
    return true_NP ^ (rng.random((n_seeds, *true_NP.shape)) < 0.3), true_NP, game_N


def brute_f1(hit, said, true):
    return 2 * hit / (said + true) if said + true else 0.0


def brute_numbers(name, sums):
    """The number of each property and group, from (hit, said, true) of each class."""
    found, first = {}, 0
    for prop, size in SIZES.items():
        own = sums[first : first + size]
        by_class = [brute_f1(*each) for each in own]
        micro = brute_f1(*(sum(part) for part in zip(*own, strict=True)))
        found[prop] = sum(by_class) / size if name == "coverage" else micro
        first += size
    return {**found, "low": found["board"], "high": (found["move"] + found["fork"]) / 2}


def brute_sums(said_NP, true_NP):
    pairs = zip(said_NP.T, true_NP.T, strict=True)
    return [(int((said & true).sum()), int(said.sum()), int(true.sum())) for said, true in pairs]


def brute_pool(name, said_SNP, true_NP, game_N):
    """Value and interval of each number: a mean over seeds, and the intervals of loops over every resample's sums."""
    each_S = [brute_numbers(name, brute_sums(said_NP, true_NP)) for said_NP in said_SNP]
    counts = [GameSums.of_classifiers(said_NP, true_NP, game_N) for said_NP in said_SNP]

    def statistic(sums):
        by_resample = np.stack([sums[part] for part in CLASSIFIER], axis=-1)
        return np.array([list(brute_numbers(name, counts_PX).values()) for counts_PX in by_resample.tolist()])

    found = pooled(counts, statistic)
    numbers = zip(each_S[0], found, strict=True)
    return {number: (sum(e[number] for e in each_S) / len(each_S), estimate.interval) for number, estimate in numbers}


def scored(name, seed, said_NP, true_NP, game_N, **config):
    """Scores as an evaluation leaves them."""
    counts = GameSums.of_classifiers(said_NP, true_NP, game_N)
    if name == "coverage":  # one column of positions a property at the end
        all_N1 = np.ones((len(game_N), 1), bool)
        counts = GameSums.concatenate([counts, *[GameSums.of_classifiers(all_N1, all_N1, game_N)] * 3])
    numbers = brute_numbers(name, brute_sums(said_NP, true_NP))
    by_property = {
        prop: {"value": numbers[prop], "interval": (0.0, 1.0), "parts": {"in_sample": seed / 4}, "details": {"f1": []}}
        for prop in SIZES
    }
    groups = {
        group: {"members": [], "value": numbers[group], "interval": (0.0, 1.0), "in_sample": seed / 2}
        for group in ("low", "high")
    }
    details = {"headline": "board", "high": ["move", "fork"], "groups": groups, "by_property": by_property}
    details |= {"layout": [[prop, LEVELS[prop], size] for prop, size in SIZES.items()]}
    core = ScoreValue(0.5 + seed / 10, None, {"l0": 4.0 + seed, "mse": 1.0}, {"density_histogram": {}})
    sae = {"architecture": "topk", "k": 4, "seed": seed, "sae_folder": f"sae-{seed}", **config}
    subject = {"name": f"sae-{seed}", "kind": "sae", "sae": sae, "l0": 4.0 + seed}
    value = ScoreValue(numbers["board"], (0.0, 1.0), {"in_sample": seed / 4, **numbers}, details, sums=counts)
    return Scores(subject, {name: value, "core": core}, {})


@pytest.mark.parametrize("name", ["coverage", "board_reconstruction"])
@pytest.mark.parametrize("n_seeds", [2, 3])
def test_pooled_numbers_and_intervals_are_those_of_loops(name, n_seeds):
    said_SNP, true_NP, game_N = drawn(n_seeds, seed=n_seeds)
    members = [scored(name, seed, said_NP, true_NP, game_N) for seed, said_NP in enumerate(said_SNP)]
    value = pool_scores(members)[name]
    places = value.details["by_property"] | value.details["groups"]
    for number, (mean, interval) in brute_pool(name, said_SNP, true_NP, game_N).items():
        assert places[number]["value"] == pytest.approx(mean, abs=1e-9)
        assert places[number]["interval"] == pytest.approx(interval, abs=1e-9)
        assert interval[0] < mean < interval[1]
    assert (value.value, value.interval) == (places["board"]["value"], places["board"]["interval"])
    assert value.parts["high"] == pytest.approx(places["high"]["value"])


def test_other_numbers_are_means_without_an_interval():
    said_SNP, true_NP, game_N = drawn(3, seed=0)
    found = pool_scores([scored("coverage", s, said_NP, true_NP, game_N) for s, said_NP in enumerate(said_SNP)])
    assert (found["core"].value, found["core"].interval) == (pytest.approx(0.6), None)
    assert found["core"].parts == {"l0": 5.0, "mse": 1.0}
    assert found["coverage"].parts["in_sample"] == pytest.approx(0.25)
    assert found["coverage"].details["groups"]["low"]["in_sample"] == pytest.approx(0.5)
    assert found["coverage"].details["by_property"]["fork"]["parts"] == {"in_sample": 0.25}
    about = found.subject
    assert (about["name"], about["l0"], about["seeds"]) == ("sae-0, 3 seeds", 5.0, [0, 1, 2])
    assert about["members"] == ["sae-0", "sae-1", "sae-2"]
    assert about["sae"] == {"architecture": "topk", "k": 4}


def test_siblings_have_one_kind_and_one_config_but_for_the_seed():
    said_SNP, true_NP, game_N = drawn(1, seed=0)

    def one(seed, **config):
        return scored("coverage", seed, said_SNP[0], true_NP, game_N, **config)

    random = one(2)
    random.subject["kind"] = "random_gpt_sae"
    probe = Scores({"name": "probe", "kind": "probe", "l0": 1.0}, {}, {})
    assert siblings([one(1), one(0, k=8), one(0), random, probe, one(1, k=8), one(3, k=9)]) == [[2, 0], [1, 5]]
    assert siblings([one(1), one(1)]) == [], "one SAE listed twice is not two seeds"


def test_a_study_has_its_seeds_in_a_row_of_their_own(study):
    (testbed,) = study.testbeds
    rows = rows_of([study])
    seeds = [row for row in rows if row["pooled_as"]]
    (row,) = [row for row in rows if row["n_seeds"] == 2]
    assert {each["pooled_as"] for each in seeds} == {row["name"]}
    assert sorted(each["seed"] for each in seeds) == [0, 1]
    assert row["seed"] is None
    numbers = [name for name in row if isinstance(row[name], float) and not name.endswith(("_low", "_high"))]
    assert {"coverage", "coverage.high_above_chance", "core_l0", "direction_recovery.flipped_means"} < set(numbers)
    for name in numbers:
        assert row[name] == pytest.approx(np.mean([each[name] for each in seeds]), abs=1e-9), name
    assert row["coverage_low"] < row["coverage"] < row["coverage_high"]
    folders = [folder for folder in testbed.score_folders if read_json(folder / "scores.json")["subject"]["name"] in
               {each["name"] for each in seeds}]  # fmt: skip
    assert pool(folders)["coverage"].interval == (row["coverage_low"], row["coverage_high"])
