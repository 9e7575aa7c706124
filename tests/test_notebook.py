"""What things look like in a notebook and at the prompt: short, and escaped."""

import numpy as np
import pytest

from boardgame_sae.games import games, load_game
from boardgame_sae.metrics.results import Scores, ScoreValue
from boardgame_sae.notebook import Picture, pictures, table
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.testbeds.testbed import Testbed

SHORT = 200


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, "blocks.0.hook_resid_post", n_games=40)


def test_a_table_escapes_all_but_pictures():
    shown = table("<t>", [("<a>", 0.123456, Picture("<svg/>"))], ("<h>", "", ""))
    assert "<a>" not in shown and "&lt;a&gt;" in shown and "<svg/>" in shown and "0.1235" in shown
    assert "<h>" not in shown and "<t>" not in shown
    assert "&lt;b&gt;" in pictures([(Picture("<svg/>"), "<b>")])


def test_cells_stand_apart_whatever_a_notebook_s_style_and_wide_tables_scroll():
    shown = table("t", [("a", "b")], ("c", "d"))
    assert shown.count("padding") == 4 and shown.startswith('<div style="overflow-x:auto"><table>')


def test_a_square_with_a_mark_has_no_ring_under_it():
    game = load_game("othello6")
    position = game.start()
    marks = {game.legal_moves(position)[0]: "x"}
    rings, rings_left = (picture.count("stroke-opacity") for picture in (
        game.picture(position), game.picture(position, marks=marks)
    ))  # fmt: skip
    assert rings - rings_left == 1


def test_things_have_short_reprs_and_draw_themselves(bed, tiny_corpus, tiny_model):
    record = tiny_corpus.record(np.arange(3))
    scores = Scores(
        {"name": "<mine>", "skipped": {"core": "<no>"}}, {"coverage": ScoreValue(0.5, (0.4, 0.6), {"x": 1.0}, {})}
    )
    things = [bed, tiny_corpus, tiny_model, scores, scores["coverage"], make_sae("topk", d_model=8, n_latents=16, k=4)]
    for thing in things:
        assert len(repr(thing)) < SHORT + len(str(tiny_corpus.path)) and thing._repr_html_().count("<table>") == 1
    assert "<mine>" not in scores._repr_html_() and "0.5000 [0.4000, 0.6000]" in repr(scores["coverage"])
    assert repr(things[-1]) == "TopKSAE(d_model=8, n_latents=16, k=4)"
    for thing in (
        record,
        tiny_corpus.boards(np.arange(3)),
        bed.probe(bed.hook_name, n_train_games=64, n_test_games=32),
    ):
        assert len(repr(thing)) < SHORT and "array" not in repr(thing)


@pytest.mark.parametrize("name", games())
def test_a_game_shows_its_first_board(name):
    game = load_game(name)
    assert repr(load_game(game.spec)) == repr(game) == f"load_game({game.spec!r})"
    assert game._repr_html_().count("<svg") == 1
    picture = game.picture(game.start())
    assert picture._repr_html_() == picture and len(repr(picture)) < SHORT and isinstance(picture, str)
