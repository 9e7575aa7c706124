"""What may come of reading a spoilt file. Accepted and refused are right, all others are faults."""

from enum import StrEnum
from pathlib import Path
from typing import NamedTuple


class Outcome(StrEnum):
    """What came of a case."""

    ACCEPTED = "accepted"
    """It was read: the damage made another valid file, or lies where nothing looks."""
    REFUSED = "refused"
    """One error, as the command line prints it, that names the file or its folder."""
    UNNAMED = "unnamed"
    """An error that names neither: it says nothing of where to look."""
    UNDETECTED = "undetected"
    """It was read although the DONE beside it holds another hash."""
    TRACEBACK = "traceback"
    """An error of another class than those that the command line prints."""
    HANG = "hang"
    """Longer than TIME_LIMIT."""
    CRASH = "crash"
    """The process died."""
    MEMORY = "memory"
    """More than MEMORY_LIMIT."""
    ESCAPE = "escape"
    """Something outside the case's folder was written, or a program or a connection was opened."""


FAULTS = tuple(outcome for outcome in Outcome if outcome not in (Outcome.ACCEPTED, Outcome.REFUSED))
TIME_LIMIT = 20.0
"""Seconds that a case may take."""
MEMORY_LIMIT = 2**31
"""Bytes that it may take beyond those of the program itself."""
PRINTED = (ValueError, RuntimeError, OSError)
"""What the command line prints as one line, without a traceback."""
NO_MEMORY = ("allocate memory", "unable to allocate", "out of memory", "bad_alloc")
"""How libraries say, in other errors than MemoryError, that there was no memory."""


class Result(NamedTuple):
    """What came of one case."""

    index: int
    outcome: Outcome
    message: str = ""
    """The error, if there was one; of a fault its traceback's last lines too."""


def of_error(error: BaseException, file: Path, folder: Path) -> Outcome:
    """The outcome of a case that raised. file: the spoilt one. folder: of its run."""
    text = str(error)
    if isinstance(error, MemoryError) or any(words in text.lower() for words in NO_MEMORY):
        return Outcome.MEMORY
    if not isinstance(error, PRINTED):
        return Outcome.TRACEBACK
    return Outcome.REFUSED if file.name in text or str(folder) in text else Outcome.UNNAMED
