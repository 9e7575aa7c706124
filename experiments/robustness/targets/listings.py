"""JSON that lists, hashes and sums up: runs, testbeds, sweeps, cards, standings."""

from pathlib import Path
from unittest import mock

from boardgame_sae.cli.runs import check, ls
from boardgame_sae.files import RunError
from boardgame_sae.model.legality import legality_text
from boardgame_sae.pipeline.study_folder import read_study
from boardgame_sae.players.tournament import Standings
from boardgame_sae.report.results import write_table
from boardgame_sae.report.rows import rows_of
from boardgame_sae.runs import run_hash
from boardgame_sae.shipping.card_numbers import shipped_table
from boardgame_sae.testbeds.testbed import load_testbed
from boardgame_sae.transcripts.corpus import SPLITS
from boardgame_sae.transcripts.generate import GenerateConfig, generate_run
from robustness.entry import entry, use
from robustness.mutations.plain import JSON
from robustness.seed_files import STUDY, runs_in


@entry("JSON", "corpus", "run.json", by=JSON)
@entry("JSON", "corpus", "DONE", by=JSON)
def reused(folder: Path) -> None:
    """A stage whose run is there already."""
    generate_run(GenerateConfig(**STUDY["corpus"]), out=folder)
    run_hash(folder)


@entry("JSON", "sae", "run.json", by=JSON)
@entry("JSON", "sae", "DONE", by=JSON)
def checked(folder: Path) -> None:
    """As `check` reads any run."""
    check([str(folder), "--device", "cpu"])


@entry("JSON", "gpt", "DONE", by=JSON)
def listed(folder: Path) -> None:
    """As `ls` reads it. It goes on past a damaged run, and says so."""
    runs = folder.parent / "runs-here"
    (runs / "gpt").mkdir(parents=True)
    folder.rename(runs / "gpt/spoilt")
    with runs_in(runs):
        ls([])


@entry("JSON", "testbed", "testbed.json", by=JSON)
@entry("JSON", "packed", "testbed.json", by=JSON)
def testbed(folder: Path) -> None:
    """As every verb opens a testbed."""
    opened = load_testbed(folder, "cpu")
    for split in SPLITS:
        opened.labels(split, 0, 4)


@entry("JSON", "packed", "sweep.json", by=JSON)
@entry("JSON", "packed", "scores/topk-4/scores.json", by=JSON)
def report(folder: Path) -> None:
    """As `report` reads a study."""
    study = read_study(folder)
    use(study.game, study.legality, study.probe_results)
    write_table(rows_of([study]), folder.parent / "table")


@entry("JSON", "packed", "card.json", by=JSON)
def card(folder: Path) -> None:
    """As `ls` shows testbeds that ship."""
    with mock.patch.dict("os.environ", BOARDGAME_SAE_TESTBEDS=str(folder.parent)):
        shown = shipped_table()
    if "DAMAGED" in shown:  # said in its line, so that the others are listed too
        raise RunError(shown)


@entry("JSON", "gpt", "legality.json", by=JSON)
def legality(folder: Path) -> None:
    """As `train-gpt` prints it."""
    legality_text(folder)


@entry("JSON", "tournament", "standings.json", by=JSON)
def standings(folder: Path) -> None:
    """As `tournament` prints it."""
    Standings.from_json(folder).table()
