"""Copy what is kept here of a report, and say which scores agree: `results.py REPORT_FOLDER OUT_FOLDER`.

table.md, table.csv     every score of every SAE, floor and ceiling, with intervals
agreement.md            how scores rank the same SAEs, score by score; figures/agreement-*.png draws it
architectures.md        the mean rank of each architecture in each score
figures/*.png           the report's figures of scores against L0

Ranks are taken among the SAEs of one sparsity level, one for each architecture, so that no score agrees with another
merely because both follow L0.
"""

import csv
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from scipy.stats import rankdata

from boardgame_sae.files import write_bytes
from boardgame_sae.metrics.score import Score, scores
from boardgame_sae.report.markdown import table

matplotlib.use("Agg")
from matplotlib import pyplot as plt

Row = dict[str, str]
LEVELS = 3
"""Sparsity levels of the study."""
FLOORS = "saebench-floors"
"""The study of SAEs with a frozen part, which has one architecture."""
PROXY = "core_explained_variance"
"""A proxy that is a part of a score, and is ranked beside the scores."""
FIGURES = ("coverage_vs_l0", "loss_vs_l0", "other_scores_vs_l0")


def ranked(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Each score's ranks (levels, architectures), 1 for the best; only scores that every SAE has.

    Raises ValueError when the rows are not one SAE for every architecture and level.
    """
    names = sorted({row["architecture"] for row in rows})
    grid = []
    for name in names:
        own = sorted((row for row in rows if row["architecture"] == name), key=lambda row: float(row["l0"]))
        if len(own) != LEVELS:
            raise ValueError(f"{name} has {len(own)} SAEs, {LEVELS} were expected; run the whole study")
        grid.append(own)
    sign = {name: 1 if score.better == "lower" else -1 for name, score in scores().items()} | {PROXY: -1}
    ranks = {}
    for column, direction in sign.items():
        cells = [[grid[a][level].get(column, "") for a in range(len(names))] for level in range(LEVELS)]
        if all(cell for line in cells for cell in line):
            ranks[column] = rankdata(direction * np.array(cells, float), axis=1)
    return ranks


def agreement(ranks: dict[str, np.ndarray]) -> np.ndarray:
    """Spearman's correlation of every two scores, (scores, scores): the mean over sparsity levels."""
    by_level = [np.corrcoef([ranks[name][level] for name in ranks]) for level in range(LEVELS)]
    return np.nan_to_num(np.mean(by_level, axis=0))


def title(column: str) -> str:
    """What tables call a column."""
    known: dict[str, Score] = scores()
    return known[column].title if column in known else "Explained variance"


def draw(names: Sequence[str], correlation_SS: np.ndarray, heading: str, path: Path) -> None:
    """A picture of the correlations."""
    figure, axes = plt.subplots(figsize=(7.5, 6.5), layout="constrained")
    image = axes.imshow(correlation_SS, vmin=-1, vmax=1, cmap="RdBu")
    axes.set_xticks(range(len(names)), [title(name) for name in names], rotation=60, ha="right")
    axes.set_yticks(range(len(names)), [title(name) for name in names])
    for i, line in enumerate(correlation_SS):
        for j, value in enumerate(line):
            axes.text(
                j, i, f"{value:.1f}", ha="center", va="center", fontsize=7, color="w" if abs(value) > 0.6 else "k"
            )
    figure.colorbar(image, label="Spearman's correlation, mean over sparsity levels")
    axes.set_title(heading)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Copy tables and figures, and write the tables of ranks."""
    report, out = map(Path, sys.argv[1:3])
    with open(report / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    shutil.rmtree(out, ignore_errors=True)
    agree, by_architecture = [], []
    for sweep in sorted({row["sweep"] for row in rows} - {FLOORS}):
        own = [
            row for row in rows if row["sweep"] == sweep and row["kind"] == "sae" and row["architecture"] != "random"
        ]
        ranks = ranked(own)
        correlation_SS, heading = agreement(ranks), sweep.removeprefix("saebench-")
        draw(list(ranks), correlation_SS, heading, out / f"figures/agreement-{heading}.png")
        cells = [[title(name), *(f"{v:.2f}" for v in line)] for name, line in zip(ranks, correlation_SS, strict=True)]
        agree.append(f"{heading}:\n\n" + table(["", *map(title, ranks)], cells))
        names = sorted({row["architecture"] for row in own})
        means = np.stack([rank_LA.mean(0) for rank_LA in ranks.values()], axis=1)
        order = np.argsort(means.mean(1), kind="stable")
        cells = [[f"`{names[a]}`", *(f"{mean:.1f}" for mean in means[a]), f"{means[a].mean():.1f}"] for a in order]
        by_architecture.append(f"{heading}:\n\n" + table(["", *map(title, ranks), "mean"], cells))
        for name in FIGURES:
            pictures = [report / f"figures/{folder}/{name}.png" for folder in (sweep, ".")]  # the latter of one study
            for picture in [picture for picture in pictures if picture.exists()][:1]:
                write_bytes(out / f"figures/{name}-{heading}.png", picture.read_bytes())
    write_bytes(out / "agreement.md", "\n".join(agree).encode())
    write_bytes(out / "architectures.md", "\n".join(by_architecture).encode())
    for name in ("table.md", "table.csv"):
        write_bytes(out / name, (report / name).read_bytes())


if __name__ == "__main__":
    main()
