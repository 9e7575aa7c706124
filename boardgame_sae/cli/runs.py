"""What is here: listing the runs and what ships, and checking them."""

from collections.abc import Sequence
from pathlib import Path

from boardgame_sae.cli.flags import Device, Several, named, parse, say, verb
from boardgame_sae.config import config


@config
class FolderInput:
    """Folders to check."""

    folders: Several
    """Run folders, corpora, or names of shipped testbeds."""


@verb("ls", 140)
def ls(argv: Sequence[str]) -> Path:
    """List the testbeds and SAEs that ship, and the runs here."""
    parse("ls", argv)

    from boardgame_sae.runs import CARD_FILE, runs_root
    from boardgame_sae.shipping.card_numbers import shipped_table

    say(shipped_table())
    cards = sorted(runs_root().glob(f"*/*/{CARD_FILE}"))
    for card in cards:
        say(_listed(card.parent))
    if not cards:
        say(f"no run below {runs_root()}; BOARDGAME_SAE_RUNS names another folder of runs")
    return runs_root()


def _listed(folder: Path) -> str:
    """The line of `ls` on a run; of one whose files were changed or cannot be read it says that."""
    from boardgame_sae.files import RunError, read_json
    from boardgame_sae.runs.integrity import CARD_FILE, is_done, read_done, verified

    summary = {}
    try:
        read_json(folder / CARD_FILE)
        verified(folder)
        if done := is_done(folder):
            summary = read_done(folder).summary.items()
    except RunError as error:
        return f"DAMAGED  {folder}  {error}"
    shown = "  ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in summary)
    return f"{'done ' if done else 'OPEN '} {folder}  {shown}"


@verb("check", 150, "DIR ...")
def check(argv: Sequence[str]) -> Path:
    """Verify run folders: hashes, replayed moves; and, of a packed testbed, every number of its card.json."""
    source, device = parse("check", named(argv, "--folders"), FolderInput, Device)

    from boardgame_sae.testbeds.shipped import find_testbed

    folders = [find_testbed(name) for name in source.folders]
    for folder in folders:
        _check_hashes(folder)
        _check_moves(folder)
        _check_parts(folder, device.device)
        _check_card(folder, device.device)
        say(f"{folder}: every file as it was when its run finished")
    return folders[-1]


def _check_hashes(folder: Path) -> None:
    """Raises RunError when the run is not finished, or a file is not what it was when it finished."""
    from boardgame_sae.files import RunError
    from boardgame_sae.runs import run_hash
    from boardgame_sae.runs.integrity import damaged_files

    run_hash(folder)
    damaged = damaged_files(folder)
    if damaged:
        path = folder / damaged[0]
        raise RunError(f"{path}: missing, or changed since it was written; restore it, or rebuild {folder} elsewhere")


def _check_parts(folder: Path, device: str) -> None:
    """Open a testbed with its GPT and corpus, wherever they are. Raises RunError when one is not what it was."""
    from boardgame_sae.testbeds.shipped import MANIFEST_FILE
    from boardgame_sae.testbeds.testbed import load_testbed

    if (folder / MANIFEST_FILE).exists():
        load_testbed(folder, device)


def _check_moves(folder: Path) -> None:
    """Replay the games of a corpus, or of the corpus in a packed testbed. Raises IllegalMove."""
    from boardgame_sae.transcripts.corpus import CORPUS_FILE, SPLITS, Corpus

    for path in (folder / CORPUS_FILE, folder / "corpus" / CORPUS_FILE):
        if path.exists():
            corpus = Corpus.open(path)
            for split in SPLITS:
                corpus.boards(corpus.games(split))
            say(f"{folder}: {len(corpus)} games replayed, every move legal")


def _check_card(folder: Path, device: str) -> None:
    """Measure every number of a packed testbed's card again.

    Raises RunError when a number is not in its interval, or stands only in the card or only among those measured.
    """
    from boardgame_sae.files import RunError
    from boardgame_sae.shipping.card_numbers import NUMBERS_FILE, differing

    if not (folder / NUMBERS_FILE).exists():
        return
    outside = []
    for name, stated, measured, fits in differing(folder, device):
        interval = f"{stated.value:.4f} [{stated.low:.4f}, {stated.high:.4f}]"
        say(f"{name:52} {measured:.4f}  card: {interval}" + ("" if fits else "  OUTSIDE"))
        outside += [] if fits else [name]
    if outside:
        raise RunError(f"{folder / NUMBERS_FILE}: {outside[0]} is outside its interval; pack the testbed again")
