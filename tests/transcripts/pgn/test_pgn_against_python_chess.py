"""Mutated real games: what python-chess keeps is kept with the same moves; what it guesses is skipped with a reason."""

import random
import re
from collections import Counter
from pathlib import Path

import chess
import chess.pgn
import pytest
from pgn_games import ours, python_chess

LICHESS = Path(__file__).parents[2] / "data" / "lichess_100.pgn"
SENTINEL = '[Event "sentinel"]\n[Result "*"]\n\n1. a3 a6 *\n\n'
AFTER_A_MOVE = [
    *(";text\n", ";\n", " ; a { brace :) \n", "$1", " $146", ")", " )", "}", " }", "!", "?!", " !", " ??", " +=", "+="),
    *(" +-", "=", " D", " e.p.", "e.p.", " ch", " mate", " (x)", "(e4 e5)", " (1. d4 ; a smile :)\n d5)", "{c}"),
    *(' {[Event "x"]\n[x} ', "\n% escaped { (\n", "\u00a0", "\u200b ", "\u2003", "\n", "\r\n", "\t ", "\f", " \u221e"),
    *(" \xb1 ", "\u2026", " 0.35", " [%clk", " \0 ", " = ", " <", " resigns ", " White resigned"),
]
"""What may stand after any move: the game is kept."""
DOUBTFUL = [
    *("Sf3", "exd", "ed", "PxP", "o-o", "--", "Z0", "(", "{", "1.", "1. ", "e4", "Nf3", "N", "b", "x", "Nb", "\u2658"),
    *("K", "\u041a", "O", "-O", "5", "42", "e", "@", "0-0", "O-O", "1-1", "1-0", "0-1", "*", "1/2", " * ", " 1-0 "),
    *(" 1 - 0 ", "\u2013", ",", ":", "/", "'", "\xe9", " (1. d4", " N ", "e5)", "Z", "0000", "[", "]", "%"),
]
"""What may change or hide a move: the game has python-chess's moves, or is skipped."""
DASHES, HALVES = "-\u2013\u2014\u2212", ("1/2", "\xbd")
RESTART = re.compile(r"(\*|1/2|\xbd|[01]\s*[-\u2013\u2014\u2212]\s*[01]).*\b1[\s.\u2026]", re.DOTALL)
"""A result, and after it a move number 1, which begins a game here and none for python-chess."""


@pytest.fixture(scope="module")
def boards() -> list[list[tuple[chess.Board, chess.Move]]]:
    """Of each real game its moves, and the boards they were made on."""
    games = []
    with LICHESS.open(encoding="utf-8") as lines:
        while game := chess.pgn.read_game(lines):
            games.append([(node.parent.board(), node.move) for node in game.mainline()])
    return [game for game in games if len(game) < 120]


def written(board: chess.Board, move: chess.Move, rng: random.Random) -> str:
    """A move in one of the forms that python-chess reads."""
    san = board.san(move)
    forms = [san, san, san, san.rstrip("+#"), san.replace("=", ""), move.uci(), board.lan(move)]
    if board.is_castling(move):
        rook = chess.square(7 if move.to_square > move.from_square else 0, chess.square_rank(move.from_square))
        forms += [chess.square_name(move.from_square) + chess.square_name(rook), san.replace("O", "0")] * 2
    elif san[0].islower():
        forms.append("P" + san)
    return rng.choice(forms)


def number(ply: int, rng: random.Random) -> str:
    """What stands before a move."""
    full = ply // 2 + 1
    if ply % 2 == 0:
        return rng.choice([f"{full}. ", f"{full}. ", f"{full}.", f"{full} ", f"{full}\u2026 ", f"{full}.\u00a0"])
    return rng.choice(["", "", "", f"{full}... ", f"{full}\u2026", "\u200b"])


def result_text(rng: random.Random, result: str) -> str:
    """A result in one of the ways in which people write it, or nothing."""
    if result == "*" or rng.random() < 0.2:
        return rng.choice(["", f" {result}", f" {result} {{so}}", f"{result}"])
    points = result.replace("1/2", rng.choice(HALVES)).split("-")
    return " " + rng.choice(["{}{}{}", "{} {} {}"]).format(points[0], rng.choice(DASHES), points[1])


def mutated(game: list[tuple[chess.Board, chess.Move]], rng: random.Random, doubtful: bool) -> str:
    """A real game as people may write it; doubtful: with what may change its moves."""
    words = [number(ply, rng) + written(board, move, rng) for ply, (board, move) in enumerate(game)]
    for _ in range(rng.randint(1, 3)):
        words[rng.randrange(len(words))] += rng.choice(AFTER_A_MOVE)
    text = rng.choice([" ", "\n", " "]).join(words)
    result = rng.choice(["1-0", "0-1", "1/2-1/2", "*"])
    text += result_text(rng, result)
    for _ in range(rng.randint(1, 2) if doubtful else 0):
        at = rng.randrange(len(text))
        kind = rng.random()
        text = text[:at] + (rng.choice(DOUBTFUL) if kind < 0.7 else "") + text[at + (kind > 0.6) :]
    text = re.sub(r"\n\s+", "\n", text.strip())  # blank lines end a game for python-chess, and here only sometimes
    headers = f'[Event "mutated"]\n[Result "{result}"]\n\n'
    text = headers + text + "\n\n"
    return text.replace("\r\n", "\n").replace("\n", rng.choice(["\n", "\n", "\r\n", "\r"]))


def compare(boards: list, n_games: int, seed: int, folder: Path) -> Counter[str]:
    """Read mutated games by both and check the rule; returns how many games ended how."""
    outcomes = Counter()
    for n in range(n_games):
        rng = random.Random(f"{seed} {n}")
        doubtful = n % 2 == 1
        text = mutated(rng.choice(boards), rng, doubtful)
        theirs, mine = python_chess(text + SENTINEL), ours(text + SENTINEL, folder)
        outcomes[mine[0].fault or "kept"] += 1
        if len(mine) > len(theirs) and doubtful and RESTART.search(text):
            continue
        if theirs[0].fault:
            assert mine[0].fault, (theirs[0], text)
        elif not doubtful:
            assert not mine[0].fault, (mine[0], text)
        if not mine[0].fault:
            assert mine[0].moves == theirs[0].moves, (mine[0], theirs[0], text)
        if mine[0].fault != "unclosed comment" and len(theirs) > 1:
            assert len(mine) == len(theirs), (mine, text)
            assert mine[-1].moves == ["a2a3", "a7a6"]
    return outcomes


def test_mutated_games_are_read_as_python_chess_reads_them(boards, tmp_path):
    outcomes = compare(boards, 200, 0, tmp_path)
    assert outcomes["kept"] > 100 and len(outcomes) > 4


@pytest.mark.slow
def test_ten_thousand_mutated_games_are_read_as_python_chess_reads_them(boards, tmp_path):
    outcomes = compare(boards, 10_000, 1, tmp_path)
    assert outcomes["kept"] > 5000 and len(outcomes) > 6
