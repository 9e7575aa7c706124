"""Written games of every form give the moves that were played; what is no game is skipped with its place and reason."""

import json
import struct

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from boardgame_sae import cli
from boardgame_sae.config import ConfigError
from boardgame_sae.files import RunError
from boardgame_sae.games import IllegalMove, load_game
from boardgame_sae.runs.integrity import read_done
from boardgame_sae.transcripts.fresh import can_play_on
from boardgame_sae.transcripts.imports.game_format import format_of
from boardgame_sae.transcripts.imports.importer import import_games, make_corpus

GAME = load_game("othello")
RECORD = GAME.play_games(np.arange(12, dtype=np.uint64))
TEXTS = GAME.texts(RECORD)


def moves(text):
    return [text[i : i + 2] for i in range(0, len(text), 2)]


def numbered(text, dots=". "):
    return " ".join(f"{i // 2 + 1}{dots}{move}" if i % 2 == 0 else move for i, move in enumerate(moves(text)))


def pgn(text):
    first, rest = numbered(text).split(" 4. ")
    return f'[Event "a [b]"]\n[Result "33-31"]\n\n{first} {{a (comment)}} (3. a1 (3. b1) h8)\n4. {rest} 33-31\n'


def wthor(texts):
    """A WTHOR database, by its published description."""
    data = struct.pack("<BBBBiHHBBBB", 20, 4, 5, 6, len(texts), 0, 2004, 0, 0, 22, 0)
    for text in texts:
        numbers = bytes(10 * int(row) + "abcdefgh".index(column) + 1 for column, row in moves(text))
        data += struct.pack("<HHHBB", 1, 2, 3, 40, 38) + numbers.ljust(60, b"\0")
    return data


LINE_FORMS = {
    "plain": lambda text: text,
    "spaces, capitals": lambda text: " ".join(moves(text)).upper(),
    "numbers and a result": lambda text: numbered(text) + " 33-31",
    "numbers without spaces": lambda text: numbered(text, "."),
    "a column of a table": lambda text: f"1101606,-1,{text}",
    "tabs": lambda text: f"Black\tWhite\t{' '.join(moves(text))}\t+12",
    "moves as columns": lambda text: ";".join(moves(text)),
    "a list": lambda text: str(moves(text)),
    "passes": lambda text: text[:4] + "--" + text[4:8] + " pass " + text[8:],
}
FILES = {
    **{name: "\n".join(map(form, TEXTS)).encode() for name, form in LINE_FORMS.items()},
    "crlf and a mark": b"\xef\xbb\xbf" + "\r\n".join(TEXTS).encode(),
    "comments": ("# games\n\n% more\n" + "\n".join(TEXTS)).encode(),
    "zstd": zstandard.ZstdCompressor().compress("\n".join(TEXTS).encode()),
    "pgn": "\n".join(map(pgn, TEXTS)).encode(),
    "wthor": wthor(TEXTS),
}


@pytest.mark.parametrize("name", FILES)
def test_every_form_gives_the_moves_that_were_played(tmp_path, name):
    path = tmp_path / "games"
    path.write_bytes(FILES[name])
    corpus = import_games(path, out=tmp_path / "run")
    assert np.array_equal(corpus.arrays["moves"], RECORD.moves_M) and len(corpus) == len(RECORD)
    assert (tmp_path / "run/skipped.jsonl").read_bytes() == b"" and not corpus.is_random_play
    assert corpus.boards(np.arange(len(corpus))) is not None


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from(sorted(LINE_FORMS)), st.sampled_from(["othello", "othello6", "classic"]))
def test_any_line_reads_back(seed, form, name):
    game = load_game(name)
    text = game.texts(game.play_games(np.array([seed], np.uint64)))[0]
    data = LINE_FORMS[form](text).encode()
    (written,) = format_of(data).read(data, game)
    assert written.fault == "" and "".join(written.text.split()) == text


def test_explicit_passes_stay_moves(tmp_path):
    game = load_game("othello:passes=explicit")
    record = game.play_games(np.arange(400, dtype=np.uint64))
    texts = [text for text in game.texts(record) if "--" in text]
    assert texts
    for i, word in enumerate(("--", " pass ", "PA", "ps")):
        (tmp_path / "games").write_text("\n".join(text.replace("--", word) for text in texts))
        corpus = import_games(tmp_path / "games", game="othello:passes=explicit", out=tmp_path / str(i))
        assert corpus.game.texts(corpus.record(np.arange(len(corpus)))) == texts


def test_bad_games_are_skipped_with_place_and_reason_and_counted(tmp_path, capsys):
    path = tmp_path / "games.txt"
    path.write_text(f"{TEXTS[0]}\nf5f5\nhello\n{TEXTS[1]}\n12 13 14\n{TEXTS[2][:8]}\n")
    assert cli.main(["import-games", str(path), "--out", str(tmp_path / "run"), "--min-plies", "10"]) == 0
    assert "skipped: illegal move" in capsys.readouterr().out
    listed = [json.loads(line) for line in (tmp_path / "run/skipped.jsonl").read_text().splitlines()]
    assert [(row["place"], row["reason"]) for row in listed] == [
        ("line 2", "illegal move 'f5' at ply 2"),
        ("line 3", "illegal move 'he' at ply 1"),
        ("line 5", "no moves"),
    ]
    summary = read_done(tmp_path / "run").summary
    assert summary["n_games"] == 2 and summary["filtered"] == {"plies": 1}
    assert summary["skipped"] == {"illegal move": 2, "no moves": 1}


def test_bad_pgn_is_skipped_and_a_game_s_faults_stay_its_own(tmp_path):
    text = f'{pgn(TEXTS[0])}\n[Event "x"]\n\n1. f5 {{no end\n\n{pgn(TEXTS[1])}\n[Event "empty"]\n\n*\n'
    (tmp_path / "games.pgn").write_text(text)
    corpus = import_games(tmp_path / "games.pgn", out=tmp_path / "run")
    assert corpus.game.texts(corpus.record(np.arange(2))) == list(TEXTS[:2])
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "run/skipped.jsonl").read_text().splitlines()]
    assert reasons == ["a comment or variation without an end", "no moves"]


def test_several_files_a_limit_and_the_same_again(tmp_path):
    for name, part in (("a", TEXTS[:5]), ("b", TEXTS[5:])):
        (tmp_path / name).write_text("\n".join(part))
    sources = [tmp_path / "a", tmp_path / "b"]
    assert len(import_games(sources, out=tmp_path / "all")) == 12
    assert len(import_games(sources, n_games=7, out=tmp_path / "seven")) == 7
    assert len(import_games(sources, n_games=5, out=tmp_path / "five")) == 5
    before = (tmp_path / "all/corpus.h5").stat().st_mtime_ns
    import_games(sources, out=tmp_path / "all")
    assert (tmp_path / "all/corpus.h5").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("data", "settings", "error", "said"),
    [
        (wthor(TEXTS)[:-70], {}, ConfigError, "cut short: its header says 12 games, it holds 10 whole ones"),
        (wthor(TEXTS), {"game": "othello6"}, ConfigError, "holds Othello on 8 rows, not othello6"),
        (b"\0" * 90, {}, ConfigError, "no games in a form that is known"),
        (b"", {}, RunError, "none of its 0 games"),
        (b"hello\n", {}, RunError, "none of its 1 games can be kept .*line 1"),
        (TEXTS[0].encode(), {"game": "chess"}, ConfigError, "import-pgn"),
        (TEXTS[0].encode(), {"game": "othelo"}, ConfigError, "did you mean 'othello'"),
        (TEXTS[0].encode(), {"validation_fraction": 0.6, "test_fraction": 0.4}, ConfigError, "sum to less than 1"),
        (TEXTS[0].encode(), {"num_games": 3}, ConfigError, "did you mean 'n_games'"),
        (b"\x1f\x8b" + b"x" * 50, {}, ConfigError, "is gzip"),
    ],
)
def test_what_cannot_be_imported_is_refused_by_name(tmp_path, data, settings, error, said):
    (tmp_path / "games").write_bytes(data)
    with pytest.raises(error, match=f"(?s){said}"):
        import_games(tmp_path / "games", out=tmp_path / "run", **settings)


def test_a_square_that_there_is_not_is_the_fault_of_its_game_alone(tmp_path):
    data = bytearray(wthor(TEXTS))
    data[16 + 68 + 8 + 3] = 99
    (tmp_path / "games.wtb").write_bytes(data)
    assert len(import_games(tmp_path / "games.wtb", out=tmp_path / "run")) == 11
    assert '"game 2","reason":"no square has the number 99"' in (tmp_path / "run/skipped.jsonl").read_text()


@pytest.mark.parametrize("name", ["othello", "othello6", "connect_four", "chess"])
def test_games_at_hand_become_a_corpus_of_any_game(tmp_path, name):
    game = load_game(name)
    record = game.play_games(np.arange(6, dtype=np.uint64)).cut(12)
    corpus = make_corpus(game.texts(record), name, test_fraction=0.3, out=tmp_path / "texts")
    again = make_corpus(record, name, test_fraction=0.3, out=tmp_path / "moves")
    assert not can_play_on(corpus) and not can_play_on(again)
    assert np.array_equal(corpus.arrays["moves"], record.moves_M) and corpus.hash == again.hash
    assert corpus.config["players"] == ["imported"] and corpus.game.name == game.name
    with pytest.raises(IllegalMove) as caught:
        make_corpus([*game.texts(record), "a1a1"], name, out=tmp_path / "bad")
    assert caught.value.__notes__ == ["in game 7 of the 7 given"]
    with pytest.raises(ConfigError, match="games: is one text; give a list"):
        make_corpus(game.texts(record)[0], name)
    with pytest.raises(ConfigError, match="game 2 is 3; give its moves as text"):
        make_corpus([game.texts(record)[0], 3], name)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="there are no games"):
        make_corpus([], name)
