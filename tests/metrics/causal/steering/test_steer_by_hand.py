"""A model steered by hand, in Python and by the verb: what is shown, and what is refused in words."""

import pytest
from planted_mover import BEGUN, HOOK, PLANTED, PlantedOpening, planted_mover

import boardgame_sae as bgs
from boardgame_sae.cli import main
from boardgame_sae.config import ConfigError
from boardgame_sae.games import IllegalMove
from boardgame_sae.metrics.causal.steering import steer as module
from boardgame_sae.players import openings
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.testbeds.testbed import Testbed, load_testbed


@pytest.fixture(autouse=True)
def _few_games(monkeypatch):
    monkeypatch.setattr(module, "N_TRAIN", 40)


@pytest.fixture(scope="module")
def mover():
    return Testbed(planted_mover(), load_testbed("chess-small", "cpu").corpus, HOOK)


@pytest.fixture
def planted(monkeypatch):
    """The vector is the planted direction, 10 long."""
    monkeypatch.setattr(module, "contrastive", lambda high_ND, low_ND: 10 * PLANTED)
    monkeypatch.setitem(openings._OPENINGS._known, "planted", PlantedOpening)


def test_what_the_model_plays_changes_and_is_measured(mover, planted):
    steered = bgs.steer(mover, BEGUN, n_games=4, opening="planted", temperature=0)
    assert steered.before["Qg4"] > steered.after.get("Qg4", 0) and steered.after["exd5"] > steered.before.get("exd5", 0)
    assert steered.lost["Qg4"] > 700 and steered.lost["exd5"] < 50
    assert [text.split()[2] for text in steered.texts] == ["2.Qg4", "2.exd5"]
    without, with_, difference = steered.games["lost"]
    assert difference.value == pytest.approx(with_.value - without.value)
    shown = str(steered).splitlines()
    assert shown[0].startswith("skill 5 less skill 0, contrastive (")
    assert shown[0].endswith(f"long as activations), times 1 at {HOOK}")
    assert any(line.split()[0] == "exd5" and line.split()[3] == "yes" for line in shown[3:])
    assert any(line.startswith("with:") and line.endswith("(5 tries, none legal)") for line in shown)
    assert shown[-1].startswith("points per game")


def test_a_negative_coefficient_and_one_of_nothing_leave_the_planted_move_as_it_is(mover, planted):
    for coefficient in (0.0, -1.0):
        steered = bgs.steer(mover, BEGUN, coefficient=coefficient, temperature=0)
        assert steered.texts[0].split()[2] == steered.texts[1].split()[2] == "2.Qg4" and not steered.games
    assert steered.how.endswith(f"times -1 at {HOOK}")
    nothing = bgs.steer(mover, BEGUN, coefficient=0)
    assert nothing.before == nothing.after and nothing.texts[0] == nothing.texts[1]


def test_models_of_whole_moves_are_steered_towards_what_is_on_the_board(tiny_model, tiny_corpus):
    bed = Testbed(tiny_model, tiny_corpus)
    steered = bgs.steer(bed, "b1", toward="b1_yours", vector="probe", coefficient=3)
    assert sum(steered.after.values()) == pytest.approx(1) and steered.before != steered.after
    assert all(value is None for value in steered.lost.values()) and "centipawns" not in str(steered)
    sae = make_sae("topk", d_model=bed.width, n_latents=32, k=4).eval()
    assert "latents (" in bgs.steer(bed, "b1", toward="b1_yours", sae=sae).how


@pytest.mark.parametrize(
    ("moves", "settings", "message"),
    [
        ("b1", {"coefficient": float("nan")}, "coefficient=nan must be a finite number"),
        ("b1", {"n_games": -1}, "n_games=-1 not negative"),
        ("b1", {"toward": "skill"}, "othello4: nothing called 'skill' is true or false of a position"),
        ("", {"toward": "b1_yours"}, "a model of whole moves reads a move before it writes one"),
        ("b1", {"toward": "b1_yours", "hook_name": "blocks.9.hook_resid_post"}, "no hook point 'blocks.9"),
        ("b1", {"toward": "b1_yours", "sae": make_sae("relu", d_model=9, n_latents=4)}, "width 9 cannot be scored"),
    ],
)
def test_what_cannot_be_steered_is_refused_in_words(tiny_model, tiny_corpus, moves, settings, message):
    with pytest.raises(ValueError, match=message):
        bgs.steer(Testbed(tiny_model, tiny_corpus), moves, **settings)


def test_bad_moves_players_and_openings_are_refused(tiny_model, tiny_corpus):
    bed = Testbed(tiny_model, tiny_corpus)
    with pytest.raises(IllegalMove, match="illegal move 'a1' at ply 1"):
        bgs.steer(bed, "a1", toward="b1_yours")
    with pytest.raises(ConfigError, match="unknown player 'randon'; did you mean 'random'"):
        bgs.steer(bed, "b1", toward="b1_yours", player="randon")
    with pytest.raises(ConfigError, match="unknown opening"):
        bgs.steer(bed, "b1", toward="b1_yours", opening="rando")
    with pytest.raises(ConfigError, match="othello4 has no built-in player that could judge games"):
        bgs.steer(bed, "b1", toward="b1_yours", n_games=3)


def test_a_game_that_is_over_cannot_be_steered(mover):
    with pytest.raises(ValueError, match="the game is over after these moves"):
        bgs.steer(mover, "1.f3 e5 2.g4 Qh4#")


def test_moves_beyond_the_context_are_refused(mover):
    corpus = mover.corpus
    longest = max(corpus.game.texts(corpus.record(corpus.games("test")[:200])), key=len)
    with pytest.raises(ValueError, match=r"these moves are 1\d\d tokens, more than the 150 that the model reads"):
        bgs.steer(mover, longest)


def test_the_verb_shows_it_and_says_what_is_wrong_without_a_traceback(capsys):
    words = ["steer", "--testbed", "othello6-tiny", "--moves", "c2b4a5", "--device", "cpu"]
    assert main([*words, "--toward", "c3 mine", "--coefficient", "-2"]) == 0
    out = capsys.readouterr().out
    assert "c3 mine less not c3 mine, contrastive" in out and "times -2 at blocks." in out and "without: c2b4a5" in out
    assert main(words) == 2
    assert "nothing called 'skill' is true or false of a position" in capsys.readouterr().err
    assert main([*words, "--toward", "c3 mine", "--vector", "mean"]) == 2
    assert main([*words, "--toward", "c3 mine", "--sae", "topk-17"]) == 1
    assert "has no SAE 'topk-17' (did you mean 'topk-16'?)" in capsys.readouterr().err
    assert main([*words, "--toward", "c3 mine", "--coefficient", "nan"]) == 2
