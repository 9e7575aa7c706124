"""The report of some sweeps: tables, figures, and one page that opens without a network or a server.

table.parquet table.csv table.md     every score of every SAE and baseline
figures/*.png                        the figures
index.html                           all of it to look at, click on and sort; Plotly, data and pictures are inside
"""

import base64
import html
import json
import re
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from boardgame_sae.files import RunError, write_bytes
from boardgame_sae.metrics.baselines.registry import baselines
from boardgame_sae.metrics.results import Scores
from boardgame_sae.metrics.score import scores as registered_scores
from boardgame_sae.pipeline.study_folder import Study, StudyTestbed, read_studies
from boardgame_sae.report.best import best_saes
from boardgame_sae.report.explorer.data import page_data
from boardgame_sae.report.explorer.summary import legality_table, probe_table, summary
from boardgame_sae.report.figures.registry import ReportFigure, Section, figures, write_figures
from boardgame_sae.report.latent_card import N_BOARDS, latent_cards, read_latents
from boardgame_sae.report.markdown import MARKDOWN_FILE, markdown
from boardgame_sae.report.rows import rows_of, write_table
from boardgame_sae.report.titles import Row
from boardgame_sae.runs import Run, progress
from boardgame_sae.saes.load import load_sae
from boardgame_sae.testbeds.testbed import load_testbed

PAGE_FILE = "index.html"
SCRIPTS = ("base.js", "plot.js", "cards.js", "table.js", "page.js")
"""In the order in which they need each other."""
N_CARD_SAES, N_LATENTS = 4, 8
"""SAEs per testbed that get latent cards, the best ones; and cards of each."""


def report_run(sweep_folders: Sequence[str | Path], *, out: str | Path | None = None, device: str = "auto") -> Path:
    """Make the report of some finished sweeps in a run folder and return the folder; a finished one is reused.

    Raises RunError naming a folder or file that is missing, damaged or not finished.
    """
    studies = read_studies(sweep_folders)
    config = {"card_saes": N_CARD_SAES, "latents": N_LATENTS, "boards": N_BOARDS}
    inputs = {study.label: study.content for study in studies}
    with Run("report", "+".join(study.name for study in studies), config, inputs, out) as run:
        if not run.done:
            began = time.perf_counter()
            rows = rows_of(studies)
            write_table(rows, run.folder)
            write_bytes(run / MARKDOWN_FILE, markdown(rows).encode())
            one = len(studies) == 1
            drawn = [write_figures(s, run / "figures" if one else run / f"figures/{s.label}") for s in studies]
            cards = study_cards(studies, device)
            write_bytes(run / PAGE_FILE, page(studies, rows, drawn, cards).encode())
            run.log_time("report", time.perf_counter() - began)
            run.finish(rows=len(rows), cards=sum(len(of_sae["cards"]) for of_sae in cards))
        return run.folder


def study_cards(studies: Sequence[Study], device: str = "auto") -> list[dict[str, Any]]:
    """Latent cards of the best SAEs of every testbed: sweep, hook_name, name of the SAE, and its cards."""
    wanted = [
        (study, testbed, best)
        for study in studies
        for testbed in study.testbeds
        for best in best_saes(testbed)[:N_CARD_SAES]
    ]
    made, opened, testbed = [], None, None
    with progress(len(wanted), "latent cards", "SAEs", disable=not wanted) as bar:
        for study, listed, (folder, scores) in wanted:
            if testbed is None or opened != listed.folder:
                testbed, opened = load_testbed(listed.folder, device), listed.folder
            sae = load_sae(_sae_folder(listed, scores)).to(testbed.model.gpt.device)
            cards = latent_cards(testbed, sae, read_latents(folder), N_LATENTS)
            about = {"sweep": study.label, "hook_name": listed.hook_name, "name": scores.subject["name"]}
            made.append({**about, "cards": cards})
            bar.update(1)
    return made


def _sae_folder(testbed: StudyTestbed, scored: Scores) -> Path:
    name = scored.subject.get("sae", {}).get("sae_folder", scored.subject["name"])
    for folder in testbed.saes:
        if folder.name == name:
            return folder
    raise RunError(f"{name}: scored at {testbed.hook_name}, but not among the sweep's SAEs; run the sweep again")


def page(
    studies: Sequence[Study],
    rows: Sequence[Row],
    drawn: Sequence[Sequence[Path]],
    cards: Sequence[Mapping[str, Any]],
) -> str:
    """The page as one text: nothing in it is loaded from anywhere.

    drawn: the files of each study's figures. cards: as `study_cards` makes them.
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
        "data": embedded(page_data(rows, cards)),
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
