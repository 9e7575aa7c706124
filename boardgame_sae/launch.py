"""Where work runs: map a function over inputs here or in processes, and prepare this process for heavy work."""

import ctypes
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

import numba
from numba.core import config

from boardgame_sae.files import RunError

T = TypeVar("T")
R = TypeVar("R")


def _die_with_parent() -> None:
    """Called in each worker, so that a killed parent leaves no worker behind."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def map_ordered(function: Callable[[T], R], inputs: Iterable[T], workers: int = 1) -> Iterator[R]:
    """Yield function(x) for every input, in order, computed by `workers` processes (1: this process).

    A fresh process must be able to import `function` and to unpickle the inputs.
    Raises what the function raises, and RunError when a worker process dies.
    """
    if workers <= 1:
        yield from map(function, inputs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_die_with_parent) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in inputs:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise RunError(
                "a worker process died: out of memory, killed, or started by a script without "
                "`if __name__ == '__main__':`; fix that and run the same command again"
            ) from error
        finally:
            for future in waiting:
                future.cancel()


def keep_freed_memory() -> None:
    """Have glibc keep freed memory, so that steps need not map their tensors again (a tenth of a step's time)."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    m_trim_threshold, m_mmap_threshold = -1, -3
    mallopt(m_mmap_threshold, 1 << 25)
    mallopt(m_trim_threshold, (1 << 31) - 1)


@contextmanager
def numba_threads(maximum: int | None = None) -> Iterator[None]:
    """Give numba's parallel loops as many threads as torch has, or `maximum` if fewer; results do not depend on it.

    The first call to numba about threads starts them, which resets torch's number of threads and with it the rounding
    of whatever torch computes next: that number is restored.
    """
    import torch  # imported late: processes that play games need no torch, which takes seconds

    torch_before, before = torch.get_num_threads(), numba.get_num_threads()
    wanted = torch_before if maximum is None else min(maximum, torch_before)
    numba.set_num_threads(max(1, min(wanted, config.NUMBA_NUM_THREADS)))  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        numba.set_num_threads(before)
        torch.set_num_threads(torch_before)
