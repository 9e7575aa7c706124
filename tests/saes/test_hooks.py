"""Hooks that put an SAE into a GPT."""

import pytest
import torch

from boardgame_sae.activations.hook_points import HookError, run_with_hooks
from boardgame_sae.saes.hooks import ablate, set_latents, splice
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.testbeds.testbed import Testbed

HOOK = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, HOOK, n_games=40)


@pytest.fixture(scope="module")
def sae():
    sae = make_sae("topk", d_model=16, n_latents=24, k=4)
    with torch.no_grad():
        sae.b_dec.copy_(torch.linspace(-0.1, 0.1, 16))
    return sae


@torch.no_grad()
def test_splice_gives_the_reconstruction(sae):
    x_BLD = torch.randn(2, 3, 16)
    assert torch.equal(splice(sae)(x_BLD), sae.decode(sae.encode(x_BLD)))


@torch.no_grad()
def test_ablating_a_latent_takes_away_its_decoder_row_times_its_activation_and_nothing_else(sae):
    x_BLD = torch.randn(5, 7, 16)
    z_BLF = sae.encode(x_BLD)
    for latents in ([3], [1, 5, 20], []):
        expected = x_BLD - z_BLF[..., latents] @ sae.W_dec[latents]
        assert torch.allclose(ablate(sae, latents)(x_BLD), expected, atol=1e-5)
    expected = x_BLD + (2.5 - z_BLF[..., 3:4]) * sae.W_dec[3]
    assert torch.allclose(set_latents(sae, {3: 2.5})(x_BLD), expected, atol=1e-5)
    assert torch.equal(z_BLF, sae.encode(x_BLD))


@torch.no_grad()
def test_heads_stand_side_by_side():
    sae = make_sae("relu", d_model=16, n_latents=24)
    value = torch.randn(2, 3, 4, 4)
    assert torch.equal(splice(sae)(value).flatten(2), sae.decode(sae.encode(value.flatten(2))))


def test_any_object_of_any_library_will_do_and_what_is_none_is_refused(tmp_path, sae):
    class Theirs:
        def encode(self, x):
            return x.relu()

        def decode(self, z):
            return 2 * z

    assert torch.equal(splice(Theirs())(torch.ones(1, 1, 2)), 2 * torch.ones(1, 1, 2))
    sae.save(tmp_path)
    with torch.no_grad():
        assert splice(tmp_path)(torch.randn(1, 2, 16)).shape == (1, 2, 16)
    with pytest.raises(ValueError, match="list has no `encode` and `decode`"):
        ablate([1.0], [0])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (torch.tensor([1, 2]), r"not int64 of shape \(2,\)"),
        (torch.tensor([[1.0]]), "whole numbers, not float32"),
        (torch.zeros(1, 0, dtype=torch.long), "at least one move"),
        (torch.tensor([[1, -1]]), "token ids lie between 0 and .*, not -1"),
        (torch.tensor([[1, 999]]), "token ids lie between 0 and .*, not 999"),
    ],
)
def test_token_ids_that_are_none_are_refused(bed, given, said):
    with pytest.raises(ValueError, match=said):
        bed.run_with_hooks(given)


@pytest.mark.parametrize(
    ("latents", "said"),
    [([24], "latents 0 to 23, none is 24"), ([-1], "none is -1"), (["3"], "whole number, not '3'"),
     ([1.5], "whole number, not 1.5"), (3, "as a list"), ("3", "as a list")],
)  # fmt: skip
def test_latents_that_there_are_not_are_named(sae, latents, said):
    with pytest.raises((ValueError, IndexError), match=said):
        ablate(sae, latents)(torch.zeros(1, 1, 16))


def test_a_latent_is_set_to_a_finite_number(sae):
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"latent 3: .* is not a finite number"):
            set_latents(sae, {3: value})
    with pytest.raises(ValueError, match="give a value for each latent"):
        set_latents(sae, [3])  # pyright: ignore[reportArgumentType]


def test_hooks_in_a_testbed_change_what_the_gpt_predicts(bed, sae):
    moves = bed.corpus.game.texts(bed.corpus.record([0]))[0][:8]
    clean_BLV = bed.run_with_hooks(moves)
    assert clean_BLV.shape == (1, 4, len(bed.model.alphabet)) and not clean_BLV.requires_grad
    assert torch.equal(clean_BLV, bed.run_with_hooks(moves, {HOOK: lambda value: None}))
    assert torch.equal(clean_BLV, bed.run_with_hooks(bed.model.encode(moves)))
    spliced_BLV = bed.run_with_hooks([moves, moves], {HOOK: splice(sae)})
    assert spliced_BLV.shape[0] == 2 and not torch.allclose(spliced_BLV[:1], clean_BLV)
    assert torch.allclose(bed.run_with_hooks(moves, {HOOK: ablate(sae, [])}), clean_BLV, atol=1e-5)


@pytest.mark.parametrize(
    ("hooks", "said"),
    [
        ({"blocks.9.hook_resid_post": lambda value: None}, "no hook point 'blocks.9.hook_resid_post'"),
        ({HOOK: lambda value: value[:, 0]}, r"returned \(1, 16\); return None, or a tensor of shape \(1, 2, 16\)"),
        ({HOOK: lambda value: 3}, "returned int"),
        ({HOOK: 3}, "is a int; give a function"),
        ({HOOK: lambda value, hook: value}, "must take one argument, the activations there"),
        ([(HOOK, lambda value: value)], "hooks are functions by hook point, .* not a list"),
    ],
)
def test_a_hook_that_cannot_be_is_named(bed, hooks, said):
    moves = bed.corpus.game.texts(bed.corpus.record([0]))[0][:4]
    with pytest.raises(HookError, match=said):
        bed.run_with_hooks(moves, hooks)


def test_games_of_several_lengths_and_games_that_cannot_be_played_are_refused(bed):
    text = bed.corpus.game.texts(bed.corpus.record([0]))[0]
    with pytest.raises(ValueError, match="give games of one length"):
        bed.run_with_hooks([text[:4], text[:6]])
    with pytest.raises(ValueError, match="illegal move"):
        bed.run_with_hooks("a1a1")
    for nothing in ("", [""]):
        with pytest.raises(ValueError, match="give games of at least one move"):
            bed.run_with_hooks(nothing)
    with pytest.raises(ValueError, match="there are no games"):
        bed.run_with_hooks([])
    with pytest.raises(ValueError, match="context is"):
        run_with_hooks(bed.model.gpt, torch.zeros(1, bed.model.gpt.cfg.n_ctx + 1, dtype=torch.long), {})


def test_a_probe_is_fitted_once_has_names_and_tells_what_is_there(bed, monkeypatch, tmp_path):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path))
    how = {"n_train_games": 200, "n_test_games": 20, "fit": "closed_form"}
    probe = bed.probe("blocks.1.hook_resid_post", "board", **how)
    assert len(list(tmp_path.glob("probes/*"))) == 1 and len(probe.labels) == 16 * 3
    assert torch.equal(bed.probe("blocks.1.hook_resid_post", "board", **how).weight_DSC, probe.weight_DSC)
    assert len(list(tmp_path.glob("probes/*"))) == 1
    assert torch.equal(probe.direction("a1 mine"), probe.directions()[probe.labels.index("a1 mine")])
    with pytest.raises(ValueError, match="no label 'a1 min'; did you mean 'a1 mine'"):
        probe.direction("a1 min")
    with pytest.raises(ValueError, match="unknown othello property 'bord'"):
        bed.probe(None, "bord")
    with pytest.raises(HookError):
        bed.probe("blocks.7.hook_resid_post")
    with pytest.raises(ValueError, match="unknown field 'learning_rate'; did you mean 'lr'"):
        bed.probe(learning_rate=1)
