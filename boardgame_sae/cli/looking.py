"""Verbs that look at what was made: scores, comparisons, reports, lists, checks."""

from collections.abc import Sequence
from pathlib import Path

from boardgame_sae.cli.flags import named, parse, say, verb
from boardgame_sae.cli.inputs import CompareInput, FolderInput, Machine, Place, ReportInput, ScoreInput
from boardgame_sae.files import RunError


@verb("score", "Score SAEs beside every baseline.", "SAE_DIR ... --testbed DIR --suite supervised")
def _score(argv: Sequence[str]) -> Path:
    from boardgame_sae.metrics.intervals.compare import side_by_side
    from boardgame_sae.metrics.results import Scores
    from boardgame_sae.pipeline.score import score_with_baselines
    from boardgame_sae.testbeds.shipped import find_testbed

    source, machine = parse("score", named(argv, "--saes"), ScoreInput, Machine)
    folders = score_with_baselines(source.saes, find_testbed(source.testbed), suite=source.suite, device=machine.device)
    scored = [Scores.load(folder) for folder in folders.all]
    for scores in scored[: len(source.saes)]:
        say(f"\n{scores.subject['name']}\n{scores.table()}")
    say(f"\n{side_by_side(scored)}")
    return folders.saes[0]


@verb(
    "compare",
    "Say by how much one recipe scores better than another, with intervals.",
    "SCORES_DIR ... --against SCORES_DIR ...",
)
def _compare(argv: Sequence[str]) -> Path:
    from boardgame_sae.metrics.intervals.compare import compare_run, table

    source, place = parse("compare", named(argv, "--scores"), CompareInput, Place)
    folder, found = compare_run(source.scores, source.against, out=place.out)
    say(table(found))
    return folder


@verb("report", "Tables, figures and the page of some sweeps.", "SWEEP_DIR ...")
def _report(argv: Sequence[str]) -> Path:
    from boardgame_sae.report.explorer.page import report_run
    from boardgame_sae.testbeds.shipped import find_testbed

    source, place = parse("report", named(argv, "--runs"), ReportInput, Place)
    folder = report_run([find_testbed(name) for name in source.runs], out=place.out)
    say((folder / "table.md").read_text())
    say(f"open {folder / 'index.html'}")
    return folder


@verb("ls", "List the testbeds and SAEs that ship, and the runs here.", "")
def _ls(argv: Sequence[str]) -> Path:
    from boardgame_sae.files import read_json
    from boardgame_sae.runs import DONE_FILE, is_done, runs_root
    from boardgame_sae.shipping.card_numbers import shipped_table

    parse("ls", argv)
    say(shipped_table())
    for card in sorted(runs_root().glob("*/*/run.json")):
        done = is_done(card.parent)
        facts = read_json(card.parent / DONE_FILE)["summary"] if done else {}
        shown = "  ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in facts.items())
        say(f"{'done ' if done else 'OPEN '} {card.parent}  {shown}")
    return runs_root()


@verb(
    "check",
    "Verify run folders: hashes, shapes, replayed moves; of a packed testbed every number of its card.json too.",
    "DIR ...",
)
def _check(argv: Sequence[str]) -> Path:
    from boardgame_sae.runs import damaged_files, run_hash
    from boardgame_sae.testbeds.shipped import find_testbed
    from boardgame_sae.transcripts.corpus import CORPUS_FILE, Corpus

    source, machine = parse("check", named(argv, "--folders"), FolderInput, Machine)
    folders = [find_testbed(name) for name in source.folders]
    for folder in folders:
        run_hash(folder)
        bad = damaged_files(folder)
        if bad:
            raise RunError(f"{folder / bad[0]}: changed or missing since its run finished; make the run again")
        for path in (folder / CORPUS_FILE, folder / "corpus" / CORPUS_FILE):
            if path.exists():
                corpus = Corpus.open(path)
                for split in ("train", "validation", "test"):
                    corpus.boards(corpus.games(split))
                say(f"{folder}: {len(corpus)} games replayed, every move legal")
        _check_card(folder, machine.device)
        say(f"{folder}: every file as it was when its run finished")
    return folders[-1]


def _check_card(folder: Path, device: str) -> None:
    """Measure what the card of a packed testbed says again.

    Raises RunError when a number is not in its interval, or only said or only measured.
    """
    from boardgame_sae.shipping.card_numbers import NUMBERS_FILE, differing

    if not (folder / NUMBERS_FILE).exists():
        return
    outside = []
    for name, said, now, fits in differing(folder, device):
        say(
            f"{name:52} {now:.4f}  card: {said.value:.4f} [{said.low:.4f}, {said.high:.4f}]"
            + ("" if fits else "  OUTSIDE")
        )
        outside += [] if fits else [name]
    if outside:
        raise RunError(f"{folder / NUMBERS_FILE}: {outside[0]} is outside its interval; pack the testbed again")
