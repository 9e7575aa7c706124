"""A square set by hand, in Python and by the verb: what is shown, and what is refused in words."""

import pytest

import boardgame_sae as bgs
from boardgame_sae.cli import main
from boardgame_sae.games import IllegalMove
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.testbeds.testbed import load_testbed

HOOK = "blocks.4.hook_resid_post"


@pytest.fixture(scope="module")
def bed():
    return load_testbed("othello-small", "cpu")


def test_the_moves_become_those_of_the_edited_board(bed):
    edited = bgs.edit(bed, "d3c5f6f5e6e3", "e3", "mine", hook_name=HOOK, scale=80)
    assert (edited.changed, edited.errors) == ((("e3", "yours", "mine"),), (4, 0))
    assert edited.legal - edited.legal_after == {"e2", "f3"} and edited.legal_after - edited.legal == {"b6"}
    assert edited.before["b6"] < 0.01 < edited.after["b6"] and edited.after["e2"] < 0.01 < edited.before["e2"]
    assert sum(edited.after.values()) == pytest.approx(1)
    shown = str(edited).splitlines()
    assert "e3: yours -> mine, by 80" in shown[0] and shown[-1] == "errors on the edited board: 4 before, 0 after"
    assert any(line.split() == ["e2", "0.091", "0.000", "yes", "no"] for line in shown)


def test_two_discs_are_swapped():
    bed, moves = load_testbed("othello6-tiny", "cpu"), "b3b4c5b6d5b2c6e4b5e3"
    swapped = bgs.edit(bed, moves, ["c4", "b2"], ["yours", "mine"], hook_name=HOOK, scale=30)
    assert swapped.changed == (("c4", "mine", "yours"), ("b2", "yours", "mine"))
    assert swapped.errors == (6, 0)
    assert swapped.game.cells(swapped.edited) != swapped.game.cells(swapped.position)
    assert str(swapped).startswith("c4: mine -> yours; b2: yours -> mine, by 30")
    alone = bgs.edit(bed, moves, ["c4"], ["yours"], hook_name=HOOK, scale=30)
    assert alone.after == bgs.edit(bed, moves, "c4", "yours", hook_name=HOOK, scale=30).after != swapped.after


@pytest.mark.parametrize(
    ("moves", "square", "to", "message"),
    [
        ("d3c5f6f5e6e3", "e9", "mine", "no square 'e9'; did you mean e"),
        ("d3c5f6f5e6e3", "e3", "black", "nothing called 'black' stands on a square; mine, yours, empty do"),
        ("d3c5f6f5e6e3", "e3", "yours", "e3 is yours already"),
        ("d3c5f6f5e6e3", ["e3", "d3"], ["mine"], "2 squares and 1 contents; give one content for each square"),
        ("d3c5f6f5e6e3", ["e3", "e3"], ["mine", "empty"], "a square is given twice"),
        ("", "e4", "yours", "the model reads no board where 0 plies were played"),
    ],
)
def test_what_cannot_be_edited_is_refused_in_words(bed, moves, square, to, message):
    with pytest.raises(ValueError, match=message):
        bgs.edit(bed, moves, square, to, hook_name=HOOK, scale=80)


def test_moves_that_the_rules_forbid_and_places_that_are_not_there_are_refused(bed):
    with pytest.raises(IllegalMove, match="illegal move 'a1' at ply 2"):
        bgs.edit(bed, "d3a1", "e3", "mine", hook_name=HOOK, scale=80)
    with pytest.raises(ValueError, match=r"no hook point 'blocks\.9\.hook_resid_post'"):
        bgs.edit(bed, "d3c5", "d3", "yours", hook_name="blocks.9.hook_resid_post", scale=80)
    with pytest.raises(ValueError, match="width 9 cannot be scored"):
        bgs.edit(bed, "d3c5", "d3", "yours", sae=make_sae("relu", d_model=9, n_latents=4))


def test_the_verb_says_what_is_wrong_without_a_traceback(capsys):
    words = ["edit", "--testbed", "othello-small", "--moves", "d3c5", "--hook-name", HOOK, "--scale", "80"]
    assert main([*words, "--square", "z9", "--to", "mine"]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("error: othello: no square 'z9'")
    assert main([*words, "--square", "d3", "--to", "mine", "--sae", "topk-17"]) == 1
    assert "has no SAE 'topk-17' (did you mean 'topk-16'?)" in capsys.readouterr().err
