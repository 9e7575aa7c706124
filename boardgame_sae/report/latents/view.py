"""What is known of a latent, and how it is shown: as text, in a notebook, and as a page of its own."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

from boardgame_sae.metrics.counts import THRESHOLDS
from boardgame_sae.notebook import Picture, pictures, table
from boardgame_sae.report.latents.boards import Card
from boardgame_sae.report.latents.moves import Move

SHARES = THRESHOLDS[:-1]
"""Thresholds, as shares of the latent's largest activation on train."""
_BARS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Reading:
    """A latent as a classifier of one class of a property, on test; lists go by SHARES."""

    property: str
    label: str
    """What it says: `d3 mine`."""
    base: float
    """Share of positions where it is true."""
    chosen: int
    """The threshold of best correlation on train, by its place in SHARES."""
    precision: list[float]
    recall: list[float]
    f1: list[float]


@dataclass(frozen=True, eq=False, repr=False)
class Latent:
    """What is known of a latent. It draws itself in a notebook; `page()` is the same as a whole page."""

    sae: str
    """What the SAE is called."""
    number: int
    """Which latent it is."""
    n_latents: int
    testbed: str
    """The testbed, in words."""
    density: float
    """Share of test positions where it is on, that is above zero."""
    max_activation: float
    """Its largest activation on train, of which thresholds are shares."""
    counts: list[int]
    """Histogram of its activations above zero on test, in bins of equal width."""
    edges: list[float]
    """Where the bins end, from 0 on."""
    readings: list[Reading]
    """The classes that it goes with most closely, best first."""
    boards: list[Card]
    """Where it is most active, at most one position of a game (see `boards.DrawnBoards`)."""
    mean: list[Card]
    """How the boards where it is on differ from all: pictures of the classes that differ most."""
    promotes: list[Move]
    """Moves that it makes more probable, as `moves.Moves` says."""
    suppresses: list[Move]
    """Moves that it makes less probable."""

    def __repr__(self) -> str:
        best = self.readings[0] if self.readings else None
        says = f", {_title(best)}: F1 {best.f1[best.chosen]:.3f}" if best else ""
        return f"Latent({self.number} of {self.sae}: on at {self.density:.2%} of positions{says})"

    def __str__(self) -> str:
        most = max([1, *self.counts])
        bars = "".join(_BARS[-(-8 * count // most)] for count in self.counts)
        lines = [
            f"latent {self.number} of {self.n_latents:,}, {self.sae}, on {self.testbed}",
            f"on at {self.density:.2%} of the test positions; largest activation on train {self.max_activation:.4g}",
            f"activations  0 |{bars}| {self.edges[-1]:.4g}",
            "",
            *self._reading_lines(),
            "",
            f"promotes     {_moves(self.promotes)}",
            f"suppresses   {_moves(self.suppresses)}",
            "",
            *(f"{board['activation']:9.4g}  {board['text']}" for board in self.boards),
        ]
        return "\n".join(lines)

    def _reading_lines(self) -> list[str]:
        if not self.readings:
            return ["it goes with no class"]
        lines = [f"{'property':24}{'base':>7}{'at':>6}{'F1':>7}{'precision':>11}{'recall':>8}"]
        for reading in self.readings:
            t = reading.chosen
            numbers = f"{reading.f1[t]:7.3f}{reading.precision[t]:11.3f}{reading.recall[t]:8.3f}"
            lines.append(f"{_title(reading):24.24}{reading.base:7.3f}{SHARES[t]:6.1f}{numbers}")
        return lines

    def _repr_html_(self) -> str:
        rows = [
            ("SAE", self.sae),
            ("testbed", self.testbed),
            ("on at", f"{self.density:.2%} of the test positions"),
            ("largest activation on train", self.max_activation),
            ("activations above zero", self._histogram()),
            ("promotes", _moves(self.promotes)),
            ("suppresses", _moves(self.suppresses)),
        ]
        shown = [(board["picture"], f"{board['activation']:.4g} at ply {board['ply']}") for board in self.boards]
        means = [(mean["picture"], f"{mean['class']}: more or less often than on all boards") for mean in self.mean]
        about = table(f"Latent {self.number} of {self.n_latents:,}", rows)
        return about + self._by_threshold() + pictures(shown + means)

    def _by_threshold(self) -> str:
        """Precision and recall of every class by threshold; the one that was chosen on train in brackets."""
        if not self.readings:
            return "<p>It goes with no class.</p>"
        head = ("class", "base", "", *(f"{share:.1f}" for share in SHARES))
        rows = []
        for reading in self.readings:
            for name, values in (("precision", reading.precision), ("recall", reading.recall), ("F1", reading.f1)):
                cells = [f"[{value:.2f}]" if t == reading.chosen else f"{value:.2f}" for t, value in enumerate(values)]
                rows.append((_title(reading), f"{reading.base:.3f}", name, *cells))
        return table("By threshold, as a share of the largest activation, on test; [chosen on train]", rows, head)

    def _histogram(self) -> Picture:
        most, width = max([1, *self.counts]), len(self.counts)
        bars = "".join(
            f'<rect x="{place}" y="{1 - count / most:.3f}" width="0.9" height="{count / most:.3f}" fill="#2f6bff"/>'
            for place, count in enumerate(self.counts)
        )
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 1" preserveAspectRatio="none" '
        return Picture(f'{svg}width="240" height="60">{bars}</svg> 0 to {self.edges[-1]:.4g}')

    def page(self) -> str:
        """A page of its own, in one file."""
        title = html.escape(f"Latent {self.number} of {self.sae}")
        style = "body{font-family:sans-serif;margin:1em;overflow-wrap:anywhere}td,th{padding:.2em .5em;text-align:left}"
        wide = "table{border-collapse:collapse;display:block;overflow-x:auto;margin-bottom:1em}"
        viewport = '<meta name="viewport" content="width=device-width, initial-scale=1">'
        head = f'<meta charset="utf-8">{viewport}<title>{title}</title><style>{style}{wide}</style>'
        return f'<!doctype html><html lang="en"><head>{head}</head><body>{self._repr_html_()}</body></html>\n'


def _title(reading: Reading) -> str:
    return reading.label if reading.property in reading.label else f"{reading.label} ({reading.property})"


def _moves(moves: Sequence[Move]) -> str:
    return ", ".join(f"{move} {change:+.2f}" for move, change in moves) or "none"
