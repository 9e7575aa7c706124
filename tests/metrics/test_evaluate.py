"""Scores that are known already: which are computed again, and which are taken over."""

import other_scores
import pytest
import torch

from boardgame_sae.metrics.evaluate import evaluate, missing, still_valid
from boardgame_sae.metrics.results import Scores
from boardgame_sae.metrics.score import scores, scores_in
from boardgame_sae.probes.fit import ProbeConfig, load_probe, probe_run
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.testbeds.testbed import Testbed

HOOK = "blocks.0.hook_resid_post"
REFUSE = {"function": other_scores.refuse}


def unprobed(model, corpus):
    return Testbed(model, corpus, HOOK, n_games=20)


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus, tmp_path_factory):
    bed, root = unprobed(tiny_model, tiny_corpus), tmp_path_factory.mktemp("probes")
    shared = {"hook_names": (HOOK,), "fit": "closed_form", "n_train_games": 100, "n_test_games": 20}
    for name in bed.properties:
        folder = probe_run(tiny_model, tiny_corpus, ProbeConfig(property=name, **shared), out=root / name)
        bed.probes[name] = load_probe(folder, HOOK)
    return bed


@pytest.fixture(scope="module")
def sae(bed):
    sae = make_sae("topk", d_model=bed.width, n_latents=24, k=4)
    with torch.no_grad():
        sae.b_dec.copy_(bed.activations("train").mean(0))
    return sae


@pytest.fixture(scope="module")
def full(sae, bed):
    return evaluate(sae, bed, "supervised")


@pytest.fixture(scope="module")
def quick(sae, bed):
    return evaluate(sae, bed, "quick")


def assert_taken_over(found, known, names):
    for name in names:
        assert found[name] is known[name], name


def test_a_score_of_another_version_is_computed_again_and_the_others_are_not(sae, bed, full, monkeypatch):
    version = scores()["coverage"].version + 1
    other_scores.changed(monkeypatch, coverage={"version": version}, others=REFUSE)
    assert missing(full, "supervised") == ["coverage"]
    assert set(still_valid(full)) == set(full) - {"coverage"}
    found = evaluate(sae, bed, "supervised", known=full)
    assert found["coverage"].version == version
    assert found["coverage"].plain() == full["coverage"].plain() | {"version": version}
    assert_taken_over(found, full, set(full) - {"coverage"})
    assert list(found) == list(full) and found.subject == full.subject
    assert list(found.seconds) == ["coverage"] and found.seconds["coverage"] > 0
    assert missing(found, "supervised") == []


def test_a_score_of_a_lesser_config_is_computed_again_for_the_full_suite(sae, bed, quick, full, monkeypatch):
    lesser = [name for name, value in quick.items() if name in full and value.config != full[name].config]
    assert {"coverage", "board_reconstruction"} <= set(lesser)
    same = set(quick) - set(lesser)
    assert "core" in same and same - set(full), "scores of the other suite stay"
    other_scores.changed(monkeypatch, **dict.fromkeys(same, REFUSE))
    expected = [name for name in scores_in("supervised") if name not in same]
    assert missing(quick, "supervised") == expected
    found = evaluate(sae, bed, "supervised", known=quick)
    assert_taken_over(found, quick, same)
    assert {name: found[name].plain() for name in full} == {name: value.plain() for name, value in full.items()}
    assert list(found.seconds) == expected


def test_the_full_scores_satisfy_the_quick_suite_and_stay_with_those_of_other_suites(sae, bed, full, monkeypatch):
    assert missing(full, "quick") == [name for name in scores_in("quick") if name not in full]
    both = evaluate(sae, bed, "quick", known=full)
    assert set(both) == set(full) | set(scores_in("quick"))
    assert set(full) - set(scores_in("quick")) >= {"direction_recovery"}
    assert_taken_over(both, full, full)
    other_scores.changed(monkeypatch, others=REFUSE)
    found = evaluate(sae, bed, "quick", known=both)
    assert list(found) == list(both) and found.seconds == {}
    assert_taken_over(found, both, both)


def test_a_new_score_is_computed_and_one_that_is_registered_no_more_is_left_out(sae, bed, full, monkeypatch):
    known = Scores(full.subject, {name: value for name, value in full.items() if name != "core"})
    others = {name: score for name, score in scores().items() if name != "coverage"}
    other_scores.only(monkeypatch, *others.values())
    assert missing(known, "supervised") == ["core"]
    found = evaluate(sae, bed, "supervised", known=known)
    assert set(found) == set(full) - {"coverage"} and list(found.seconds) == ["core"]
    assert found["core"].plain() == full["core"].plain()


def test_nothing_known_is_everything_missing():
    assert still_valid(None) == {}
    assert missing(None, "supervised") == list(scores_in("supervised"))
    with pytest.raises(ValueError, match="unknown suite 'quik'"):
        missing(None, "quik")


def test_after_each_score_all_that_there_are_are_handed_over(sae, bed, full):
    known = Scores(full.subject, {"direction_recovery": full["direction_recovery"]})
    handed = []
    found = evaluate(sae, bed, "supervised", known=known, after_each=handed.append)
    computed = [name for name in scores_in("supervised") if name != "direction_recovery"]
    for n, one in enumerate(handed, 1):
        there = {*computed[:n], "direction_recovery"}
        assert list(one) == [name for name in scores() if name in there]
        assert set(one.seconds) == set(computed[:n])
        assert one.subject == found.subject
    assert len(handed) == len(computed)
    assert list(handed[-1]) == list(found) == list(full)
    evaluate(sae, bed, "supervised", known=found, after_each=pytest.fail)


def test_what_was_finished_before_a_score_fails_was_handed_over(sae, bed, full, monkeypatch):
    other_scores.changed(monkeypatch, core=REFUSE)
    handed = []
    with pytest.raises(AssertionError, match="computed for TopK"):
        evaluate(sae, bed, "supervised", after_each=handed.append)
    before = [name for name in full if scores()[name].order < scores()["core"].order]
    assert [list(one) for one in handed] == [before[:n] for n in range(1, len(before) + 1)]


def test_what_was_skipped_is_said_until_it_is_computed(sae, bed, full):
    """The probes that a score needs may come later."""
    without = evaluate(sae, unprobed(bed.model, bed.corpus), "supervised")
    assert list(without.subject["skipped"]) == ["direction_recovery"] and missing(without, "supervised") == []
    assert list(evaluate(sae, bed, "quick", known=without).subject["skipped"]) == ["direction_recovery"]
    found = evaluate(sae, bed, "supervised", known=without)
    assert found.subject["skipped"] == {} and list(found.seconds) == ["direction_recovery"]
    assert found["direction_recovery"].plain() == full["direction_recovery"].plain()


def test_a_dead_sae_is_scored_but_for_what_it_cannot_have(bed):
    sae = make_sae("topk", d_model=bed.width, n_latents=8, k=2)
    with torch.no_grad():
        sae.b_enc.fill_(-1e6)
    scored = evaluate(sae, bed, "supervised", name="dead")
    reason = "none of its latents is ever on, so no decoder row can be matched"
    assert scored.subject["skipped"] == {"direction_recovery": reason} and scored.subject["l0"] == 0
    assert "coverage" in scored and f"skipped: {reason}" in scored.table() and not missing(scored, "supervised")


def test_a_name_that_leads_elsewhere_is_refused(bed):
    with pytest.raises(ValueError, match="a name holds no '/'"):
        evaluate(make_sae("topk", d_model=bed.width, n_latents=8, k=2), bed, name="../x")
