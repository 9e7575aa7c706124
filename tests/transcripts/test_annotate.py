"""Evaluations: one for every position, of the game alone, found by the corpus they are of, read as a property."""

import shutil
from pathlib import Path

import chess
import chess.engine
import fake_engine
import h5py
import numpy as np
import pytest

from boardgame_sae import cli
from boardgame_sae.config import ConfigError
from boardgame_sae.files import RunError
from boardgame_sae.games import UNKNOWN_EVALUATION, MoveRecord, load_game
from boardgame_sae.games.chess.position import python_move
from boardgame_sae.players.registry import make_player
from boardgame_sae.players.uci.engine import find_engine
from boardgame_sae.transcripts import annotate as module
from boardgame_sae.transcripts.annotate import AnnotateConfig, annotate_run, evaluate_games
from boardgame_sae.transcripts.corpus import Corpus
from boardgame_sae.transcripts.evaluations import MAX_CENTIPAWNS, Evaluations, EvaluationsError
from boardgame_sae.transcripts.generate import generate
from boardgame_sae.transcripts.labels import positions, property_labels

SETTINGS = {"max_plies": 30, "opening": "random:plies=4", "validation_fraction": 0.2, "test_fraction": 0.2}
GAME = load_game("chess")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return generate("chess", "search:temperature=1", 30, out=tmp_path_factory.mktemp("corpus") / "run", **SETTINGS)


@pytest.fixture
def corpus(original, tmp_path) -> Corpus:
    """A fresh copy: annotating writes beside it."""
    return Corpus.open(shutil.copytree(original.path.parent, tmp_path / "corpus"))


def reopened(corpus):
    return Corpus.open(corpus.path)


def rows_of(corpus, games_B):
    return corpus.boards(np.asarray(games_B, np.int64)).evaluation_N


def test_every_position_of_every_game_has_the_value_of_a_search(corpus):
    folder = annotate_run(corpus.path, "search:depth=2")
    assert folder == corpus.path.parent / "evaluations"
    found = reopened(corpus)
    boards = found.boards(np.arange(30))
    assert boards.evaluation_N.dtype == np.int16 and len(boards.evaluation_N) == len(boards)
    assert np.array_equal(boards.evaluation_N, np.clip(GAME.search_boards(boards, 2), -MAX_CENTIPAWNS, MAX_CENTIPAWNS))
    for game in (0, 17):
        position = GAME.start()
        for ply, move in enumerate(found.record([game]).moves_M.tolist()):
            assert boards.evaluation_N[boards.rows(game, ply)] == GAME.score_moves(position, 2)[1].max()
            position = GAME.play(position, move)


def test_games_are_found_in_any_order_and_those_left_out_are_unknown(corpus):
    annotate_run(corpus.path, AnnotateConfig(engine="search:depth=1", splits=("validation", "test"), n_games=3))
    found = reopened(corpus)
    known = np.concatenate([found.games("validation")[:3], found.games("test")[:3]])
    assert found.evaluations.games_B.tolist() == sorted(known)
    other = next(game for game in range(30) if game not in known)
    lengths = found.record(np.arange(30)).lengths
    rows = rows_of(found, [other, known[4], known[0]])
    first, second = lengths[other] + 1, lengths[other] + 1 + lengths[known[4]] + 1
    assert (rows[:first] == UNKNOWN_EVALUATION).all() and (rows[first:] != UNKNOWN_EVALUATION).all()
    assert np.array_equal(rows[first:second], rows_of(found, known[4:5]))
    assert np.array_equal(rows[second:], rows_of(found, known[:1]))
    assert rows_of(corpus.with_evaluations(found.path.parent / "evaluations"), []).tolist() == []


def test_the_property_is_the_published_one_and_unknown_positions_have_no_class(corpus):
    annotate_run(corpus.path, AnnotateConfig(engine="search:depth=2", splits=("train",)))
    found = reopened(corpus)
    assert found.knows("evaluation") and not found.knows("nonsense")
    where = positions(found, np.arange(30))
    labels_NC = property_labels(found, where, ["evaluation"])["evaluation"]
    boards = found.boards(np.arange(30))
    values_N = boards.evaluation_N[boards.rows(where.game_N, where.ply_N)].astype(int)
    known_N = np.isin(where.game_N, found.games("train"))
    assert np.array_equal(labels_NC.any(1), known_N) and (labels_NC.sum(1) <= 1).all()
    for place, true_N in enumerate((values_N < -100, abs(values_N) <= 100, values_N > 100)):
        assert np.array_equal(labels_NC[:, place], true_N & known_N) and labels_NC[:, place].any()
    assert GAME.property("evaluation").classes == ("losing", "even", "winning")


def test_a_hundred_centipawns_are_even():
    boards = GAME.boards(GAME.record([";1.e4"]), about={"evaluation": np.array([100, -100], np.int16)})
    assert GAME.property("evaluation").evaluate(boards).tolist() == [[False, True, False]] * 2
    boards = GAME.boards(GAME.record([";1.e4"]), about={"evaluation": np.array([101, -101], np.int16)})
    assert GAME.property("evaluation").evaluate(boards).tolist() == [[False, False, True], [True, False, False]]


def test_without_evaluations_nothing_is_known(original):
    assert original.evaluations is None and not original.knows("evaluation") and original.knows("skill_first")
    assert (rows_of(original, [0]) == UNKNOWN_EVALUATION).all()
    assert not GAME.property("evaluation").evaluate(original.boards(np.arange(3))).any()


# The file


def test_what_hangs_on_evaluations_has_another_hash(corpus):
    names = ["piece", "evaluation"]
    assert corpus.hash_for(names) == corpus.hash
    hashes = set()
    for engine in ("search:depth=1", "search:depth=2"):
        shutil.rmtree(corpus.path.parent / "evaluations", ignore_errors=True)
        annotate_run(corpus.path, engine)
        again = reopened(corpus)
        assert again.hash_for(["piece"]) == again.hash == corpus.hash
        hashes.add(again.hash_for(names))
    assert len(hashes - {corpus.hash}) == 2


def test_evaluations_elsewhere_are_given_by_hand_and_beside_the_corpus_found(corpus, tmp_path):
    folder = annotate_run(corpus.path, "search:depth=1", out=tmp_path / "elsewhere")
    assert reopened(corpus).evaluations is None
    given = corpus.with_evaluations(folder)
    assert given.evaluations.engine == "search:depth=1" and rows_of(given, [0])[0] != UNKNOWN_EVALUATION
    assert corpus.evaluations is None
    shutil.copy(folder / "evaluations.h5", corpus.path.parent)
    assert np.array_equal(rows_of(reopened(corpus), [3, 1]), rows_of(given, [3, 1]))


def test_evaluations_of_another_corpus_are_refused(corpus, tmp_path):
    other = generate("chess", "random", 3, out=tmp_path / "other", max_plies=8)
    folder = annotate_run(other.path, "search:depth=1")
    with pytest.raises(EvaluationsError, match=rf"of the corpus {other.hash}, not of {corpus.hash}"):
        corpus.with_evaluations(folder)
    shutil.copy(folder / "evaluations.h5", corpus.path.parent)
    with pytest.raises(EvaluationsError, match="remove it, or annotate this corpus too"):
        reopened(corpus).boards(np.arange(1))


@pytest.mark.parametrize("damage", [lambda data: data[:300], lambda data: b"no", lambda data: b""])
def test_a_damaged_file_is_named(corpus, damage):
    path = annotate_run(corpus.path, "search:depth=1") / "evaluations.h5"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RunError, match="changed since it was written") as caught:
        reopened(corpus).boards(np.arange(1))
    assert str(caught.value).startswith(f"{path}: ")
    (path.parent / "DONE").unlink()
    with pytest.raises(EvaluationsError, match="truncated or not an HDF5 file") as caught:
        reopened(corpus).boards(np.arange(1))
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("name", ["games", "offsets", "centipawns"])
def test_an_array_of_another_type_is_named(corpus, tmp_path, name):
    made = Evaluations(corpus.hash, "x", np.arange(1), np.arange(2), np.zeros(1, np.int16), corpus.content)
    made.write(tmp_path / "evaluations.h5")
    with h5py.File(tmp_path / "evaluations.h5", "r+") as file:
        values = file[name][()].astype("u4")
        del file[name]
        file[name] = values
    with pytest.raises(EvaluationsError, match=f"'{name}' is uint32 with 1 axes"):
        corpus.with_evaluations(tmp_path)


def test_what_is_missing_or_something_else_is_named(corpus, tmp_path):
    with pytest.raises(EvaluationsError, match="no such evaluations; `boardgame-sae annotate` makes them"):
        corpus.with_evaluations(tmp_path)
    with pytest.raises(EvaluationsError, match="not evaluations of boardgame_sae"):
        corpus.with_evaluations(corpus.path)
    with h5py.File(tmp_path / "evaluations.h5", "w") as file:
        file.attrs.update(format="boardgame_sae evaluations", version=1)
    with pytest.raises(EvaluationsError, match="its attribute 'corpus' is None"):
        Evaluations.open(tmp_path, "x", "y")


# Runs


def same_run(a, b):
    return all((a / name).read_bytes() == (b / name).read_bytes() for name in ("evaluations.h5", "run.json", "DONE"))


def test_a_killed_run_resumes_to_the_same_bytes_for_any_number_of_workers(corpus, tmp_path, monkeypatch):
    path = fake_engine.write(tmp_path / "engine")
    cfg = AnnotateConfig(engine=f"uci:path={path}", splits=("validation", "test"), n_games=4)
    whole = annotate_run(corpus.path, cfg, out=tmp_path / "whole")
    monkeypatch.setattr(type(make_player(cfg.engine)), "games_per_part", 3)
    assert same_run(annotate_run(corpus.path, cfg, out=tmp_path / "two", workers=2), whole)
    done, evaluate = [], module._evaluate_part

    def killed(job):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(job[2].tolist())
        return evaluate(job)

    monkeypatch.setattr(module, "_evaluate_part", killed)
    with pytest.raises(KeyboardInterrupt):
        annotate_run(corpus.path, cfg, out=tmp_path / "run")
    assert not (tmp_path / "run/DONE").exists()
    monkeypatch.setattr(module, "_evaluate_part", lambda job: (done.append(job[2].tolist()), evaluate(job))[1])
    assert same_run(annotate_run(corpus.path, cfg, out=tmp_path / "run"), whole)
    games = np.concatenate([corpus.games(split)[:4] for split in cfg.splits])
    assert sorted(np.concatenate(done)) == sorted(games) and len(done) == 3
    monkeypatch.setattr(module, "_evaluate_part", None)
    assert annotate_run(corpus.path, cfg, out=tmp_path / "run") == tmp_path / "run"


@pytest.mark.parametrize("data", [b"", b"no array", np.arange(3.0), np.zeros((2, 2), np.int16)])
def test_a_part_of_another_version_or_damaged_is_named_with_how_to_begin_again(corpus, tmp_path, monkeypatch, data):
    cfg = AnnotateConfig(engine="search:depth=1", splits=("test",), n_games=2)

    def spoilt(job):
        Path(job[3]).parent.mkdir()
        Path(job[3]).write_bytes(data) if isinstance(data, bytes) else np.save(job[3], data)
        return 2

    monkeypatch.setattr(module, "_evaluate_part", spoilt)
    with pytest.raises(RunError, match=rf"000000\.npy: damaged.*; remove {tmp_path / 'run/parts'} and run the same"):
        annotate_run(corpus.path, cfg, out=tmp_path / "run")


def test_an_engines_crash_leaves_no_trace_and_one_that_always_crashes_ends_the_run(corpus, tmp_path):
    path, cfg = tmp_path / "engine", {"splits": ("validation",), "n_games": 3}
    cfg = AnnotateConfig(engine=f"uci:path={path}", **cfg)
    fake_engine.write(path)
    sound = annotate_run(corpus.path, cfg, out=tmp_path / "sound")
    fake_engine.write(path, "def before_go(board):\n    if len(board.move_stack) == 9 and once('crash'): os._exit(1)")
    assert same_run(annotate_run(corpus.path, cfg, out=tmp_path / "crashed"), sound)
    fake_engine.write(path, "def before_go(board):\n    if len(board.move_stack) == 9: os._exit(1)")
    with pytest.raises(RunError, match=r"failed 4 times in a row on one game.*ended with exit code 1"):
        annotate_run(corpus.path, cfg, out=tmp_path / "always")


def test_the_verb_annotates(corpus, capsys):
    words = ["annotate", str(corpus.path.parent), "--engine", "search:depth=1", "--splits", "test", "--n-games", "2"]
    assert cli.main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(corpus.path.parent / "evaluations")
    assert len(reopened(corpus).evaluations.games_B) == 2
    assert cli.main(["check", str(corpus.path.parent)]) == 0
    assert cli.main([*words[:3], "search:depth=2"]) == 1
    assert "has engine = 'search:depth=1', not 'search:depth=2'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"engine": "random"}, "engine 'random': that player does not evaluate"),
        ({"engine": "uci:path={sound},skill=3"}, "evaluates at its full strength; leave out temperature, skill"),
        ({"engine": "uci:path={sound},temperature=1"}, "at its full strength"),
        ({"engine": "uci:path=/no/such"}, "there is no file /no/such"),
        ({"splits": ("trian",)}, "splits are some of train, validation, test, not trian"),
        ({"n_games": 0}, "n_games"),
        ({"workers": 0}, "workers must be at least 1"),
    ],
)
def test_bad_settings_are_refused_before_a_folder_is_made(corpus, tmp_path, settings, complaint):
    sound = fake_engine.write(tmp_path / "sound")
    values = {"engine": "search:depth=1", **settings}
    values["engine"] = values["engine"].format(sound=sound)
    with pytest.raises(ValueError, match=complaint.replace("(", r"\(")):
        annotate_run(corpus.path, AnnotateConfig(**values_of(values)), workers=settings.get("workers", 1))
    assert not (corpus.path.parent / "evaluations").exists()


def values_of(values):
    return {name: value for name, value in values.items() if name != "workers"}


def test_othello_has_no_such_engines(tiny_corpus, tmp_path):
    with pytest.raises(ConfigError, match="engine 'search:depth=1': player search: othello4 has no built-in player"):
        annotate_run(tiny_corpus.path, "search:depth=1", out=tmp_path / "run")
    with pytest.raises(ConfigError, match="engines that speak UCI do not play othello4"):
        annotate_run(tiny_corpus.path, f"uci:path={fake_engine.write(tmp_path / 'e')}", out=tmp_path / "run")
    assert tiny_corpus.evaluations is None


# Values


SCHOLAR = ";1.e4 e5 2.Bc4 Nc6 3.Qh5 Nf6 4.Qxf7#"


def test_a_mate_is_beyond_all_centipawns_and_a_mated_player_has_lost():
    found = evaluate_games(GAME, make_player("search:depth=2"), GAME.record([SCHOLAR])).tolist()
    assert found[-1] < -29_000 and found[-2] > 29_000 and max(map(abs, found[:4])) < 400


def test_finished_games_have_the_value_of_their_result_without_asking_the_engine(tmp_path):
    special = "def before_go(board):\n    if board.outcome(): os._exit(1)"
    player = make_player(f"uci:path={fake_engine.write(tmp_path / 'engine', special)}")
    fivefold = ";" + " ".join(["Nf3 Nf6 Ng1 Ng8"] * 4)
    found = evaluate_games(GAME, player, GAME.record([SCHOLAR, fivefold]))
    assert found[7] == -MAX_CENTIPAWNS and found[-1] == 0 and len(found) == 8 + 17


@pytest.fixture
def stockfish():
    try:
        return find_engine("stockfish")
    except ConfigError:
        pytest.skip("Stockfish is not installed")


def test_another_client_of_stockfish_agrees(stockfish, original):
    player = make_player(f"stockfish:path={stockfish},depth=7")
    record = MoveRecord.concatenate([original.record([4]).cut(4), GAME.record([";1.f3 e5 2.g4"])])
    ours, theirs = evaluate_games(GAME, player, record), []
    with chess.engine.SimpleEngine.popen_uci(str(stockfish)) as client:
        client.configure({"Hash": 1, "Threads": 1})
        for number, moves in enumerate(record):
            board = chess.Board()
            for ply in range(len(moves) + 1):
                found = client.analyse(board, chess.engine.Limit(depth=7), game=number)
                theirs.append(found["score"].relative.score(mate_score=100_000))
                if ply < len(moves):
                    board.push(python_move(int(moves[ply])))
    assert ours.tolist() == np.clip(theirs, -MAX_CENTIPAWNS, MAX_CENTIPAWNS).tolist() and len(ours) == 9
    assert ours[-1] == MAX_CENTIPAWNS and abs(ours[0]) < 100
