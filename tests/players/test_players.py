"""Players by name, and what playing better than at random does."""

import numpy as np
import pytest

from boardgame_sae import cli
from boardgame_sae.config import ConfigError, config
from boardgame_sae.games import load_game
from boardgame_sae.players import registry
from boardgame_sae.players.movers import BuiltInMover
from boardgame_sae.players.play import game_seeds, identities, play_games
from boardgame_sae.players.registry import Player, make_player, players, plays_uniformly, register, settle_player
from boardgame_sae.transcripts.corpus import Corpus


def test_the_players_are_listed():
    assert {"random", "epsilon_greedy"} <= set(players())


@pytest.mark.parametrize(
    ("text", "epsilon"),
    [
        ("random", 1.0),
        ("epsilon_greedy", 0.1),
        ("epsilon_greedy:epsilon=0.25", 0.25),
        ("epsilon_greedy: epsilon = 3e-1 ", 0.3),
        ("epsilon_greedy:epsilon=0", 0.0),
    ],
)
def test_a_players_text_gives_its_share_of_random_moves(text, epsilon):
    assert make_player(text).epsilon == epsilon


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("radnom", "unknown player 'radnom'; did you mean 'random'?"),
        ("", "unknown player ''; there are "),
        ("random:epsilon=0.2", "unknown field 'epsilon'"),
        ("epsilon_greedy:epsilom=0.2", "did you mean 'epsilon'?"),
        ("epsilon_greedy:epsilon", "'epsilon' is not setting=value"),
        ("epsilon_greedy:=0.2", "'=0.2' is not setting=value"),
        ("epsilon_greedy:epsilon=0.2,epsilon=0.3", "'epsilon' is set twice"),
        ("epsilon_greedy:epsilon=often", "'often'"),
        ("epsilon_greedy:epsilon=1.5", "field 'epsilon' is 1.5: must be at most 1"),
        ("epsilon_greedy:epsilon=-0.1", "field 'epsilon' is -0.1: must be at least 0"),
        ("epsilon_greedy:epsilon=nan", "epsilon"),
    ],
)
def test_a_bad_players_text_is_refused_and_named(text, complaint):
    with pytest.raises(ConfigError) as caught:
        make_player(text)
    assert complaint in str(caught.value) and f"player '{text}'" in str(caught.value)


def margins(first, second):
    """Discs of the first mover minus the second's at the end of 300 games."""
    game = load_game("othello6")
    record = play_games(game, [make_player(first), make_player(second)], game_seeds(0, 0, 300)).record
    return game.outcomes(record)["margin"].astype(int)


def test_a_greedy_player_wins_more_discs_than_a_random_one_on_either_side():
    even, ahead, behind = (
        margins("random", "random"),
        margins("epsilon_greedy", "random"),
        margins("random", "epsilon_greedy"),
    )
    assert ahead.mean() > even.mean() + 2
    assert behind.mean() < even.mean() - 2


def test_a_greedy_player_with_epsilon_one_plays_the_random_players_games():
    assert np.array_equal(margins("epsilon_greedy:epsilon=1", "random"), margins("random", "random"))


# One more player


class LastMover(BuiltInMover):
    """Plays the last of the legal moves."""

    def __init__(self, game):
        self.game = game

    def choose(self, position, moves, temperature, random):
        return self.game.legal_moves(position)[-1]


@pytest.fixture
def one_more(monkeypatch):
    """A player that another file could add: it says how it moves, and nothing else has heard of it."""
    monkeypatch.setattr(registry._PLAYERS, "_known", dict(registry._PLAYERS.all()))

    @register("last")
    @config
    class LastPlayer(Player):
        plies: int = 0

        def mover(self, game):
            return LastMover(game)

    return LastPlayer


def test_one_more_player_is_known_and_plays_on_every_game(one_more, tmp_path):
    assert "last" in players() and make_player("last:plies=3") == one_more(plies=3)
    for name in ("othello4", "connect_four", "chess"):
        game = load_game(name)
        record = play_games(game, [make_player("last"), make_player("random")], game_seeds(0, 0, 3), max_plies=9).record
        for moves in record:
            positions = list(game.positions(moves.tolist()))
            firsts = [ply for ply in range(len(moves)) if game.mover(positions[ply])]
            assert all(moves[ply] == game.legal_moves(positions[ply])[-1] for ply in firsts)
    words = ["generate", "--game", "othello4", "--players", "last", "--n-games", "3", "--out", str(tmp_path / "run")]
    assert cli.main(words) == 0
    corpus = Corpus.open(tmp_path / "run")
    assert len(set(corpus.game.texts(corpus.record(np.arange(3))))) == 1
    assert not corpus.is_random_play and identities(load_game("chess"), [one_more()], None) == {}


def test_what_a_player_does_not_say_is_refused(one_more):
    game = load_game("othello4")
    with pytest.raises(ConfigError, match="does not evaluate positions"):
        one_more().evaluate(game, game.record([]))
    with pytest.raises(ConfigError, match="Player does not say how it plays othello4"):
        Player().mover(game)


def test_a_second_player_of_one_name_is_refused():
    with pytest.raises(ValueError, match="there already is a player 'random'"):
        register("random")(Player)


@pytest.mark.parametrize(
    ("text", "uniform"), [("random", True), ("epsilon_greedy:epsilon=0.5", False), ("search", False), ("pgn", False)]
)
def test_who_plays_uniformly(text, uniform):
    assert plays_uniformly(text) == uniform


def test_graded_is_a_player_with_settings_of_its_own():
    assert settle_player("graded").split(":")[1] == "depth=1"
    assert settle_player("graded:temperature=1").endswith("depth=1,temperature=1")
    with pytest.raises(ConfigError, match="unknown field 'nodes'"):
        make_player("graded:nodes=3")
    with pytest.raises(ConfigError, match="temperature must be above 0 pawns"):
        settle_player("graded:temperature=0")
