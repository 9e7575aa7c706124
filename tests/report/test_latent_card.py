"""A latent's card: boards that the replayed games bear out, and numbers that the scores bear out."""

from typing import Any

import numpy as np
import pytest
import torch

from boardgame_sae.files import RunError, write_parquet
from boardgame_sae.games import load_game
from boardgame_sae.metrics.counting.latent_columns import Latents
from boardgame_sae.metrics.results import LATENTS_FILE
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.report.best import best_sae
from boardgame_sae.report.latent_card import best_latents, latent_cards, mean_boards, mean_pictures, read_latents
from boardgame_sae.saes.load import load_sae
from boardgame_sae.testbeds.testbed import load_testbed


@pytest.fixture(scope="module")
def made(study):
    """The testbed, the best SAE, its table of latents and its cards."""
    listed = study.testbeds[0]
    testbed, scores = load_testbed(listed.folder, "cpu"), best_sae(listed)
    assert scores is not None
    sae = load_sae(next(folder for folder in listed.saes if folder.name == scores.subject["sae"]["sae_folder"]))
    table = read_latents(listed.score_folders[listed.scored.index(scores)])
    return testbed, sae, table, latent_cards(testbed, sae, table, 5)


def test_cards_are_of_the_latents_farthest_above_chance_best_first(made):
    *_, table, cards = made
    latents = [card["latent"] for card in cards]
    assert len(cards) == len(set(latents)) == 5
    above = [(card["f1"] - card["chance"]) / (1 - card["chance"]) for card in cards]
    assert np.allclose(above, sorted(above, reverse=True), atol=1e-3)
    assert np.allclose(above, np.sort(table["above_chance"])[::-1][:5], atol=1e-3)
    assert best_latents(table, 1) == latents[:1]


def test_a_latent_that_is_never_on_has_no_card():
    table = {"above_chance": np.array([-0.5, 0.0, 0.5, 0.5]), "property": np.array(["b", "", "a", "b"], object)}
    assert best_latents(table, 9) == [2, 3, 0]


def test_the_numbers_of_a_card_are_those_of_its_boards(made):
    testbed, sae, _, cards = made
    labels_NP = testbed.labels("test")
    with torch.no_grad():
        train_NF, test_NF = (sae.encode(testbed.activations(split)).numpy() for split in ("train", "test"))
    for card in cards:
        columns = next(columns for columns in testbed.columns if columns.name == card["property"])
        true_N = labels_NP[:, columns.start + columns.class_names.index(card["label"])]
        on_N = test_NF[:, card["latent"]] > np.float32(card["threshold"]) * train_NF[:, card["latent"]].max()
        hits, base = (on_N & true_N).sum(), true_N.mean()
        expected = {"precision": hits / on_N.sum(), "recall": hits / true_N.sum(), "base": base, "on": on_N.mean()}
        expected |= {"f1": 2 * hits / (on_N.sum() + true_N.sum()), "chance": 2 * base / (1 + base)}
        assert {name: card[name] for name in expected} == pytest.approx(expected, abs=6e-5)


def test_a_latent_is_precise_about_classes_it_tells_95_times_of_100_on_train(made):
    testbed, sae, _, cards = made
    labels_NP = testbed.labels("train")[:, testbed.supported_P]
    with torch.no_grad():
        train_NF = sae.encode(testbed.activations("train")).numpy()
    for card in cards:
        a_N = train_NF[:, card["latent"]]
        said_TN = np.stack([a_N > np.float32(t / 10) * a_N.max() for t in range(11)])
        hit_TP = said_TN.astype(int) @ labels_NP.astype(int)
        precise_TP = (hit_TP >= 10) & (hit_TP >= 0.95 * said_TN.sum(1, keepdims=True))
        assert card["n_precise"] == precise_TP.any(0).sum()


def test_a_missing_or_damaged_table_of_latents_is_named(tmp_path):
    with pytest.raises(RunError, match=r"latents\.parquet: no such file"):
        read_latents(tmp_path)
    (tmp_path / LATENTS_FILE).write_bytes(b"PAR1 no more")
    with pytest.raises(RunError, match=r"latents\.parquet: damaged"):
        read_latents(tmp_path)


TABLE: dict[str, Any] = {
    **{name: np.arange(3) for name in ("latent", "n_precise")},
    **{name: np.array(["a", "", "b"], object) for name in ("property", "label")},
    **{name: np.ones(3) for name in ("f1", "precision", "recall", "threshold", "density")},
    **{name: np.ones(3) for name in ("max_activation", "always_on", "above_chance")},
}


def test_a_table_of_latents_may_have_further_columns_and_any_name_of_folder(tmp_path):
    folder = tmp_path / "run [1]*"
    write_parquet(folder / LATENTS_FILE, {**TABLE, "of_another_score": np.array([np.nan, 1, 2])})
    read = read_latents(folder)
    assert all(read[name].tolist() == values.tolist() for name, values in TABLE.items())


@pytest.mark.parametrize("name", list(TABLE))
def test_a_table_of_latents_without_a_column_is_named_with_it(tmp_path, name):
    write_parquet(tmp_path / LATENTS_FILE, {other: values for other, values in TABLE.items() if other != name})
    with pytest.raises(RunError, match=rf"latents\.parquet: column '{name}' is missing; score the SAE again"):
        read_latents(tmp_path)


@pytest.mark.parametrize(
    ("name", "values", "fault"),
    [
        ("latent", np.array([0, 2, 1]), "does not number the rows from 0 on"),
        ("latent", np.arange(3.0), "does not hold whole numbers"),
        ("n_precise", np.array(["1", "2", "3"], object), "does not hold whole numbers"),
        ("property", np.arange(3), "does not hold text"),
        ("label", np.array(["a", None, "b"], object), "has empty entries"),
        ("f1", np.array(["x", "y", "z"], object), "does not hold numbers"),
        ("density", np.array([True, False, True]), "does not hold numbers"),
        ("threshold", np.array([0, np.nan, 1]), "has empty entries"),
        ("max_activation", np.array([0, np.inf, 1]), "holds NaN or infinite values"),
    ],
)
def test_a_table_of_latents_with_a_column_of_something_else_is_named_with_it(tmp_path, name, values, fault):
    write_parquet(tmp_path / LATENTS_FILE, {**TABLE, name: values})
    with pytest.raises(RunError, match=rf"latents\.parquet: column '{name}' {fault}; score the SAE again"):
        read_latents(tmp_path)


def test_boards_are_those_of_the_replayed_games(made):
    testbed, *_, cards = made
    game = testbed.corpus.game
    for board in (board for card in cards for board in card["boards"]):
        positions = game.replay(board["text"])
        assert len(positions) == board["ply"] + 1
        assert game.cells(positions[-1]) == board["cells"]
        assert bool(game.mover(positions[-1])) == board["first_to_move"]
        assert board["picture"] == game.picture(positions[-1])


def test_boards_are_where_the_latent_is_most_active(made):
    testbed, sae, _, cards = made
    acts = Latents.concatenate(Subject("sae", "sae", sae, testbed).latents("test"))
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
    game = testbed.corpus.game
    classes = game.property(testbed.columns[0].name).classes
    for card in cards:
        latent = card["latent"]
        on_N = test_NF[:, latent] > np.float32(card["threshold"]) * train_NF[:, latent].max()
        assert card["on"] == pytest.approx(on_N.mean(), abs=1e-4)
        difference_P = labels_NP[on_N].mean(0) - labels_NP.mean(0)
        boards = mean_boards(testbed, np.flatnonzero(on_N))
        for name, difference_S in boards:
            assert np.allclose(difference_S, difference_P[classes.index(name) :: len(classes)])
        assert card["mean"] == mean_pictures(game, boards)
        assert [mean["class"] for mean in card["mean"]] == [name for name, _ in boards]
        assert len(boards) == 2


def test_mean_boards_are_heat_of_one_scale_on_empty_boards_with_their_percentage_points():
    game, large, small = load_game("othello4"), np.zeros(16), np.zeros(16)
    large[[0, 3, 15]] = 0.25, -0.125, 0.004
    small[7] = 0.03
    pictures = [mean["picture"] for mean in mean_pictures(game, [("mine", large), ("yours", small)])]
    marks = [{0: "+25", 3: "\N{MINUS SIGN}12"}, {7: "+3"}]
    for picture, difference_S, points in zip(pictures, (large, small), marks, strict=True):
        assert picture == game.picture(None, heat=difference_S.reshape(4, 4), marks=points, scale=0.25)
    (mean,) = mean_pictures(game, [("mine", large / 1000)])
    assert mean["picture"] == game.picture(None, heat=large.reshape(4, 4) / 1000, scale=0.02)
