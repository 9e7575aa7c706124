"""The lessons run, unfilled and filled, as marimo apps and as notebooks; the exported notebooks are up to date."""

import json
import re
import time
from pathlib import Path

import pytest
from lessons import NUMBERS, checks_of, filled, source_of

from boardgame_sae.workshop.lesson_file import cells, lesson_path
from boardgame_sae.workshop.notebooks import main, notebook, notebook_text

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "experiments" / "workshop"
REPOSITORY = re.search(r"^REPOSITORY \?=(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].strip()
SECONDS = 240
"""Of a core, for a whole lesson with its trainings: at most a tenth of the shortest lesson, on two cores."""
CHANGED = "the lesson has changed since it was exported: run `make workshop-notebooks`"


@pytest.mark.parametrize("number", NUMBERS)
def test_exported_notebooks_are_up_to_date_and_have_no_outputs(number):
    path = NOTEBOOKS / f"{lesson_path(number).stem}.ipynb"
    text = path.read_text(encoding="utf-8")
    assert text == notebook_text(source_of(number), path.stem, REPOSITORY), CHANGED
    exported = json.loads(text)
    code = [cell for cell in exported["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert '%pip install --quiet "{source}"' in "".join(code[0]["source"])
    assert len({cell["id"] for cell in exported["cells"]}) == len(exported["cells"])


def test_a_lesson_s_cells_become_cells_of_a_notebook():
    source = (
        "import marimo\napp = marimo.App()\n\nwith app.setup:\n    import marimo as mo\n\n\n@app.cell(hide_code=True)\n"
        'def _():\n    mo.md(r"""\n    # A\n\n    /// details | Hint\n    b\n    ///\n    """)\n    return\n\n\n'
        '@app.function\ndef f(x):\n    """C."""\n    raise NotImplementedError\n\n\n'
        "@app.cell\ndef _(y):\n    z = y\n    z\n    return (z,)\n"
    )
    assert [cell.kind for cell in cells(source)] == ["code", "text", "exercise", "code"]
    assert ["".join(cell["source"]) for cell in notebook(source, "l")["cells"]][1:] == [
        "import marimo as mo",
        "# A\n\n<details><summary>Hint</summary>\n\nb\n\n</details>",
        'def f(x):\n    """C."""\n    raise NotImplementedError',
        "z = y\nz",
    ]


def test_a_published_repository_gives_each_notebook_a_badge_and_a_source():
    badge, install = notebook(source_of(2), "lesson2_probes", "me/it")["cells"][:2]
    link = "https://colab.research.google.com/github/me/it/blob/main/experiments/workshop/lesson2_probes.ipynb"
    assert badge["cell_type"] == "markdown" and f"]({link})" in "".join(badge["source"])
    assert (NOTEBOOKS / "lesson2_probes.ipynb").exists()
    assert '"boardgame-sae[workshop] @ git+https://github.com/me/it"' in "".join(install["source"])


def test_a_notebook_that_somebody_has_worked_in_is_never_overwritten(tmp_path, capsys):
    assert main([str(tmp_path / "new")]) == 0 and main([str(tmp_path / "new")]) == 0
    path = tmp_path / "new" / "lesson3_flips.ipynb"
    mine = path.read_text(encoding="utf-8").replace("raise NotImplementedError", "return 3", 1)
    for text in (mine, "my notes"):
        path.write_text(text, encoding="utf-8")
        assert main([str(tmp_path / "new")]) == 1
        assert f"{path}: somebody has worked in it" in capsys.readouterr().err
        assert path.read_text(encoding="utf-8") == text


def run_app(source, tmp_path):
    """What a marimo app defines."""
    path = tmp_path / "lesson_app.py"
    path.write_text(source, encoding="utf-8")
    names = {"__name__": "lesson_app", "__file__": str(path)}
    exec(compile(source, str(path), "exec"), names)
    return names["app"].run()[1]


def run_notebook(source):
    """What the code of a notebook defines."""
    names = {"__name__": "__main__"}
    for cell in notebook(source, "lesson")["cells"][1:]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    return names


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_a_lesson_runs_unfilled_as_a_notebook_with_nothing_right(number):
    pytest.importorskip("marimo")
    progress = run_notebook(source_of(number))["progress"]
    assert len(progress.verdicts) == len([v for v in progress.verdicts if "not filled in yet" in v.message])


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_a_filled_lesson_runs_as_an_app_with_everything_right_in_time(number, tmp_path):
    pytest.importorskip("marimo")
    began = time.process_time()
    progress = run_app(filled(number), tmp_path)["progress"]
    assert all(progress.verdicts), str(progress)
    assert [verdict.exercise for verdict in progress.verdicts] == [
        cell.source.split("def ")[1].split("(")[0] for cell in cells(source_of(number)) if cell.kind == "exercise"
    ]
    assert time.process_time() - began < SECONDS
    assert checks_of(number).__doc__
