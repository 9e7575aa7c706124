"""Where work runs: map a function over inputs here or in processes, and what this process needs for heavy work."""

import ctypes
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import NamedTuple, TypeVar

import numba
from numba.core import config

from boardgame_sae.files import RunError

T = TypeVar("T")
R = TypeVar("R")

INTERRUPTS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that reach a whole process group, those that the system has. Only this process answers them; it then ends
its workers."""


def _end_with(leash: Connection) -> None:
    """Called in each worker: end at once when the other end of a pipe closes, by its process's will or by its death.

    The kernel sends SIGIO, which ends a process in the midst of a long calculation too. Where it sends none (macOS,
    Windows), a thread ends it as soon as Python runs again.
    """

    def watch() -> None:
        leash.poll(None)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        import fcntl  # Windows has none
    except ImportError:
        return
    own = os.open(f"/dev/fd/{leash.fileno()}", os.O_RDONLY | os.O_NONBLOCK)  # the one inherited signals but one worker
    fcntl.fcntl(own, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(own, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes, gone at once when this ends by an error or an interrupt, and when this process dies."""
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    with theirs, ProcessPoolExecutor(workers, context, initializer=_end_with, initargs=(theirs,)) as pool:
        try:
            yield pool
        except BaseException:
            ours.close()
            raise
        pool.shutdown()
    ours.close()


def _submit(pool: ProcessPoolExecutor, function: Callable[[T], R], item: T) -> "Future[R]":
    """Hand in a job. A worker that is started for it inherits that interrupts wait, and so never prints one."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        return pool.submit(function, item)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        return pool.submit(function, item)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def map_ordered(function: Callable[[T], R], inputs: Iterable[T], workers: int = 1) -> Iterator[R]:
    """Yield function(x) for every input, in order, computed by `workers` processes (1: this process).

    A fresh process must be able to import `function` and to unpickle the inputs.
    Raises what the function raises, and RunError when a worker process dies. Whatever it raises, and when this process
    is killed, no worker goes on.
    """
    if workers <= 1:
        yield from map(function, inputs)
        return
    waiting: deque[Future[R]] = deque()
    try:
        with _pool(workers) as pool:
            for item in inputs:
                waiting.append(_submit(pool, function, item))
                if len(waiting) >= 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise RunError(
            "a worker process died: out of memory, killed, or started by a script without "
            "`if __name__ == '__main__':`; fix that and run the same command again"
        ) from error


class Died(NamedTuple):
    """What there is in place of a result when whatever computed it died."""

    why: str


def map_as_done(
    function: Callable[[T], R], inputs: Sequence[T], workers: int = 1, retries: int = 2
) -> Iterator[tuple[int, R | Died]]:
    """Yield (place, function(x)) for every input as each is done, computed by `workers` processes (1: this process).

    Each process works on one input at a time; when it dies, that input alone is tried again, in a new process, and
    after so many retries its result is `Died`. For the rest as `map_ordered`.
    """
    if workers <= 1:
        yield from enumerate(map(function, inputs))
        return
    left = deque((place, retries) for place in range(len(inputs)))
    with ExitStack() as pools:
        idle = [pools.enter_context(_pool(1)) for _ in range(min(workers, len(inputs)))]
        running: dict[Future[R], tuple[ProcessPoolExecutor, int, int]] = {}
        while left or running:
            while left and idle:
                pool, (place, tries) = idle.pop(), left.popleft()
                running[_submit(pool, function, inputs[place])] = pool, place, tries
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                pool, place, tries = running.pop(future)
                try:
                    result: R | Died = future.result()
                    idle.append(pool)
                except BrokenProcessPool:
                    idle.append(pools.enter_context(_pool(1)))
                    if tries:
                        left.append((place, tries - 1))
                        continue
                    result = Died(f"its process died {retries + 1} times: out of memory, or killed")
                yield place, result


@contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Import optional libraries inside this. Raises RunError that names the extra where one is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise RunError(
            f"{what} needs {error.name}, which is not installed: pip install 'boardgame-sae[{extra}]'"
        ) from error


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
def torch_threads(n: int) -> Iterator[None]:
    """Have torch compute with n threads. Its rounding, and so the bytes of what is trained, depend on their number."""
    import torch  # imported late, as below

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
