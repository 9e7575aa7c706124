"""How a command ends: whatever stops it becomes an exit code and, where it failed, one line that says what to do.

0  done                     130  interrupted (SIGINT)
1  a run failed             143  ended by SIGTERM
2  bad input                129  ended by SIGHUP
"""

import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

from boardgame_sae.streams import Patient, silence

SHOW_TRACEBACK = "BOARDGAME_SAE_TRACEBACK"
"""The environment variable that has an error nobody foresaw shown with the place where it happened."""
_NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory|Storage size calculation overflowed")
"""How torch says that memory is out, in a RuntimeError."""


ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that ask a process to end, those that the system has."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end. It leaves as after Ctrl-C, so that nothing half-written stays behind.

    Its only argument is the signal's number.
    """


def ended(work: Callable[[], None]) -> int:
    """Do some work and return the exit code for how it ended, after a line on standard error where it failed."""
    try:
        with _endings_raise(), redirect_stderr(Patient(sys.stderr)):  # pyright: ignore[reportArgumentType]
            work()
        return 0
    except SystemExit as left:  # of the flags' parser: --help, or an unknown flag
        return left.code if isinstance(left.code, int) else 0 if left.code is None else 2
    except BrokenPipeError:  # whatever reads the output has ended, as `head` does
        silence(sys.stdout)
        return 1
    except KeyboardInterrupt as error:
        word, number = (
            ("terminated", error.args[0]) if isinstance(error, Terminated) else ("interrupted", signal.SIGINT)
        )
        return _failed(128 + number, f"\n{word}; run the same command again, it resumes")
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
def _endings_raise() -> Iterator[None]:
    """While this is open, a signal of `ENDING` raises Terminated once; a second one ends the process at once.

    Those that whoever started the process has it ignore, as nohup does, are ignored.
    """

    def end(number: int, _: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Terminated(number)

    if threading.current_thread() is not threading.main_thread():  # a notebook's: signals are not ours to answer
        yield
        return
    answered = [number for number in ENDING if signal.getsignal(number) == signal.SIG_DFL]
    for number in answered:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in answered:
            signal.signal(number, signal.SIG_DFL)
