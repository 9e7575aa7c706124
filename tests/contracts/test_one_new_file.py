"""One new file is all: a game, an architecture, a score, an SAE library, in a copy of the package otherwise untouched.

The score is the documentation's example; so is the architecture, which `tests/docs/test_files_on_pages.py` drops in.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import blocks_of

ROOT = Path(__file__).parents[2]
NEWCOMERS = ROOT / "tests/helpers/newcomers"


class Copy:
    """A copy of the package with one file more, and commands that run on it."""

    def __init__(self, root: Path, newcomer: str, into: str) -> None:
        # with the compiled code and the dates it goes by: compiling again would take minutes
        shutil.copytree(ROOT / "boardgame_sae", root / "boardgame_sae", symlinks=True)
        (root / "data").symlink_to(ROOT / "data")
        (root / "boardgame_sae" / into).write_text(newcomer)
        self.root, self.environment = (
            root,
            {**os.environ, "PYTHONPATH": str(root), "BOARDGAME_SAE_RUNS": str(root / "runs")},
        )

    def run(self, *words: object, expect: int = 0) -> str:
        """What a command prints; fails unless it ends with the expected code."""
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False
        )  # fmt: skip
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr * bool(expect)

    def contracts(self, suite: str, name: str) -> str:
        """Run one contract suite on the newcomer."""
        options = ("-c", ROOT / "pyproject.toml", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", name)
        return self.run("-m", "pytest", ROOT / "tests/contracts" / suite, *options)

    def cli(self, *words: object, expect: int = 0) -> str:
        """Run a verb."""
        return self.run("-m", "boardgame_sae.cli", *words, expect=expect)

    def study(self, **fields: object) -> Path:
        """Run a small study; returns its folder."""
        path = self.root / "study.yaml"
        path.write_text(json.dumps({**STUDY, **fields}))  # JSON is YAML
        self.cli("sweep", path, "--out", self.root / "runs/sweep/study")
        return self.root / "runs/sweep/study"


STUDY = {
    "name": "tiny",
    "corpus": {"game": "othello4", "n_games": 400, "validation_fraction": 0.25, "test_fraction": 0.25},
    "model": {"n_layers": 1, "d_model": 16, "n_heads": 2, "n_steps": 12, "batch_size": 16},
    "probes": [{"n_train_games": 64, "n_test_games": 32}],
    "n_games": 60,
    "training": {"n_activations": 4000, "n_harvested": 2000, "batch_size": 256},
    "saes": [{"architecture": "topk", "n_latents": 32, "k": [2, 6]}],
}


def rows_of(table: Path) -> list[dict[str, str]]:
    with open(table, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def with_game(tmp_path_factory) -> Copy:
    return Copy(tmp_path_factory.mktemp("game"), (NEWCOMERS / "tic_tac_toe.py").read_text(), "games/tic_tac_toe.py")


def test_a_new_game_passes_the_contract(with_game):
    assert "passed" in with_game.contracts("test_games.py", "tic_tac_toe")


def test_a_new_game_goes_the_whole_road_to_the_page(with_game):
    corpus = {"game": "tic_tac_toe", "n_games": 400, "validation_fraction": 0.25, "test_fraction": 0.25}
    study, report = with_game.study(corpus=corpus), with_game.root / "report"
    with_game.cli("report", study, "--out", report)
    rows = rows_of(report / "table.csv")
    assert {row["headline"] for row in rows} == {"board"}
    assert all(0 < float(row["coverage"]) < 1 and 0 <= float(row["coverage.legal_move"]) < 1 for row in rows)
    assert (report / "figures/f1_by_square.png").stat().st_size > 10_000
    assert "learned tic_tac_toe from" in (report / "index.html").read_text()
    shown = with_game.cli("generate", "--game", "tic_tac_to", "--n-games", "10", expect=2)
    assert "did you mean 'tic_tac_toe'?" in shown


@pytest.fixture(scope="module")
def with_score(tmp_path_factory) -> Copy:
    (shown,) = [block for block in blocks_of(ROOT / "docs/how_to/own_score.md") if block.title]
    return Copy(tmp_path_factory.mktemp("score"), shown.text, shown.title.removeprefix("boardgame_sae/"))


def test_a_new_score_passes_the_contract(with_score):
    assert "passed" in with_score.contracts("test_scores.py", "first_latent")


def test_a_new_score_is_in_every_table_on_the_page_and_in_comparisons(with_score):
    study, report = with_score.study(), with_score.root / "report"
    with_score.cli("report", study, "--out", report)
    rows = rows_of(report / "table.csv")
    assert {"first_latent", "first_latent_low", "first_latent_high"} <= rows[0].keys()
    for row in rows:
        assert float(row["first_latent_low"]) <= float(row["first_latent"]) <= float(row["first_latent_high"])
    heads = (report / "table.md").read_text().splitlines()[0]
    assert "first latent" in heads.lower()
    page = (report / "index.html").read_text()
    assert "Share of test positions where the first latent is on" in page and '"key":"first_latent"' in page
    scored = [Path(path) for path in json.loads((study / "sweep.json").read_text())["testbeds"][0]["scores"]]
    told = with_score.cli("compare", scored[0], "--against", scored[1])
    assert "first_latent: accuracy" in told
    assert any("first_latent" in path.name for path in scored[0].iterdir()), "its sums lie beside the others"


def test_a_new_score_is_computed_where_an_old_score_run_lies(with_score, tmp_path):
    """Scored before the newcomer came: what was there keeps its bytes, the new score is added."""
    environment = {**with_score.environment, "PYTHONPATH": str(ROOT), "BOARDGAME_SAE_RUNS": str(tmp_path / "runs")}
    before = Copy.__new__(Copy)
    before.root, before.environment = tmp_path, environment
    study = before.study()
    folder = Path(json.loads((study / "sweep.json").read_text())["testbeds"][0]["scores"][0])
    old, sums = json.loads((folder / "scores.json").read_text()), (folder / "coverage.sums.safetensors").read_bytes()
    after = Copy.__new__(Copy)
    after.root, after.environment = tmp_path, {**environment, "PYTHONPATH": str(with_score.root)}
    after.study()
    new = json.loads((folder / "scores.json").read_text())
    assert set(new["scores"]) - set(old["scores"]) == {"first_latent"}
    assert {name: new["scores"][name] for name in old["scores"]} == old["scores"]
    assert (folder / "coverage.sums.safetensors").read_bytes() == sums


EXCHANGED = """
from boardgame_sae.cli import main
from boardgame_sae.saes import load_sae, make_sae
make_sae("topk", d_model=8, n_latents=16, k=2).save("sae")
assert main(["export", "sae", "--to", "arrays", "--out", "theirs"]) == 0
assert main(["import", "theirs", "--out", "back"]) == 0
assert load_sae("back").cfg.k == 2
assert main(["export", "sae", "--to", "array"]) == 2
assert main(["export", "theirs/none"]) == 1
"""


def test_a_new_sae_library_passes_the_contract_and_is_known_to_commands_and_messages(tmp_path):
    copy = Copy(tmp_path, (NEWCOMERS / "arrays.py").read_text(), "saes/exchange/arrays.py")
    copy.run("-c", EXCHANGED)
    assert "passed" in copy.contracts("test_sae_exchange.py", "arrays and remembers")
