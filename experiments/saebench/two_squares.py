"""Edits of one and of two squares through the latents of SAEs that ship: `two_squares.py OUT_FILE`.

Of each architecture the SAE of the shipped Othello testbeds whose L0 is nearest to 32. Beside them stand edits through
linear probes and in random directions of equal norm. A killed run goes on after the last SAE.
"""

import json
import sys
from pathlib import Path
from typing import Any

from boardgame_sae.files import write_bytes, write_json
from boardgame_sae.metrics.causal.edit_score import EditConfig, edit_score
from boardgame_sae.metrics.causal.edit_two_score import edit_two_score
from boardgame_sae.metrics.results import Scores
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.report.markdown import table
from boardgame_sae.runs import progress, runs_root
from boardgame_sae.saes.load import load_sae
from boardgame_sae.testbeds.shipped import find_testbed, shipped_saes
from boardgame_sae.testbeds.testbed import Testbed, load_testbed

TESTBEDS = ("othello6-tiny", "othello-small")
L0 = 32
HEAD = ("", "L0", "one square", "two squares", "a disc moved", "two exchanged", "two, random directions")
SHOWN = ("value", "move", "swap", "random_direction")
PROBES = ("probe", "probe_move", "probe_swap")


def chosen(folder: Path) -> dict[str, Path]:
    """The SAE of each architecture whose L0 is nearest, by name."""
    nearest: dict[str, tuple[float, str, Path]] = {}
    for name, path in shipped_saes(folder).items():
        subject = Scores.load(folder / "scores" / name).subject
        architecture, distance = subject["sae"]["architecture"], abs(subject["l0"] - L0)
        nearest[architecture] = min(nearest.get(architecture, (float("inf"), "", path)), (distance, name, path))
    return {name: path for _, name, path in sorted(nearest.values(), key=lambda one: one[1])}


def measured(testbed: Testbed, name: str, path: Path, out: Path) -> dict[str, Any]:
    """The numbers of one SAE: of this run, or of one before."""
    file = out / f"{name}.json"
    if not file.exists():
        subject, cfg = Subject(name, "sae", load_sae(path), testbed), EditConfig()
        one, two = edit_score(subject, cfg), edit_two_score(subject, cfg)
        plain = {key: {**value.plain(), "details": {}} for key, value in (("one", one), ("two", two))}
        write_json(file, {"l0": subject.l0, "n_edits": two.details["n_edits"], **plain})
    return json.loads(file.read_text())


def cell(score: dict[str, Any], part: str) -> str:
    """A share with its interval."""
    value, interval = score["parts"].get(part), score["intervals"].get(part)
    if part == "value":
        value, interval = score["value"], score["interval"]
    return f"{value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def main() -> None:
    """Measure, and write the tables."""
    pages = []
    for testbed_name in TESTBEDS:
        testbed, out = load_testbed(testbed_name), runs_root() / "two-squares" / testbed_name
        saes = chosen(find_testbed(testbed_name))
        rows = {}
        with progress(len(saes), testbed_name, "SAEs") as bar:
            for name, path in saes.items():
                rows[name] = measured(testbed, name, path, out)
                bar.update(1)
        first = next(iter(rows.values()))
        lines = [["linear probes", "", *(cell(first[key], part) for key, part in
                 (("one", "probe"), *(("two", part) for part in PROBES))), ""]]  # fmt: skip
        for name, row in sorted(rows.items(), key=lambda item: -item[1]["two"]["value"]):
            parts = (cell(row["two"], part) for part in SHOWN)
            lines.append([f"`{name}`", f"{row['l0']:.1f}", cell(row["one"], "value"), *parts])
        counts = first["n_edits"]
        said = (
            f"{testbed_name}, {testbed.hook_name}: {counts.get('move', 0)} discs moved, {counts.get('swap', 0)} pairs"
        )
        pages.append(f"{said} exchanged.\n\n{table(HEAD, lines)}")
    text = "# Share of wrong moves that an edit removes\n\n95% intervals over games.\n\n" + "\n".join(pages)
    write_bytes(Path(sys.argv[1]), text.encode())


if __name__ == "__main__":
    main()
