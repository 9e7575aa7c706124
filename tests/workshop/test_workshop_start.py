"""`python -m boardgame_sae.workshop`: it looks at the machine, and keeps what a student wrote."""

import importlib.util
import sys

import pytest

from boardgame_sae.workshop import machine
from boardgame_sae.workshop.__main__ import copied, main
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
