"""The latents of every scored SAE, in script files beside the page: a page opened from a disk can load nothing else.

latents/N.js          every latent that stands for a class: the class, and how well it tells it
latents/N-boards.js   what was found by running the SAE again: histograms, boards, moves
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from boardgame_sae.files import RunError, write_bytes
from boardgame_sae.metrics.baselines.registry import SAE_KIND
from boardgame_sae.metrics.results import LATENTS_FILE
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.pipeline.study_folder import Scored, Study, StudyTestbed
from boardgame_sae.report.best import ranking_score
from boardgame_sae.report.explorer.latent_details import Table, latent_details
from boardgame_sae.report.explorer.pictures import PictureParts
from boardgame_sae.report.latents.boards import Card
from boardgame_sae.report.latents.tables import checked_latents, read_latents
from boardgame_sae.runs import progress, runs_root
from boardgame_sae.saes.facts import sae_facts
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.sae import SAE
from boardgame_sae.saes.training.on_testbed import calibrated_on
from boardgame_sae.testbeds.testbed import Testbed, load_testbed

LATENTS = "latents"
"""The folder of the files."""
N_DETAILED = 6
"""SAEs of a testbed that are run again, unless another number is asked for: a second or two of a core for each."""
NUMBERS = ("f1", "precision", "recall", "threshold", "above_chance", "density")


class Listed(NamedTuple):
    """An SAE whose latents the page can load."""

    sweep: str
    hook_name: str
    name: str
    file: int
    """The number in the names of its files."""
    detailed: bool
    """Whether there is a second file, with boards."""
    n_latents: int
    """Latents in it."""


def write_latents(studies: Sequence[Study], folder: Path, *, n_detailed: int, device: str) -> list[Listed]:
    """Write the files of every SAE whose scores have a table of latents; details of the n_detailed best by testbed.

    Details need the SAE itself: one that is neither in the sweep, nor in the shipped testbed, nor trained here under
    the name it was scored by, has none.
    """
    listed, opened = list[Listed](), dict[Path, Testbed]()
    wanted = [
        (study, testbed, *one, rank < n_detailed)
        for study in studies
        for testbed in study.testbeds
        for rank, one in enumerate(_with_table(testbed))
    ]
    with progress(len(wanted), "latents", "SAEs", disable=not wanted) as bar:
        for study, testbed, scored, table, detailed in wanted:
            subject = _subject(study, testbed, scored, device, opened) if detailed else None
            number = len(listed)
            write_bytes(folder / f"{number}.js", script("latents", number, latent_table(table)).encode())
            if subject is not None:
                details = drawn_once(latent_details(subject, table))
                write_bytes(folder / f"{number}-boards.js", script("boards", number, details).encode())
            name, shown = scored.scores.subject["name"], int((table["property"] != "").sum())
            listed.append(Listed(study.label, testbed.hook_name, name, number, subject is not None, shown))
            bar.update(1)
    return listed


def latent_table(table: Table) -> dict[str, Any]:
    """The latents that stand for a class, column by column; `class` is a place among `classes`."""
    shown_J = np.flatnonzero(table["property"] != "")
    named = [(str(table["property"][f]), str(table["label"][f])) for f in shown_J]
    classes = sorted(set(named))
    places = {pair: place for place, pair in enumerate(classes)}
    return {
        "classes": classes,
        "class": [places[pair] for pair in named],
        "latent": shown_J.tolist(),
        "n_precise": table["n_precise"][shown_J].tolist(),
        **{name: [round(float(value), 6) for value in table[name][shown_J]] for name in NUMBERS},
    }


def drawn_once(details: dict[str, Any]) -> dict[str, Any]:
    """Details in which each tag of a picture stands once; a picture is the list of the numbers of its own."""
    parts = PictureParts()

    def drawn(cards: Sequence[Card]) -> list[Card]:
        return [{**card, "picture": parts.numbers(card["picture"])} for card in cards]

    means = [drawn(mean) for mean in details["mean"]]
    return {**details, "positions": drawn(details["positions"]), "mean": means, "picture_parts": parts.texts()}


def script(what: str, number: int, value: Any) -> str:
    """A script that hands plain data to the page: `explorer.latents(3, {...})`."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return f"explorer.{what}({number},{text});\n"


def _with_table(testbed: StudyTestbed) -> Iterator[tuple[Scored, Table]]:
    """The SAEs whose scores have a table of latents, with it; one's own first, then the best."""
    best = ranking_score().name

    def place(scored: Scored) -> tuple[bool, float]:
        return not scored.own, -scored.scores[best].value if best in scored.scores else 0.0

    for scored in sorted(testbed.subjects, key=place):
        if scored.scores.subject["kind"] != SAE_KIND:
            continue
        if scored.folder is not None and (scored.folder / LATENTS_FILE).exists():
            yield scored, read_latents(scored.folder)
        elif scored.scores.latents is not None:
            yield scored, checked_latents(scored.scores)


def _subject(
    study: Study, testbed: StudyTestbed, scored: Scored, device: str, opened_before: dict[Path, Testbed]
) -> Subject | None:
    """An SAE on its testbed, to be run again; None where one of them is not at hand."""
    opened, found = _testbed(study, testbed, device, opened_before), _sae(testbed, scored)
    if opened is None or found is None:
        return None
    about = scored.scores.subject
    sae = calibrated_on(opened, found) if "calibration" in about else found
    return Subject(about["name"], SAE_KIND, sae.to(opened.model.gpt.device), opened)


def _testbed(study: Study, testbed: StudyTestbed, device: str, opened: dict[Path, Testbed]) -> Testbed | None:
    """A testbed, opened; None where it is not at hand. opened: holds the last one that was."""
    folders = [here.folder for here in (testbed, *study.testbeds) if here.folder is not None]
    if not folders:
        return None
    if folders[0] not in opened:
        opened.clear()
        opened[folders[0]] = load_testbed(folders[0], device)
    found = opened[folders[0]]
    return found if found.hook_name == testbed.hook_name else found.at(testbed.hook_name)


def _sae(testbed: StudyTestbed, scored: Scored) -> SAE | None:
    """The SAE that was scored: the one of its name that a sweep lists or that was trained here, if it is the same."""
    about = scored.scores.subject
    name, uncalibrated = about.get("sae", {}).get("sae_folder", about["name"]), "calibration" in about
    listed = [folder for folder in testbed.saes if folder.name == name]
    known = listed or name in testbed.left_out
    if not scored.own and not known and scored.folder in testbed.score_folders:
        raise RunError(f"{name}: scored at {testbed.hook_name}, but not among the sweep's SAEs; run the sweep again")
    for folder in (*listed, runs_root() / "sae" / name):
        if folder.is_dir():
            sae = load_sae(folder, uncalibrated=uncalibrated)
            if (folder in listed and not scored.own) or sae_facts(sae)["content"] == about.get("content"):
                return sae
    return None
