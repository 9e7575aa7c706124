"""What is shown of a latent: boards that the replayed games bear out, and a table that is checked as it is read."""

from typing import Any

import numpy as np
import pytest

from boardgame_sae.files import RunError, write_parquet
from boardgame_sae.games import load_game
from boardgame_sae.metrics.counting.latent_columns import Latents
from boardgame_sae.metrics.results import LATENTS_FILE, Scores
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.report.best import best_saes
from boardgame_sae.report.latent_card import checked_latents, mean_boards, mean_pictures, read_latents, top_boards
from boardgame_sae.saes.load import load_sae
from boardgame_sae.testbeds.testbed import load_testbed


@pytest.fixture(scope="module")
def made(study):
    """The testbed, and the latents of the best SAE at its test positions."""
    listed = study.testbeds[0]
    testbed, best = load_testbed(listed.folder, "cpu"), best_saes(listed)[0]
    sae = load_sae(next(folder for folder in listed.saes if folder.name == best.scores.subject["sae"]["sae_folder"]))
    return testbed, Latents.concatenate(Subject("sae", "sae", sae, testbed).latents("test"))


def on_somewhere(latents):
    return [latents.columns(f, f + 1) for f in np.flatnonzero(latents.density_F())]


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
    testbed, latents = made
    game = testbed.corpus.game
    for board in (board for own in on_somewhere(latents) for board in top_boards(testbed, own, 3)):
        positions = game.replay(board["text"])
        assert len(positions) == board["ply"] + 1
        assert game.cells(positions[-1]) == board["cells"]
        assert bool(game.mover(positions[-1])) == board["first_to_move"]
        assert board["picture"] == game.picture(positions[-1])


def test_boards_are_where_the_latent_is_most_active(made):
    testbed, latents = made
    for own in on_somewhere(latents):
        boards = top_boards(testbed, own, 5)
        shown = [board["activation"] for board in boards]
        assert 0 < len(shown) <= 5 and shown == sorted(shown, reverse=True)
        assert shown[0] == pytest.approx(float(own.max_F()[0]), abs=1e-4)
        assert len({board["cells"] for board in boards}) == len(boards)


def test_mean_boards_are_shares_where_on_less_shares_overall(made):
    testbed, latents = made
    labels_NP = testbed.labels("test")[:, : testbed.columns[0].stop]
    classes = testbed.corpus.game.property(testbed.columns[0].name).classes
    for own in on_somewhere(latents):
        difference_P = labels_NP[own.rows_Z].mean(0) - labels_NP.mean(0)
        boards = mean_boards(testbed, own.rows_Z)
        assert len(boards) == 2
        for name, difference_S in boards:
            assert np.allclose(difference_S, difference_P[classes.index(name) :: len(classes)])


def test_the_table_in_memory_is_checked_like_the_one_of_a_folder(study, tmp_path):
    scores = Scores.load(study.testbeds[0].score_folders[0])
    table = checked_latents(scores)
    assert {name: list(column) for name, column in table.items()} == {
        name: list(column) for name, column in read_latents(study.testbeds[0].score_folders[0]).items()
    }
    for columns in ({}, {name: column for name, column in table.items() if name != "f1"}):
        with pytest.raises(RunError, match="its table of latents: has no column"):
            checked_latents(Scores(scores.subject, {}, latents=columns))
    with pytest.raises(RunError, match="does not number the rows"):
        checked_latents(Scores(scores.subject, {}, latents={**table, "latent": table["latent"][::-1]}))


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
