"""`python -m boardgame_sae.workshop`: it looks at the machine, and keeps what a student wrote."""

import errno
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from boardgame_sae.workshop import machine
from boardgame_sae.workshop.__main__ import copied, main, opened
from boardgame_sae.workshop.lesson_file import lesson_path


@pytest.fixture
def with_marimo(monkeypatch):
    """A machine with marimo, whether this one has it or not."""
    monkeypatch.setattr(machine, "PACKAGES", ("torch",))


def test_a_ready_machine_is_told_so(with_marimo, capsys):
    assert main(["--check"]) == 0
    out = capsys.readouterr().out
    assert "NO" not in out and "othello6-tiny opens; its GPT reads 64 games in" in out and out.endswith("Ready.\n")


def test_a_missing_package_names_the_extra(monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "marimo" else find(name))
    assert main([]) == 1
    assert 'NO  marimo    is missing; run pip install "boardgame-sae[workshop]"' in capsys.readouterr().out


def test_windows_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.delattr(machine.os, "sysconf")
    findings = {finding.what: finding for finding in machine.examine()}
    assert findings["system"].ready and "wsl --install" in findings["system"].says
    assert findings["memory"].ready and "unknown" in findings["memory"].says


def test_an_old_python_and_little_memory_are_named(monkeypatch):
    monkeypatch.setattr(machine, "PYTHON", (4, 0))
    monkeypatch.setattr(machine, "MEMORY_GB", 10**6)
    findings = {finding.what: finding for finding in machine.examine()}
    assert "install Python 4.0 or newer" in findings["Python"].says and not findings["memory"].ready


def test_a_missing_testbed_is_named(monkeypatch, with_marimo):
    monkeypatch.setattr(machine, "TESTBED", "othello6-tniy")
    testbed = list(machine.examine())[-1]
    assert not testbed.ready and "othello6-tniy" in testbed.says


def test_a_lesson_is_copied_once_and_then_kept(tmp_path):
    path = copied(1, tmp_path / "mine")
    assert path.read_text() == lesson_path(1).read_text()
    path.write_text("my answers")
    assert copied(1, tmp_path / "mine").read_text() == "my answers"
    assert copied(1, tmp_path, as_notebook=True).read_text().startswith('{\n "cells"')


def test_a_lesson_that_there_is_not_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["17"])
    assert stop.value.code == 2 and "invalid choice: 17" in capsys.readouterr().err


def test_a_python_without_any_package_is_told_what_to_install():
    command = [sys.executable, "-S", "-E", "-m", "boardgame_sae.workshop"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr == ""
    assert "NO  torch     is missing; run pip install" in done.stdout and "NO  numba" in done.stdout


def test_an_old_python_is_told_so_in_one_line():
    code = "import sys; sys.version_info = (3, 10, 1); import boardgame_sae"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("boardgame_sae needs Python 3.11 or newer; this is") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("error", [ImportError("DLL load failed"), OSError("libgomp.so.1: no such file")])
def test_a_package_that_cannot_be_imported_is_named(error, monkeypatch, with_marimo):
    def load_testbed(*_, **__):
        raise error

    monkeypatch.setattr(machine.bgs, "load_testbed", load_testbed)
    finding = list(machine.examine())[-1]
    assert not finding.ready and str(error) in finding.says and "install" in finding.says


@pytest.mark.parametrize("folder", ["a_file", "a_file/below"])
def test_a_folder_that_cannot_be_written_to_is_named_with_the_fix(folder, tmp_path, with_marimo, capsys):
    (tmp_path / "a_file").write_text("mine")
    assert main(["--folder", str(tmp_path / folder)]) == 1
    told = capsys.readouterr().out.splitlines()[-1]
    assert told.startswith(f"NO  folder    {tmp_path / folder}: ") and "--folder" in told
    assert (tmp_path / "a_file").read_text() == "mine"


def test_a_full_disk_leaves_no_half_of_a_lesson(tmp_path, monkeypatch):
    def write_text(self, text, **_):
        self.write_bytes(text[:100].encode())
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", write_text)
    with pytest.raises(OSError, match="No space"):
        copied(1, tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []


class Marimo:
    """Runs until it has been interrupted once, as one does whose student thought better of it."""

    begun = None

    def __init__(self, command, env):
        Marimo.begun, self.interrupted = (command, env), False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def wait(self):
        if not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt
        return 0


def test_marimo_runs_the_lesson_at_once_asks_no_network_and_is_not_cut_off_by_ctrl_c(monkeypatch, tmp_path):
    monkeypatch.setattr(subprocess, "Popen", Marimo)
    assert opened(tmp_path / "lesson.py") == 0
    command, environment = Marimo.begun
    assert command[1:3] == ["-m", "marimo"] and command[-1] == str(tmp_path / "lesson.py")
    assert "--skip-update-check" in command
    assert environment["_MARIMO_CONFIG_OVERLOAD_RUNTIME_AUTO_INSTANTIATE"] == "true"
