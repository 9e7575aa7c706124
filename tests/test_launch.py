"""Work spread over processes comes back in order, with its errors, and leaves no process behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from boardgame_sae.files import RunError
from boardgame_sae.launch import map_ordered


def slow_for_the_first(number: int) -> int:
    time.sleep(0.3 if number == 0 else 0)
    return number * number


def fail_at_three(number: int) -> int:
    if number == 3:
        raise RunError(f"no {number}")
    return number


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_inputs(workers):
    assert list(map_ordered(slow_for_the_first, range(9), workers)) == [n * n for n in range(9)]


def test_one_worker_is_this_process_and_does_only_what_is_asked_for():
    seen = []
    results = map_ordered(lambda n: seen.append(n) or os.getpid(), range(5), 1)
    assert next(results) == os.getpid() and seen == [0]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_function_comes_out_as_itself(workers):
    results = map_ordered(fail_at_three, range(5), workers)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RunError, match="no 3"):
        next(results)


def test_a_worker_that_dies_is_a_run_error_that_says_what_to_do():
    with pytest.raises(RunError, match=r"a worker process died.*run the same command again"):
        list(map_ordered(die, range(2), 2))


DRIVER = """
    import ctypes, os, signal, sys, time
    from boardgame_sae.launch import map_ordered

    def wait(folder):
        open(os.path.join(folder, str(os.getpid())), "w").close()
        ctypes.PyDLL(None).sleep(600)  # holds Python's lock all the while, as a long move of a compiled search does

    if __name__ == "__main__":
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which tests in the background do not hand on
        list(map_ordered(wait, [sys.argv[1]] * 2, 2))
"""


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie that nobody has buried does not)."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("number", "send"),
    [(signal.SIGKILL, os.kill), (signal.SIGINT, os.kill), (signal.SIGINT, os.killpg)],  # the last: as terminals do
)
def test_workers_end_with_their_parent_at_once_and_in_silence(tmp_path, number, send):
    (tmp_path / "driver.py").write_text(textwrap.dedent(DRIVER))
    (tmp_path / "pids").mkdir()
    command = [sys.executable, tmp_path / "driver.py", tmp_path / "pids"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as parent:
        while len(os.listdir(tmp_path / "pids")) < 2:
            assert parent.poll() is None
            time.sleep(0.02)
        workers = [int(name) for name in os.listdir(tmp_path / "pids")]
        assert all(alive(pid) for pid in workers)
        send(parent.pid, number)
        said = parent.stderr.read()
    deadline = time.monotonic() + 2
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(alive(pid) for pid in workers)
    assert said.count("Traceback") <= (number == signal.SIGINT)  # the parent's own, which here nothing catches
