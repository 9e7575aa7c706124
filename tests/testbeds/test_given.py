"""Whatever takes a testbed takes its folder and a shipped name too, and says what is none."""

import pytest

import boardgame_sae as bgs
from boardgame_sae.config import ConfigError
from boardgame_sae.testbeds.given import as_testbed
from boardgame_sae.testbeds.testbed import Testbed, load_testbed

NAME, SAE_NAME = "othello6-tiny", "othello6-tiny/topk-16"


def test_itself_its_folder_and_its_name_are_the_same(tiny_model, tiny_corpus):
    testbed = Testbed(tiny_model, tiny_corpus, n_games=20)
    assert as_testbed(testbed) is testbed
    assert as_testbed(NAME).hash == load_testbed(NAME).hash


@pytest.mark.parametrize(
    "use",
    [
        lambda given: bgs.evaluate(SAE_NAME, given),
        lambda given: bgs.latent(SAE_NAME, given, 3),
        lambda given: bgs.train_sae(given, "topk", n_latents=16, k=2),
        lambda given: bgs.finetune_sae(SAE_NAME, given, how="full"),
        lambda given: bgs.edit(given, "c2", "c3", "mine"),
        lambda given: bgs.steer(given, "c2"),
    ],
)
def test_what_is_none_is_named_before_anything_is_computed(use):
    with pytest.raises(ConfigError, match="testbed: is an object of the type TopKSAE; give a Testbed, its folder"):
        use(bgs.make_sae("topk", d_model=8, n_latents=8, k=2))
    with pytest.raises(RuntimeError, match="othello6-tinny: no such folder"):
        use("othello6-tinny")


def test_a_testbed_in_the_place_of_an_architecture_is_named(tiny_model, tiny_corpus):
    with pytest.raises(ConfigError, match="architecture: is an object of the type Testbed; give a name or a config"):
        bgs.train_sae("topk", Testbed(tiny_model, tiny_corpus, n_games=20))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("i", [3.5, "17", None, [1]])
def test_a_latent_is_a_whole_number(i):
    with pytest.raises(ValueError, match="a latent is a whole number, not"):
        bgs.latent(SAE_NAME, NAME, i)


@pytest.mark.parametrize("n", [0, -3, 3.5])
def test_a_harvest_is_of_one_activation_or_more(tiny_model, tiny_corpus, n):
    with pytest.raises(ConfigError, match=r"n_activations is .*: must be a whole number of at least 1"):
        Testbed(tiny_model, tiny_corpus, n_games=20).harvest(n)


def test_the_scale_of_an_edit_is_finite():
    with pytest.raises(ValueError, match="scale=nan must be a finite number"):
        bgs.edit(NAME, "c2b2a2", "c3", "yours", scale=float("nan"))
