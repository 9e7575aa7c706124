from dataclasses import replace

import other_scores
import pytest

from boardgame_sae.config import ConfigError, config, to_mapping
from boardgame_sae.metrics import score as module
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.score import NEEDS, NoConfig, score, scores, scores_in

ABOUT = {"title": "Toy", "meaning": "nothing", "source": "nowhere", "suites": ("quick", "causal")}


@config
class ToyConfig:
    """How long a toy score takes."""

    n_rounds: int = 100
    seed: int = 3


def toy(subject, cfg):
    return ScoreValue(float(cfg.n_rounds), None, {"seed": cfg.seed}, {"name": subject})


@pytest.fixture
def empty(monkeypatch):
    """A registry without a score."""
    other_scores.only(monkeypatch)


def test_a_score_registers_its_function_and_all_that_it_declares(empty):
    register = score("toy", **ABOUT, low=-1, high=200, better="lower", needs=("probes",), config=ToyConfig,
                     quick={"n_rounds": 2}, version=4, order=7)  # fmt: skip
    assert register(toy) is toy
    known = scores()["toy"]
    assert (known.name, known.title, known.meaning, known.source, known.suites) == ("toy", *ABOUT.values())
    assert (known.low, known.high, known.better, known.needs) == (-1, 200, "lower", ("probes",))
    assert (known.config, known.quick, known.version, known.order) == (ToyConfig, {"n_rounds": 2}, 4, 7)
    assert (known.statistic, known.function) == (None, toy)
    score("plain", **ABOUT)(toy)
    plain = scores()["plain"]
    assert (plain.low, plain.high, plain.better, plain.needs, plain.config) == (0, 1, "higher", (), NoConfig)
    assert (plain.quick, plain.version, plain.statistic) == ({}, 1, None)


def test_a_second_registration_under_one_name_raises_and_leaves_the_first(empty):
    score("toy", **ABOUT)(toy)
    with pytest.raises(ValueError, match="there already is a score 'toy'; choose another name"):
        score("toy", **{**ABOUT, "title": "Another"})(other_scores.refuse)
    assert (scores()["toy"].title, scores()["toy"].function) == ("Toy", toy)


def test_a_name_of_the_packages_own_scores_is_taken():
    before = scores()
    with pytest.raises(ValueError, match="there already is a score 'coverage'"):
        score("coverage", **ABOUT)(toy)
    assert scores() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"suites": ("quick", "slow")}, "score 'toy': slow; suites are of .*'quick'"),
        ({"needs": ("decode", "luck")}, "score 'toy': luck"),
    ],
)
def test_unknown_suites_and_needs_are_named_before_anything_is_registered(empty, change, message):
    with pytest.raises(ValueError, match=message):
        score("toy", **{**ABOUT, **change})
    assert scores() == {}


def test_scores_come_by_order_then_by_name(empty):
    for name, order in (("b", 2), ("c", 1), ("a", 2), ("d", 100)):
        score(name, **ABOUT, order=order)(toy)
    assert list(scores()) == list(scores_in("all")) == ["c", "a", "b", "d"]


def test_a_suite_holds_the_scores_that_name_it_and_all_holds_all(empty):
    score("toy", **ABOUT)(toy)
    score("slow", **{**ABOUT, "suites": ("causal",)})(toy)
    assert [list(scores_in(suite)) for suite in ("quick", "causal", "all")] == [
        ["toy"],
        ["slow", "toy"],
        ["slow", "toy"],
    ]
    with pytest.raises(ValueError, match=r"no score belongs to the suite 'saebench' yet; .* are quick, causal, all$"):
        scores_in("saebench")
    with pytest.raises(
        ValueError, match="unknown suite 'quik'; the suites are quick, supervised, saebench, causal, all"
    ):
        scores_in("quik")


def test_a_score_is_computed_with_its_suites_config_which_the_value_tells_with_the_version(empty):
    score("toy", **ABOUT, config=ToyConfig, quick={"n_rounds": 2}, version=4)(toy)
    known = scores()["toy"]
    values = {suite: known.compute("a subject", suite) for suite in ("quick", "causal", "all")}
    assert [value.value for value in values.values()] == [2, 100, 100]
    for suite, value in values.items():
        assert value.config == to_mapping(known.config_in(suite))
        assert (value.version, value.parts, value.details) == (4, {"seed": 3}, {"name": "a subject"})
    assert values["quick"].config == {"n_rounds": 2, "seed": 3}


def test_the_full_config_satisfies_every_suite_a_lesser_or_other_one_only_its_own(empty):
    score("toy", **ABOUT, config=ToyConfig, quick={"n_rounds": 2}, version=4)(toy)
    known = scores()["toy"]
    full, quick = known.compute("x", "all"), known.compute("x", "quick")
    other = full._replace(config={"n_rounds": 50, "seed": 3})
    for suite, satisfied in (
        ("quick", (True, True, False)),
        ("causal", (True, False, False)),
        ("all", (True, False, False)),
    ):
        assert tuple(known.satisfied_by(value, suite) for value in (full, quick, other)) == satisfied
    for version in (3, 5):
        assert not replace(known, version=version).satisfied_by(full, "all")


def test_a_config_that_cannot_be_made_is_named_before_anything_is_registered(empty):
    with pytest.raises(ConfigError, match="toy: unknown field 'n_round'; did you mean 'n_rounds'"):
        score("toy", **ABOUT, config=ToyConfig, quick={"n_round": 2})(toy)

    @config
    class Demanding:
        seed: int

    with pytest.raises(ConfigError, match="toy: field 'seed' is required"):
        score("toy", **ABOUT, config=Demanding)(toy)
    assert scores() == {}


def test_what_is_lacking_is_said_in_words():
    assert all(need.lacking.strip() and not need.lacking.endswith(".") for need in NEEDS.values())
    assert module.SUITES[-1] == "all"
