"""The README's code runs, and its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from boardgame_sae.cli import verbs

README = (Path(__file__).parents[1] / "README.md").read_text()
COMMANDS = re.findall(r"^boardgame-sae (\S+)(.*?)(?:#.*)?$", README, flags=re.MULTILINE)


def test_the_readme_s_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path))
    blocks = [block for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL) if "import" in block]
    assert len(blocks) == 3
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert 0 <= names["scores"]["coverage"].value <= 1


def test_the_readme_names_every_verb():
    assert {verb for verb, _ in COMMANDS} == set(verbs())


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_the_readme_s_flags_exist(verb):
    flags = {flag for named, rest in COMMANDS if named == verb for flag in re.findall(r"--[a-z-]+", rest)}
    done = subprocess.run(
        [sys.executable, "-m", "boardgame_sae.cli", verb, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert flags <= set(re.findall(r"--[a-z-]+", done.stdout))
