"""The demo without `make`: the same two verbs, on studies that a wheel holds too."""

import tomllib
from pathlib import Path

import pytest

from boardgame_sae import demo
from boardgame_sae.config import read_yaml
from boardgame_sae.pipeline.sweep import sweep_config

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text().replace("$(STUDY)", "experiments/demo/study.yaml")


@pytest.fixture
def verbs(monkeypatch, tmp_path):
    """The command lines that the demo runs; the first word in `failing` fails."""
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path / "runs"))
    run, failing = [], set()
    monkeypatch.setattr(demo, "run_verb", lambda words: run.append(words) or int(words[0] in failing))
    return run, failing


@pytest.mark.parametrize("game", demo.NAMES)
def test_it_does_what_make_does(verbs, game, tmp_path):
    assert demo.main([game, "--workers", "3"]) == 0
    sweep, report = verbs[0]
    study = Path(sweep[1]).relative_to(ROOT)
    runs = f"data/runs/{demo.NAMES[game]}"
    assert f"boardgame-sae sweep {study} --workers $(WORKERS) --out {runs}\n" in MAKEFILE
    assert f"boardgame-sae report {runs} --out {runs}-report\n" in MAKEFILE
    there = str(tmp_path / "runs" / demo.NAMES[game])
    assert sweep[2:] == ["--workers", "3", "--out", there] and report == ["report", there, "--out", f"{there}-report"]


def test_no_report_is_made_of_a_sweep_that_failed(verbs):
    run, failing = verbs
    failing.add("sweep")
    assert demo.main([]) == 1 and [words[0] for words in run] == ["sweep"]


def test_a_missing_extra_is_named_before_anything_is_played(verbs, monkeypatch, capsys):
    monkeypatch.setattr(demo, "find_spec", lambda name: None if name == "plotly" else name)
    with pytest.raises(SystemExit, match="2"):
        demo.main([])
    assert not verbs[0]
    assert "needs plotly, which is not installed: pip install 'boardgame-sae[report]'" in capsys.readouterr().err


@pytest.mark.parametrize("game", demo.NAMES)
def test_a_wheel_holds_the_study(monkeypatch, game):
    monkeypatch.setattr(demo, "PLACES", demo.PLACES[1:])
    with open(ROOT / "pyproject.toml", "rb") as file:
        packaged = tomllib.load(file)["tool"]["setuptools"]["package-data"]["boardgame_sae.shipping"]
    path = demo.study_file(game)
    assert packaged == ["demos/*.yaml"] and path.parent == ROOT / "boardgame_sae/shipping/demos"
    assert sweep_config(read_yaml(path), str(path)).corpus.game == game
