import numpy as np
import pytest
import torch

from boardgame_sae.activations import stream as module
from boardgame_sae.activations.hook_points import HookError, read
from boardgame_sae.activations.stream import FreshActivations

HOOK = "blocks.1.hook_resid_post"


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """A block of 512 activations of width 16, played 16 games at a time."""
    monkeypatch.setattr(module, "BLOCK_BYTES", 512 * 4 * 16)
    monkeypatch.setattr(module, "GAMES_PER_PART", 16)


@pytest.fixture
def source(tiny_model, tiny_corpus) -> FreshActivations:
    return FreshActivations(tiny_model, tiny_corpus, HOOK)


def test_a_batch_depends_on_its_number_alone(source, tiny_model, tiny_corpus):
    forwards = source.stream(100, 7)
    batches = [forwards.batch(step).clone() for step in range(12)]
    backwards = FreshActivations(tiny_model, tiny_corpus, HOOK).stream(100, 7)
    for step in reversed(range(12)):
        assert torch.equal(backwards.batch(step), batches[step])
    assert not torch.equal(source.stream(100, 8).batch(0), batches[0])
    assert forwards.batches_per_pass is None
    assert forwards.batches_per_block == 5


def test_batches_are_the_activations_of_fresh_games_each_once(source):
    rows_ND = source.block(3)
    assert rows_ND.shape == (512, 16)
    parts = [source.games.block(3, part) for part in range(10)]
    expected = []
    for games in parts:
        tokens_BL, plies_BL = games.rows(games.games("train"))
        acts_BLD = read(source.model.gpt, torch.from_numpy(tokens_BL[:, :-1]), [HOOK])[HOOK].detach()
        expected.append(acts_BLD[torch.from_numpy(plies_BL[:, :-1] >= 0)].numpy())
    np.testing.assert_array_equal(rows_ND, np.concatenate(expected)[:512])
    stream = source.stream(128, 0)
    mixed_ND = np.concatenate([stream.batch(step).numpy() for step in range(4)])
    order = np.lexsort(mixed_ND.T)
    own_ND = source.block(module.seed_for(0, "block", 0))
    np.testing.assert_array_equal(mixed_ND[order], own_ND[np.lexsort(own_ND.T)])
    assert not np.array_equal(mixed_ND, own_ND), "shuffled"


def test_reused_activations_are_shuffled_again_and_the_next_block_comes_after_them(source, tiny_model, tiny_corpus):
    stream = FreshActivations(tiny_model, tiny_corpus, HOOK, reuse=3).stream(128, 0)
    passes = [np.concatenate([stream.batch(4 * number + step).numpy() for step in range(4)]) for number in range(4)]
    blocks = [source.block(module.seed_for(0, "block", number)) for number in range(2)]

    def in_order(rows_ND):
        return rows_ND[np.lexsort(rows_ND.T)]

    for rows_ND in passes[:3]:
        np.testing.assert_array_equal(in_order(rows_ND), in_order(blocks[0]))
    np.testing.assert_array_equal(in_order(passes[3]), in_order(blocks[1]))
    assert not np.array_equal(passes[0], passes[1])
    again = FreshActivations(tiny_model, tiny_corpus, HOOK, reuse=3).stream(128, 0)
    assert torch.equal(again.batch(9), torch.from_numpy(passes[2][128:256])), "a resumed training jumps to its batch"


def test_the_scale_is_that_of_the_activations(source):
    norm = float(np.sqrt((source.block(5).astype(np.float64) ** 2).sum(1).mean()))
    assert source.mean_norm == pytest.approx(norm, rel=0.1)


def test_the_hash_tells_models_hook_points_and_games_apart_not_the_corpus_s_size(source, tiny_model, tiny_corpus):
    others = [
        FreshActivations(tiny_model, tiny_corpus, "blocks.0.hook_resid_post"),
        FreshActivations(tiny_model.random_twin(), tiny_corpus, HOOK),
        FreshActivations(tiny_model, tiny_corpus, HOOK, seed=1),
        FreshActivations(tiny_model, tiny_corpus, HOOK, reuse=2),
    ]
    assert len({source.hash, *(other.hash for other in others)}) == 5


def test_bad_input_is_named(source, tiny_model, tiny_corpus):
    with pytest.raises(HookError, match=r"no hook point .blocks\.7"):
        FreshActivations(tiny_model, tiny_corpus, "blocks.7.hook_resid_post")
    with pytest.raises(ValueError, match="a batch of 513 activations is larger than a block of 512"):
        source.stream(513, 0)
