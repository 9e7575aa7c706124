"""The lock of a run's folder: one process works there at a time, and others that want the same run wait for it.

The system takes the lock from a process that dies, so that whoever waits goes on where it stopped.
"""

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from boardgame_sae.files import RunError

LOCK_FILE = ".lock"
"""Held by the process that works in the folder; gone when it leaves."""
SECONDS_BETWEEN = 0.2
"""How often one that waits looks again."""
_OURS: set[Path] = set()
"""Folders whose lock this process has: waiting for itself, it would wait for ever."""


class FolderLock:
    """The lock of one folder, which this process has or has not."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / LOCK_FILE
        self._lock: FileLock | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process is given: the lock stays with the process that took it."""
        return {**self.__dict__, "_lock": None}

    @property
    def held(self) -> bool:
        """Whether this object has it."""
        return self._lock is not None

    def take(self, unless: Callable[[], bool] = lambda: False) -> None:
        """Wait until no other process has the lock and take it, unless something is true before.

        Says on stderr what it waits for. Raises RunError when this process has it already, or it cannot be made.
        """
        if self.held:
            return
        told = False
        while not unless():
            if self._try():
                return
            if not told:
                told = True
                with suppress(OSError, ValueError, AttributeError):  # a closed stderr is no reason to stop
                    sys.stderr.write(f"waiting for another process, which is working in {self.folder}\n")
                    sys.stderr.flush()
            time.sleep(SECONDS_BETWEEN)
        self._remove_leftover()

    def _try(self) -> bool:
        """Take the lock if nobody has it."""
        if self.folder.resolve() in _OURS:
            raise RunError(f"{self.folder}: this process is already working in this run; close it there first")
        handles = list[int]()
        lock = FileLock(self.path, timeout=0, thread_local=False, on_acquired=handles.append)
        try:
            lock.acquire()
        except Timeout:
            return False
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be locked ({error}); choose another --out") from error
        try:
            current = os.path.samestat(os.fstat(handles[-1]), self.path.stat())
        except FileNotFoundError:
            current = False
        if not current:  # whoever had it removed the file after we had opened it, and another may have a new one
            lock.release()
            return False
        self._lock = lock
        _OURS.add(self.folder.resolve())
        return True

    def _remove_leftover(self) -> None:
        """Remove what a kill has left in a folder where nobody works any more."""
        with suppress(OSError, RunError):  # it may be read-only
            if self.path.exists() and self._try():
                self.release()

    def release(self) -> None:
        """Let others work in the folder."""
        if self._lock is None:
            return
        with suppress(OSError):  # Windows removes no open file: there an empty one stays
            self.path.unlink(missing_ok=True)
        self._lock.release()
        self._lock = None
        _OURS.discard(self.folder.resolve())
