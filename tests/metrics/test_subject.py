import pytest

from boardgame_sae.metrics.evaluate import evaluate
from boardgame_sae.metrics.saebench.core import core_score as core
from boardgame_sae.metrics.saebench.core.splice import clean_run
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.metrics.supervised import property_results
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.testbeds.testbed import Testbed

HOOK = "blocks.0.hook_resid_post"


@pytest.fixture
def bed(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, HOOK, n_games=14)


def sae_of(bed, seed=0):
    return make_sae("topk", d_model=bed.width, n_latents=24, k=4, seed=seed)


class Counted:
    """A function that counts what it is called with."""

    def __init__(self, function):
        self.function, self.calls = function, []

    def __call__(self, given):
        self.calls.append(given)
        return self.function(given)


def test_a_function_of_a_subject_is_computed_once_and_each_by_itself(bed):
    first, second = (Subject(name, "sae", sae_of(bed), bed) for name in ("first", "second"))
    names, lengths = Counted(lambda subject: [subject.name]), Counted(lambda subject: len(subject.name))
    assert first.once(names) is first.once(names) and first.once(names) == ["first"]
    assert (first.once(lengths), second.once(lengths), second.once(names)) == (5, 6, ["second"])
    assert names.calls == lengths.calls == [first, second]


def test_nothing_is_kept_of_a_function_that_fails_and_a_result_of_none_is_kept(bed):
    subject, nothing = Subject("x", "sae", sae_of(bed), bed), Counted(lambda subject: None)
    fails = Counted(lambda subject: 1 / 0)
    for _ in range(2):
        assert subject.once(nothing) is None
        with pytest.raises(ZeroDivisionError):
            subject.once(fails)
    assert (len(nothing.calls), len(fails.calls)) == (1, 2)


def test_what_scores_share_is_computed_once_for_all_of_them(bed, monkeypatch):
    """Counting of a subject, and the clean model of a testbed, however many SAEs are scored there."""
    groups = Counted(property_results.property_groups)
    monkeypatch.setattr(property_results, "property_groups", groups)
    clean = Counted(clean_run)
    monkeypatch.setattr(core, "clean_run", clean)
    for seed in (0, 1):
        found = evaluate(sae_of(bed, seed), bed, "quick")
        assert {"coverage", "board_reconstruction", "core"} <= set(found)
    assert len(groups.calls) == 2 and groups.calls[0] is not groups.calls[1]
    assert clean.calls == [bed]
