"""Map a function over inputs: here one after the other, or in processes; results in order either way."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from boardgame_sae.runs import RunError

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
