"""The site builds without a warning, and opens without a network."""

import re
import subprocess
import sys

import pytest
from pages import ROOT

import boardgame_sae as bgs

pytest.importorskip("mkdocs")
LOADS = re.compile(r"<(?:script|img|iframe|source)[^>]*\bsrc=[\"'](.*?)[\"']|<link[^>]*\bhref=[\"'](.*?)[\"']")


@pytest.mark.slow
def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = {
        path.relative_to(tmp_path / "site").as_posix(): path.read_text() for path in (tmp_path / "site").rglob("*.html")
    }
    for name, text in pages.items():
        loaded = [one or other for one, other in LOADS.findall(text)]
        assert not [target for target in loaded if target.startswith(("http:", "https:", "//"))], name
    reference = "".join(text for name, text in pages.items() if name.startswith("reference/"))
    assert all(f'id="boardgame_sae.{name}"' in reference or f'id="{name}"' in reference for name in bgs.__all__)
