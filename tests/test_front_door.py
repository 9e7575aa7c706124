"""`import boardgame_sae as bgs`: what it offers completes, for people, for notebooks and for type checkers."""

import dataclasses
import inspect
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest

import boardgame_sae as bgs
from boardgame_sae.model.train_config import PRESETS, Preset
from boardgame_sae.saes.registry import architectures, config_class

ROOT = Path(__file__).parents[1]
PYRIGHT = shutil.which("pyright") or shutil.which("pyright", path=Path(sys.executable).parent)


def test_every_name_that_the_stub_lists_can_be_had_and_completes():
    listed = re.findall(r"import \w+ as (\w+)$", (ROOT / "boardgame_sae/__init__.pyi").read_text(), flags=re.MULTILINE)
    assert sorted(listed) == bgs.__all__ and {*listed, "__version__"} == set(dir(bgs))
    assert all(getattr(bgs, name).__doc__ for name in listed)


def test_another_name_is_an_attribute_error_that_lists_them():
    with pytest.raises(AttributeError, match=r"no attribute 'load_tesbed'; it has .*load_testbed"):
        bgs.load_tesbed  # noqa: B018


def test_importing_it_is_quick_as_nothing_heavy_comes_along():
    script = (
        "import sys, boardgame_sae; print([name for name in ('torch', 'numba', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_version_stands_in_one_place_and_the_others_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "boardgame_sae.__version__"}
    assert f"\nversion: {bgs.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(
        rf"^## {re.escape(bgs.__version__)}, \d{{4}}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )
    done = subprocess.run(
        [sys.executable, "-m", "boardgame_sae", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"boardgame-sae {bgs.__version__}\n"


def test_type_checkers_are_told_that_there_are_types():
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert {"py.typed", "*.pyi"} <= set(packaged["boardgame_sae"]) and (ROOT / "boardgame_sae/py.typed").exists()


def field_names(cls):
    return {field.name for field in dataclasses.fields(cls)}


def test_signatures_show_every_field_of_every_config_they_take():
    shown = inspect.signature(bgs.train_sae).parameters
    fields = {name for each in architectures() for name in field_names(config_class(each))}
    assert fields - {"d_model"} <= set(shown) and {"lr", "batch_size", "n_activations", "out"} <= set(shown)
    assert shown["k"].default == 32 and shown["sparsity_coefficient"].default is ...  # architectures differ in it
    assert not any(part.kind is part.VAR_KEYWORD for part in shown.values())
    assert inspect.signature(bgs.train_gpt).parameters["n_steps"].default == PRESETS["tiny"].n_steps
    assert {"n_games", "opening"} <= set(inspect.signature(bgs.generate).parameters)
    takers = [getattr(bgs, name) for name in dir(bgs) if inspect.isfunction(getattr(bgs, name))]
    takers = [one for one in takers if inspect.getsource(one).startswith("@showing_fields")]
    assert {bgs.make_corpus, bgs.import_games, bgs.import_pgn, bgs.train_gpt} <= set(takers)
    for one in takers:
        kinds = [part.kind for part in inspect.signature(one).parameters.values()]
        assert inspect.Parameter.VAR_KEYWORD not in kinds, one.__name__


def test_presets_are_those_that_type_checkers_know():
    assert set(get_args(Preset)) == set(PRESETS)


@pytest.mark.skipif(PYRIGHT is None, reason="pyright is not installed")
def test_pyright_finds_what_is_misspelt_and_nothing_else(tmp_path):
    lines = [
        "import boardgame_sae as bgs",
        'testbed = bgs.load_testbed("othello6-tiny")',
        'bgs.evaluate("othello6-tiny/topk-16", testbed, suite="quick")',
        'bgs.evaluate("othello6-tiny/topk-16", testbed, suite="quik")',
        "bgs.TrainSAEConfig(lr=1e-3, reuse=2)",
        "bgs.TrainSAEConfig(learning_rate=1e-3)",
        'bgs.train_gpt(testbed.corpus, preset="huge")',
        "bgs.load_tesbed",
    ]
    (tmp_path / "snippet.py").write_text("\n".join(lines))
    command = [str(PYRIGHT), "--outputjson", "--pythonpath", sys.executable, str(tmp_path / "snippet.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    found = {fault["range"]["start"]["line"] for fault in json.loads(done.stdout)["generalDiagnostics"]}
    assert found == {3, 5, 6, 7}, done.stdout
