"""The figures of a report by name, and drawing them. Every module of this folder registers its own.

A figure shows a whole study, or one of its testbeds; it is drawn where the study has data for it. Adding one is a new
module here: it stands on the page, under its caption, by itself.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib
from matplotlib.figure import Figure

from boardgame_sae.files import writing
from boardgame_sae.pipeline.study_folder import Study, StudyTestbed
from boardgame_sae.registry import Registry
from boardgame_sae.report.figures.style import STYLE

Section = Literal["gpt", "probes", "squares", "properties", "saes"]
"""The sections of the page that figures stand in."""
OfStudy = Callable[[Study], Figure | None]
OfTestbed = Callable[[Study, StudyTestbed], Figure | None]


@dataclass(frozen=True)
class ReportFigure:
    """One figure. Exactly one of `of_study` and `of_testbed` draws it; None says that there is nothing to show."""

    name: str
    """Of its file, without the ending."""
    caption: str
    section: Section = "saes"
    order: int = 100
    """Its place among the others."""
    folded: bool = True
    """Whether it stands folded away on the page, below the plot."""
    on_card: bool = False
    """Whether the card of a packed testbed shows it."""
    of_study: OfStudy | None = None
    of_testbed: OfTestbed | None = None

    @property
    def title(self) -> str:
        """What it is called for those who cannot see it."""
        return self.name.replace("_", " ")

    def drawn(self, study: Study) -> Iterator[tuple[str, Figure]]:
        """It and the name of its file, once for the study or once for each testbed that has data for it."""
        if self.of_study is not None and (figure := self.of_study(study)) is not None:
            yield self.name, figure
        for testbed in study.testbeds if self.of_testbed is not None else ():
            ending = f".{testbed.hook_name}" if len(study.testbeds) > 1 else ""
            if self.of_testbed is not None and (figure := self.of_testbed(study, testbed)) is not None:
                yield self.name + ending, figure


_FIGURES: Registry[ReportFigure] = Registry("figure", "boardgame_sae.report.figures")


def register(figure: ReportFigure) -> ReportFigure:
    """Make a figure known. Raises ValueError when its name is taken, or not exactly one function draws it."""
    if (figure.of_study is None) == (figure.of_testbed is None):
        raise ValueError(f"figure '{figure.name}': give exactly one of of_study and of_testbed")
    return _FIGURES.add(figure.name, figure)


def figures() -> list[ReportFigure]:
    """Every figure, in reading order."""
    return sorted(_FIGURES.all().values(), key=lambda figure: (figure.order, figure.name))


def write_figures(study: Study, folder: str | Path, chosen: Sequence[ReportFigure] | None = None) -> list[Path]:
    """Draw the figures that a study has data for into a folder, and return their paths in reading order.

    chosen: those to draw; by default all.
    """
    paths = []
    with matplotlib.rc_context(STYLE):
        for figure in figures() if chosen is None else chosen:
            for name, drawn in figure.drawn(study):
                paths.append(Path(folder) / f"{name}.png")
                with writing(paths[-1]) as temporary:
                    drawn.savefig(temporary, format="png", metadata={"Software": None})
    return paths
