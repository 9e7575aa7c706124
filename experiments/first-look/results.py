"""Copy what is kept here of a report: `results.py REPORT_FOLDER OUT_FOLDER`.

table.md, table.csv     every score
figures/*.png           what the README shows
beside_published.md     our best values beside the published ones

Ours as we define them (chosen on train, measured on test), and as the published code computes them (chosen and measured
on the same games; coverage divided by 192 though only 128 classes can be covered, so that it cannot exceed 0.667).
"""

import csv
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boardgame_sae.config import read_yaml
from boardgame_sae.files import write_bytes
from boardgame_sae.report.figures.style import depth, hook_title
from boardgame_sae.report.markdown import table

Row = dict[str, str]
STUDIES = ("first-look", "first-look-layers", "first-look-seeds")
SCORES = {"coverage": "coverage", "reconstruction": "board_reconstruction"}
"""The published file's name of a score, and the column of ours."""
TITLES = {"random_gpt_sae": "SAE of a random-weights GPT", "neurons": "MLP neurons", "probe": "linear probe"}


def best_row(rows: Sequence[Row], column: str) -> Row | None:
    """The row with the largest value of a column; None where no row has one."""
    return max((row for row in rows if row[column]), key=lambda row: float(row[column]), default=None)


def best(rows: Sequence[Row], column: str) -> str:
    """The largest value of a column, and its row's L0: `0.512 [0.510, 0.514] @ 24`; nothing where no row has one."""
    row = best_row(rows, column)
    return "" if row is None else cell(row, column)


def cell(row: Row, column: str) -> str:
    """A value with its 95% interval and its L0, as far as it has them."""
    text = f"{float(row[column]):.3f}"
    if row.get(f"{column}_low"):
        text += f" [{float(row[f'{column}_low']):.3f}, {float(row[f'{column}_high']):.3f}]"
    return text + (f" @ {float(row['l0']):.0f}" if row["l0"] else "")


def published(value: Any) -> str:
    """A published value, with its L0 where it has one; nothing where none was published."""
    if value is None:
        return ""
    return f"{value[0]:.3f} @ {value[1]}" if isinstance(value, list) else f"{value:.3f}"


def by_architecture(rows: Sequence[Row], known: dict[str, Any]) -> str:
    """A table of the best SAE of each architecture, and of the baselines, in the rows of one hook point."""
    lines = []
    saes = [row for row in rows if row["kind"] == "sae"]
    kinds = [(name, [row for row in saes if row["architecture"] == name]) for name in sorted(architectures(saes))]
    kinds += [(kind, [row for row in rows if row["kind"] == kind]) for kind in TITLES]
    for name, own in kinds:
        theirs = known["architectures"].get(name) or known.get(name) or {}
        cells = [TITLES.get(name, f"`{name}`")]
        for score, column in SCORES.items():
            cells += [best(own, column), best(own, f"{column}_reference"), published(theirs.get(score))]
        lines.append(cells)
    ways = ("", " as the published code computes it", ", published")
    return table(["", *(f"{score}{way}" for score in SCORES for way in ways)], lines)


def architectures(rows: Sequence[Row]) -> set[str]:
    """The architectures that occur in some rows."""
    return {row["architecture"] for row in rows}


def by_layer(rows: Sequence[Row], known: dict[str, Any]) -> str:
    """A table of the best p-annealing SAE and of the neurons by layer, as the published code computes both."""
    names = sorted({row["hook_name"] for row in rows if row["hook_name"].endswith("resid_post")}, key=depth)
    lines = []
    for name in names:
        layer = int(name.split(".")[1])
        here = [row for row in rows if row["hook_name"] == name]
        own = {
            "p_anneal": [row for row in here if row["architecture"] == "p_anneal" and row["kind"] == "sae"],
            "neurons": [row for row in here if row["kind"] == "neurons"],
        }
        cells = [hook_title(name)]
        for kind, of_kind in own.items():
            for score, column in SCORES.items():
                cells += [best(of_kind, f"{column}_reference"), f"{known['layers'][kind][score][layer]:.3f}"]
        lines.append(cells)
    ways = ("", ", published")
    heads = [f"{kind}: {score}{way}" for kind in ("p_anneal", "neurons") for score in SCORES for way in ways]
    return table(["", *heads], lines)


def in_order(rows: Sequence[Row], known: dict[str, Any]) -> str:
    """A table of the published architectures from the best to the worst in each score, ours and as published."""
    lines = []
    for score, column in SCORES.items():
        theirs = {name: values[score][0] for name, values in known["architectures"].items()}
        found = {name: best_row([row for row in rows if row["architecture"] == name], column) for name in theirs}
        ours = {name: float(row[column]) for name, row in found.items() if row is not None}
        lines += [[score, *(", ".join(sorted(values, key=values.__getitem__)[::-1]) for values in (ours, theirs))]]
    return table(["", "ours, from the best to the worst", "published"], lines)


def by_seeds(rows: Sequence[Row]) -> str:
    """A table of SAEs that were trained with several seeds: means, with intervals over games and seeds."""
    pooled = [row for row in rows if row["kind"] == "sae" and float(row["n_seeds"] or 1) > 1]
    lines = [
        [f"`{row['architecture']}`", row["n_seeds"], *(cell(row, column) for column in SCORES.values())]
        for row in sorted(pooled, key=lambda row: row["architecture"])
    ]
    return table(["", "seeds", *SCORES], lines)


FIGURES = {
    "first-look": ("coverage_vs_l0", "loss_vs_l0", "coverage_by_property", "f1_by_square", "direction_recovery"),
    "first-look-layers": ("scores_by_layer", "probe_accuracy"),
}
"""Figures to keep, by study."""


def main() -> None:
    """Copy tables and figures, and write the tables that stand beside the published values."""
    report, out = map(Path, sys.argv[1:3])
    known = read_yaml(Path(__file__).parent / "published.yaml")
    with open(report / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    study, layers, seeds = ([row for row in rows if row["sweep"] == name] for name in STUDIES)
    saes = [row for row in study if row["kind"] == "sae"]
    text = (
        f"Best value over all SAEs of an architecture, and its L0. Published: {known['source']}, layer 5 of a GPT of "
        "width 512.\n\n"
        + by_architecture(study, known)
        + "\nIn order of the best value:\n\n"
        + in_order(saes, known)
        + "\nOf several seeds, trained three times as long; intervals are over games and seeds:\n\n"
        + by_seeds(seeds)
        + "\nBy layer, as the published code computes it:\n\n"
        + by_layer(layers, known)
    )
    write_bytes(out / "beside_published.md", text.encode())
    for name in ("table.md", "table.csv"):
        write_bytes(out / name, (report / name).read_bytes())
    shutil.rmtree(out / "figures", ignore_errors=True)
    for sweep, names in FIGURES.items():
        for name in names:
            write_bytes(out / f"figures/{name}.png", (report / f"figures/{sweep}/{name}.png").read_bytes())


if __name__ == "__main__":
    main()
