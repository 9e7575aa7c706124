"""A latent's card: boards that the replayed games bear out, and numbers that the scores bear out."""

import numpy as np
import pytest
import torch

from boardgame_sae.activations.testbed import load_testbed
from boardgame_sae.metrics.score import Subject
from boardgame_sae.report.card import best_latents, last_squares, latent_cards
from boardgame_sae.report.figures import best_sae
from boardgame_sae.saes.sae import load_sae


@pytest.fixture(scope="module")
def made(study):
    """The testbed, the best SAE, its scores and its cards."""
    bed = study.beds[0]
    testbed, scores = load_testbed(bed.folder, "cpu"), best_sae(bed)
    assert scores is not None
    sae = load_sae(next(folder for folder in bed.saes if folder.name == scores.subject["sae"]["sae_folder"]))
    return testbed, sae, scores, latent_cards(testbed, sae, scores, 5)


def test_cards_are_of_distinct_latents_best_first(made):
    *_, scores, cards = made
    latents = [card["latent"] for card in cards]
    assert 0 < len(cards) <= 5
    assert len(set(latents)) == len(latents)
    above = [(card["f1"] - card["chance"]) / (1 - card["chance"]) for card in cards]
    assert np.allclose(above, sorted(above, reverse=True), atol=1e-3)
    by_property = [value["details"] for value in scores["coverage"].details["by_property"].values()]
    pairs = [pair for each in by_property for pair in zip(each["f1"], each["always_on"], strict=True)]
    assert above[0] == pytest.approx(max((f1 - chance) / (1 - chance) for f1, chance in pairs), abs=1e-3)
    assert best_latents(scores, 1)[0]["latent"] == latents[0]


def test_precision_and_recall_give_the_scored_f1(made):
    for card in made[3]:
        if card["precision"] + card["recall"]:
            f1 = 2 * card["precision"] * card["recall"] / (card["precision"] + card["recall"])
            assert f1 == pytest.approx(card["f1"], abs=2e-4)


def test_boards_are_those_of_the_replayed_games(made):
    testbed, *_, cards = made
    game = testbed.corpus.game
    for board in (board for card in cards for board in card["boards"]):
        positions = game.replay(board["text"])
        assert len(positions) == board["ply"] + 1
        assert game.cells(positions[-1]) == board["cells"]
        assert bool(game.mover(positions[-1])) == board["first_to_move"]
        assert [game.squares[s] for s in board["last"]] == [board["text"].split()[-1]]


def test_boards_are_where_the_latent_is_most_active(made):
    testbed, sae, _, cards = made
    acts = Subject("sae", "sae", sae, testbed).latents("test")
    for card in cards:
        shown = [board["activation"] for board in card["boards"]]
        assert shown == sorted(shown, reverse=True)
        assert shown[0] == pytest.approx(float(acts.max_F()[card["latent"]]), abs=1e-4)
        assert len({board["cells"] for board in card["boards"]}) == len(card["boards"])
        assert card["density"] == pytest.approx(float(acts.density_F()[card["latent"]]), abs=1e-4)


def test_mean_boards_are_shares_where_on_less_shares_overall(made):
    testbed, sae, _, cards = made
    labels_NP = testbed.labels("test")[:, : testbed.columns[0].stop]
    with torch.no_grad():
        train_NF = sae.encode(testbed.activations("train")).numpy()
        test_NF = sae.encode(testbed.activations("test")).numpy()
    classes = testbed.corpus.game.property(testbed.columns[0].name).classes
    for card in cards:
        latent = card["latent"]
        on_N = test_NF[:, latent] > np.float32(card["threshold"]) * train_NF[:, latent].max()
        assert card["on"] == pytest.approx(on_N.mean(), abs=1e-4)
        difference_P = labels_NP[on_N].mean(0) - labels_NP.mean(0)
        for each in card["mean"]:
            expected = difference_P[classes.index(each["class"]) :: len(classes)]
            assert np.allclose(each["difference"], expected, atol=6e-5)


def test_last_squares_of_a_placing_a_capture_and_a_pass():
    assert last_squares(".bw..", ".bbb.") == [3], "the disc placed, not the one turned"
    assert last_squares("R..p", "...R") == [3], "the piece that took"
    assert last_squares("K..R", ".RK.") == [1, 2], "both pieces of a castling"
    assert last_squares("bw", "bw") == []
