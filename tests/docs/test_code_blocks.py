"""Every block of Python and every command on the pages runs, in order, page by page."""

import re
import shlex
from pathlib import Path

import matplotlib.image
import pytest
from pages import PAGES, ROOT, Block, blocks_of, name_of

from boardgame_sae.cli import main

README, TUTORIAL = ROOT / "README.md", ROOT / "docs/tutorial.md"
SMALLER = {"harvest(500_000)": "harvest(20_000)", "range(1000)": "range(20)", "1000000": "4096", "500000": "20000"}
"""The tutorial's text with these in place of its sizes is what runs in seconds."""
SMALLER_README = {"1_000_000": "4096", "n_latents=1024": "n_latents=64"}
OTHER_PROGRAMS = {"make", "source", "export", "python", "pip", "git", "tar"}
"""What pages may have a shell run besides this project's own command."""
LISTING = ""
"""The language of blocks that list verbs, or show what is printed: `test_readme` looks at those."""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder that looks like the repository's, and takes what the code writes."""
    (tmp_path / "data/runs").mkdir(parents=True)
    (tmp_path / "data/testbeds").symlink_to(ROOT / "data/testbeds")
    for name in ("experiments", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path / "data/runs"))
    return tmp_path


def run(page: Path, blocks: list[Block], smaller: dict[str, str] | None = None) -> dict[str, object]:
    """Run blocks of a page one after another; returns the names that its Python leaves."""
    names: dict[str, object] = {"__name__": name_of(page)}
    for block in blocks:
        text = block.text
        for size, small in (smaller or {}).items():
            text = text.replace(size, small)
        if block.language == "python":
            exec(compile(text, name_of(page), "exec"), names)
        for command in block._replace(text=text).commands:
            words = shlex.split(command)
            if words[0] == "boardgame-sae":
                assert main(words[1:]) == 0, command
            else:
                assert words[0] in OTHER_PROGRAMS, command
    return names


def to_run(page: Path, *, slow: bool) -> list[Block]:
    return [
        block
        for block in blocks_of(page)
        if block.language in ("python", "console") and not block.title
        if block.note == "" or (slow and block.note == "slow")
    ]


QUICK = [page for page in PAGES if page not in (README, TUTORIAL) and to_run(page, slow=False)]
SLOW = [page for page in PAGES if any(block.note == "slow" for block in to_run(page, slow=True))]


@pytest.mark.parametrize("page", QUICK, ids=name_of)
def test_the_code_runs(page, checkout):
    run(page, to_run(page, slow=False))


def test_the_readme_s_lines_draw_its_figure(checkout):
    assert all(size in README.read_text() for size in SMALLER_README)
    names = run(README, to_run(README, slow=False), SMALLER_README)
    legend = [text.get_text() for text in names["figure"].legends[0].get_texts()]
    assert legend[0] == "my SAE" and "topk, 1024 latents" in legend
    assert [axes.get_title() for axes in names["figure"].axes] == ["Board reconstruction"] * 2
    assert names["figure"].axes[1].get_xlabel() == "training activations"
    shown = [
        matplotlib.image.imread(path).shape for path in (checkout / "my_sae.png", ROOT / "docs/figures/my_sae.png")
    ]
    assert shown[0] == shown[1], "the committed figure is one of these lines"


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW, ids=name_of)
def test_all_of_the_code_runs(page, checkout):
    run(page, to_run(page, slow=True))


def test_the_tutorial_leads_from_nothing_to_a_plot_with_the_reader_s_own_sae(checkout):
    text = TUTORIAL.read_text()
    assert all(size in text for size in SMALLER) and "slow" not in {block.note for block in blocks_of(TUTORIAL)}
    names = run(TUTORIAL, to_run(TUTORIAL, slow=False), SMALLER)
    assert set(names["likely"]) <= set(names["legal"])
    assert names["scores"].subject["l0"] == pytest.approx(24, abs=1)
    for picture in ("my_sae.png", "both.png"):
        assert (checkout / picture).stat().st_size > 10_000
    legend = [text.get_text() for text in names["figure"].legends[0].get_texts()]
    assert "my own SAE" in legend and "their-topk" in legend


@pytest.mark.slow
def test_the_tutorial_runs_as_it_is(checkout):
    scores = run(TUTORIAL, to_run(TUTORIAL, slow=False))["scores"]
    assert scores["board_reconstruction"].value > 0.2


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_block_says_what_it_is(page):
    assert {block.language for block in blocks_of(page)} <= {"python", "console", "yaml", "text", LISTING}
    assert all(block.commands for block in blocks_of(page) if block.language == "console")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_targets_of_make_exist(page):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    studies = {f"study-{path.parent.name}" for path in ROOT.glob("experiments/*/study.yaml")}
    for command in [command for block in blocks_of(page) for command in block.commands]:
        if command.startswith("make "):
            assert command.split()[1] in {*targets, *studies}, command
