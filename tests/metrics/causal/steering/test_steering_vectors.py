"""Planted directions: the vectors find them, a random one does not; and what may be contrasted."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from boardgame_sae.activations.hook_points import read
from boardgame_sae.metrics.causal.steering.contrast import Sides, find_contrast, read_sides
from boardgame_sae.metrics.causal.steering.vectors import (
    adding,
    contrastive,
    latents_vector,
    probe_vector,
    random_vector,
    told_apart,
)
from boardgame_sae.metrics.latent_source import LatentSource
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.testbeds.testbed import Testbed, load_testbed

WIDTH, N, HOOK = 24, 1500, "blocks.0.hook_resid_post"


def planted_sides(seed=0, nuisance=0.0):
    """Two sides 2 apart along axis 0, in noise of 0.5; axis 1 is loud, and differs a little between them too."""
    acts_ND = 0.5 * torch.randn(2 * N, WIDTH, generator=torch.Generator().manual_seed(seed))
    high_N = np.arange(2 * N) % 2 == 0
    side_N = torch.from_numpy(np.where(high_N, 1.0, -1.0)).float()
    acts_ND[:, 0] += side_N
    acts_ND[:, 1] = 20 * acts_ND[:, 1] + nuisance * side_N
    return Sides({HOOK: acts_ND + 5}, high_N, np.arange(2 * N) // 50, -(-2 * N // 50))


def cosine(vector_D, axis=0):
    return float(F.normalize(vector_D, dim=0)[axis])


def share(counts_B2):
    return counts_B2[:, 0].sum() / counts_B2[:, 1].sum()


def test_the_planted_direction_is_found_and_a_random_one_tells_nothing():
    sides, test = planted_sides(), planted_sides(seed=1)
    high_ND, low_ND = sides.at(HOOK)
    mean_D, probe_D = contrastive(high_ND, low_ND), probe_vector(high_ND, low_ND)
    torch.testing.assert_close(mean_D, high_ND.mean(0) - low_ND.mean(0), rtol=1e-4, atol=1e-4)
    assert cosine(probe_D) > 0.99 and share(told_apart(probe_D, (high_ND, low_ND), test, HOOK)) > 0.95
    for seed in range(5):
        random_D = random_vector(probe_D, seed)
        assert abs(cosine(random_D)) < 0.6
        assert share(told_apart(random_D, (high_ND, low_ND), test, HOOK)) < 0.75


def test_a_probe_leaves_out_what_is_loud_and_the_difference_of_means_does_not():
    high_ND, low_ND = planted_sides(nuisance=3.0).at(HOOK)
    assert cosine(probe_vector(high_ND, low_ND)) > 0.99 > 0.5 > cosine(contrastive(high_ND, low_ND))


def test_all_vectors_are_as_long_as_the_difference_of_means():
    high_ND, low_ND = planted_sides().at(HOOK)
    long = float(contrastive(high_ND, low_ND).norm())
    for vector_D in (probe_vector(high_ND, low_ND), random_vector(contrastive(high_ND, low_ND), 3)):
        assert float(vector_D.norm()) == pytest.approx(long, rel=1e-5)


def test_counts_of_each_game_add_up_to_the_share():
    sides = planted_sides()
    counts_B2 = told_apart(torch.eye(WIDTH)[0], sides.at(HOOK), sides, HOOK)
    assert counts_B2.shape == (60, 2) and (counts_B2[:, 1] == 50).all()
    right_N = (sides.acts[HOOK][:, 0] > 5).numpy() == sides.high_N
    assert abs(counts_B2[:, 0].sum() - right_N.sum()) < 30  # the threshold is halfway between means, which are near 5


def source_of(sae):
    return LatentSource("sae", sae.encode, None, sae.W_dec.detach(), None, None, None, False, sae)


def test_the_latents_that_tell_the_sides_apart_are_taken_and_written():
    sides = planted_sides()
    sae = make_sae("relu", d_model=WIDTH, n_latents=WIDTH, subtract_b_dec=False)
    order = torch.randperm(WIDTH, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        sae.W_enc.copy_(torch.eye(WIDTH)[:, order])
        sae.W_dec.copy_(torch.eye(WIDTH)[order])
        sae.b_enc.zero_(), sae.b_dec.zero_()
        high_ND, low_ND = sides.at(HOOK)
        one_D = latents_vector(source_of(sae), high_ND, low_ND, 1)
        many_D = latents_vector(source_of(sae), high_ND, low_ND, 5)
    assert cosine(one_D) == pytest.approx(1) and 0.9 < cosine(many_D) < 1
    assert float(one_D.norm()) == pytest.approx(float(contrastive(high_ND, low_ND).norm()), rel=1e-5)
    with pytest.raises(ValueError, match="no decoder rows"):
        latents_vector(
            LatentSource("neurons", sae.encode, None, None, None, None, None, False, sae), high_ND, low_ND, 1
        )


@given(st.sampled_from([HOOK, "blocks.1.attn.hook_z", "blocks.0.mlp.hook_post", "hook_embed"]), st.floats(-3, 3))
def test_a_vector_is_added_at_every_token_whatever_the_hook_points_shape(tiny_model, name, size):
    tokens_BL = torch.tensor([[1, 5, 3], [2, 2, 7]])
    before_BLD = read(tiny_model.gpt, tokens_BL, [name])[name]
    vector_D = size * torch.randn(before_BLD.shape[-1], generator=torch.Generator().manual_seed(1))
    seen = []
    hooks = adding({name: vector_D})
    with torch.no_grad():
        tiny_model.gpt(tokens_BL, {name: lambda value: seen.append(hooks[name](value))})
    torch.testing.assert_close(seen[0].flatten(2), before_BLD + vector_D)


@pytest.fixture(scope="module")
def chess():
    return load_testbed("chess-small", "cpu").corpus


def test_a_property_that_ranks_is_contrasted_by_its_ends_and_a_label_by_what_is_not_so(chess):
    words_of = {
        "skill": "skill 5 less skill 0",
        "skill_3": "skill 3 less not skill 3",
        "check": "check less not check",
        "e4 my_pawn": "e4 my pawn less not e4 my pawn",
    }
    for name, words in words_of.items():
        assert find_contrast(chess, name).words == words
    contrast, boards = find_contrast(chess, "skill"), chess.boards(chess.games("test")[:30])
    high_N, low_N = contrast.sides(contrast.prop.evaluate(boards))
    assert (boards.skill_N[high_N] == 5).all() and (boards.skill_N[low_N] == 0).all()
    assert high_N.any() and low_N.any() and not (high_N & low_N).any()


@pytest.mark.parametrize("name", ["skil", "piece", "", "e9 my pawn"])
def test_what_is_neither_is_refused_with_what_there_is(chess, name):
    with pytest.raises(ValueError, match=f"chess: nothing called '{name}' is true or false of a position; try "):
        find_contrast(chess, name)


def test_what_is_not_known_of_the_games_is_refused(tiny_model, tiny_corpus):
    bed = Testbed(tiny_model, tiny_corpus, HOOK)
    with pytest.raises(ValueError, match="nothing called 'skill'"):
        find_contrast(tiny_corpus, "skill")
    contrast = find_contrast(tiny_corpus, "a1 mine")
    with pytest.raises(ValueError, match="no position with 99 plies or more"):
        read_sides(bed, contrast, [HOOK], "train", 20, 99)
    sides = read_sides(bed, contrast, [HOOK], "train", 20, 4)
    assert len(sides.acts[HOOK]) == len(sides.high_N) == len(sides.game_N) and sides.n_games == 20
