"""Boards of discs as SVG: where squares are, what stands on them, how heat is scaled."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from boardgame_sae.games.board_svg import COLD, WARM, DiscStyle, draw_discs, scaled

CELLS = "b.w" + "?.."


def elements(svg, tag):
    return [node.attrib | {"text": node.text} for node in ElementTree.fromstring(svg).iter() if node.tag.endswith(tag)]


@pytest.mark.parametrize(("on_top", "rows"), [(True, ("1", "2")), (False, ("2", "1"))])
def test_rows_are_drawn_from_the_top_or_the_bottom(on_top, rows):
    svg = draw_discs(CELLS, 3, DiscStyle(), first_row_on_top=on_top, rings=[1], last=5, size=150)
    names = [node["text"] for node in sorted(elements(svg, "text"), key=lambda node: float(node["y"]))]
    assert [name for name in names if name.isdigit()] == list(rows)
    discs = [(node["cx"], node["cy"], node["fill"]) for node in elements(svg, "circle") if node["r"] == "0.4"]
    first = "0.5" if on_top else "1.5"
    assert discs == [("0.5", first, "#111"), ("2.5", first, "#fff")]
    assert {node["r"]: (node["cx"], node["cy"]) for node in elements(svg, "circle")}["0.12"] == ("1.5", first)
    assert {node["r"]: node["cx"] for node in elements(svg, "circle")}["0.1"] == "2.5"
    assert elements(svg, "svg")[0]["width"] == "150" and elements(svg, "svg")[0]["height"] == "110"


def test_a_character_without_a_disc_is_written_and_marks_on_dark_discs_are_white():
    texts = elements(draw_discs(CELLS, 3, DiscStyle(), marks={0: "x", 2: "<y>"}), "text")
    assert [node["text"] for node in texts].count("?") == 1
    assert {node["text"]: node["fill"] for node in texts if node["text"] in ("x", "<y>")} == {
        "x": "#fff",
        "<y>": "#222",
    }


def test_heat_is_warm_or_cold_and_opaque_at_its_scale():
    heat = np.array([[1.0, 0, -2], [np.nan, 4, 0]])
    drawn = [(node["x"], node["y"], node["fill"], node["fill-opacity"])
             for node in elements(draw_discs(CELLS, 3, DiscStyle(), heat=heat), "rect")[1:]]  # fmt: skip
    assert drawn == [("0", "0", WARM, "0.212"), ("2", "0", COLD, "0.425"), ("1", "1", WARM, "0.850")]
    assert scaled(heat, (2, 3), 2.0) == [0.5, 0, -1, 0, 1, 0]
    assert scaled(np.zeros((1, 2)), (1, 2), None) == [0, 0] and scaled(None, (1, 2), None) == []
    with pytest.raises(ValueError, match=r"heat has shape \(6,\); the board's is \(2, 3\)"):
        draw_discs(CELLS, 3, DiscStyle(), heat=np.zeros(6))
