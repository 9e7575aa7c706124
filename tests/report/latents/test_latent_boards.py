"""What is shown of a latent: boards that the replayed games bear out, and what these have in common."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from boardgame_sae.metrics.counting.latent_columns import Latents, as_latents
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.report.best import best_saes
from boardgame_sae.report.latents.boards import SHADES, mean_boards, peaks, top_boards
from boardgame_sae.saes.load import load_sae
from boardgame_sae.testbeds.testbed import load_testbed


@pytest.fixture(scope="module")
def made(study):
    """The testbed, and the latents of the best SAE at its test positions."""
    listed = study.testbeds[0]
    testbed, best = load_testbed(listed.folder, "cpu"), best_saes(listed)[0]
    sae = load_sae(next(folder for folder in listed.saes if folder.name == best.scores.subject["sae"]["sae_folder"]))
    return testbed, Latents.concatenate(Subject("sae", "sae", sae, testbed).latents("test"))


def on_somewhere(testbed, latents):
    """The latents that are ever on, with their peaks."""
    own = peaks(testbed, latents)
    return [(latents.columns(f, f + 1), own[f]) for f in np.flatnonzero(latents.density_F())]


@given(data=st.data())
def test_peaks_are_the_strongest_of_each_game_strongest_first(made, data):
    testbed, _ = made
    game_N = testbed.positions("test").game_N
    values = st.sampled_from([0.0, 0.0, 1.0, 2.0, 3.5])
    dense_NF = np.zeros((len(game_N), 3))
    dense_NF[:40] = data.draw(st.lists(st.tuples(values, values, values), min_size=40, max_size=40))
    found = peaks(testbed, as_latents(dense_NF))
    for f, (rows_N, values_N) in enumerate(found):
        order = [row for row in np.argsort(-dense_NF[:, f], kind="stable") if dense_NF[row, f] > 0]
        firsts = {game: row for row in reversed(order) for game in [game_N[row]]}
        expected = [row for row in order if firsts[game_N[row]] == row]
        assert rows_N.tolist() == expected and values_N.tolist() == dense_NF[expected, f].tolist()


def test_boards_are_those_of_the_replayed_games(made):
    testbed, latents = made
    game = testbed.corpus.game
    for board in (board for _, own in on_somewhere(testbed, latents) for board in top_boards(testbed, own, 3)):
        positions = game.replay(board["text"])
        assert len(positions) == board["ply"] + 1
        assert game.cells(positions[-1]) == board["cells"]
        assert bool(game.mover(positions[-1])) == board["first_to_move"]
        assert board["picture"] == game.picture(positions[-1])


def test_boards_are_where_the_latent_is_most_active(made):
    testbed, latents = made
    for column, own in on_somewhere(testbed, latents):
        boards = top_boards(testbed, own, 5)
        shown = [board["activation"] for board in boards]
        assert 0 < len(shown) <= 5 and shown == sorted(shown, reverse=True)
        assert shown[0] == pytest.approx(float(column.max_F()[0]), abs=1e-4)
        assert len({board["cells"] for board in boards}) == len(boards)


def test_mean_boards_show_shares_where_on_less_shares_overall(made):
    testbed, latents = made
    game, columns = testbed.corpus.game, testbed.columns[0]
    labels_NP = testbed.labels("test")[:, : columns.stop]
    classes = game.property(columns.name).classes
    every = latents.to_dense().T > 0
    drawn = mean_boards(testbed, csr_array(every))
    assert any(drawn) and all(bool(means) == bool(on_N.any()) for means, on_N in zip(drawn, every, strict=True))
    for means, on_N in zip(drawn, every, strict=True):
        if not means:
            continue
        difference_SC = (labels_NP[on_N].mean(0) - labels_NP.mean(0)).reshape(-1, len(classes))
        scale = np.abs(difference_SC).max()
        assert {mean["class"] for mean in means} >= {classes[np.abs(difference_SC).max(0).argmax()]}
        for mean in means:
            own_S = difference_SC[:, classes.index(mean["class"])]
            marks = {
                square: f"{points:+d}".replace("-", "\N{MINUS SIGN}")
                for square, points in enumerate(np.round(100 * own_S).astype(int).tolist())
                if points
            }
            heat = np.round(SHADES * own_S.reshape(game.shape) / scale)
            assert like(mean["picture"]) == like(game.picture(None, marks=marks, heat=heat, scale=SHADES))


def like(picture):
    """A picture's squares and texts, without what single precision may round otherwise."""
    return re.sub(r'fill-opacity="[^"]*"', "", picture)
