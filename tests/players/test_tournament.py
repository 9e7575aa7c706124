"""Ratings are recovered from results, with errors that cover; ladders of players come out in order."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from toy_game import Toy

from boardgame_sae import cli
from boardgame_sae.config import ConfigError
from boardgame_sae.files import read_json
from boardgame_sae.games import MoveRecord, load_game
from boardgame_sae.players import tournament as module
from boardgame_sae.players.tournament import Standings, TournamentConfig, tournament, tournament_run

RUNGS = ("8", "2", "1", "0.5", "0.1")
CHEAP = {"game": "othello4", "opening": "random:plies=2", "n_games": 20}


def standings_of(wins_PP, draws_PP=None):
    wins_PP = np.array(wins_PP)
    draws_PP = np.zeros_like(wins_PP) if draws_PP is None else np.array(draws_PP)
    return Standings(tuple("abcdefgh"[: len(wins_PP)]), wins_PP, draws_PP, np.zeros_like(wins_PP))


def simulated(true_P, n_games, generator, draws=0.0):
    """All against all by the Bradley-Terry model; a share of games is drawn whoever plays."""
    chance_PP = 1 / (1 + 10 ** ((true_P[None] - true_P[:, None]) / 400))
    drawn_PP = np.triu(generator.binomial(n_games, draws, chance_PP.shape), 1)
    wins_PP = np.triu(generator.binomial(n_games - drawn_PP, chance_PP), 1)
    lost_PP = np.triu(n_games - drawn_PP - wins_PP, 1)
    return standings_of(wins_PP + lost_PP.T, drawn_PP + drawn_PP.T)


@pytest.mark.parametrize("true", [(0, 120, -80, 300), (0, 300, 600, 900, 1200), (0, 400)])
def test_known_strengths_are_recovered_and_the_errors_cover_them(true):
    true_P, generator = np.array(true, float), np.random.default_rng(0)
    found = [simulated(true_P, 40, generator) for _ in range(400)]
    ratings, errors = (np.array([getattr(each, name)[1:] for each in found]) for name in ("ratings_P", "errors_P"))
    assert (abs(ratings.mean(0) - true_P[1:]) < 15).all()
    covered = (abs(ratings - true_P[1:]) < 1.96 * errors).mean(0)
    assert (covered > 0.9).all() and (covered < 0.985).all()
    assert (abs(errors.mean(0) / ratings.std(0) - 1) < 0.15).all()


def test_differences_have_errors_of_their_own():
    true_P, generator = np.array([0.0, 300, 400]), np.random.default_rng(0)
    found = [simulated(true_P, 60, generator).difference(1, 2) for _ in range(400)]
    gaps, errors = np.array(found).T
    assert abs(gaps.mean() - 100) < 8 and 0.92 < (abs(gaps - 100) < 1.96 * errors).mean() < 0.98
    one = simulated(true_P, 60, generator)
    assert one.difference(0, 2) == pytest.approx((one.ratings_P[2], one.errors_P[2]))
    assert one.difference(2, 0)[0] == -one.difference(0, 2)[0] and one.difference(1, 1) == (0.0, 0.0)


def test_draws_are_half_wins_and_make_the_errors_careful():
    assert standings_of([[0, 0], [0, 0]], [[0, 40], [40, 0]]).ratings_P.tolist() == [0, 0]
    half, drawn = standings_of([[0, 10], [30, 0]]), standings_of([[0, 0], [20, 0]], [[0, 20], [20, 0]])
    assert half.ratings_P.tolist() == drawn.ratings_P.tolist() and half.errors_P.tolist() == drawn.errors_P.tolist()
    true_P, generator = np.array([0.0, 0.0]), np.random.default_rng(0)
    found = [simulated(true_P, 40, generator, draws=0.5) for _ in range(300)]
    assert np.mean([abs(each.ratings_P[1]) < 1.96 * each.errors_P[1] for each in found]) > 0.97


def test_two_players_have_the_rating_of_their_score():
    assert standings_of([[0, 10], [30, 0]]).ratings_P[1] == pytest.approx(400 * np.log10(30.5 / 10.5))
    lost, won = standings_of([[0, 0], [40, 0]]), standings_of([[0, 40], [0, 0]])
    assert lost.ratings_P[1] == pytest.approx(400 * np.log10(81)) == -won.ratings_P[1]
    assert 150 < lost.errors_P[1] < 400


def test_a_long_ladder_of_which_none_ever_loses_to_a_lower_rung_is_finite_and_in_order():
    wins_PP = np.tril(np.full((8, 8), 40), -1)
    found = standings_of(wins_PP)
    assert (np.diff(found.ratings_P) > 100).all() and np.isfinite(found.errors_P).all()


def test_a_table_shows_players_ratings_and_points():
    found = standings_of([[0, 10], [25, 0]], [[0, 5], [5, 0]])
    text, markdown = found.table().splitlines(), found.table(markdown=True).splitlines()
    assert text[0].split() == ["player", "Elo", "s.e.", "points", "games", "1", "2"]
    assert text[1].split() == ["1", "a", "0", "0", "12.5", "40", "0.312"]
    assert markdown[1] == "| --: | :-- | --: | --: | --: | --: | --: | --: |" and len(markdown) == 4
    assert markdown[3].startswith("| 2 | b | ") and markdown[3].endswith(" | 27.5 | 40 | 0.688 |  |")


def test_games_broken_off_are_draws_and_counted():
    found = tournament(["random", "search"], game="chess", n_games=6, max_plies=9)
    assert found.draws_PP.tolist() == found.unfinished_PP.tolist() == [[0, 6], [6, 0]]
    assert found.ratings_P.tolist() == [0, 0] and found.games_PP.tolist() == [[0, 6], [6, 0]]


def test_results_are_those_of_the_board():
    chess, othello = load_game("chess"), load_game("othello4")
    texts = [";1.f3 e5 2.g4 Qh4#", ";1.e4 e5 2.Bc4 Nc6 3.Qh5 Nf6 4.Qxf7#", ";1.e4"]
    assert chess.results(chess.record(texts)).tolist() == [-1, 1, 2]
    record = othello.play_games(np.arange(50, dtype=np.uint64))
    assert np.array_equal(othello.results(record), np.sign(othello.outcomes(record)["margin"]))
    assert othello.results(record.cut(3)).tolist() == [2] * 50
    with pytest.raises(ConfigError, match="game toy: its outcomes do not say who won"):
        Toy().results(MoveRecord.of([[0]]))


def test_every_opening_is_played_by_both_colours(monkeypatch):
    seen, play = [], module.play_games

    def watched(*args, **more):
        seen.append((args[1], play(*args, **more)))
        return seen[-1][1]

    monkeypatch.setattr(module, "play_games", watched)
    tournament(["search:temperature=4", "search:temperature=1"], game="chess", n_games=12, max_plies=20)
    (both, first), (swapped, second) = seen
    assert both == swapped[::-1]
    for a, b in zip(first.record, second.record, strict=True):
        assert a[:6].tolist() == b[:6].tolist() and a.tolist() != b.tolist()


def test_a_pairs_games_are_the_same_whoever_else_plays():
    players = ["random", "epsilon_greedy", "epsilon_greedy:epsilon=0.5"]
    three, two = tournament(players, **CHEAP), tournament(players[1:], **CHEAP)
    assert three.wins_PP[1:, 1:].tolist() == two.wins_PP.tolist()
    assert tournament(players, **CHEAP, seed=1).wins_PP.tolist() != three.wins_PP.tolist()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"players": ["random"]}, "players are two or more, each named once"),
        ({"players": ["random", "random"]}, "each named once"),
        ({"n_games": 7}, "n_games is even and at least 2, not 7"),
        ({"max_plies": 0}, "field 'max_plies' is 0: must be at least 1"),
        ({"players": ["random", "radnom"]}, "unknown player 'radnom'"),
        ({"opening": "bok"}, "unknown opening 'bok'"),
    ],
)
def test_bad_settings_are_refused(settings, complaint):
    values = {"players": ["random", "epsilon_greedy"], **CHEAP, **settings}
    with pytest.raises(ConfigError) as caught:
        tournament(values.pop("players"), **values)
    assert complaint in str(caught.value)


# Runs


def test_the_verb_writes_a_run_and_prints_the_table(tmp_path, capsys):
    out = tmp_path / "run"
    words = ["tournament", "random", "epsilon_greedy", "--game", "othello4", "--n-games", "10", "--out", str(out)]
    assert cli.main(words) == 0
    printed = capsys.readouterr().out.splitlines()
    found = Standings.from_json(out)
    assert printed[-1] == str(out) and "\n".join(printed[:-1]) == found.table()
    assert (out / "table.md").read_text() == found.table(markdown=True) + "\n"
    assert {path.name for path in out.iterdir()} == {"run.json", "DONE", "standings.json", "table.md", "timings.jsonl"}
    written = read_json(out / "standings.json")
    assert written["ratings"] == found.ratings_P.round(3).tolist() and written == found.to_json()
    assert tournament(["random", "epsilon_greedy"], game="othello4", n_games=10).to_json() == written


def test_a_killed_run_resumes_with_the_pairs_that_are_missing(tmp_path, monkeypatch):
    cfg = TournamentConfig(players=("random", "epsilon_greedy", "epsilon_greedy:epsilon=0.5"), **CHEAP)
    whole = tournament_run(cfg, out=tmp_path / "whole", workers=2)
    played, play = [], module._play

    def killed(piece):
        if len(played) == 3:
            raise KeyboardInterrupt
        played.append((piece.first, piece.second))
        return play(piece)

    monkeypatch.setattr(module, "_play", killed)
    with pytest.raises(KeyboardInterrupt):
        tournament_run(cfg, out=tmp_path / "run")
    assert not (tmp_path / "run/DONE").exists() and len(list((tmp_path / "run/pairs").glob("0*.json"))) == 3
    monkeypatch.setattr(module, "_play", lambda piece: (played.append((piece.first, piece.second)), play(piece))[1])
    tournament_run(cfg, out=tmp_path / "run")
    assert len(played) == len(set(played)) == 6
    for name in ("run.json", "standings.json", "table.md", "DONE"):
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes()


# Ladders


def check_ladder(found):
    gaps = np.diff(found.ratings_P)
    assert (gaps > 0).all(), found.table()
    assert found.ratings_P[-1] > 4 * found.errors_P[-1], found.table()


def test_the_built_in_search_is_stronger_the_colder_it_is():
    found = tournament([f"search:depth=1,temperature={rung}" for rung in RUNGS], game="chess", n_games=40)
    check_ladder(found)
    assert (np.diff(found.ratings_P) > 100).all(), found.table()


@pytest.mark.engine
def test_stockfish_is_stronger_the_colder_it_is():
    found = tournament(
        [f"stockfish:depth=1,temperature={rung}" for rung in ("8", "4", "1", "0.5", "0.25")],
        game="chess",
        n_games=40,
        workers=2,
    )
    check_ladder(found)


def test_the_published_ladders_are_in_order():
    for name in ("search", "stockfish"):
        found = Standings.from_json(Path(__file__).parents[2] / f"experiments/ladder/results/{name}.json")
        assert found.players[0] == "random" and len(found.players) == 6
        check_ladder(found)


def test_help_says_what_a_tournament_is():
    done = subprocess.run(
        [sys.executable, "-m", "boardgame_sae.cli", "tournament", "--help"], capture_output=True, text=True, check=True
    )
    assert "--players" in done.stdout and "--n-games" in done.stdout
