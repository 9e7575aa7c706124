"""Files that pages show: of those that there are it is a true part; a new architecture works when it is dropped in.

The new score is tried in `tests/contracts/test_one_new_file.py`.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import PAGES, ROOT, blocks_of, name_of

import boardgame_sae
from boardgame_sae.saes.load import load_sae
from boardgame_sae.testbeds import testbed as testbeds

SHOWN = [(name_of(page), block) for page in PAGES for block in blocks_of(page) if block.title]
NEW = {block.title: block.text for _, block in SHOWN if not (ROOT / block.title).exists()}


@pytest.mark.parametrize(("page", "block"), [shown for shown in SHOWN if shown[1].title not in NEW])
def test_a_part_of_a_file_is_what_the_file_says(page, block):
    assert lines_of(block.text) in lines_of((ROOT / block.title).read_text())


def lines_of(code):
    """The lines of code without what a formatter changes in a part of a file: indentation and empty lines."""
    return "\n".join(line.strip() for line in code.splitlines() if line.strip())


@pytest.fixture(scope="module")
def with_new_files(tmp_path_factory):
    """A folder with a copy of the package, compiled loops included, and the pages' new files dropped in."""
    root = tmp_path_factory.mktemp("copy")
    package = Path(boardgame_sae.__file__).parent
    shutil.copytree(package, root / "boardgame_sae", ignore=shutil.ignore_patterns("data"))
    for title, text in NEW.items():
        (root / title).write_text(text)
    return root


def run(root, *words):
    """Run a module of Python with that copy; what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", *map(str, words)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def contracts(root, name, *suites):
    """Run contract suites on what a new file registers; how many tests passed."""
    paths = [ROOT / f"tests/contracts/{suite}.py" for suite in suites]
    options = ["-c", ROOT / "pyproject.toml", "--rootdir", ROOT, "-p", "no:cacheprovider", "-p", "no:xdist"]
    told = run(root, "pytest", *options, *paths, "-k", name)
    assert "skipped" not in told, told
    return int(re.search(r"(\d+) passed", told)[1])


def test_the_new_architecture_passes_the_contract_with_nothing_else_touched(with_new_files):
    assert contracts(with_new_files, "mine", "test_saes", "test_sae_exchange") > 70


def test_the_new_architecture_is_listed_trained_and_exported_by_the_command_line(
    with_new_files, tiny_model, tiny_corpus, tmp_path
):
    tiny_model.save(tmp_path / "gpt")
    bed = testbeds.testbed_run(
        tmp_path / "gpt", tiny_corpus.path.parent, n_games=20, out=tmp_path / "bed", device="cpu"
    )
    shown = run(with_new_files, "boardgame_sae.cli", "train-sae", "--help", "--architecture", "mine")
    assert re.search(r"\n  mine +ReLU latents, each of which costs the square root of its activation\.\n", shown)
    assert "--sparsity-warmup" in shown and "--k INT" not in shown
    size = ["--n-latents", 24, "--n-activations", 640, "--n-harvested", 640, "--batch-size", 64, "--device", "cpu"]
    chosen = ["--testbed", bed, "--architecture", "mine", "--sparsity-coefficient", 0.2]
    run(with_new_files, "boardgame_sae.cli", "train-sae", *chosen, *size, "--out", tmp_path / "sae")
    run(
        with_new_files,
        "boardgame_sae.cli",
        "export",
        tmp_path / "sae",
        "--to",
        "sae_lens",
        "--out",
        tmp_path / "theirs",
    )
    assert load_sae(tmp_path / "theirs").trained_as["architecture"] == "mine"
    assert load_sae(tmp_path / "theirs").trained_as["sparsity_coefficient"] == 0.2
