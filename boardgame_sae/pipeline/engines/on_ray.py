"""Work on a Ray cluster: each input is a task, which Ray starts where there is room, and again when a machine dies."""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, TypeVar

from boardgame_sae.files import RunError
from boardgame_sae.launch import Died, needs
from boardgame_sae.pipeline.engines.engine import Engine

SECONDS_TO_ANSWER = 10.0
"""How long a cluster has to answer."""
T = TypeVar("T")
R = TypeVar("R")


def map_on_ray(
    function: Callable[[T], R], inputs: Sequence[T], engine: Engine, cpus: float
) -> Iterator[tuple[int, R | Died]]:
    """Yield (place, function(x)) for every input as each is done, computed on a Ray cluster.

    The package must be installed on each of its machines. cpus: that each task takes.
    Raises RunError when Ray is not installed, no cluster answers, or none of its machines has room for a task.
    """
    with needs("cluster", "--engine ray"):
        ray: Any = import_module("ray")
    connected_here = not ray.is_initialized()
    if connected_here:
        _connect(ray, engine.address)
    waiting: dict[Any, int] = {}
    try:
        _check_room(ray, cpus, engine.gpus_per_group)
        options = {"num_cpus": cpus, "num_gpus": engine.gpus_per_group, "max_retries": engine.retries}
        task = ray.remote(**options)(function)
        waiting |= {task.remote(item): place for place, item in enumerate(inputs)}
        while waiting:
            (done,), _ = ray.wait(list(waiting), num_returns=1)
            place = waiting.pop(done)
            try:
                result = ray.get(done)
            except ray.exceptions.RayError as error:
                result = Died(_why(error))
            yield place, result
    finally:
        for task_left in waiting:
            ray.cancel(task_left, force=True)
        if connected_here:
            ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        _check_answers(address or os.environ.get("RAY_ADDRESS", ""))
        ray.init(address=address, log_to_driver=False, logging_level="warning")
    except Exception as error:  # Ray has no type of its own for a node that does not start
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(
            f"no Ray cluster answers at {address or 'the default address'} ({why}); start one "
            "with `ray start --head`, and give the address that it prints as --address"
        ) from error


def _check_answers(address: str) -> None:
    """Raise OSError unless something listens at `host:port`, for which Ray would try for many minutes."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if separator and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()


def _check_room(ray: Any, cpus: float, gpus: float) -> None:
    """Raise RunError unless some machine can hold a task, which would otherwise wait for ever."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(has.get("CPU", 0) >= cpus and has.get("GPU", 0) >= gpus for has in machines):
        most = ", ".join(f"{has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs" for has in machines) or "none"
        raise RunError(
            f"no machine of the Ray cluster has room for groups of {cpus:g} CPUs and {gpus:g} GPUs (they have {most}); "
            f"ask for less with --cpus-per-group{' and --gpus-per-group' if gpus else ''}"
        )


def _why(error: Exception) -> str:
    """What Ray says of a task that gave no result, in a line: the last that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join([type(error).__name__, *lines[-1:]])
