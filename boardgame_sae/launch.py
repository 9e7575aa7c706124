"""Where work runs: map a function over inputs here or in processes, and settle this process for heavy work."""

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

from boardgame_sae.files import RunError

T = TypeVar("T")
R = TypeVar("R")


def _die_with_parent() -> None:
    """Started in each worker: a killed parent leaves no worker behind."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def map_ordered(function: Callable[[T], R], inputs: Iterable[T], workers: int = 1) -> Iterator[R]:
    """Yield function(x) for every input, in order, computed by `workers` processes (1: this process).

    `function` and the inputs must be importable from a fresh process.
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
                "`if __name__ == '__main__':`; mend that and run the same command again"
            ) from error
        finally:
            for future in waiting:
                future.cancel()


def keep_freed_memory() -> None:
    """Have glibc keep what is freed: a step's tensors are mapped once, not at every step (a tenth of its time)."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    m_trim_threshold, m_mmap_threshold = -1, -3
    mallopt(m_mmap_threshold, 1 << 25)
    mallopt(m_trim_threshold, (1 << 31) - 1)


def _most_threads() -> int:
    from numba.core import config

    return config.NUMBA_NUM_THREADS  # pyright: ignore[reportAttributeAccessIssue]


@contextmanager
def numba_threads(most: int | None = None) -> Iterator[None]:
    """Give numba's parallel loops as many threads as torch has, or `most` if fewer; results do not depend on it.

    Starting numba's threads, which the first question about them does, would also reset torch's number of threads, and
    with it the rounding of whatever torch computes next: it is put back.
    """
    import numba  # imported late: the command line's help needs neither
    import torch

    torch_before, before = torch.get_num_threads(), numba.get_num_threads()
    wanted = torch_before if most is None else min(most, torch_before)
    numba.set_num_threads(max(1, min(wanted, _most_threads())))
    try:
        yield
    finally:
        numba.set_num_threads(before)
        torch.set_num_threads(torch_before)
