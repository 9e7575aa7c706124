"""Players by name, and what playing better than at random does."""

import numpy as np
import pytest

from boardgame_sae.config import ConfigError
from boardgame_sae.games import load_game
from boardgame_sae.players.play import game_seeds, play_games
from boardgame_sae.players.registry import make_player, players


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
        ("epsilon_greedy:epsilon=1.5", "a probability, 0 to 1, not 1.5"),
        ("epsilon_greedy:epsilon=-0.1", "a probability, 0 to 1, not -0.1"),
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
