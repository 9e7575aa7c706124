"""Engines, true and fake: what they answer is read right, and what fails is named, cleaned up and tried again."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import chess
import chess.engine
import pytest

from boardgame_sae.config import ConfigError
from boardgame_sae.players.movers import EngineFailure
from boardgame_sae.players.uci.engine import Line, UciEngine, find_engine, scored_lines

FAKE = """\
#!{python} -S
import os, sys, time
from pathlib import Path

def say(text, end="\\n"):
    sys.stdout.write(text + end)
    sys.stdout.flush()

def greet():
    say("id name Fake 1.0\\nid author nobody\\noption name Threads type spin default 4 min 1 max 8")
    say("option name MultiPV type spin default 1 min 1 max 500")
    say("option name Skill Level type spin default 2 min 0 max 20")
    say("option name EvalFile type string default <empty>\\noption name Use NNUE type check default true\\nuciok")

def go(position, n):
    say("info depth 1 multipv 1 score cp 13 pv e2e4\\nbestmove e2e4 ponder e7e5")

def hang():
    time.sleep(60)

log = open({log!r}, "a")
n = 0
{special}
for command in sys.stdin:
    print(command.strip(), file=log, flush=True)
    word = command.split()[0]
    if word == "uci":
        greet()
    elif word == "isready":
        say("readyok")
    elif word == "position":
        position = command.split()
    elif word == "go":
        n += 1
        go(position, n)
"""

MATED = "f2f3 e7e5 g2g4 d8h4"
OPENINGS = [
    "",
    "e2e4",
    "e2e4 e7e5 g1f3 b8c6 f1b5 a7a6",
    "d2d4 d7d5 c2c4 e7e6 b1c3 g8f6 c1g5",
    "f2f3 e7e5 g2g4",
]


@pytest.fixture
def fake(tmp_path):
    """Write an engine whose behaviour is changed by lines of Python; its path."""

    def write(special="", name="fake"):
        path = tmp_path / name
        special = textwrap.dedent(special)
        path.write_text(FAKE.format(python=sys.executable, log=str(tmp_path / "log"), special=special))
        path.chmod(0o755)
        return path

    return write


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch):
    """No test leaves a process, a zombie or an open file behind."""
    before, started = open_files(), []

    class Recorded(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self.pid)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    yield
    assert within_5_s(lambda: open_files() <= before)  # python-chess ends its thread a little later
    for pid in started:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def open_files():
    folder = Path("/proc/self/fd") if Path("/proc/self/fd").exists() else Path("/dev/fd")
    return len(list(folder.iterdir()))


def within_5_s(condition):
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def sent(tmp_path):
    return (tmp_path / "log").read_text().splitlines()


# Finding one


def test_a_name_is_looked_for_in_path(fake, monkeypatch):
    monkeypatch.setenv("PATH", str(fake(name="some-engine").parent))
    assert find_engine("some-engine") == fake(name="some-engine")


def test_a_path_is_made_absolute(fake, monkeypatch):
    monkeypatch.chdir(fake().parent)
    assert find_engine("./fake") == fake()


@pytest.mark.parametrize("name", ["no-such-engine", "", "./no-such-engine", "/no/such/engine", "/"])
def test_what_is_not_there_is_named_with_the_fix(name):
    with pytest.raises(ConfigError, match=f"engine '{name}': .*make stockfish.*the built-in player: search:depth=1"):
        find_engine(name)


def test_a_file_that_is_not_executable_is_refused(fake):
    path = fake()
    path.chmod(0o644)
    with pytest.raises(ConfigError, match=r"is not executable; chmod \+x it"):
        find_engine(str(path))


def test_an_executable_that_is_no_program_is_refused(tmp_path):
    path = tmp_path / "noise"
    path.write_bytes(b"\x00\x01\x02")
    path.chmod(0o755)
    with pytest.raises(ConfigError, match=r"noise': cannot be started"):
        UciEngine(path)


# Talking to it


def test_what_is_sent_and_what_comes_back(fake, tmp_path):
    with UciEngine(fake(), {"multipv": 500, "Skill Level": "3"}) as engine:
        assert engine.name == "Fake 1.0"
        assert [option.name for option in engine.options.values()] == [
            "Threads",
            "MultiPV",
            "Skill Level",
            "EvalFile",
            "Use NNUE",
        ]
        engine.new_game()
        assert engine.best("", "depth 1") == "e2e4"
        assert engine.lines("e2e4 e7e5", "nodes 100") == [Line("e2e4", 13)]
    assert sent(tmp_path) == [
        "uci",
        "setoption name Threads value 1",
        "setoption name MultiPV value 500",
        "setoption name Skill Level value 3",
        "isready",
        "ucinewgame",
        "isready",
        "position startpos",
        "go depth 1",
        "position startpos moves e2e4 e7e5",
        "go nodes 100",
    ]


def test_given_threads_replace_the_default(fake, tmp_path):
    UciEngine(fake(), {"threads": 2}).close()
    assert [line for line in sent(tmp_path) if "Threads" in line] == ["setoption name Threads value 2"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"MultPV": 3}, "Fake 1.0 has no option 'MultPV'; did you mean MultiPV?"),
        ({"Contempt!": 3}, "it has Threads, MultiPV, Skill Level"),
        ({"MultiPV": 501}, "MultiPV is 501; Fake 1.0 takes a whole number, 1 to 500"),
        ({"MultiPV": "many"}, "MultiPV is 'many'"),
    ],
)
def test_an_option_that_it_does_not_take_is_named(fake, options, complaint):
    with pytest.raises(ConfigError) as error:
        UciEngine(fake(), options)
    assert complaint in str(error.value)


def test_an_answer_in_pieces_is_read_whole(fake):
    special = """
    def go(position, n):
        for piece in ("info depth 1 score cp 7 pv e2", "e4\\nbest", "move e2e", "4\\nin", "fo string done\\n"):
            say(piece, end="")
            time.sleep(0.02)
    """
    with UciEngine(fake(special)) as engine:
        assert engine.lines("", "depth 1") == [Line("e2e4", 7)]
        assert engine.best("", "depth 1") == "e2e4"


def test_lines_that_end_as_on_windows_are_read(fake):
    special = """
    def go(position, n):
        say("info depth 1 score cp 7 pv e2e4\\r\\nbestmove e2e4\\r\\n", end="")
    """
    with UciEngine(fake(special)) as engine:
        assert engine.lines("", "depth 1") == [Line("e2e4", 7)]


def test_a_game_that_is_over_has_no_move(fake):
    special = "def go(position, n): say('info depth 0 score mate 0\\nbestmove (none)')"
    with UciEngine(fake(special)) as engine:
        assert engine.best(MATED, "depth 1") is None
        assert engine.lines(MATED, "depth 1") == []


# Reading lines


def lines_of(*rows):
    return scored_lines("".join(f"\n{row}" for row in (*rows, "bestmove e2e4")).encode())


def info(depth, multipv, score, move):
    return f"info depth {depth} seldepth 9 multipv {multipv} score {score} nodes 9 nps 9 time 0 pv {move} e7e5"


@pytest.mark.parametrize(
    ("score", "centipawns"),
    [
        ("cp 31", 31),
        ("cp -31", -31),
        ("cp 0", 0),
        ("mate 1", 99_999),
        ("mate 3", 99_997),
        ("mate -1", -99_999),
        ("mate -3", -99_997),
        ("mate 0", -100_000),
    ],
)
def test_scores(score, centipawns):
    assert lines_of(info(1, 1, score, "e2e4")) == [Line("e2e4", centipawns)]


def test_a_faster_mate_is_better_and_a_slower_one_is_less_bad():
    scores = [lines_of(info(1, 1, score, "e2e4"))[0].centipawns for score in ("mate -1", "mate -9", "mate 9", "mate 1")]
    assert scores == sorted(scores)


def test_the_last_depth_wins_and_multipv_orders():
    first = [info(1, 1, "cp 5", "e2e4"), info(1, 2, "cp 4", "d2d4")]
    second = [info(2, 2, "cp 2", "e2e4"), info(2, 1, "cp 3", "d2d4")]
    assert lines_of(*first, *second) == [Line("d2d4", 3), Line("e2e4", 2)]


def test_the_last_set_of_one_depth_wins():
    rows = [info(3, 1, "cp 5", "e2e4"), info(3, 2, "cp 4", "d2d4")] * 2
    rows += [info(3, 1, "cp 9", "d2d4"), info(3, 2, "cp 8", "e2e4")]
    assert lines_of(*rows) == [Line("d2d4", 9), Line("e2e4", 8)]


def test_a_set_begun_again_and_not_ended_is_passed_over():
    rows = [info(3, 1, "cp 5", "e2e4"), info(3, 2, "cp 4", "d2d4"), info(3, 1, "cp 9", "d2d4")]
    assert lines_of(*rows) == [Line("e2e4", 5), Line("d2d4", 4)]


def test_depth_is_compared_as_a_number():
    assert lines_of(info(9, 1, "cp 9", "e2e4"), info(10, 1, "cp 10", "d2d4")) == [Line("d2d4", 10)]


def test_an_incomplete_set_is_passed_over_though_it_repeats_the_depth_before():
    whole = [info(7, 1, "cp 5", "a2a3"), info(7, 2, "cp 4", "b2b3"), info(7, 3, "cp 3", "c2c3")]
    stopped = [info(8, 1, "cp 9", "c2c3"), info(7, 2, "cp 5", "a2a3"), info(7, 3, "cp 4", "b2b3")]
    assert lines_of(*whole, *stopped) == [Line("a2a3", 5), Line("b2b3", 4), Line("c2c3", 3)]


def test_no_complete_set_is_no_lines():
    assert lines_of(info(1, 2, "cp 5", "e2e4")) == []
    assert lines_of(info(1, 1, "cp 5", "e2e4"), info(1, 3, "cp 5", "d2d4")) == []
    assert lines_of() == []


@pytest.mark.parametrize(
    "row",
    [
        "info depth 1 score cp 13 pv e2e4",
        "info depth 1 score cp 13 time 4 nodes 20 pv e2e4 e7e5",
        "info depth 1 seldepth 2 time 20 nodes 5 score cp 13 wdl 1 2 3 nps 200 tbhits 0 multipv 1 pv e2e4",
        "info depth 1 time 3 multipv 1 nodes 4 score cp 13 hashfull 0 pv e2e4",
    ],
)
def test_fields_in_another_order_are_read(row):
    assert lines_of(row) == [Line("e2e4", 13)]


def test_multipv_after_the_score_is_read():
    row = "info depth 1 score cp {} nps 2 multipv {} pv {}"
    assert lines_of(row.format(5, 1, "e2e4"), row.format(4, 2, "d2d4")) == [Line("e2e4", 5), Line("d2d4", 4)]


@pytest.mark.parametrize(
    "row",
    [
        "info string depth 2 score cp 99 pv d2d4",
        "info depth 2 currmove d2d4 currmovenumber 3",
        "info depth 2 seldepth 2 multipv 1 score cp 199 lowerbound nodes 3 pv d2d4",
        "info depth 2 seldepth 2 multipv 1 score cp -199 upperbound nodes 3 pv d2d4",
        "info depth 2 nodes 30 nps 99 time 3",
        "info depth 2 score cp 99 pv d2d9",
        "Info depth 2 score cp 99 pv d2d4",
    ],
)
def test_what_is_no_score_is_passed_over(row):
    assert lines_of(info(1, 1, "cp 13", "e2e4"), row) == [Line("e2e4", 13)]


def test_a_promotion_is_read():
    assert lines_of(info(1, 1, "cp 900", "a7b8q")) == [Line("a7b8q", 900)]


# Failing


def failure(path, moves="e2e4", timeout=10.0):
    """The message of the failure of an engine, in starting or in going."""
    with pytest.raises(EngineFailure) as error, UciEngine(path, timeout=timeout) as engine:
        engine.lines(moves, "depth 1")
    assert f"engine '{path}': " in str(error.value)
    return str(error.value)


def test_one_that_exits_at_once_is_named_with_its_code(fake):
    assert "ended with exit code 3; it was sent 'uci', and what came back starts ''" in failure(fake("sys.exit(3)"))


def test_one_that_is_killed_while_it_thinks_is_named_with_what_it_said(fake):
    special = """
    def go(position, n):
        say("info string ouch")
        os.kill(os.getpid(), 9)
    """
    message = failure(fake(special))
    assert "exit code -9" in message and "moves e2e4\\ngo depth 1'" in message and "'info string ouch'" in message


def test_one_that_ended_between_two_answers_is_a_failure(fake):
    special = """
    def go(position, n):
        say("bestmove e2e4")
        sys.exit(0)
    """
    with UciEngine(fake(special)) as engine:
        engine.best("", "depth 1")
        engine._process.wait()
        with pytest.raises(EngineFailure, match="ended with exit code 0"):
            engine.best("", "depth 1")


@pytest.mark.parametrize("special", ["def greet(): hang()", "def go(position, n): hang()"])
def test_one_that_hangs_is_ended_in_time(fake, special):
    start = time.monotonic()
    assert "within 0.3 s" in failure(fake(special), timeout=0.3)
    assert time.monotonic() - start < 2


def test_one_that_drips_is_ended_in_time(fake):
    special = """
    def go(position, n):
        while True:
            say("info string thinking")
            time.sleep(0.02)
    """
    start = time.monotonic()
    assert "gave no 'bestmove' within 0.3 s" in failure(fake(special), timeout=0.3)
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("end", ["", "\\n"])
def test_one_that_prints_garbage_for_ever_is_ended(fake, end):
    message = failure(fake(f"def go(position, n):\n    while True: say('rubbish' * 999, end='{end}')"))
    assert "bytes and no 'bestmove'" in message and "'rubbishrubbish" in message and len(message) < 500


def test_one_that_is_no_uci_engine_is_named(fake):
    assert "gave no 'uciok' within 0.3 s" in failure(fake("def greet(): say('Error: uci')"), timeout=0.3)


@pytest.mark.parametrize("move", ["e4", "e2e9", "e2e4k", "e2e4e5", "O-O", "", "none"])
def test_a_bestmove_that_is_no_move_is_a_failure(fake, move):
    message = failure(fake(f"def go(position, n): say('bestmove {move}')"))
    assert "gave a bestmove that is no move" in message and f"starts '{f'bestmove {move}'.strip()}'" in message


def test_a_bestmove_without_lines_is_a_failure_of_lines_alone(fake):
    path = fake("def go(position, n): say('bestmove e2e4')")
    with UciEngine(path) as engine:
        assert engine.best("", "depth 1") == "e2e4"
    assert "no complete set of scored lines" in failure(path)


def test_what_was_sent_is_cut_at_its_front(fake):
    message = failure(fake("def go(position, n): sys.exit(1)"), moves="e2e4 " * 500 + "a7a8q")
    assert "it was sent '...2e4 e2e4 " in message and "a7a8q\\ngo depth 1'" in message and len(message) < 500


def test_an_interrupt_ends_it(fake, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with UciEngine(fake()) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(os, "read", interrupted)
            with pytest.raises(KeyboardInterrupt):
                engine.best("", "depth 1")
        assert engine._process.returncode is not None


def test_closing_twice_is_closing_once(fake):
    engine = UciEngine(fake())
    engine.close()
    engine.close()


def test_an_engine_ends_with_the_program_that_started_it(fake):
    code = """
    import os, sys
    from boardgame_sae.players.uci.engine import UciEngine
    engine = UciEngine(sys.argv[1])
    print(engine._process.pid, flush=True)
    os.kill(os.getpid(), 9)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), fake()], stdout=subprocess.PIPE, check=False)
    assert within_5_s(lambda: not running(int(done.stdout)))


def running(pid):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], stdout=subprocess.PIPE, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


# A true one


@pytest.fixture
def stockfish():
    try:
        path = find_engine("stockfish")
    except ConfigError:
        pytest.skip("Stockfish is not installed")
    with UciEngine(path, {"MultiPV": 500}) as engine:
        yield engine


def test_stockfish_has_no_move_when_mated(stockfish):
    assert stockfish.name.startswith("Stockfish")
    assert stockfish.best(MATED, "depth 1") is None and stockfish.lines(MATED, "depth 1") == []


def test_stockfish_sees_a_mate(stockfish):
    assert stockfish.lines("f2f3 e7e5 g2g4", "depth 1")[0] == Line("d8h4", 99_999)


def test_lines_agree_with_another_client(stockfish):
    ours = []
    for moves in OPENINGS:
        stockfish.new_game()
        ours.append(stockfish.lines(moves, "depth 1"))
    with chess.engine.SimpleEngine.popen_uci(str(stockfish.path)) as client:
        client.configure({"Hash": 1, "Threads": 1})
        for number, (moves, lines) in enumerate(zip(OPENINGS, ours, strict=True)):
            board = chess.Board()
            for move in moves.split():
                board.push_uci(move)
            infos = client.analyse(board, chess.engine.Limit(depth=1), multipv=500, game=number)
            theirs = [(info["pv"][0].uci(), info["score"].relative.score(mate_score=100_000)) for info in infos]
            assert lines == theirs
            assert {line.move for line in lines} == {move.uci() for move in board.legal_moves}


def test_a_new_game_is_as_a_new_engine(stockfish):
    first = []
    for moves in OPENINGS:
        with UciEngine(stockfish.path, {"MultiPV": 500}) as fresh:
            first.append(fresh.lines(moves, "depth 1"))
    for moves, lines in reversed(list(zip(OPENINGS, first, strict=True))):
        stockfish.new_game()
        assert stockfish.lines(moves, "depth 1") == lines


def test_a_search_that_is_cut_short_gives_each_move_once(stockfish):
    for nodes in (1, 30, 100, 1000, 5000):
        stockfish.new_game()
        moves = [line.move for line in stockfish.lines("e2e4 e7e5", f"nodes {nodes}")]
        assert 1 <= len(moves) == len(set(moves))
