"""Compiled kernels are kept where that is possible, and never used once any kernel's source has changed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import boardgame_sae

OUTER = "from numba import njit\nfrom inner import inner\n\n\n@njit(cache=True)\ndef outer():\n    return inner()\n"
INNER = "from numba import njit\n\n\n@njit(cache=True)\ndef inner():\n    return {}\n"


@pytest.fixture
def package(tmp_path):
    """A package with `kernel_cache` and two kernels, one of which has the other compiled in."""
    folder = tmp_path / "package"
    folder.mkdir()
    shutil.copy(Path(boardgame_sae.__file__).parent / "kernel_cache.py", folder)
    (folder / "outer.py").write_text(OUTER)
    (folder / "inner.py").write_text(INNER.format(1))
    return folder


def run(package, **environment):
    """What the kernels give in a new process, and the folder they are kept in."""
    script = (
        "import os, kernel_cache; kernel_cache.choose_kernel_cache(); from outer import outer;"
        "print(outer(), os.environ['NUMBA_CACHE_DIR'])"
    )
    clean = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    command = [sys.executable, "-c", script]
    shown = subprocess.run(command, cwd=package, env=clean | environment, capture_output=True, text=True, check=True)
    value, folder = shown.stdout.split()
    return int(value), Path(folder)


def test_a_kernel_that_is_compiled_into_another_files_is_never_an_old_one(package):
    """Left alone, numba still gives 1: it looks only at the file of the outer kernel."""
    first, folder = run(package)
    kept = sorted(path.name for path in folder.rglob("*.nbi"))
    assert first == 1 and len(kept) == 2 and folder.parent == package / "__pycache__"
    (package / "inner.py").write_text(INNER.format(2))
    second, changed = run(package)
    assert second == 2 and changed != folder and not folder.exists()


def test_kernels_are_kept_from_one_process_to_the_next(package):
    _, folder = run(package)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.nb?")}
    assert before and run(package) == (1, folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.nb?")} == before


def test_a_folder_that_the_environment_names_is_used(package, tmp_path):
    assert run(package, NUMBA_CACHE_DIR=str(tmp_path / "own")) == (1, tmp_path / "own")


@pytest.mark.skipif(os.getuid() == 0 and not shutil.which("setpriv"), reason="root writes everywhere")
def test_a_package_that_cannot_be_written_to_keeps_them_elsewhere(package, tmp_path):
    home = tmp_path / "home"
    for folder in (package / "__pycache__", home):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o555)
    drop = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"] if os.getuid() == 0 else []
    script = "import os, kernel_cache as k; k.choose_kernel_cache(); print(os.environ['NUMBA_CACHE_DIR'])"
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(tmp_path)}
    command = [*drop, sys.executable, "-c", script]
    shown = subprocess.run(command, cwd=package, env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.startswith(str(tmp_path / "boardgame-sae-numba-"))
