"""Where games begin and end: no header flows into another game, and no game vanishes uncounted."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pgn_games import ours, python_chess

MOVES = ["e2e4", "e7e5", "g1f3", "b8c6"]
A = '[Site "x"]\n[Event "a"]\n[White "A"]\n[WhiteElo "2700"]\n[ECO "B90"]\n[Result "0-1"]\n'
B = '[Site "x"]\n[Event "b"]\n[White "B"]\n'
C = '[White "C"]\n[Event "c"]\n'
TEXT = "1. e4 e5 2. Nf3 Nc6 1-0\n"


def outcome(text: str | bytes, folder: Path) -> list[tuple[int, str, str]]:
    """Plies, White's name and fault of each game."""
    return [(len(game.moves), game.headers.get("White", ""), game.fault) for game in ours(text, folder)]


CASES = {
    "two blank lines": (f"{A}\n\n{B}\n\n{TEXT}", [(0, "A", "no moves"), (4, "B", "")]),
    "one blank line": (f"{A}\n{B}\n{TEXT}", [(0, "A", "no moves"), (4, "B", "")]),
    "a blank line of blanks": (f"{A} \t\n{B}\n{TEXT}", [(0, "A", "no moves"), (4, "B", "")]),
    "a comment between": (f"{A}\n; so\n% so\n{B}\n{TEXT}", [(0, "A", "no moves"), (4, "B", "")]),
    "three blocks": (f"{A}\n{B}\n{C}\n{TEXT}", [(0, "A", "no moves"), (0, "B", "no moves"), (4, "C", "")]),
    "a block at the end": (f"{B}\n{TEXT}\n{A}", [(4, "B", ""), (0, "A", "no moves")]),
    "an unplayed game with a result": (f"{A}\n0-1\n\n{B}\n{TEXT}", [(0, "A", "no moves"), (4, "B", "")]),
    "no blank line before moves": (f"{B}{TEXT}{C}{TEXT}", [(4, "B", ""), (4, "C", "")]),
    "indented": (f"  {B}\n{TEXT}\n \t[White \"C\"]\n{TEXT}", [(4, "B", ""), (4, "C", "")]),
    "moves without headers": (f"{TEXT}\n{B}\n{TEXT}\n{TEXT}", [(4, "", ""), (4, "B", ""), (4, "", "")]),
    "headers in a comment": (f"{B}\n1. e4 {{[Event \"no\"]\n[White \"no\"]}} e5 *\n", [(2, "B", "")]),
    "a bracket in a comment": (f"{B}\n1. e4 {{\n\n[ no\n\n[%clk 1]\n}} e5 *\n", [(2, "B", "")]),
    "a bracket between moves": (f"{B}\n1. e4\n[diagram]\ne5 *\n\n{C}\n{TEXT}", [(2, "B", ""), (4, "C", "")]),
    "an unclosed comment": (f"{B}\n1. e4 {{ e5 *\n\n{C}\n{TEXT}", [(1, "B", "unclosed comment"), (4, "C", "")]),
    "an unclosed variation": (f"{B}\n1. e4 ( e5 *\n\n{C}\n{TEXT}", [(1, "B", "unclosed comment"), (4, "C", "")]),
    "a byte order mark": (f"\ufeff{B}\n{TEXT}\n\ufeff{C}\n{TEXT}", [(4, "B", ""), (4, "C", "")]),
    "bad headers": (f"[Event x]\n[White \"B\"]\n[Site y\n\n{TEXT}\n[Event z]\n{C}\n{TEXT}",
        [(4, "B", ""), (4, "C", "")]),
    "a blank line between moves": (f"{B}\n1. e4 e5\n\n2. Nf3 Nc6 *\n", [(4, "B", "")]),
    "many results": (f"{B}\n1. e4 e5 1-0 1-0 *\n\n{C}\n{TEXT}", [(2, "B", ""), (4, "C", "")]),
    "a result between moves": (f"{B}\n1. e4 e5 * 2. Nf3 Nc6 *\n", [(4, "B", "")]),
    "one game a line": (f"{TEXT}{TEXT}1. d4 d5 *\n", [(4, "", ""), (4, "", ""), (2, "", "")]),
    "several games on a line": ("1. e4 * 1. d4 d5 1-0 1. c4 *\n", [(1, "", ""), (2, "", ""), (1, "", "")]),
    "a game of each line without numbers": ("e4 e5 1-0\nd4 d5 *\n\nc4 *", [(2, "", ""), (2, "", ""), (1, "", "")]),
    "no terminator": (f"{A}\n1. e4 e5\n\n{C}\n{TEXT}", [(2, "A", ""), (4, "C", "")]),
    "no terminator and no blank line": (f"{A}\n1. e4 e5\n{C}\n{TEXT}", [(2, "A", ""), (4, "C", "")]),
    "no terminator at the end": (f"{A}\n1. e4 e5\n\n", [(2, "A", "")]),
    "cut at the end": (f"{A}\n1. e4 e5\n", [(2, "A", "unfinished text")]),
    "no terminator, no result": (f"{B}\n1. e4 e5\n\n{C}\n{TEXT}", [(2, "B", "unfinished text"), (4, "C", "")]),
    "no terminator, no headers": (f"1. e4 e5\n\n{TEXT}", [(2, "", "unfinished text"), (4, "", "")]),
    "the rest of a game": (f"{B}\n1. e4 e5 *\n\n2. Nf3 Nc6 *\n", [(2, "B", ""), (2, "", "no beginning")]),
    "words after a game": (f"{B}\n{TEXT}\nso it was\n\n{C}\n{TEXT}",
        [(4, "B", ""), (0, "", "no moves"), (4, "C", "")]),
    "faults between games": ("1. e5 *\n\n1. e4 e5 *\n1. Ke2 *\n1. d4 *\n",
        [(0, "", "illegal move"), (2, "", ""), (0, "", "illegal move"), (1, "", "")]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_game_begins_and_ends_where_it_does(case, tmp_path):
    text, games = CASES[case]
    assert outcome(text, tmp_path) == games
    for end in ("\r\n", "\r", "\r\r\n"):
        assert outcome(text.replace("\n", end).encode(), tmp_path) == games, repr(end)


def test_no_header_of_an_unplayed_game_is_another_s(tmp_path):
    for gap in ("\n", "\n\n", "\n\n\n"):
        odd = A + '[Variant "Atomic"]\n'
        skipped, kept = ours(f"{odd}{gap}{B}{gap}{TEXT}", tmp_path)
        assert skipped.fault == "variant" and kept.moves == MOVES
        assert kept.headers == {"Site": "x", "White": "B"} and kept.result == "1-0"


@pytest.mark.parametrize("ends", ["\r", "\r\n", "\n\r\r\n", "\r\n\n\r"])
def test_mixed_line_ends_give_the_same_games(tmp_path, ends):
    lines = f"{A}\n{TEXT}\n{B}\n{TEXT}".split("\n")
    text = "".join(line + (ends if line else "\n") for line in lines)
    assert [game for game in outcome(text, tmp_path) if not game[2]][-1][0] == 4
    mixed = "".join(line + ("\r\n", "\n", "\r")[n % 3] for n, line in enumerate(lines))
    assert outcome(mixed, tmp_path) == [(4, "A", ""), (4, "B", "")]


@pytest.mark.parametrize(
    "word",
    ["1-0", "1–0", "1 - 0", "1—0", "1\u22120", "1\xa0- 0", "0-1", "½-½", "½–½", "1/2 - 1/2", "1/2", "½", "*"],  # noqa: RUF001
)  # fmt: skip
def test_results_are_read_however_they_are_written(word, tmp_path):
    meant = "*" if word == "*" else "1/2-1/2" if word[0] == "½" or "/" in word else f"{word[0]}-{word[-1]}"
    for text in (
        f"{B}\n1. e4 e5 {word}\n",
        f'{B}[Result "{word}"]\n\n1. e4 e5 {word}\n',
        f"{B}\n1. e4 e5 {word} {{so}}",
    ):
        (game,) = ours(text, tmp_path)
        assert (game.moves, game.fault, game.result) == (MOVES[:2], "", meant)
    if "½" in word or "\xa0" in word:
        (game,) = ours(f"{B}\n1. e4 e5 {word.replace('–', '-')}\n".encode("latin1"), tmp_path)  # noqa: RUF001
        assert (game.moves, game.fault, game.result) == (MOVES[:2], "", meant)


PARTS = st.sampled_from([A, B, C, TEXT, "1. d4 d5\n", "1. e5 *\n", "{ c }\n", "; c\n", "% {\n", "x\n"])


@settings(max_examples=150)
@given(parts=st.lists(st.tuples(PARTS, st.sampled_from(["\n\n", "\n \t\n"])), max_size=6))
def test_no_game_that_python_chess_finds_goes_uncounted(parts, tmp_path_factory):
    """Two empty lines after each part are a game's end for python-chess, between headers and moves too: there it finds
    one game more. Text that is no whole game goes on here in the text that follows it."""
    text = "".join(part + gap for part, gap in parts)
    mine, theirs = ours(text, tmp_path_factory.mktemp("count")), python_chess(text)
    assert [game.moves for game in mine if game.moves] == [game.moves for game in theirs if game.moves]
    follows_headers = follows_open = 0
    for before, part in pairwise(part for part, _ in parts if part[0] not in ";%"):
        is_text = part[0] != "["
        follows_headers += before[0] == "[" and is_text
        ended = before.endswith(("1-0\n", "*\n"))
        follows_open += is_text and (before[0] in "{x" or (before[0] == "1" and not ended and part[0] != "1"))
    assert len(theirs) - follows_headers - follows_open <= len(mine) <= len(theirs)
