"""Threads that wait sleep, also where torch was imported before the package."""

import os
import subprocess
import sys

import pytest

WORK = """
import time, torch
torch.set_num_threads(2)
numbers = torch.zeros(400_000)
numbers.neg()
began = time.process_time()
for _ in range(60):
    numbers.neg()
    time.sleep(0.01)
print(time.process_time() - began)
"""


def seconds_worked(imports: str) -> float:
    """Processor seconds of a little work by two threads with long pauses."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    command = [sys.executable, "-c", f"{imports}\n{WORK}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.skipif(sys.platform != "linux" or (os.cpu_count() or 1) < 2, reason="needs GNU's OpenMP and two threads")
def test_threads_sleep_whichever_is_imported_first():
    spinning = seconds_worked("import torch")
    assert seconds_worked("import torch, boardgame_sae") < spinning / 3
    assert seconds_worked("import boardgame_sae, torch") < spinning / 3


def test_torch_keeps_its_number_of_threads():
    code = """
import torch, threading
torch.set_num_threads(3)
import boardgame_sae
elsewhere = []
thread = threading.Thread(target=lambda: elsewhere.append(torch.get_num_threads()))
thread.start(); thread.join()
print(torch.get_num_threads(), *elsewhere)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "3"]
