"""Real games in: the same moves as python-chess's reader, nothing lost in silence, the same bytes however they come."""

import io
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
import tracemalloc
from pathlib import Path

import chess
import chess.pgn
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from boardgame_sae import cli
from boardgame_sae.config import ConfigError
from boardgame_sae.files import RunError, read_json
from boardgame_sae.games.chess.position import python_move
from boardgame_sae.transcripts.corpus import Corpus
from boardgame_sae.transcripts.pgn import cutter as pgn_text
from boardgame_sae.transcripts.pgn import importer as pgn_module
from boardgame_sae.transcripts.pgn import reader as pgn_reader
from boardgame_sae.transcripts.pgn import source as pgn_source
from boardgame_sae.transcripts.pgn import tally as pgn_tally
from boardgame_sae.transcripts.pgn.importer import ImportPGNConfig, import_pgn, import_pgn_run, import_table
from boardgame_sae.weights import read_arrays

LICHESS = Path(__file__).parents[2] / "data" / "lichess_100.pgn"
GOOD = "1. e4 e5 2. Nf3 Nc6 1-0"
GOOD_MOVES = ["e2e4", "e7e5", "g1f3", "b8c6"]
CASTLED = [*GOOD_MOVES, "f1c4", "g8f6", "e1g1", "f8e7", "d2d3", "e8g8"]
PROMOTED = ["b2b4", "a7a5", "a2a3", "a5b4", "h2h3", "b4b3", "h3h4", "b3c2", "h4h5", "c2b1q"]
ENDGAME = "4k3/8/8/8/8/8/8/4K2R w K - 0 1"
SCHOLAR = "1. e4 e5 2. Bc4 Nc6 3. Qh5 Nf6 4. Qxf7# "


def game_text(movetext=GOOD, **headers) -> str:
    """A game as PGN."""
    tags = {"Event": "test", "White": "Ann", "Black": "Bob", **headers}
    return "".join(f'[{name} "{value}"]\n' for name, value in tags.items()) + f"\n{movetext}\n\n"


def moves_of(corpus: Corpus) -> list[list[str]]:
    return [[python_move(int(move)).uci() for move in game] for game in corpus.record(np.arange(len(corpus)))]


def elo(game: chess.pgn.Game, side: str) -> int:
    """A player's Elo, 0 where it is not known."""
    text = game.headers[f"{side}Elo"]
    return int(text) if text.isdigit() else 0


def column(corpus: Corpus, name: str) -> list:
    return corpus.arrays[f"games/{name}"].tolist()


def skipped(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "skipped.jsonl").read_text().splitlines()]


def same_bytes(a: Path, b: Path) -> bool:
    """Whether two finished runs are equal, the times aside."""
    files = [
        sorted(p.relative_to(x) for p in x.rglob("*") if p.is_file() and p.name != "timings.jsonl") for x in (a, b)
    ]
    return files[0] == files[1] and all((a / name).read_bytes() == (b / name).read_bytes() for name in files[0])


@pytest.fixture
def take(tmp_path):
    """Import a text (or bytes): the open corpus, its folder, and the skipped games."""

    def call(text, name="games.pgn", **settings):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        corpus = import_pgn(path, out=tmp_path / "run", **settings)
        return corpus, read_json(tmp_path / "run" / "DONE")["summary"], skipped(tmp_path / "run")

    return call


@pytest.fixture(scope="module")
def real() -> list[chess.pgn.Game]:
    with LICHESS.open(encoding="utf-8") as lines:
        return list(iter(lambda: chess.pgn.read_game(lines), None))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The run of the 100 games, by one worker."""
    return import_pgn_run(ImportPGNConfig(sources=(str(LICHESS),)), out=tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def standard_input(monkeypatch):
    def give(data: bytes):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


def test_real_games_have_the_moves_and_headers_that_python_chess_reads(whole, real):
    corpus = Corpus.open(whole)
    assert moves_of(corpus) == [[move.uci() for move in game.mainline_moves()] for game in real]
    for name, tag, kind in (
        ("result", "Result", {"1-0": 1, "0-1": -1, "1/2-1/2": 0}.get),
        ("eco", "ECO", str.encode),
        ("opening", "Opening", str.encode),
        ("time_control", "TimeControl", str.encode),
    ):
        assert column(corpus, name) == [kind(game.headers[tag]) for game in real]
    for side, place in (("White", "first"), ("Black", "second")):
        elos = [elo(game, side) for game in real]
        assert column(corpus, f"{side.lower()}_elo") == elos and elos.count(0) <= 1
        assert np.nan_to_num(column(corpus, f"rating_{place}")).tolist() == elos
    assert skipped(whole) == [] and read_json(whole / "DONE")["summary"]["n_games"] == 100
    assert corpus.config["players"] == ["pgn"] and not (whole / "parts").exists()


def test_skill_is_one_of_six_bins_of_the_kept_ratings_and_boards_know_the_movers(whole):
    corpus = Corpus.open(whole)
    ratings = np.array([column(corpus, "rating_first"), column(corpus, "rating_second")])
    bins = np.array([column(corpus, "skill_first"), column(corpus, "skill_second")])
    counts = np.bincount(bins[bins >= 0])
    assert len(counts) == 6 and counts.min() > 25
    assert np.array_equal(bins == -1, np.isnan(ratings))
    order = np.argsort(ratings.ravel(), kind="stable")[: counts.sum()]
    assert (np.diff(bins.ravel()[order]) >= 0).all()
    boards = corpus.boards(np.array([7]))
    assert boards.skill_N[:4].tolist() == [bins[0, 7], bins[1, 7]] * 2


def as_pzstd(data: bytes) -> bytes:
    """Two frames with a skippable one before each, as pzstd writes them."""
    skippable, half = b"\x50\x2a\x4d\x18\x04\0\0\0abcd", len(data) // 2
    return b"".join(skippable + zstandard.compress(part) for part in (data[:half], data[half:]))


@pytest.mark.parametrize("pack", [zstandard.compress, as_pzstd])
@pytest.mark.parametrize("name", ["games.pgn.zst", "games.pgn"])
def test_zstd_is_known_by_its_content_and_gives_the_games_of_the_plain_file(take, whole, pack, name):
    corpus, _, _ = take(pack(LICHESS.read_bytes()), name)
    plain = Corpus.open(whole)
    assert all(
        np.array_equal(corpus.arrays[key], plain.arrays[key], equal_nan=key.startswith("games/rating"))
        for key in plain.arrays
    )


@pytest.mark.parametrize("pack", [bytes, zstandard.compress])
def test_standard_input_and_a_pipe_give_the_bytes_of_a_file_wherever_it_lies(tmp_path, standard_input, whole, pack):
    data = pack(LICHESS.read_bytes())
    (tmp_path / "elsewhere.pgn").write_bytes(data)
    os.mkfifo(tmp_path / "pipe")
    file = import_pgn(tmp_path / "elsewhere.pgn", out=tmp_path / "a").path.parent
    standard_input(data)
    assert same_bytes(import_pgn("-", out=tmp_path / "b").path.parent, file)
    with subprocess.Popen(["cp", tmp_path / "elsewhere.pgn", tmp_path / "pipe"]):
        assert same_bytes(import_pgn(tmp_path / "pipe", out=tmp_path / "c").path.parent, file)
    assert pack is not bytes or same_bytes(file, whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c", "elsewhere.pgn", "pipe"]


def test_other_content_on_standard_input_is_another_run(tmp_path, standard_input):
    standard_input(game_text().encode())
    import_pgn("-", out=tmp_path / "run")
    standard_input(game_text("1. d4 *").encode())
    with pytest.raises(RunError, match="holds another run"):
        import_pgn("-", out=tmp_path / "run")


DRIVER = """
    import sys, time
    from boardgame_sae.transcripts.pgn import importer as module, cutter as pgn_text

    pgn_text.BATCH_GAMES = 10
    source, out, workers, wait = sys.argv[1:]
    if float(wait):
        read = module.read_batch
        module.read_batch = lambda *args: (time.sleep(float(wait)), read(*args))[1]

    if __name__ == "__main__":
        module.import_pgn_run(module.ImportPGNConfig(sources=(source,)), out=out, workers=int(workers))
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """The command that imports a file in parts of ten games: (source, out, workers, seconds a part)."""
    path = tmp_path_factory.mktemp("driver") / "driver.py"
    path.write_text(textwrap.dedent(DRIVER))
    return lambda source, out, workers=1, wait=0.0: [sys.executable, path, source, out, str(workers), str(wait)]


def test_two_workers_and_small_parts_give_the_bytes_of_one_worker_and_one_part(driver, whole, tmp_path):
    subprocess.run(driver(LICHESS, tmp_path / "run", workers=2), check=True, capture_output=True)
    assert same_bytes(tmp_path / "run", whole)


@pytest.mark.parametrize("name", ["file", "-"])
def test_a_killed_import_resumes_to_the_same_bytes_without_reading_finished_parts_again(
    driver, whole, tmp_path, monkeypatch, standard_input, name
):
    out, source = tmp_path / "run", str(LICHESS) if name == "file" else "-"
    with (
        LICHESS.open("rb") as stdin,
        subprocess.Popen(driver(source, out, 2, 0.2), stdin=stdin, stdout=-3, stderr=-3) as reader,
    ):
        while len(list(out.glob("parts/*.safetensors"))) < 3:
            assert reader.poll() is None, "it ended before it could be killed"
            time.sleep(0.005)
        reader.kill()
    assert not (out / "DONE").exists() and not (out / "corpus.h5").exists()
    monkeypatch.setattr(pgn_text, "BATCH_GAMES", 10)
    texts, read = [], pgn_module.read_batch
    monkeypatch.setattr(pgn_module, "read_batch", lambda batch, *more: (texts.append(batch), read(batch, *more))[1])
    standard_input(LICHESS.read_bytes())
    import_pgn(source, out=out)
    assert same_bytes(out, whole)
    assert 0 < len(texts) <= 8


def test_an_import_killed_while_it_binds_its_parts_resumes_to_the_same_bytes(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(pgn_text, "BATCH_GAMES", 30)

    def kill(folder):
        (folder / "000001.safetensors").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pgn_module.shutil, "rmtree", kill)
        with pytest.raises(KeyboardInterrupt):
            import_pgn(LICHESS, out=tmp_path / "run")
    import_pgn(LICHESS, out=tmp_path / "run")
    assert same_bytes(tmp_path / "run", whole)


def older_or_damaged(path: Path, change: str) -> None:
    """Change a part of an import that was killed."""
    arrays, about = read_arrays(path, "")
    summary = json.loads(about["summary"])
    if change == "column":
        save_file({name: array for name, array in arrays.items() if name != "eco"}, path, about)
    elif change == "moves":
        save_file({**arrays, "moves": arrays["moves"][1:]}, path, about)
    elif change == "metadata":
        save_file(arrays, path)
    elif change == "told":  # as it was called before
        summary["skipped"] = summary.pop("told")
        save_file(arrays, path, {"summary": json.dumps(summary)})
    elif change == "place":
        save_file(arrays, path, {"summary": json.dumps({**summary, "told": [[0, "why", 7]]})})
    elif change == "json":
        save_file(arrays, path, {"summary": about["summary"][:-1]})
    else:
        path.write_bytes(path.read_bytes()[:-1] if change == "truncated" else b"")


CHANGES = ("told", "place", "json", "metadata", "column", "moves", "truncated", "empty")


@pytest.mark.parametrize("change", CHANGES)
def test_an_import_killed_under_another_version_says_how_to_begin_again(whole, tmp_path, monkeypatch, change):
    monkeypatch.setattr(pgn_text, "BATCH_GAMES", 30)
    with monkeypatch.context() as patch:
        patch.setattr(pgn_module, "_bind", interrupted)
        with pytest.raises(KeyboardInterrupt):
            import_pgn(LICHESS, out=tmp_path / "run")
    parts = tmp_path / "run/parts"
    older_or_damaged(parts / "000001.safetensors", change)
    message = rf"000001\.safetensors: .*; remove {parts} and run the same command again: it starts from the beginning"
    with pytest.raises(RunError, match=message):
        import_pgn(LICHESS, out=tmp_path / "run")
    shutil.rmtree(parts)
    import_pgn(LICHESS, out=tmp_path / "run")
    assert same_bytes(tmp_path / "run", whole)


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_finished_import_is_not_read_again(whole, monkeypatch):
    monkeypatch.setattr(pgn_module, "read_batch", None)
    assert import_pgn_run(ImportPGNConfig(sources=(str(LICHESS),)), out=whole) == whole


@pytest.mark.parametrize("block", [1, 7, 1000])
@pytest.mark.parametrize("limits", [(3, 1 << 30), (1000, 1), (1000, 2500)])
def test_batches_do_not_depend_on_the_blocks_in_which_text_comes(block, limits, tmp_path, monkeypatch):
    text = LICHESS.read_bytes()[:9000] + game_text("{ \n\n[%clk 0:05] }" + "x" * 3000).encode() + LICHESS.read_bytes()
    path = tmp_path / "games.pgn"
    path.write_bytes(text[:60_000])
    for name, value in zip(("BATCH_GAMES", "BATCH_BYTES"), limits, strict=True):
        monkeypatch.setattr(pgn_text, name, value)
    monkeypatch.setattr(pgn_text, "MAX_BYTES", 2000)
    monkeypatch.setattr(pgn_text, "HEAD_BYTES", 100)

    def batches():
        blocks = pgn_source.Blocks(pgn_source.open_source(str(path), tmp_path))
        return [(b.text, b.ends, b.bodies, b.offset, b.line, b.is_large, b.is_last) for b in pgn_text.Cutter(blocks)]

    expected = batches()
    assert sum(is_large for *_, is_large, _ in expected) >= 1
    for text, ends, *_, offset, line, is_large, _ in expected:
        before = path.read_bytes()[:offset]
        assert line == before.count(b"\n") + 1
        assert path.read_bytes()[offset:].startswith(text) and (is_large or ends[-1:] in ([], [len(text)]))
    monkeypatch.setattr(pgn_source, "BLOCK", block)
    assert batches() == expected


def test_filters_keep_exactly_the_games_they_say(take, real):
    def elos(game):
        return elo(game, "White"), elo(game, "Black")

    def base(game):
        control = game.headers["TimeControl"]
        return int(control.split("+")[0]) if control[0].isdigit() else None

    cases = {
        "elo": ({"min_elo": 1600, "max_elo": 1900}, lambda g: all(1600 <= x <= 1900 for x in elos(g))),
        "elo difference": ({"max_elo_difference": 100}, lambda g: all(elos(g)) and abs(elos(g)[0] - elos(g)[1]) <= 100),
        "plies": ({"min_plies": 40, "max_plies": 80}, lambda g: 40 <= len(list(g.mainline_moves())) <= 80),
        "result": ({"results": ("0-1", "1/2-1/2")}, lambda g: g.headers["Result"] != "1-0"),
        "time control": ({"time_controls": ("300+0", "60+1")}, lambda g: g.headers["TimeControl"] in ("300+0", "60+1")),
        "base seconds": ({"min_base_seconds": 180, "max_base_seconds": 300}, lambda g: 180 <= (base(g) or 0) <= 300),
    }
    for reason, (filters, wanted) in cases.items():
        corpus, summary, listed = take(LICHESS.read_bytes(), **filters)
        expected = [[move.uci() for move in game.mainline_moves()] for game in real if wanted(game)]
        assert moves_of(corpus) == expected and 0 < len(expected) < 100, reason
        assert summary["filtered"] == {reason: 100 - len(expected)} and not summary["skipped"] and not listed


def test_an_unknown_elo_or_time_control_passes_no_filter_on_it_and_is_stored_as_unknown(take):
    text = game_text(WhiteElo="?", BlackElo="2000", TimeControl="-", ECO="?") + game_text(
        "1. d4 d5 *", WhiteElo="1500?"
    )
    corpus, *_ = take(text)
    assert column(corpus, "white_elo") == [0, 1500] and column(corpus, "black_elo") == [2000, 0]
    assert np.isnan(column(corpus, "rating_first")[0]) and column(corpus, "rating_second")[0] == 2000
    assert column(corpus, "skill_first") == [-1, 0] and column(corpus, "skill_second") == [1, -1]
    assert column(corpus, "result") == [1, 2] and column(corpus, "eco") == [b"", b""]
    text += game_text("1. c4 *", WhiteElo="2100", BlackElo="2000", TimeControl="60+0")
    assert moves_of(take(text, min_elo=1)[0]) == [["c2c4"]]
    assert moves_of(take(text, max_base_seconds=100)[0]) == [["c2c4"]]


@pytest.mark.parametrize("n_games", [1, 25, 99, 100, 500])
def test_an_import_stops_after_n_games_and_counts_only_what_lies_before(take, monkeypatch, n_games):
    monkeypatch.setattr(pgn_text, "BATCH_GAMES", 10)
    bad = game_text("1. e5 *")
    text = bad + LICHESS.read_text() + bad
    corpus, summary, listed = take(text, n_games=n_games)
    assert len(corpus) == summary["n_games"] == min(n_games, 100)
    assert [row["game"] for row in listed] == ([1] if n_games <= 100 else [1, 102])


def test_several_sources_are_read_in_order_and_each_numbers_its_own_games(tmp_path):
    (tmp_path / "a.pgn").write_text(game_text() + game_text("1. e5 *"))
    (tmp_path / "b.pgn.zst").write_bytes(zstandard.compress((game_text("1. Nf9 *") + game_text("1. d4 *")).encode()))
    corpus = import_pgn([tmp_path / "a.pgn", tmp_path / "b.pgn.zst"], out=tmp_path / "run")
    assert moves_of(corpus) == [GOOD_MOVES, ["d2d4"]]
    listed = [(Path(row["source"]).name, row["game"], row["reason"]) for row in skipped(tmp_path / "run")]
    assert listed == [("a.pgn", 2, "illegal move"), ("b.pgn.zst", 1, "unreadable move")]


@pytest.mark.parametrize(
    ("movetext", "moves"),
    [
        ("1. e4 e5 2. Nf3 Nc6 3. Bc4 Nf6 4. 0-0 Be7 5. d3 0-0 *", CASTLED),
        ("1. b4 a5 2. a3 axb4 3. h3 b3 4. h4 bxc2 5. h5 cxb1Q *", PROMOTED),
        ("1. e4 {a} (1. d4 (1. c4 {in)} c5 (1... e5)) d5) e5 $1 2. Nf3! $10 {b} Nc6?! *", GOOD_MOVES),
        ("{ in\n[%clk 0:05]\n\n[%eval 1] } 1. e4 {\n[%clk 0:05] } e5 2. Nf3 {[Event \"no\"]} Nc6 *", GOOD_MOVES),
        ("1. e4 ; the rest { is [ passed over\n1... e5\n; all of it }\n2. Nf3 Nc6 *", GOOD_MOVES),
        ("1. e4 e5\n% escaped { 1. d4 [\n2. Nf3 {%\n% kept in a comment } Nc6 *", GOOD_MOVES),
        ("1.e4 e5 2.Nf3 2...Nc6 1/2-1/2 { agreed } ; so\n$1", GOOD_MOVES),
        ("1. e4 e5\n\n\n2. Nf3\n\n2... Nc6 *", GOOD_MOVES),
        ("1. e4 e5 2. Nf3 {\u265e \xe9 \0 \x01} Nc6 *", GOOD_MOVES),
        ("[%clk] *", None),
    ],
)  # fmt: skip
def test_all_that_may_stand_between_moves_is_passed_over(take, movetext, moves):
    corpus, summary, _ = take(game_text(movetext) + game_text("1. d4 d5 *"))
    assert moves_of(corpus) == [moves, ["d2d4", "d7d5"]][moves is None :]
    assert sum(summary["skipped"].values()) == (moves is None)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: b"\n\r\n  \n" + data + b"\n \n\n",
        lambda data: b"% escaped { [\n; a comment {\n\n" + data,
        lambda data: data.replace(b"]\n\n", b"]\n").replace(b"\n\n[", b"\n["),
        lambda data: data.rstrip(),
        lambda data: data.replace(b"[", b"[ "),
        lambda data: b"\xef\xbb\xbf" + data[:9000] + data[9000:].replace(b"\n\n[Event", b"\n\n\xef\xbb\xbf[Event"),
    ],
    ids=["crlf", "bom", "blank lines", "preamble", "no blank lines", "no last newline", "spaces", "boms"],
)
def test_other_ways_to_write_a_file_give_the_same_games(take, whole, change):
    corpus, summary, listed = take(change(LICHESS.read_bytes()))
    assert moves_of(corpus) == moves_of(Corpus.open(whole)) and not listed and not summary["skipped"]
    assert column(corpus, "white_elo") == column(Corpus.open(whole), "white_elo")


def test_games_without_headers_are_games(take):
    corpus, _, listed = take("1. e4 e5 2. Nf3 Nc6 1-0\n\n1. d4 0-1 { so } 1. c4\n c5 *\n1. f3\n")
    assert moves_of(corpus) == [GOOD_MOVES, ["d2d4"], ["c2c4", "c7c5"]] and column(corpus, "result") == [1, -1, 2]
    assert [(row["game"], row["reason"], row["line"]) for row in listed] == [(4, "unfinished text", 5)]


BAD = {
    "illegal": ("1. e4 e5 2. Ke3 *", {}, "illegal move", {"ply": 3, "move": "Ke3"}),
    "castling": ("1. e4 e5 2. 0-0 *", {}, "illegal move", {"ply": 3, "move": "0-0"}),
    "after mate": (SCHOLAR + "Ke7 *", {}, "illegal move", {"ply": 8, "move": "Ke7"}),
    "promotion": ("1. b4 a5 2. a3 axb4 3. h3 b3 4. h4 bxc2 5. h5 cxb1 *", {}, "illegal move", {"ply": 10}),
    "ambiguous": ("1. Nf3 e5 2. Nc3 e4 3. Nd4 d6 4. Nb5 *", {}, "ambiguous move", {"ply": 7, "move": "Nb5"}),
    "unreadable": ("1. e4 e5 2. Nf9 *", {}, "unreadable move", {"ply": 3, "move": "Nf9"}),
    "null move": ("1. e4 -- *", {}, "unreadable move", {"ply": 2, "move": "--"}),
    "German": ("1. Sf3 *", {}, "unreadable move", {"ply": 1, "move": "Sf3"}),
    "figurine": ("1. e4 e5 2. \u2658f3 *", {}, "unreadable move", {"ply": 3, "move": "\u2658f3"}),
    "short capture": ("1. e4 d5 2. ed Nf6 *", {}, "unreadable move", {"ply": 3, "move": "ed"}),
    "descriptive": ("1. e4 d5 2. PxP *", {}, "unreadable move", {"ply": 3, "move": "PxP"}),
    "small castling": ("1. Nf3 Nf6 2. g3 g6 3. Bg2 Bg7 4. o-o *", {}, "unreadable move", {"ply": 7, "move": "o-o"}),
    "garbled": ("1. e45 *", {}, "unreadable move", {"ply": 2, "move": "5"}),
    "in parts": ("1. e4 e5 2. N f3 *", {}, "ambiguous move", {"ply": 3, "move": "f3"}),
    "last in parts": ("1. e4 e 5 *", {}, "ambiguous move", {"ply": 2, "move": "e"}),
    "two in one": ("1. e4 e5 1. d4 d5 *", {}, "move number 1 again", {"ply": 3, "move": "1."}),
    "variation first": ("(1. d4) 1. e4 *", {}, "variation before the first move", {"ply": 1}),
    "no result": ("1. e4 e5", {}, "unfinished text", {"ply": 3}),
    "result word": ("1. e4 e5 1-1", {}, "unknown result", {"move": "1-1"}),
    "result header": (GOOD, {"Result": "2-0"}, "unknown result", {"result": "2-0"}),
    "variant": ("1. e4 *", {"Variant": "Crazyhouse"}, "variant", {}),
    "960": ("1. e4 *", {"Variant": "Chess960", "FEN": chess.STARTING_FEN}, "variant", {}),
    "FEN": ("1. Kd2 *", {"SetUp": "1", "FEN": ENDGAME}, "non-standard start", {}),
    "position": ("1. Kd2 *", {"Variant": "From Position", "FEN": ENDGAME}, "non-standard start", {}),
    "set up": ("1. e4 *", {"SetUp": "1"}, "non-standard start", {}),
    "no moves": ("0-1", {}, "no moves", {}),
    "only headers": ("", {}, "no moves", {}),
    "only a comment": ("{ abandoned } *", {}, "no moves", {}),
    "too long": (" ".join(["Nf3 Nf6 Ng1 Ng8"] * 151) + " *", {}, "too long", {"ply": 601}),
    "comment": ("1. e4 { e5 *", {}, "unclosed comment", {"ply": 2}),
    "variation": ("1. e4 (1. d4 d5 *", {}, "unclosed comment", {"ply": 2}),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_game_is_skipped_and_listed_with_its_place_and_the_games_around_it_are_kept(take, bad):
    movetext, headers, reason, details = BAD[bad]
    before, after = game_text(), game_text("1. d4 d5 *")
    corpus, summary, (row,) = take(before + game_text(movetext, Site="here", **headers) + after)
    assert moves_of(corpus) == [GOOD_MOVES, ["d2d4", "d7d5"]]
    assert summary["skipped"] == {reason: 1} and summary["n_games"] == 2
    place = {"game": 2, "line": before.count("\n") + 1, "offset": len(before), "reason": reason}
    assert row.items() >= {**place, **details, "white": "Ann", "black": "Bob", "site": "here"}.items()
    assert row["source"].endswith("games.pgn") and row["fault_line"] >= row["line"]


def test_the_line_of_the_fault_is_listed_beside_the_game_s(take):
    _, _, (row,) = take(game_text() + "\n" + game_text("1. e4\ne5\n{ \n }\n2. Ke5 *"))
    assert (row["line"], row["fault_line"]) == (8, 16)


@pytest.mark.parametrize("fen", [chess.STARTING_FEN, "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 4 9"])
def test_the_usual_start_may_be_written_out(take, fen):
    corpus, *_ = take(game_text(SetUp="1", FEN=fen, Variant="Standard"))
    assert moves_of(corpus) == [GOOD_MOVES]


def test_a_file_cut_anywhere_keeps_its_whole_games_and_lists_the_last(take, real):
    data = LICHESS.read_bytes()[:9000]
    starts = [n for n in range(len(data)) if data.startswith(b"[Event ", n)]
    for size in range(2000, 9000, 271):
        n_begun = sum(start < size for start in starts)
        corpus, _, listed = take(data[:size])
        texts = [[move.uci() for move in game.mainline_moves()] for game in real[:n_begun]]
        assert moves_of(corpus) == texts[: len(corpus)] and len(corpus) + len(listed) == n_begun and len(listed) <= 1
        assert all(row["offset"] == starts[n_begun - 1] for row in listed)


def test_an_unclosed_comment_costs_its_own_game_only(take):
    corpus, _, listed = take(game_text("1. e4 { never closed e5 *") + game_text("1. d4 {closed} d5 *") + game_text())
    assert moves_of(corpus) == [["d2d4", "d7d5"], GOOD_MOVES] and [row["game"] for row in listed] == [1]


def test_headers_without_moves_between_blank_lines_are_games_of_their_own(take):
    corpus, summary, _ = take('[Event "a"]\n[Result "*"]\n\n' + game_text() + '[Event "b"]\n')
    assert moves_of(corpus) == [GOOD_MOVES] and summary["skipped"] == {"no moves": 2}


def test_the_header_s_result_wins_over_the_board_and_odd_ones_are_counted(take):
    text = game_text(SCHOLAR + "0-1", Result="0-1") + game_text(SCHOLAR + "1-0", Result="1-0")
    text += game_text(SCHOLAR + "1-0") + game_text(GOOD, Result="0-1") + game_text(GOOD, Result="?")
    corpus, summary, _ = take(text)
    assert column(corpus, "result") == [-1, 1, 1, -1, 1]
    assert summary["warnings"] == {
        "result is not that of the checkmate on the board": 1,
        "result is not that at the end of the text": 1,
    }
    assert column(corpus, "ending") == [1, 1, 1, 0, 0]


def test_texts_of_headers_stay_whole_up_to_the_bound_and_differ_where_they_differed(take):
    controls = ["40/7200:20/3600:900+30", "40/7200:20/3600:900+31", "9" * 255]
    openings = ["Gr\xfcnfeld" + "\xfc" * 60, "G" * 100, "Spanish"]
    text = "".join(
        game_text(Opening=opening, ECO=eco, TimeControl=control, White='"A" \\ "B" ] [')
        for opening, control, eco in zip(openings, controls, ("D85x", "D85y", "C60"), strict=True)
    )
    corpus, summary, listed = take(text)
    assert [value.decode() for value in column(corpus, "opening")] == openings
    assert [value.decode() for value in column(corpus, "time_control")] == controls
    assert column(corpus, "eco") == [b"D85x", b"D85y", b"C60"] and not summary["warnings"] and not listed
    corpus, *_ = take(game_text(ECO="C44"))
    assert column(corpus, "opening") == [b"C44"]
    assert [corpus.arrays[f"games/{name}"].dtype.itemsize for name in ("opening", "eco", "time_control")] == [64, 3, 16]


def test_a_header_in_latin_1_is_kept_in_utf_8(take):
    corpus, *_ = take(
        game_text(Opening="Gr\xfcnfeld").encode("latin1") + game_text(Opening="Gr\xe9nfeld").encode("latin1")
    )
    assert [value.decode() for value in column(corpus, "opening")] == ["Gr\xfcnfeld", "Gr\xe9nfeld"]


def test_a_text_beyond_the_bound_is_cut_counted_and_listed(take, tmp_path):
    games = game_text() + game_text(Opening="\xfc" * 128 + "x", TimeControl="9" * 256) + game_text("1. e5 *")
    corpus, summary, (cut, bad) = take(games)
    assert column(corpus, "opening")[1].decode() == "\xfc" * 127 and column(corpus, "time_control")[1] == b"9" * 255
    assert summary["warnings"] == {"opening, time_control cut to 255 bytes": 1} and summary["skipped"] == {
        "illegal move": 1
    }
    assert (cut["game"], cut["line"], cut["reason"]) == (2, 7, "kept: opening, time_control cut to 255 bytes")
    assert bad["game"] == 3 and len(corpus) == 2
    assert "kept, but opening, time_control cut" in import_table(tmp_path / "run")


MEGABYTE = 1_000_000


@pytest.mark.parametrize(
    "line",
    [
        "x" * MEGABYTE,
        "{" + "x" * MEGABYTE,
        "{" + "{" * MEGABYTE + "} 1. d4 1-1",
        "(" * MEGABYTE,
        "()" * (MEGABYTE // 2),
        "* " * (MEGABYTE // 20),
        "\0" * MEGABYTE,
        "1." * (MEGABYTE // 2),
        "\u00bd" * (MEGABYTE // 2),
        "[" * MEGABYTE,
        '[White "' * (MEGABYTE // 8),
        '[White "' + '" ' * (MEGABYTE // 2),
        '[White "' + '"' + " " * MEGABYTE,
        "%" * MEGABYTE,
        ";" * MEGABYTE,
        " " * MEGABYTE,
    ],
    ids=lambda line: line[:8].strip("\0") or "blank",
)
def test_a_line_of_a_megabyte_is_linear_work_and_spoils_no_other_game(take, line):
    began = time.perf_counter()
    corpus, summary, listed = take(game_text() + game_text(line) + game_text("1. d4 d5 *"))
    assert time.perf_counter() - began < 10
    assert moves_of(corpus) == [GOOD_MOVES, ["d2d4", "d7d5"]]
    assert min(sum(summary["skipped"].values()), 10_000) == len(listed) >= 1
    assert all(len(json.dumps(row)) < 2000 for row in listed)


def test_a_comment_of_a_megabyte_is_passed_over(take):
    corpus, *_ = take(game_text("1. e4 e5 {" + "[ ( x" * 200_000 + "} 2. Nf3 Nc6 *"))
    assert moves_of(corpus) == [GOOD_MOVES]


def test_a_game_larger_than_the_limit_is_skipped_in_little_memory(take, monkeypatch):
    monkeypatch.setattr(pgn_text, "MAX_BYTES", 1 << 16)
    monkeypatch.setattr(pgn_source, "BLOCK", 1 << 14)
    huge = game_text("1. e4 {" + "x\n" * 20_000_000 + "} e5 *", Site="huge")
    data = zstandard.compress((game_text() + huge + game_text("1. d4 *")).encode())
    tracemalloc.start()
    corpus, summary, (row,) = take(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert moves_of(corpus) == [GOOD_MOVES, ["d2d4"]] and summary["skipped"] == {"over 16 MiB": 1}
    assert row["offset"] == len(game_text()) and row["site"] == "huge"
    assert peak < 30_000_000
    bad_after, *_ = take(zstandard.compress((huge + game_text("1. e5 *") + game_text()).encode())), None
    assert [row["line"] for row in bad_after[2]] == [1, huge.count("\n") + 1]


def test_a_truncated_zstd_file_gives_what_can_be_read_and_says_where_it_ends(take, real):
    noise = np.random.default_rng(0).integers(97, 123, 400_000, dtype=np.uint8).tobytes()
    data = zstandard.compress(LICHESS.read_bytes() + game_text("{" + noise.decode() + "} 1. e4 *").encode())
    corpus, summary, listed = take(data[: len(data) * 2 // 3], "games.pgn.zst")
    assert moves_of(corpus) == [[move.uci() for move in game.mainline_moves()] for game in real[: len(corpus)]]
    assert len(corpus) >= 99 and summary["skipped"]["truncated zstd"] == 1
    assert listed[-1]["reason"] == "truncated zstd" and listed[-1]["offset"] > listed[0]["offset"]
    damaged, summary, listed = take(data + b"damage", "games.pgn.zst")
    assert len(damaged) == 101 and [row["reason"] for row in listed] == ["damaged zstd"]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "there is no game in it"),
        (b"\n \r\n\n", "there is no game in it"),
        (b"\xef\xbb\xbf", "there is no game in it"),
        (b"nothing to see\n", "none of its 1 games can be kept (no moves 1)"),
        (b"\0" * 1000, "no moves 1"),
        (game_text("1. e5 *") + game_text("1. e4") + game_text("1. e6 *"), "(illegal move 2, unfinished text 1)"),
        (game_text(), "(filtered: elo 1)"),
        (b"\x28\xb5\x2f\xfd", "truncated zstd 1"),
    ],
)
def test_a_source_of_which_no_game_is_kept_is_named_with_its_counts(tmp_path, data, complaint):
    good, bad = tmp_path / "good.pgn", tmp_path / "bad.pgn"
    good.write_text(game_text(WhiteElo="2000", BlackElo="2000"))
    bad.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(RunError) as caught:
        import_pgn([good, bad], out=tmp_path / "run", min_elo=1 if "elo" in complaint else None)
    assert str(caught.value).startswith(f"{bad}: ") and complaint in str(caught.value)
    assert not (tmp_path / "run" / "DONE").exists()


@pytest.mark.parametrize(
    ("name", "data", "complaint"),
    [
        ("missing.pgn", None, "cannot be read (No such file"),
        ("folder.pgn", "folder", "a folder; name its files"),
        ("games.pgn.zst", b'[Event "plain"]', "no zstd file"),
        ("games.zst", b"", "no zstd file"),
        ("games.pgn.gz", b"\x1f\x8b\x08rest", "is gzip"),
        ("games.pgn.bz2", b"BZh9rest", "is bzip2"),
        ("games.pgn", "x".encode("utf-16"), "is UTF-16"),
    ],
)
def test_a_source_that_is_no_pgn_is_refused_before_a_folder_is_made(tmp_path, name, data, complaint):
    path = tmp_path / name
    if data == "folder":
        path.mkdir()
    elif data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        import_pgn(path, out=tmp_path / "run")
    assert str(caught.value).startswith(f"{path}: ") and complaint in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_the_same_bytes_under_two_names_are_refused(tmp_path):
    for name in ("a.pgn", "b.pgn"):
        (tmp_path / name).write_text(game_text())
    with pytest.raises(ConfigError, match=r"b.pgn: holds the same bytes as .*a.pgn"):
        import_pgn([tmp_path / "a.pgn", tmp_path / "b.pgn"], out=tmp_path / "run")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"sources": []}, "sources are one file or more"),
        ({"sources": ["-", "-"]}, "each named once"),
        ({"results": ["1-1"]}, "result '1-1' is none of"),
        ({"n_games": 0}, "field 'n_games' is 0: must be at least 1"),
        ({"min_elo": 2000, "max_elo": 1900}, "max_elo must not be below min_elo"),
        ({"min_plies": 0}, "field 'min_plies' is 0: must be at least 1"),
        ({"max_plies": 601}, "room for 600"),
        ({"max_elo_difference": -1}, "max_elo_difference"),
        ({"players": ["random"]}, "players"),
        ({"game": "othello"}, "PGN holds games of chess"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"test_fraction": 1.0}, "leave games to train on"),
        ({"min_eol": 3}, "did you mean 'min_elo'"),
    ],
)
def test_bad_settings_are_refused_before_a_folder_is_made(tmp_path, settings, complaint):
    with pytest.raises(ConfigError) as caught:
        import_pgn(**{"sources": str(LICHESS), "out": tmp_path / "run", **settings})
    assert complaint in str(caught.value) and not (tmp_path / "run").exists()


def test_only_the_first_skipped_games_are_listed_and_all_are_counted(take, monkeypatch):
    monkeypatch.setattr(pgn_tally, "MAX_LISTED", 5)
    monkeypatch.setattr(pgn_text, "BATCH_GAMES", 3)
    _, summary, listed = take(game_text("1. e5 *") * 12 + game_text())
    assert summary["skipped"] == {"illegal move": 12} and [row["game"] for row in listed] == [1, 2, 3, 4, 5]


def test_the_verb_takes_leading_words_and_standard_input_and_prints_a_table(tmp_path, capsys, standard_input):
    standard_input((game_text("1. e5 *") + game_text(WhiteElo="1000")).encode() + LICHESS.read_bytes())
    argv = ["import-pgn", "-", "--min-elo", "1500", "--results", "1-0", "0-1", "--out", str(tmp_path / "run")]
    assert cli.main(argv) == 0
    out = capsys.readouterr().out
    corpus = Corpus.open(tmp_path / "run")
    assert import_table(tmp_path / "run") in out and out.endswith(f"{tmp_path / 'run'}\n")
    lines = {line[:52].strip(): line[52:].strip() for line in out.splitlines()}
    assert lines["kept"] == str(len(corpus)) and int(lines["filtered: elo"]) > 2 and "filtered: result" in lines
    assert cli.main(["check", str(tmp_path / "run")]) == 0
    assert cli.main(["import-pgn", str(tmp_path / "none.pgn")]) == 2
    assert "none.pgn: cannot be read" in capsys.readouterr().err


@st.composite
def written_games(draw) -> tuple[list[list[str]], str]:
    """Random games with comments, variations and annotations, and how python-chess writes them."""
    games, text = [], ""
    comments = st.text(st.characters(exclude_characters="{}\r\0", codec="utf-8"), max_size=30)
    for _ in range(draw(st.integers(1, 4))):
        rng = draw(st.randoms(use_true_random=False))
        game = node = chess.pgn.Game({"Event": draw(st.sampled_from(["?", 'a "quoted" {event', "; %"]))})
        game.comment = draw(comments)
        for _ in range(draw(st.integers(1, 25))):
            moves = list(node.board().legal_moves)
            if not moves:
                break
            for other in rng.sample(moves, min(len(moves), rng.choice([0, 0, 0, 1, 2]))):
                side = node.add_variation(other, comment=rng.choice(["", "(", "1-0", "[Event", "x"]))
                for reply in list(side.board().legal_moves)[:1]:
                    side.add_variation(reply, comment="{")
            move = rng.choice(moves)
            node = node.variation(move) if node.has_variation(move) else node.add_variation(move)
            node.parent.promote_to_main(move)
            node.nags = set(rng.sample(range(1, 20), rng.choice([0, 0, 2])))
            node.comment = draw(comments) if rng.random() < 0.1 else ""
        game.headers["Result"] = draw(st.sampled_from(["1-0", "0-1", "1/2-1/2", "*"]))
        games.append([move.uci() for move in game.mainline_moves()])
        text += str(game) + "\n\n"
    return games, text


@settings(max_examples=25)
@given(written_games())
def test_games_that_python_chess_writes_come_back_the_same(written):
    games, text = written
    path = Path(os.environ["BOARDGAME_SAE_RUNS"]) / "written.pgn"
    path.write_bytes(text.encode())
    blocks = pgn_source.Blocks(pgn_source.open_source(str(path), path.parent))
    found = [game for batch in pgn_text.Cutter(blocks) for game in pgn_reader.read_batch(batch, 600, lambda _: "")]
    assert [game.fault for game in found] == [""] * len(games), text
    assert [[python_move(int(move)).uci() for move in game.moves] for game in found] == games


@given(
    st.lists(
        st.sampled_from(
            [
                "[",
                "]",
                "{",
                "}",
                "(",
                ")",
                ";",
                "%",
                "\n",
                "\n\n",
                '[Event "',
                "1. e4 ",
                "* ",
                '"',
                "\0",
                "x ",
                "\r\n",
                " ",
            ]
        )
    )
)
def test_any_text_is_tiled_by_its_games_and_nothing_fails(parts):
    text = "".join(parts).encode()
    path = Path(os.environ["BOARDGAME_SAE_RUNS"]) / "any.pgn"
    path.write_bytes(text)
    batches = list(pgn_text.Cutter(pgn_source.Blocks(pgn_source.open_source(str(path), path.parent))))
    assert b"".join(batch.text for batch in batches) == text.replace(b"\r\n", b" \n")
    for batch in batches:
        bounds = [0, *batch.ends]
        assert all(a <= body <= b for a, body, b in zip(bounds, batch.bodies, bounds[1:], strict=False))
        assert all(game.fault or len(game.moves) for game in pgn_reader.read_batch(batch, 600, lambda _: ""))
