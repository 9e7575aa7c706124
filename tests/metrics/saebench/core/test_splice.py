import numpy as np
import pytest

from boardgame_sae.metrics.saebench.core import splice
from boardgame_sae.metrics.saebench.core.splice import CleanRun, clean_run
from boardgame_sae.testbeds.testbed import Testbed

HOOK = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, HOOK, n_games=20)


def test_a_clean_run_takes_the_minimum_of_test_games_that_reach_the_tokens_asked_for(bed):
    offsets, games = bed.corpus.arrays["token_offsets"], bed.corpus.games("test")
    lengths = [min(int(offsets[game + 1] - offsets[game]), bed.corpus.n_ctx) for game in games]
    for wanted in (1, lengths[0], lengths[0] + 1, 100):
        run = CleanRun(bed, n_tokens=wanted)
        n_games = next(n for n in range(1, len(games)) if sum(lengths[:n]) >= wanted)
        assert run.games_B.tolist() == games[:n_games].tolist()
        assert run.n_tokens == sum(lengths[:n_games])


def test_a_clean_run_does_not_depend_on_how_many_games_are_run_at_once(bed, monkeypatch):
    whole = CleanRun(bed)
    assert len(whole.games_B) > 7
    assert splice.GAMES_AT_ONCE == 128
    monkeypatch.setattr(splice, "GAMES_AT_ONCE", 7)
    parts = CleanRun(bed)
    assert (len(parts.batches), len(whole.batches)) == (-(-len(whole.games_B) // 7), -(-len(whole.games_B) // 128))
    for name in ("clean", "zeroed", "averaged"):
        for of_parts, of_whole in zip(getattr(parts, name), getattr(whole, name), strict=True):
            np.testing.assert_allclose(of_parts, of_whole, rtol=1e-4, atol=1e-5)


def test_a_clean_run_is_computed_once_per_testbed(bed):
    assert bed.once(clean_run) is bed.once(clean_run)
    assert bed.at("blocks.1.hook_resid_post").once(clean_run) is not bed.once(clean_run)


def test_its_own_activations_diverge_nowhere_and_one_tensor_per_batch_is_needed(bed):
    run = CleanRun(bed)
    own = run.losses(batch.acts_BLD for batch in run.batches)
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(own, run.clean, strict=True))
    assert own.divergence == pytest.approx(0, abs=1e-7)
    assert min(run.zeroed.divergence, run.averaged.divergence) > 1e-4
    with pytest.raises(ValueError, match="shorter"):
        run.losses([])
