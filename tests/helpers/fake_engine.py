"""A UCI engine in Python for tests: its move and score hang on the position alone, and it fails on demand.

`write(path, special)` makes one; `special` are lines of Python that may replace `move_of`, `greet` or `before_go`.
"""

import sys
import textwrap
from pathlib import Path

ENGINE = """\
#!{python}
import os, sys, time, zlib
from pathlib import Path

FOLDER = Path(__file__).parent

def say(text):
    sys.stdout.write(text + "\\n")
    sys.stdout.flush()

def greet():
    say("id name Fake 1.0\\noption name MultiPV type spin default 1 min 1 max 500\\nuciok")

def before_go(board):
    pass

def value_of(fen, move):
    return zlib.crc32((fen + move.uci()).encode()) % 400 - 200

def go(board):
    fen = board.fen()
    moves = sorted(board.legal_moves, key=lambda move: -value_of(fen, move))
    if not moves:
        return say("info depth 0 score mate 0\\nbestmove (none)")
    lines = [
        f"info depth 1 multipv {{place}} score cp {{value_of(fen, move)}} pv {{move.uci()}}"
        for place, move in enumerate(moves, 1)
    ]
    say("\\n".join([*lines, f"bestmove {{moves[0].uci()}}"]))

def once(name):
    \"\"\"True the first time.\"\"\"
    new = not (FOLDER / name).exists()
    (FOLDER / name).touch()
    return new

{special}
for command in sys.stdin:
    word = command.split()[0]
    if word == "uci":
        greet()
    elif word == "isready":
        say("readyok")
    elif word == "position":
        import chess  # late: a slow start must not pass for a hang
        board = chess.Board()
        for move in command.split()[3:]:
            board.push_uci(move)
    elif word == "go":
        before_go(board)
        go(board)
"""


def write(path: Path, special: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ENGINE.format(python=sys.executable, special=textwrap.dedent(special)))
    path.chmod(0o755)
    return path
