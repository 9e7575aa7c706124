"""Heat maps lie as the game's board lies, and show each square's own number."""

import numpy as np

from boardgame_sae.files import read_json
from boardgame_sae.games import load_game
from boardgame_sae.report.best import best_sae
from boardgame_sae.report.figures.board_maps import board_heat_maps, f1_by_square, probe_squares
from boardgame_sae.report.figures.style import hook_title


def test_probe_squares_shows_the_accuracy_of_each_square_at_each_hook_point(study):
    figure = probe_squares(study)
    assert figure is not None
    points = read_json(study.probes[0] / "probes.json")["hook_points"]
    boards = [axes for axes in figure.axes if axes.images]
    assert len(boards) == len(points) == 3
    low = boards[0].images[0].get_clim()[0]
    names = ["blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
    for axes, name in zip(boards, names, strict=True):
        shown = np.asarray(axes.images[0].get_array()).ravel()
        np.testing.assert_allclose(shown, points[name]["accuracy_S"])
        assert axes.get_title() == f"{hook_title(name)}: {points[name]['accuracy']:.1%}"
        assert low <= shown.min()


def test_f1_by_square_has_the_probe_above_the_best_sae(study):
    (testbed,) = study.testbeds
    figure = f1_by_square(study, testbed)
    assert figure is not None
    boards = {axes.get_title(): axes.images[0].get_array() for axes in figure.axes if axes.get_title()}
    classes = study.game.property("board").classes
    assert list(boards) == [*(f"probe: {name}" for name in classes), "best SAE: mine", "best SAE: yours"]
    details = best_sae(testbed)["coverage"].details["by_property"]["mine_yours"]["details"]
    for column, f1 in zip(details["columns"], details["f1"], strict=True):
        square, name = column.split()
        row, place = divmod(study.game.squares.index(square), 4)
        assert boards[f"best SAE: {name}"][row, place] == f1


def test_heat_maps_lie_as_the_board_lies():
    game = load_game("othello4")
    f1_S = np.linspace(0, 1, 16)
    f1_S[5] = np.nan
    figure = board_heat_maps([[("one", f1_S), ("two", f1_S)], [("three", f1_S)]], game)
    first = figure.axes[0]
    assert [tick.get_text() for tick in first.get_xticklabels()] == ["a", "b", "c", "d"]
    assert [tick.get_text() for tick in first.get_yticklabels()] == ["1", "2", "3", "4"]
    drawn = first.images[0].get_array()
    assert np.allclose(drawn.compressed(), np.delete(f1_S, 5))
    assert drawn.mask[1, 1]
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:4] == ["one", "two", "three", ""]
    assert first.yaxis_inverted(), "row 1 on top"


def test_a_chess_board_lies_with_a1_below_on_the_left():
    f1_S = np.full(64, 0.5)
    f1_S[:2] = 0.1, 0.9
    axes = board_heat_maps([[("one", f1_S)]], load_game("chess")).axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list("12345678")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list("abcdefgh")
    assert not axes.yaxis_inverted()
    place = axes.transData.transform
    a1, b1, a8 = place((0, 0)), place((1, 0)), place((0, 7))
    assert a1[0] < b1[0] and a1[1] == b1[1] < a8[1]
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert (texts[0, 0], texts[1, 0], texts[0, 1]) == ("10", "90", "50")
