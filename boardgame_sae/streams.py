"""The three standard streams, which may be closed, full or read by nobody: none of that may end a run."""

import os
import sys
from contextlib import suppress
from typing import Any, TextIO


class Patient:
    """A text stream that drops what cannot be written, for progress bars and messages."""

    def __init__(self, stream: TextIO | None) -> None:
        """stream: None, as Python has it for a closed one, takes everything and keeps nothing."""
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text if possible."""
        if self._stream is not None:
            with suppress(OSError, ValueError):  # full, or nobody reads it; closed
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Send on what was written if possible."""
        if self._stream is not None:
            with suppress(OSError, ValueError):
                self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        """Whether somebody sees it."""
        return self._stream is not None and not self._stream.closed and self._stream.isatty()


def open_closed_streams() -> None:
    """Open closed standard streams on the null device, or the next file that is opened would be taken for them."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - it lives as long as the process


def silence(stream: TextIO) -> None:
    """Send what a stream still holds, and all that follows, to the null device: so that leaving Python cannot fail."""
    try:
        number = stream.fileno()
    except (OSError, ValueError):  # not a file, as while testing
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)
