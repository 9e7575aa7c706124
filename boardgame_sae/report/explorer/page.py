"""The report's page: one text that opens without a network or a server."""

import base64
import html
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from boardgame_sae.metrics.baselines.registry import baselines
from boardgame_sae.metrics.score import scores as registered_scores
from boardgame_sae.pipeline.study_folder import Study
from boardgame_sae.report.explorer.data import page_data
from boardgame_sae.report.explorer.latent_files import Listed
from boardgame_sae.report.explorer.summary import legality_table, probe_table, summary
from boardgame_sae.report.figures.registry import ReportFigure, Section, figures
from boardgame_sae.report.titles import Row

PAGE_FILE = "index.html"
SCRIPTS = (
    "base.js",
    "state.js",
    "files.js",
    "filters.js",
    "picker.js",
    "plot.js",
    "table.js",
    "details.js",
    "latents.js",
    "latent.js",
    "drop.js",
    "page.js",
)
"""In the order in which they need each other."""


def page(
    studies: Sequence[Study],
    rows: Sequence[Row],
    drawn: Sequence[Sequence[Path]],
    latents: Sequence[Listed],
) -> str:
    """The page as one text: all it ever loads are the files of latents beside it.

    drawn: the files of each study's figures. latents: as `write_latents` lists them.
    """
    from plotly.offline import get_plotlyjs

    values = {
        "title": html.escape(" and ".join(study.label for study in studies)),
        "style": _shipped("page.css"),
        "summary": "\n".join(summary(study, rows) for study in studies),
        "scores": "\n".join(
            f"<dt>{html.escape(score.title)}</dt><dd>{html.escape(score.meaning)}. {score.better.capitalize()} is "
            f"better. <small>{html.escape(score.source)}</small></dd>"
            for score in registered_scores().values()
        ),
        "ceilings": html.escape(_titles("ceiling")),
        "floors": html.escape(_titles("floor")),
        "legality_table": "\n".join(legality_table(study) for study in studies),
        "probe_table": "\n".join(probe_table(study) for study in studies),
        **{f"{section}_figures": _section(studies, drawn, section) for section in get_args(Section)},
        "folded_figures": _pictures(studies, drawn, [figure for figure in figures() if figure.folded]),
        "data": embedded(page_data(rows, studies, latents)),
        "plotly": get_plotlyjs(),
        "scripts": "\n".join(_shipped(f"scripts/{name}") for name in SCRIPTS),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda slot: values[slot[1]], _shipped("page.html"))


def _titles(role: str) -> str:
    return ", ".join(baseline.title for baseline in baselines().values() if baseline.role == role)


def embedded(value: Any) -> str:
    """Plain data as JSON that may stand inside a `<script>` element: no tag can begin in it."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("</", "<\\/").replace("<!--", "<\\u0021--")


def _shipped(name: str) -> str:
    return (files("boardgame_sae.report.explorer") / name).read_text(encoding="utf-8")


def _section(studies: Sequence[Study], drawn: Sequence[Sequence[Path]], section: str) -> str:
    unfolded = [figure for figure in figures() if figure.section == section and not figure.folded]
    return _pictures(studies, drawn, unfolded)


def _pictures(studies: Sequence[Study], drawn: Sequence[Sequence[Path]], chosen: Sequence[ReportFigure]) -> str:
    pictures = [_picture(studies, figure, *same) for figure in chosen for same in _distinct(studies, drawn, figure)]
    nothing = "<p>This study has no such figure.</p>" if chosen else ""
    return "\n".join(pictures) or nothing


def _distinct(
    studies: Sequence[Study], drawn: Sequence[Sequence[Path]], figure: ReportFigure
) -> list[tuple[str, bytes, list[str]]]:
    """The pictures of a figure: hook point, bytes, labels of the studies that share it, as those of one GPT do."""
    labels: dict[tuple[str, bytes], list[str]] = {}
    for study, paths in zip(studies, drawn, strict=True):
        for path in paths:
            name, _, hook_name = path.stem.partition(".")
            if name == figure.name:
                labels.setdefault((hook_name, path.read_bytes()), []).append(study.label)
    return [(*picture, of) for picture, of in labels.items()]


def _picture(studies: Sequence[Study], figure: ReportFigure, hook_name: str, png: bytes, labels: Sequence[str]) -> str:
    of = " and ".join(labels)
    about = " — ".join(([of] if len(studies) > 1 else []) + ([hook_name] if hook_name else []))
    caption = html.escape((f"{about}. " if about else "") + figure.caption)
    source = "data:image/png;base64," + base64.b64encode(png).decode()
    alt = html.escape(f"{figure.title} of {of}")
    return f'<figure><img alt="{alt}" src="{source}"><figcaption>{caption}</figcaption></figure>'
