"""The README's listing of verbs names every verb, with flags that exist."""

import re
import subprocess
import sys

import pytest
from pages import ROOT

from boardgame_sae.cli import verbs

README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^boardgame-sae (\S+)(.*?)(?:#.*)?$", README, flags=re.MULTILINE)


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
