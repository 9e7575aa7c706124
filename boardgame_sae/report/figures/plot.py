"""`plot`: any numbers of anything that was scored, one's own SAE among the shipped ones, as a figure."""

import io
from collections.abc import Iterable, Sequence
from itertools import product

import matplotlib
from matplotlib.figure import Figure

from boardgame_sae.config import ConfigError
from boardgame_sae.foreign_names import advice
from boardgame_sae.pipeline.sources import Source
from boardgame_sae.report.figures.against_l0 import X_TITLES, Frame, Panel, against_l0
from boardgame_sae.report.figures.style import STYLE, hook_title
from boardgame_sae.report.rows import TEXTS, collect
from boardgame_sae.report.titles import Row, column_titles, has_column, score_of


class Plot(Figure):
    """A figure that a notebook shows by itself; `savefig(path)` writes it."""

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            self.savefig(picture, format="png")
        return picture.getvalue()


def plot(
    *sources: Source | Iterable[Source],
    x: str | Sequence[str] = "l0",
    y: str | Sequence[str] = "coverage",
    baselines: bool = True,
) -> Plot:
    """Draw numbers of everything that some sources hold against each other: `plot("othello6-tiny", my_scores)`.

    What was given besides sweeps and shipped testbeds is a star, whose name comes first in the legend, and the other
    SAEs are paler then. Bars are 95% intervals.
    sources: as `pipeline.sources` reads them. x, y: columns of `results`, one or several: a panel of each testbed for
    each y against each x. Against `l0` and `n_activations` SAEs that differ in nothing else are joined by lines.
    baselines: whether what SAEs are compared with is drawn too.
    Raises ConfigError for a column that has no numbers, with the closest one that has; RunError and ValueError as
    `read_sources` does.
    """
    rows = collect(sources)
    xs, ys = ([columns] if isinstance(columns, str) else list(columns) for columns in (x, y))
    for axis, columns in (("x", xs), ("y", ys)):
        if not columns:
            raise ConfigError(f"{axis}: names no column; give one or several, each a panel")
    for column in (*xs, *ys):
        _check_column(rows, column)
    titles = {"l0": "L0", **column_titles(rows)}
    testbeds = list(dict.fromkeys((row["sweep"], row["hook_name"]) for row in rows))
    panels = []
    for column, (sweep, hook_name), against in product(ys, testbeds, xs):
        title = titles.get(column, column.replace("_", " "))
        here = [row for row in rows if (row["sweep"], row["hook_name"]) == (sweep, hook_name)]
        of = f"{title}\n{sweep}, {hook_title(hook_name)}" if len(testbeds) > 1 else title
        x_title = X_TITLES.get(against) or titles.get(against, against.replace("_", " "))
        panels += [Panel(score_of(column), column, of, here, against, x_title)] if has_column(here, column) else []
    frame = Frame(baselines=baselines, from_zero=False)
    with matplotlib.rc_context(STYLE):
        return against_l0(rows, panels, frame, figure_class=Plot)


def _check_column(rows: Sequence[Row], column: str) -> None:
    """Raise ConfigError unless some row has a number in a column."""
    known = [name for name in (rows[0] if rows else ()) if name not in TEXTS and has_column(rows, name)]
    if column not in known:
        raise ConfigError(f"no numbers in a column '{column}'; {advice(column, known)} (see `results(...).columns`)")
