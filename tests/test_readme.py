"""The README's code runs, its commands exist, and its example of a new architecture is a file to drop in."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import boardgame_sae
from boardgame_sae.cli import verbs
from boardgame_sae.saes.load import load_sae
from boardgame_sae.testbeds import testbed as testbeds

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^boardgame-sae (\S+)(.*?)(?:#.*)?$", README, flags=re.MULTILINE)
PYTHON = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
(ARCHITECTURE,) = [block for block in PYTHON if "@architecture(" in block]


def test_the_readme_s_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path))
    names = {}
    for block in PYTHON:
        if block is not ARCHITECTURE:
            exec(compile(block, "README.md", "exec"), names)
    assert 0 <= names["scores"]["coverage"].value <= 1


@pytest.fixture(scope="module")
def with_mine(tmp_path_factory):
    """A folder with a copy of the package, compiled loops included, and the README's architecture dropped in."""
    root = tmp_path_factory.mktemp("copy")
    package = Path(boardgame_sae.__file__).parent
    shutil.copytree(package, root / "boardgame_sae", ignore=shutil.ignore_patterns("data"))
    (root / "boardgame_sae/saes/architectures/mine.py").write_text(ARCHITECTURE)
    return root


def run(with_mine, *words, code=0):
    """Run a module of Python with that copy; what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(with_mine)}
    command = [sys.executable, "-m", *map(str, words)]
    done = subprocess.run(command, cwd=with_mine, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_the_readme_s_architecture_passes_the_contract_with_nothing_else_touched(with_mine):
    suites = [ROOT / f"tests/contracts/{name}.py" for name in ("test_saes", "test_sae_exchange")]
    options = ["-c", ROOT / "pyproject.toml", "--rootdir", ROOT, "-p", "no:cacheprovider", "-p", "no:xdist"]
    out = run(with_mine, "pytest", *options, *suites, "-k", "mine")
    assert int(re.search(r"(\d+) passed", out)[1]) > 70 and "skipped" not in out, out


def test_the_readme_s_architecture_is_listed_trained_and_exported_by_the_command_line(
    with_mine, tiny_model, tiny_corpus, tmp_path
):
    tiny_model.save(tmp_path / "gpt")
    bed = testbeds.testbed_run(
        tmp_path / "gpt", tiny_corpus.path.parent, n_games=20, out=tmp_path / "bed", device="cpu"
    )
    shown = run(with_mine, "boardgame_sae.cli", "train-sae", "--help", "--architecture", "mine")
    assert re.search(r"\n  mine +ReLU latents, each of which costs the square root of its activation\.\n", shown)
    assert "--sparsity-warmup" in shown and "--k INT" not in shown
    size = ["--n-latents", 24, "--n-activations", 640, "--n-harvested", 640, "--batch-size", 64, "--device", "cpu"]
    chosen = ["--testbed", bed, "--architecture", "mine", "--sparsity-coefficient", 0.2]
    run(with_mine, "boardgame_sae.cli", "train-sae", *chosen, *size, "--out", tmp_path / "sae")
    run(with_mine, "boardgame_sae.cli", "export", tmp_path / "sae", "--to", "sae_lens", "--out", tmp_path / "theirs")
    assert load_sae(tmp_path / "theirs").trained_as["architecture"] == "mine"
    assert load_sae(tmp_path / "theirs").trained_as["sparsity_coefficient"] == 0.2


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
