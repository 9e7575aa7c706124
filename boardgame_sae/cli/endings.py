"""How a command ends: whatever stops it becomes an exit code and, where it failed, one line that says what to do.

0  done                     130  interrupted (SIGINT)
1  a run failed             143  ended by SIGTERM
2  bad input
"""

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

from boardgame_sae.streams import Patient, silence

SHOW_TRACEBACK = "BOARDGAME_SAE_TRACEBACK"
"""The environment variable that has an error nobody foresaw shown with the place where it happened."""
_NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory|Storage size calculation overflowed")
"""How torch says that memory is out, in a RuntimeError."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end. It leaves as after Ctrl-C, so that nothing half-written stays behind."""


def ended(work: Callable[[], None]) -> int:
    """Do some work and return the exit code for how it ended, after a line on standard error where it failed."""
    try:
        with _sigterm_raises(), redirect_stderr(Patient(sys.stderr)):  # pyright: ignore[reportArgumentType]
            work()
        return 0
    except SystemExit as left:  # of the flags' parser: --help, or an unknown flag
        return left.code if isinstance(left.code, int) else 0 if left.code is None else 2
    except BrokenPipeError:  # whatever reads the output has ended, as `head` does
        silence(sys.stdout)
        return 1
    except KeyboardInterrupt as error:
        word, code = ("terminated", 143) if isinstance(error, Terminated) else ("interrupted", 130)
        return _failed(code, f"\n{word}; run the same command again, it resumes")
    except Exception as error:
        foreseen = isinstance(error, ValueError | RuntimeError | OSError | MemoryError)
        if not foreseen and os.environ.get(SHOW_TRACEBACK):
            raise
        return _failed(2 if isinstance(error, ValueError) else 1, f"error: {_said(error)}")
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                silence(stream)


def _failed(code: int, line: str) -> int:
    Patient(sys.stderr).write(f"{line}\n")
    return code


def _said(error: Exception) -> str:
    """What an error says, and what to do about one that does not say it itself."""
    text = str(error).strip()
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY.search(text)):
        details = f" ({text.splitlines()[0]})" if text else ""
        return (
            f"out of memory{details}; end other programs, or ask for less at once: fewer --workers, a smaller "
            "--batch-size, a smaller model or SAE"
        )
    if isinstance(error, RecursionError):
        return f"something that was read is nested too deeply ({text})"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, ValueError | RuntimeError | OSError):
        return text or type(error).__name__
    return (
        f"{type(error).__name__}: {text}: nobody foresaw this; please report it with what the same command shows "
        f"when {SHOW_TRACEBACK}=1 is set"
    )


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """While this is open, SIGTERM raises Terminated once; a second one ends the process at once."""

    def end(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread, which alone gets signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
