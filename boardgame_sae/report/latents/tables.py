"""The table of latents that a score run keeps, checked as it is read."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from boardgame_sae.files import RunError, read_parquet
from boardgame_sae.metrics.results import LATENTS_FILE, SCORE_AGAIN, Scores
from boardgame_sae.runs.integrity import verified

_COLUMNS: Mapping[str, type] = {
    **dict.fromkeys(("latent", "n_precise"), int),
    **dict.fromkeys(("property", "label"), str),
    **dict.fromkeys(("f1", "precision", "recall", "threshold", "density", "max_activation"), float),
    **dict.fromkeys(("always_on", "above_chance"), float),
}
"""What is read of the table of latents, and of which type."""


def read_latents(folder: str | Path) -> dict[str, np.ndarray]:
    """The table of latents of a score run, column by column, a row for each latent in order.

    Raises RunError naming the file when it is missing, damaged or changed, and the column that is not as it must be.
    """
    path = Path(folder) / LATENTS_FILE
    verified(path)
    return _in_order(read_parquet(path, _COLUMNS, SCORE_AGAIN), str(path))


def checked_latents(scores: Scores) -> dict[str, np.ndarray]:
    """The table of latents of scores in memory. Raises RunError where it is not as `read_latents` would give it."""
    source, table = f"{scores.subject['name']}: its table of latents", scores.latents or {}
    for name in _COLUMNS:
        if name not in table:
            raise RunError(f"{source}: has no column '{name}'; {SCORE_AGAIN}")
    return _in_order(table, source)


def _in_order(table: dict[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
    if not np.array_equal(table["latent"], np.arange(len(table["latent"]))):
        raise RunError(f"{source}: column 'latent' does not number the rows from 0 on; {SCORE_AGAIN}")
    return table
