"""One suite for every registered score."""

import json
import math

import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F

from boardgame_sae.config import to_mapping
from boardgame_sae.files import RunError
from boardgame_sae.metrics.evaluate import evaluate, missing
from boardgame_sae.metrics.results import SUMS_FILE, Scores, ScoreValue
from boardgame_sae.metrics.saebench.core.splice import clean_run
from boardgame_sae.metrics.score import NEEDS, SUITES, scores, scores_in
from boardgame_sae.metrics.statistics.compare import differences
from boardgame_sae.metrics.statistics.pool_seeds import pool_scores
from boardgame_sae.metrics.statistics.statistic import finite
from boardgame_sae.probes.fit import ProbeConfig, load_probe, probe_run
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.testbeds.testbed import Testbed

HOOK = "blocks.0.hook_resid_post"
FILLED = [suite for suite in SUITES if any(suite in ("all", *score.suites) for score in scores().values())]
"""Suites that have a score."""


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus, tmp_path_factory):
    """A testbed with a probe of every property, so that every score can be computed."""
    bed, root = Testbed(tiny_model, tiny_corpus, HOOK, n_games=25), tmp_path_factory.mktemp("probes")
    shared = {"hook_names": (HOOK,), "fit": "closed_form", "n_train_games": 100, "n_test_games": 20}
    for name in bed.properties:
        folder = probe_run(tiny_model, tiny_corpus, ProbeConfig(property=name, **shared), out=root / name)
        bed.probes[name] = load_probe(folder, HOOK)
    return bed


def sae_of_seed(bed, seed):
    sae = make_sae("topk", d_model=bed.width, n_latents=40, k=6, seed=seed)
    with torch.no_grad():
        sae.b_dec.copy_(bed.activations("train").mean(0))
    return sae


@pytest.fixture(scope="module")
def sae(bed):
    return sae_of_seed(bed, 0)


@pytest.fixture(scope="module")
def by_suite(sae, bed):
    return {suite: evaluate(sae, bed, suite) for suite in FILLED}


@pytest.fixture(scope="module")
def found(by_suite):
    return by_suite["all"]


@pytest.fixture(scope="module")
def again(sae, bed):
    """The same on another testbed of the same parts."""
    anew = Testbed(bed.model, bed.corpus, HOOK, n_games=25)
    anew.probes = bed.probes
    return evaluate(sae, anew, "all")


@pytest.fixture(scope="module")
def seeds(bed, found):
    """Scores of two SAEs that differ in nothing but their seed."""
    first = Scores({**found.subject, "sae": {"k": 6, "seed": 0}}, dict(found.items()))
    return [first, evaluate(sae_of_seed(bed, 1), bed, "all", facts={"sae": {"k": 6, "seed": 1}})]


each = pytest.mark.parametrize("name", scores_in("all"))


@each
def test_a_score_says_what_it_means_where_it_comes_from_and_when_it_is_computed(name):
    score = scores()[name]
    assert score.name == name
    for text in (score.title, score.meaning, score.source):
        assert len(text.strip()) > 3
    assert score.low < score.high
    assert score.better in ("higher", "lower")
    assert score.suites
    assert set(score.suites) <= set(SUITES)


@each
def test_a_value_lies_within_its_range_and_in_its_interval(found, name):
    score, value = scores()[name], found[name]
    assert isinstance(value, ScoreValue)
    assert score.low <= value.value <= score.high
    if value.interval is not None:
        low, high = value.interval
        assert score.low <= low <= value.value <= high <= score.high


@each
def test_a_value_is_plain_json_without_nan(found, name):
    text = json.dumps(found[name].plain(), allow_nan=False)
    assert json.loads(text)["value"] == found[name].value
    assert all(isinstance(part, float | int) and math.isfinite(part) for part in found[name].parts.values())


@each
def test_a_value_is_the_same_when_computed_again(found, again, name):
    assert again[name].value == pytest.approx(found[name].value, abs=1e-6)
    assert json.dumps(again[name].plain()) == json.dumps(found[name].plain())


@each
def test_sums_over_every_game_stand_behind_an_interval(found, bed, name):
    value, statistic = found[name], scores()[name].statistic
    assert (value.sums is None) == (value.interval is None) == (statistic is None)
    if value.sums is not None:
        # those that are scored, or those that the GPT runs through whole
        assert value.sums.n_games in {len(bed.positions("test").games_B), len(bed.once(clean_run).games_B)}
        assert (tuple(value.sums.parts), value.sums.same) == (statistic.sums, statistic.same)


@each
def test_the_statistic_gives_the_scores_own_numbers_also_once_its_details_were_written(found, name):
    value, statistic = found[name], scores()[name].statistic
    if statistic is not None:
        estimates = statistic.estimates([value.sums], json.loads(json.dumps(value.details)))
        (_, headline), *others = estimates.items()
        assert (value.value, value.interval) == (headline.value, finite(headline))
        for part, estimate in others:
            assert value.parts[part] == estimate.value
            assert value.intervals.get(part) == finite(estimate)


@each
def test_seeds_are_pooled_and_compared_by_the_statistic(seeds, name):
    statistic, numbers = scores()[name].statistic, [one[name].value for one in seeds]
    pooled = pool_scores(seeds)[name]
    assert pooled.value == pytest.approx(sum(numbers) / 2, abs=1e-9)
    assert (pooled.interval is None) == (statistic is None)
    found = [one for one in differences(seeds[:1], seeds[1:]) if one.score == name]
    assert bool(found) == (statistic is not None)
    for first in found[:1]:
        assert first.difference == pytest.approx(numbers[0] - numbers[1], abs=1e-9)
        assert (first.a, first.b) == pytest.approx(numbers, abs=1e-9)


@each
def test_a_value_says_which_config_and_version_it_was_made_by(found, by_suite, name):
    score, value = scores()[name], found[name]
    assert value.config == to_mapping(score.config()) == to_mapping(score.config_in("all"))
    assert value.version == score.version >= 1
    assert json.loads(json.dumps(value.config)) == value.config
    assert score.satisfied_by(value, "quick") and score.satisfied_by(value, "all")
    for suite in score.suites:
        own = by_suite[suite][name]
        assert own.config == to_mapping(score.config_in(suite))
        assert score.satisfied_by(own, suite)
        assert score.satisfied_by(own, "all") == (own.config == value.config)


def having(*needs):
    """The scores that need none but these."""
    return {name for name, score in scores_in("all").items() if set(score.needs) <= set(needs)}


def test_what_cannot_be_scored_is_left_out_and_named_with_the_reason(sae, bed, found):
    class Encoder:
        def encode(self, x):
            return F.relu(x)

    assert found.subject["skipped"] == {}
    without = evaluate(Encoder(), bed, "all")
    assert set(without) == having("probes")
    every = set(scores_in("all"))
    assert set(without.subject["skipped"]) == every - having("probes") >= {"core", "direction_recovery"}
    assert "does not give back the activations" in without.subject["skipped"]["core"]
    assert "no decoder rows (`W_dec`)" in without.subject["skipped"]["direction_recovery"]
    unprobed = evaluate(sae, Testbed(bed.model, bed.corpus, HOOK, n_games=25), "all")
    assert set(unprobed) == having("decode", "W_dec")
    assert set(unprobed.subject["skipped"]) == every - having("decode", "W_dec") >= {"direction_recovery"}
    assert "the testbed has no probes" in unprobed.subject["skipped"]["direction_recovery"]
    for one in (found, without, unprobed):
        assert missing(one, "all") == []


@each
def test_a_score_needs_only_what_is_known_how_to_see(name):
    assert set(scores()[name].needs) <= set(NEEDS)


@pytest.mark.parametrize("suite", FILLED)
def test_a_suite_is_the_scores_that_name_it(by_suite, suite):
    expected = {name for name, score in scores().items() if suite in score.suites or (suite == "all" and score.suites)}
    assert set(by_suite[suite]) == set(scores_in(suite)) == expected


def test_any_object_with_encode_decode_and_decoder_rows_scores_as_the_sae_it_mimics(sae, bed, found):
    class Mimic:
        W_dec = sae.W_dec.detach()

        def encode(self, x):
            return sae.encode(x).detach()

        def decode(self, z):
            return sae.decode(z).detach()

    other = evaluate(Mimic(), bed, "all")
    assert set(other) == set(found)
    assert other.subject["name"] == "Mimic"
    for name in found:
        assert other[name].value == pytest.approx(found[name].value, abs=1e-6)


def test_scores_say_what_was_scored_where_and_on_how_many_positions(sae, bed):
    about = evaluate(sae, bed, "quick", name="mine", kind="random_gpt_sae", facts={"sae": {"k": 6}}).subject
    assert (about["name"], about["kind"], about["sae"]) == ("mine", "random_gpt_sae", {"k": 6})
    assert "suite" not in about
    assert about["testbed"] == {**bed.identity, "game": bed.corpus.game.spec, "content": bed.made_of}
    assert about["skipped"] == {}
    assert about["l0"] == pytest.approx(float((sae.encode(bed.activations("test")) > 0).sum(1).double().mean()))
    assert about["positions"] == {split: len(bed.positions(split)) for split in ("train", "validation", "test")}


def test_timings_are_taken_of_every_score(found):
    assert set(found.seconds) == set(found)
    assert all(seconds > 0 for seconds in found.seconds.values())


def test_scores_come_back_from_json_as_they_were(found, tmp_path):
    found.to_json(tmp_path / "a.json")
    again = Scores.from_json(tmp_path / "a.json")
    assert list(again) == sorted(found)
    assert len(again) == len(found)
    for name, value in found.items():
        assert again[name][:3] == value[:3]
        assert again[name].details == json.loads(json.dumps(value.details))
        assert (again[name].sums, again[name].latents) == (None, None)
        assert (again[name].config, again[name].version) == (value.config, value.version)
        assert again[name].intervals == value.intervals
    assert again.subject == json.loads(json.dumps(found.subject))
    assert again.table().splitlines()[0] in found.table().splitlines()
    again.to_json(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_saved_folder_brings_back_sums_too_and_holds_a_row_for_each_latent(found, sae, tmp_path):
    found.save(tmp_path)
    again = Scores.load(tmp_path)
    for name, value in found.items():
        known = {"interval": value.interval, "intervals": value.intervals}
        assert again[name].plain() == json.loads(json.dumps(value.plain())) | known
        assert (again[name].sums is None) == (value.sums is None)
        if value.sums is not None:
            assert list(again[name].sums.parts) == list(value.sums.parts)
            for part, theirs in value.sums.parts.items():
                assert (again[name].sums.parts[part].toarray() == theirs.toarray()).all()
    rows = pq.read_table(tmp_path / "latents.parquet").to_pydict()
    assert {column: list(values) for column, values in found.latents.items()} == rows
    assert rows["latent"] == list(range(40))
    assert {column: list(values) for column, values in again.latents.items()} == rows
    (tmp_path / SUMS_FILE.format("coverage")).write_bytes(b"torn")
    with pytest.raises(RunError, match=r"coverage\.sums\.safetensors: damaged"):
        Scores.load(tmp_path)


def test_scores_come_in_the_order_of_the_registry(by_suite):
    for found in by_suite.values():
        assert list(found) == [name for name in scores() if name in found]


def test_the_table_shows_every_score_with_its_value(found):
    lines = found.table().splitlines()
    for name, value in found.items():
        assert any(line.split()[:2] == [name, f"{value.value:.4f}"] for line in lines)


def test_an_unknown_suite_is_an_error_that_lists_the_suites(sae, bed):
    with pytest.raises(ValueError, match="unknown suite 'superviced'; the suites are quick, supervised, saebench"):
        evaluate(sae, bed, "superviced")


@pytest.mark.parametrize("suite", sorted(set(SUITES) - set(FILLED)))
def test_a_suite_without_scores_is_an_error_that_lists_those_with_some(sae, bed, suite):
    with pytest.raises(ValueError, match=f"'{suite}' yet; suites with scores are {', '.join(FILLED)}$"):
        evaluate(sae, bed, suite)


def test_an_sae_of_another_width_is_an_error_that_names_both_and_the_hook_point(bed):
    wrong = make_sae("relu", d_model=9, n_latents=4)
    with pytest.raises(ValueError, match=r"width 9 cannot be scored at blocks\.0\.hook_resid_post.* width 16"):
        evaluate(wrong, bed)
