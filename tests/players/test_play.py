"""Play: in bulk as move by move, by the seed alone, whatever the engine does; openings, ladders and what they leave."""

import struct
from pathlib import Path

import chess
import chess.polyglot
import fake_engine
import numpy as np
import pytest

from boardgame_sae import cli
from boardgame_sae.config import ConfigError
from boardgame_sae.files import RunError
from boardgame_sae.games import Result, load_game
from boardgame_sae.players import graded as graded_module
from boardgame_sae.players import movers as movers_module
from boardgame_sae.players import play as play_module
from boardgame_sae.players.openings import make_opening, openings, register_opening
from boardgame_sae.players.play import Played, game_seeds, play_games
from boardgame_sae.players.registry import make_player, players, rating, settle_player
from boardgame_sae.transcripts.corpus import Corpus
from boardgame_sae.transcripts.generate import generate

LADDER = "search:depth=1,temperature=8/4/2/1/0.5/0.25"
SEEDS = game_seeds(0, 0, 8)


def play(both, seeds=SEEDS, *, game="chess", opening=None, max_plies=None, **more) -> Played:
    made = make_opening(opening) if opening else None
    names = [both, both] if isinstance(both, str) else both
    return play_games(load_game(game), list(map(make_player, names)), seeds, opening=made, max_plies=max_plies, **more)


def games(played: Played):
    return [moves.tolist() for moves in played.record]


def move_by_move(monkeypatch):
    """From now on no game plays in bulk."""
    monkeypatch.setattr(play_module, "SearchesInBulk", type("NoGame", (), {}))


# In bulk and move by move


@pytest.mark.parametrize(
    ("both", "opening"),
    [
        (LADDER, None),
        (["search:depth=2,temperature=0.5", LADDER], "random:plies=5"),
        (["search:depth=1,temperature=2", "random"], None),
        (["random", "search:depth=1,temperature=0.3"], "random:plies=3"),
    ],
)
def test_search_move_by_move_plays_the_games_it_plays_in_bulk(monkeypatch, both, opening):
    bulk = play(both, opening=opening, max_plies=40)
    move_by_move(monkeypatch)
    single = play(both, opening=opening, max_plies=40)
    assert games(single) == games(bulk) and np.array_equal(single.temperatures_B2, bulk.temperatures_B2, equal_nan=True)


def test_whole_games_agree_to_their_end_by_the_rules(monkeypatch):
    bulk = play("search:depth=1,temperature=1", SEEDS[:3])
    move_by_move(monkeypatch)
    assert games(play("search:depth=1,temperature=1", SEEDS[:3])) == games(bulk)
    game = load_game("chess")
    assert all(game.is_over(game.replay(text)[-1]) for text in game.texts(bulk.record))


@pytest.mark.parametrize("both", [LADDER, ["epsilon_greedy:epsilon=0.3", LADDER], "random"])
def test_a_game_depends_on_its_seed_alone(both):
    whole = play(both, opening="random:plies=4", max_plies=30)
    order = np.array([5, 0, 3])
    picked = play(both, SEEDS[order], opening="random:plies=4", max_plies=30)
    assert games(picked) == [games(whole)[place] for place in order]
    assert np.array_equal(picked.temperatures_B2, whole.temperatures_B2[order], equal_nan=True)


def test_shared_opening_seeds_give_the_same_beginnings_and_other_games():
    shared = np.repeat(game_seeds(1, 0, 4), 2)
    played = games(play(LADDER, opening="random:plies=6", opening_seeds_B=shared, max_plies=30))
    for first, second in zip(played[::2], played[1::2], strict=True):
        assert first[:6] == second[:6] and first != second
    assert len({tuple(moves[:6]) for moves in played}) == 4


def test_no_games_are_played_for_no_seeds():
    assert len(play(LADDER, SEEDS[:0]).record) == 0 and play(LADDER, SEEDS[:0]).temperatures_B2.shape == (0, 2)


@pytest.mark.parametrize("both", [LADDER, "random", ["epsilon_greedy", "search"]])
def test_longer_games_are_broken_off(both):
    longer, shorter = games(play(both, max_plies=30)), games(play(both, max_plies=10))
    assert shorter == [moves[:10] for moves in longer] and {len(moves) for moves in shorter} == {10}


# Temperatures


def test_temperatures_are_drawn_from_the_ladder_alike_for_either_side_and_independently():
    drawn = play([LADDER, "search:temperature=8/1"], game_seeds(0, 0, 3000), max_plies=1).temperatures_B2
    for side, ladder in enumerate((make_player(LADDER).ladder, (8.0, 1.0))):
        values, counts = np.unique(drawn[:, side], return_counts=True)
        assert values.tolist() == sorted(ladder)
        share = 1 / len(ladder)
        assert (abs(counts / 3000 - share) < 4 * np.sqrt(share * (1 - share) / 3000)).all()
    together = [((drawn[:, 0] == a) & (drawn[:, 1] == b)).mean() for a in make_player(LADDER).ladder for b in (8, 1)]
    assert max(abs(np.array(together) - 1 / 12)) < 0.02


@pytest.mark.parametrize(
    ("text", "temperature", "value"),
    [(LADDER, 8.0, -3.0), (LADDER, 0.25, 2.0), ("uci:skill=7", np.nan, 7.0), ("uci:uci_elo=1500", np.nan, 1500.0)],
)
def test_ratings(text, temperature, value):
    assert rating(make_player(text), temperature) == value
    assert np.isnan(rating(make_player("random"), np.nan))


@pytest.fixture(scope="module")
def graded(tmp_path_factory) -> Corpus:
    out = tmp_path_factory.mktemp("corpus") / "graded"
    return generate("chess", LADDER, 200, out=out, opening="random:plies=4", max_plies=60)


def test_a_corpus_keeps_what_is_known_of_its_players(graded):
    column = {name.removeprefix("games/"): values for name, values in graded.arrays.items() if "/" in name}
    sides = [f"{what}_{side}" for what in ("temperature", "rating", "skill") for side in ("first", "second")]
    assert column.keys() == {"length", "result", "ending", *sides}
    for side in ("first", "second"):
        temperatures = column[f"temperature_{side}"]
        assert set(temperatures.tolist()) == set(make_player(LADDER).ladder)
        assert np.array_equal(column[f"rating_{side}"], -np.log2(temperatures))
        assert np.array_equal(column[f"skill_{side}"], 3 + column[f"rating_{side}"].astype(int))
    seeds = game_seeds(0, 0, 200)
    drawn = play(LADDER, seeds, opening="random:plies=4", max_plies=60).temperatures_B2
    assert np.array_equal(np.stack([column["temperature_first"], column["temperature_second"]], 1), drawn)
    assert set(column["result"].tolist()) <= {-1, 0, 1, Result.UNFINISHED}
    broken_off = column["length"] == 60
    assert (column["result"][~broken_off] != Result.UNFINISHED).all() and (column["ending"][~broken_off] > 0).all()


def test_two_workers_write_the_bytes_of_one(graded, tmp_path):
    again = generate("chess", LADDER, 200, out=tmp_path / "two", workers=2, opening="random:plies=4", max_plies=60)
    assert again.path.read_bytes() == graded.path.read_bytes()


def test_a_corpus_of_random_play_says_nothing_of_strength(tmp_path):
    corpus = generate("chess", "random", 5, out=tmp_path / "run", max_plies=20)
    assert not any("skill" in name or "rating" in name for name in corpus.arrays)


# Openings


def test_random_openings_are_random_games_first_plies():
    game, seeds = load_game("chess"), game_seeds(3, 0, 300).tolist()
    record = make_opening("random:plies=7").play(game, seeds)
    assert set(record.lengths.tolist()) == {7} and len({moves.tobytes() for moves in record}) > 295
    game.boards(record)
    firsts, counts = np.unique(record.moves_M[record.offsets[:-1]], return_counts=True)
    assert len(firsts) == 20 and ((counts - 15) ** 2 / 15).sum() < 43.8  # chi-square of 19: 0.1%


ENTRIES = {
    "": {"e2e4": 60, "d2d4": 30, "c2c4": 10, "a2a3": 0},
    "e2e4": {"e7e5": 1, "c7c5": 3},
    "e2e4 c7c5": {"g1f3": 5},
    "d2d4": {"d7d5": 7},
}


@pytest.fixture
def book(tmp_path) -> Path:
    """A polyglot book of `ENTRIES`: 16 bytes an entry, keys rising."""
    rows = []
    for line, weights in ENTRIES.items():
        board = chess.Board()
        for uci in line.split():
            board.push_uci(uci)
        for uci, weight in weights.items():
            move = chess.Move.from_uci(uci)
            rows.append((chess.polyglot.zobrist_hash(board), move.to_square | move.from_square << 6, weight, 0))
    path = tmp_path / "book.bin"
    path.write_bytes(b"".join(struct.pack(">QHHI", *row) for row in sorted(rows)))
    return path


def lines(record):
    game = load_game("chess")
    return [" ".join(map(game.uci, moves.tolist())) for moves in record]


def test_a_book_is_walked_by_its_weights_to_its_end(book):
    n = 4000
    record = make_opening(f"book:path={book},plies=12").play(load_game("chess"), game_seeds(0, 0, n).tolist())
    expected = {"e2e4 e7e5": 0.15, "e2e4 c7c5 g1f3": 0.45, "d2d4 d7d5": 0.3, "c2c4": 0.1}
    found = lines(record)
    assert set(found) == set(expected)
    chi_square = sum((found.count(line) - n * share) ** 2 / (n * share) for line, share in expected.items())
    assert chi_square < 16.3  # 3 degrees of freedom: 0.1%


def test_a_walk_depends_on_its_seed_alone_and_ends_at_the_plies_asked_for(book):
    opening = make_opening(f"book:path={book},plies=1")
    seeds = game_seeds(0, 0, 50).tolist()
    found = lines(opening.play(load_game("chess"), seeds))
    assert set(found) == {"e2e4", "d2d4", "c2c4"}
    assert lines(opening.play(load_game("chess"), seeds[::-1])) == found[::-1]


def test_players_go_on_where_the_book_ends(book):
    played = play(LADDER, SEEDS, opening=f"book:path={book},plies=12", max_plies=10)
    begun = [tuple(line.split()) for line in lines(played.record)]
    assert all(len(line) == 10 and line[0] in ENTRIES[""] for line in begun)
    load_game("chess").boards(played.record)


def test_a_corpus_is_of_its_book(book, tmp_path, capsys):
    words = ["generate", "--game", "chess", "--n-games", "5", "--max-plies", "8", "--opening", f"book:path={book}"]
    words += ["--out", str(tmp_path / "run")]
    assert cli.main(words) == 0
    book.write_bytes(book.read_bytes()[:-16])
    assert cli.main(words) == 1 and "its inputs has opening book" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("book:path=/no/such/book.bin", "no file /no/such/book.bin; give book:path=..., or apt-get install gnuchess"),
        ("bok", "opening 'bok': unknown opening 'bok'; did you mean 'book'?"),
        ("random:plies=-1", "field 'plies' is -1: must be at least 0"),
        ("random:moves=3", "unknown field 'moves'"),
    ],
)
def test_a_bad_opening_is_bad_input_and_makes_no_folder(tmp_path, capsys, text, complaint):
    out = tmp_path / "run"
    assert cli.main(["generate", "--game", "chess", "--n-games", "3", "--opening", text, "--out", str(out)]) == 2
    assert complaint in capsys.readouterr().err and not out.exists()


def test_a_second_opening_of_one_name_is_refused():
    assert {"random", "book"} <= set(openings())
    with pytest.raises(ValueError, match="there already is an opening 'book'"):
        register_opening("book")(object)


def test_there_is_no_book_of_othello(book):
    with pytest.raises(ConfigError, match="there are no opening books of othello6"):
        play("random", game="othello6", opening=f"book:path={book}")


# Graded


def test_graded_is_search_where_there_is_no_engine(monkeypatch):
    def missing(name):
        raise ConfigError(f"no {name}")

    monkeypatch.setattr(graded_module, "find_engine", missing)
    assert settle_player("graded:temperature=8/1") == "search:depth=1,temperature=8/1"
    assert make_player("graded:temperature=8/1") == make_player("search:depth=1,temperature=8/1")
    monkeypatch.setattr(graded_module, "find_engine", Path)
    assert settle_player("graded:depth=2,temperature=8/1") == "stockfish:depth=2,temperature=8/1"
    assert settle_player("random") == "random" and "graded" in players()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("search:depth=4", "field 'depth' is 4: must be at most 3"),
        ("search:temperature=0", "temperature must be above 0 pawns"),
        ("search:temperature=8/x", "temperature is a number of pawns, or several like 8/4/0.5"),
        ("uci:nodes=0", "field 'nodes' is 0: must be at least 1"),
        ("uci:temperature=1,skill=3", "would weaken the same player twice"),
    ],
)
def test_a_bad_setting_is_named(text, complaint):
    with pytest.raises(ConfigError) as caught:
        make_player(text)
    assert complaint in str(caught.value)


# Engines


def corpus_of(engine: Path, out: Path, *settings: str, **more) -> Corpus:
    player = f"uci:{','.join([f'path={engine}', 'temperature=4/0.5', *settings])}"
    return generate("chess", player, 4, out=out, opening="random:plies=2", max_plies=12, **more)


def content(corpus: Corpus):
    """All that does not hang on the engine's path."""
    return {name: values.tobytes() for name, values in corpus.arrays.items()}


CRASH = """
def before_go(board):
    if len(board.move_stack) == 7 and once("crashed"):
        os._exit(1)
"""


@pytest.mark.parametrize(
    "special",
    [
        CRASH,
        CRASH.replace("os._exit(1)", "say('bestmove rubbish')"),
        CRASH.replace("os._exit(1)", "say('info depth 1 score cp 5 pv a1a8\\\\nbestmove a1a8')"),
        CRASH.replace("os._exit(1)", "say('bestmove (none)')"),
    ],
)
def test_an_engine_that_fails_once_leaves_no_trace(tmp_path, special):
    path = tmp_path / "engine"
    sound = corpus_of(fake_engine.write(path), tmp_path / "sound")
    failing = corpus_of(fake_engine.write(path, special), tmp_path / "failing")
    assert (tmp_path / "crashed").exists()
    assert failing.path.read_bytes() == sound.path.read_bytes()
    assert set(sound.arrays["games/temperature_first"].tolist()) <= {4.0, 0.5}


def test_two_workers_with_engines_of_their_own_give_the_bytes_of_one(tmp_path):
    path = fake_engine.write(tmp_path / "engine")
    one, two = (corpus_of(path, tmp_path / str(workers), workers=workers) for workers in (1, 2))
    assert one.path.read_bytes() == two.path.read_bytes()


@pytest.mark.parametrize(
    ("special", "complaint"),
    [
        ("def before_go(board): os._exit(3)", "ended with exit code 3"),
        ("def go(board): say('bestmove (none)')", "played no move after"),
        ("def go(board): say('bestmove a1a8')", "played a1a8 after"),
        ("def go(board): say('bestmove a1b8')", "played a1b8 after"),
    ],
)
def test_an_engine_that_always_fails_ends_the_run_and_is_named(tmp_path, special, complaint):
    path = fake_engine.write(tmp_path / "engine", special)
    with pytest.raises(RunError) as caught:
        generate("chess", f"uci:path={path}", 2, out=tmp_path / "run")
    message = str(caught.value)
    assert f"failed 4 times in a row on one game, the last time: engine '{path}': " in message
    assert complaint in message and "or a player that is built in" in message


def test_an_engine_that_hangs_is_given_up_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(movers_module, "RETRIES", 0)
    path = fake_engine.write(tmp_path / "engine", "def before_go(board): time.sleep(60)")
    with pytest.raises(RunError, match=r"gave no 'bestmove' within 3 s"):
        corpus_of(path, tmp_path / "run", "timeout=3")


@pytest.mark.parametrize(
    ("player", "game", "code", "complaint"),
    [
        ("uci:path=/no/such/engine", "chess", 2, "engine '/no/such/engine': there is no file"),
        ("uci:path=no-such-engine", "chess", 2, "engine 'no-such-engine': not in PATH"),
        ("uci:path={garbage},timeout=0.5", "chess", 1, "gave no 'uciok' within 0.5 s"),
        ("uci:path={sound},skill=3", "chess", 2, "Fake 1.0 has no option 'Skill Level'"),
        ("uci:path={sound}", "othello6", 2, "player uci: engines that speak UCI do not play othello6"),
        ("search", "othello6", 2, "player search: othello6 has no built-in player; choose another"),
    ],
)
def test_an_engine_that_cannot_play_is_a_clear_error(tmp_path, capsys, player, game, code, complaint):
    garbage = fake_engine.write(tmp_path / "garbage", "def greet(): say('Segmentation fine, core kept')")
    player = player.format(garbage=garbage, sound=fake_engine.write(tmp_path / "sound"))
    out = tmp_path / "run"
    words = ["generate", "--game", game, "--players", player, "--n-games", "2", "--out", str(out)]
    assert cli.main(words) == code
    err = capsys.readouterr().err
    assert err.startswith("error: ") and complaint in err and "Traceback" not in err and not out.exists()


def test_equal_players_share_one_engine_at_each_of_two_tables_and_others_do_not(tmp_path):
    path = fake_engine.write(tmp_path / "engine", "open(FOLDER / 'starts', 'a').write('x')")
    play([f"uci:path={path}"] * 2, SEEDS[:4], max_plies=4)
    assert (tmp_path / "starts").read_text() == "xx"
    play([f"uci:path={path}", f"uci:path={path},nodes=5"], SEEDS[:4], max_plies=4)
    assert (tmp_path / "starts").read_text() == "xxxxxx"


def test_games_at_two_tables_are_those_of_one(tmp_path):
    path = fake_engine.write(tmp_path / "engine")
    alone = [games(play(f"uci:path={path},temperature=1", SEEDS[n : n + 1], max_plies=8))[0] for n in range(5)]
    assert games(play(f"uci:path={path},temperature=1", SEEDS[:5], max_plies=8)) == alone


def test_an_engine_without_temperature_plays_its_best_move(tmp_path):
    path = fake_engine.write(tmp_path / "engine", "def value_of(fen, move): return -move.to_square")
    moves = games(play(f"uci:path={path}", SEEDS[:1], max_plies=2))[0]
    assert [code >> 3 & 63 for code in moves] == [chess.A3, chess.A5]
