"""A chess engine that speaks UCI, driven over a pipe.

A pipe of bytes and one regular expression: the engine's own thinking at depth 1 takes a fraction of a millisecond, so
a general UCI client (python-chess's `SimpleEngine`) would take most of the time that a game takes.

An engine is another program, and fails as one: it crashes, hangs or answers nonsense. Each is an `EngineFailure`, after
which the process is gone; `play` starts another and plays the game again.
"""

import difflib
import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NamedTuple, Self, cast

from boardgame_sae.config import ConfigError
from boardgame_sae.players.movers import EngineFailure

FOLDERS = ("/usr/games", "/usr/local/bin", "/opt/homebrew/bin")
"""Where engines are installed that PATH may leave out."""
FIX = (
    "install it: `make stockfish`, or apt-get install stockfish / brew install stockfish; "
    "or play with the built-in player: search:depth=1"
)
MATE = 100_000
"""Centipawns of a mate on the board; a mate in n moves is n short of it."""
MAX_ANSWER = 2**20
"""Bytes that an answer may take."""
CHUNK = 2**16
"""Bytes asked of the pipe at once: all that Linux lets it hold."""

_DEFAULTS = {"Threads": 1, "Hash": 1}
_MOVE = rb"[a-h][1-8][a-h][1-8][nbrq]?"
# Depth, multipv, score, multipv again (engines put it before or after the score) and the first move of the pv. The
# digits are possessive: given up one by one, they would let a bound pass for a score.
_LINE = re.compile(
    rb"\ninfo depth (\d++)(?: (?:multipv ([1-9]\d*+)|(?!score)\w++ \d++))*+"
    rb" score (cp|mate) (-?\d++)(?! (?:lower|upper)bound)"
    rb"(?:.* multipv ([1-9]\d*+))?.* pv (" + _MOVE + rb")(?!\S).*+"
)
_INDICES = [str(index).encode() for index in range(1, 501)]
_BEST = re.compile(rb"\nbestmove +(\(none\)|" + _MOVE + rb")(?!\S)")
_NAME = re.compile(rb"\nid name +(.*)")
_OPTION = re.compile(rb"\noption name +(.+?) +type +(\w+)(?=(?:.* min +(-?\d+))?)(?=(?:.* max +(-?\d+))?)")


class Line(NamedTuple):
    """A move and its score."""

    move: str
    """In UCI notation: `e2e4`, `e7e8q`."""
    centipawns: int
    """For the player to move; a mate in n is 100_000 - n, to be mated in n is n - 100_000."""


class Option(NamedTuple):
    """A setting that an engine declares."""

    name: str
    """As the engine spells it."""
    minimum: int | None
    """Smallest value, where it is a number."""
    maximum: int | None
    """Largest value, where it is a number."""

    def takes(self, value: str | int) -> bool:
        """Whether it can be set so, as far as its bounds say."""
        if self.minimum is None or self.maximum is None:
            return True
        try:
            return self.minimum <= int(value) <= self.maximum
        except ValueError:
            return False


def find_engine(name_or_path: str) -> Path:
    """The absolute path of an engine: a bare name is looked for in PATH and `FOLDERS`, anything else is a path.

    Raises ConfigError naming what was looked for, and the fix, when there is none or it is not executable.
    """
    if os.sep not in name_or_path:
        places = os.environ.get("PATH", os.defpath).split(os.pathsep)
        program = shutil.which(name_or_path, path=os.pathsep.join([*places, *FOLDERS])) if name_or_path else None
        if program is None:
            raise ConfigError(f"engine '{name_or_path}': not in PATH, {', '.join(FOLDERS)}; {FIX}")
        return Path(program).absolute()
    path = Path(name_or_path).expanduser().absolute()
    if not path.is_file():
        raise ConfigError(f"engine '{name_or_path}': there is no file {path}; {FIX}")
    if not os.access(path, os.X_OK):
        raise ConfigError(f"engine '{name_or_path}': {path} is not executable; chmod +x it, or {FIX}")
    return path


class UciEngine:
    """A running engine; a context manager that ends it.

    path: the program. options: what to set, by the names that the engine declares (in any case); Threads and Hash (MiB)
    are 1 unless given. timeout: seconds in which any one answer must be complete.
    Raises ConfigError when it cannot be started, does not declare an option or does not take its value, EngineFailure
    when it does not answer as a UCI engine.
    """

    name: str
    """As the engine calls itself, with its version."""
    options: Mapping[str, Option]
    """What it declares, by lower-case name."""

    def __init__(self, path: str | Path, options: Mapping[str, str | int] = {}, *, timeout: float = 10.0) -> None:
        self.path, self.timeout = Path(path), timeout
        self._sent = ""
        self._buffer = bytearray(b"\n")  # begins with a newline, always: each line is then found by the one before it
        try:
            pipe, null = subprocess.PIPE, subprocess.DEVNULL
            self._process = subprocess.Popen([path], bufsize=0, stdin=pipe, stdout=pipe, stderr=null)
        except OSError as error:
            raise ConfigError(f"engine '{path}': cannot be started ({error}); {FIX}") from error
        self._in, self._out = (cast("IO[bytes]", file) for file in (self._process.stdin, self._process.stdout))
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)
        try:
            self._greet(options)
        except BaseException:
            self.close()
            raise

    def _greet(self, options: Mapping[str, str | int]) -> None:
        answer = self._ask("uci\n", b"\nuciok")
        name = _NAME.search(answer)
        self.name = _text(name[1]) if name else self.path.name
        declared = (_option(*groups) for groups in _OPTION.findall(answer))
        self.options = {option.name.lower(): option for option in declared}
        given = {name.lower() for name in options}
        defaults = {name: value for name, value in _DEFAULTS.items() if name.lower() in self.options.keys() - given}
        settings = "".join(self._setting(name, value) for name, value in {**defaults, **options}.items())
        self._ask(f"{settings}isready\n", b"\nreadyok")

    def _setting(self, name: str, value: str | int) -> str:
        option = self.options.get(name.lower())
        if option is None:
            names = {key: option.name for key, option in self.options.items()}
            near = [names[key] for key in difflib.get_close_matches(name.lower(), names)]
            fix = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(names.values()) or 'none'}"
            raise ConfigError(f"engine '{self.path}': {self.name} has no option '{name}'; {fix}")
        if not option.takes(value):
            raise ConfigError(
                f"engine '{self.path}': option {option.name} is {value!r}; {self.name} takes a whole number, "
                f"{option.minimum} to {option.maximum}"
            )
        return f"setoption name {option.name} value {value}\n"

    def new_game(self) -> None:
        """Have the engine forget the games before, and wait until it has. Raises EngineFailure.

        Scores, also at depth 1, depend on what was searched since: a game is the same again if it begins with this.
        """
        self._ask("ucinewgame\nisready\n", b"\nreadyok")

    def best(self, moves: str, limit: str) -> str | None:
        """The engine's move after `moves`, in UCI notation; None when the game is over.

        moves: from the start, joined by spaces (`e2e4 e7e5`). limit: of the search (`depth 1`, `nodes 100`).
        Raises EngineFailure.
        """
        return self._best(self._go(moves, limit))

    def lines(self, moves: str, limit: str) -> list[Line]:
        """The moves after `moves`, best first, as many as the option MultiPV says; none when the game is over.

        A limit other than a depth may leave out moves: those that the engine had no time to score even once.
        Arguments as of `best`. Raises EngineFailure.
        """
        answer = self._go(moves, limit)
        if self._best(answer) is None:
            return []
        lines = scored_lines(answer)
        if not lines:
            raise self._failure("gave a move and no complete set of scored lines", answer)
        return lines

    def close(self) -> None:
        """End the process, if it has not ended, and leave nothing of it behind."""
        self._in.close()
        self._process.kill()
        self._process.wait()
        self._out.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _go(self, moves: str, limit: str) -> bytes:
        position = f"position startpos moves {moves}" if moves else "position startpos"
        return self._ask(f"{position}\ngo {limit}\n", b"\nbestmove")

    def _best(self, answer: bytes) -> str | None:
        best = _BEST.search(answer)
        if best is None:
            raise self._failure("gave a bestmove that is no move", answer[answer.rindex(b"\nbestmove") :])
        return None if best[1] == b"(none)" else best[1].decode()

    def _ask(self, sent: str, end: bytes) -> bytes:
        """Send commands; return what comes back up to the line that starts with `end`, a newline before each line."""
        self._sent = sent
        try:
            self._send(sent.encode())
            return self._receive(end)
        except BaseException:  # also of an interrupt: the answer to come would be taken for the next one's
            self.close()
            raise

    def _send(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._in.fileno(), data) :]
        except BrokenPipeError:
            raise self._ended() from None

    def _receive(self, end: bytes) -> bytes:
        buffer, start = self._buffer, 0
        deadline = time.monotonic() + self.timeout
        while True:
            end_at = buffer.find(end, start)
            stop = buffer.find(b"\n", end_at + 1) if end_at >= 0 else -1
            if stop >= 0:
                answer = bytes(buffer[:stop])
                del buffer[:stop]
                return answer
            if len(buffer) > MAX_ANSWER:
                raise self._failure(f"answered {len(buffer)} bytes and no '{_text(end)}'", buffer)
            start = end_at if end_at >= 0 else max(0, len(buffer) - len(end))
            if not self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise self._failure(f"gave no '{_text(end)}' within {self.timeout:g} s", buffer)
            chunk = os.read(self._out.fileno(), CHUNK)
            if not chunk:
                raise self._ended()
            buffer += chunk

    def _ended(self) -> EngineFailure:
        try:
            what = f"ended with exit code {self._process.wait(timeout=1)}"  # below 0: of a signal
        except subprocess.TimeoutExpired:
            what = "closed its end of the pipe"
        return self._failure(what, self._buffer)

    def _failure(self, what: str, answer: bytes | bytearray) -> EngineFailure:
        """The error to raise, of a process that is gone."""
        self.close()
        sent = self._sent.strip()
        sent = sent if len(sent) <= 80 else f"...{sent[-80:]}"  # the end tells more: the last moves and the limit
        return EngineFailure(
            f"engine '{self.path}': {what}; it was sent {sent!r}, and what came back starts {_text(answer)[:80]!r}"
        )


def scored_lines(answer: bytes) -> list[Line]:
    """The lines of the last complete set at the largest depth, in the order of their multipv; none when there is none.

    A set is of lines one after another, of one depth and each multipv once; complete if it reaches the largest multipv
    of the answer. An engine stopped within a depth repeats there, of the depth before, the moves it has not come to.
    Scores that are mere bounds are left out. A line without a multipv is the first.
    """
    rows = _LINE.findall(answer)
    if [row[1] for row in rows] != _INDICES[: len(rows)] or len({row[0] for row in rows}) > 1:
        rows = _deepest_set(rows)
    return [Line(row[5].decode(), int(row[3]) if row[2] == b"cp" else _mate(int(row[3]))) for row in rows]


def _deepest_set(rows: list[tuple[bytes, ...]]) -> list[tuple[bytes, ...]]:
    """Of the lines found, the last complete set at the largest depth."""
    sets: list[dict[int, tuple[bytes, ...]]] = []
    current: dict[int, tuple[bytes, ...]] = {}
    last, n_lines = b"", 0
    for row in rows:
        index = int(row[1] or row[4] or 1)
        if row[0] != last or index in current:
            current, last = {}, row[0]
            sets.append(current)
        current[index] = row
        n_lines = max(n_lines, index)
    complete = [rows_by_index for rows_by_index in reversed(sets) if len(rows_by_index) == n_lines]
    if not complete:
        return []
    deepest = max(complete, key=lambda rows_by_index: int(rows_by_index[1][0]))
    return [deepest[index] for index in range(1, n_lines + 1)]


def _mate(moves: int) -> int:
    return MATE - moves if moves > 0 else -MATE - moves


def _option(name: bytes, kind: bytes, minimum: bytes, maximum: bytes) -> Option:
    bounds = [int(bound) if kind == b"spin" and bound else None for bound in (minimum, maximum)]
    return Option(_text(name), *bounds)


def _text(data: bytes | bytearray) -> str:
    return data.decode(errors="replace").strip()
