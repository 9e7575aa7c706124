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
from typing import Any

from boardgame_sae.files import RunError, write_bytes
from boardgame_sae.metrics.results import Scores
from boardgame_sae.metrics.score import scores
from boardgame_sae.pipeline.study_folder import Bed, Study, read_studies
from boardgame_sae.report.explorer.summary import legality_table, probe_table, summary
from boardgame_sae.report.figures.sae_figures import write_figures
from boardgame_sae.report.figures.style import coordinates, look
from boardgame_sae.report.latent_card import N_BOARDS, latent_cards, read_latents
from boardgame_sae.report.markdown import MARKDOWN_FILE, markdown
from boardgame_sae.report.rows import Row, column_titles, kind_title, recipe, rows_of, write_table
from boardgame_sae.runs import Run, progress, run_hash
from boardgame_sae.saes.load import load_sae
from boardgame_sae.testbeds.testbed import load_testbed

PAGE_FILE = "index.html"
N_CARD_SAES, N_LATENTS = 4, 8
"""SAEs a testbed that get latent cards, the best by coverage; and cards of each."""
SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    "*": "star",
}
"""Plotly's words for matplotlib's markers."""
CAPTIONS = {
    "learning_curve": "Left: how often the GPT's most probable next move is legal, and how much probability it puts on "
    "legal moves. Right: its loss; and, where all players moved at random, the floor that perfect knowledge of the "
    "rules would reach.",
    "legality": "How often the GPT's moves are legal on test games: by ply, by phase of the game, and what its moves "
    "are, the most probable ones (greedy) and ones drawn from its probabilities (sampled).",
    "probe_accuracy": "Accuracy of linear probes at each hook point. What the trained GPT's line has above the "
    "random-weights GPT's, training put there.",
    "probe_squares": "Share of test positions at which the first probe reads a square right, in hundredths, at each "
    "hook point.",
    "coverage_by_property": "Coverage of every property, each a mean over its classes. What is nearly always true has "
    "a high F1 by chance: what counts is how far a sign stands to the right of the bar.",
    "f1_by_square": "F1 by square, in hundredths: the linear probe at the SAEs' hook point above, the best SAE's best "
    "single latent for each class of the headline property below. Grey: the square never shows the class (or too "
    "rarely to score), or the probe never says it.",
    "scores_by_layer": "Coverage and board reconstruction along the forward pass: each SAE recipe and what it is "
    "compared with, at every hook point of the study.",
    "coverage_vs_l0": "Coverage and board reconstruction against L0; bars are 95% intervals over games, and over seeds "
    "too where a point stands for SAEs of several seeds. Of the linear probe of the same sparsity only as many outputs "
    "remain as an SAE of that L0 has latents on.",
    "direction_recovery": "How well decoder rows match what linear probes read (left) and the difference that a class "
    "makes to the mean activation (right): cosines, matched one to one. As many random directions reach the grey line "
    "by chance.",
    "loss_vs_l0": "Loss recovered and explained variance against L0.",
    "sae_training": "Explained variance and L0 of the SAEs while they were trained.",
}
OWN_PLACE = ("learning_curve", "legality", "probe_accuracy", "f1_by_square", "coverage_by_property")
"""Figures that stand in a section of the page by themselves."""
FOLDED = ("probe_squares", "scores_by_layer", "coverage_vs_l0", "direction_recovery", "loss_vs_l0", "sae_training")
"""Figures below the plot, folded away."""


def report_run(sweep_folders: Sequence[str | Path], *, out: str | Path | None = None, device: str = "auto") -> Path:
    """Make the report of some finished sweeps in a run folder and return the folder; a finished one is reused.

    Raises RunError naming a folder or file that is missing, damaged or not finished.
    """
    studies = read_studies(sweep_folders)
    config = {"card_saes": N_CARD_SAES, "latents": N_LATENTS, "boards": N_BOARDS}
    inputs = {study.label: run_hash(study.folder) for study in studies}
    with Run("report", "+".join(study.name for study in studies), config, inputs, out) as run:
        if not run.done:
            began = time.perf_counter()
            rows = rows_of(studies)
            write_table(rows, run.folder)
            write_bytes(run / MARKDOWN_FILE, markdown(rows).encode())
            one = len(studies) == 1
            figures = [write_figures(s, run / "figures" if one else run / f"figures/{s.label}") for s in studies]
            cards = study_cards(studies, device)
            write_bytes(run / PAGE_FILE, page(studies, rows, figures, cards).encode())
            run.log_time("report", time.perf_counter() - began)
            run.finish(rows=len(rows), cards=sum(len(each["cards"]) for each in cards))
        return run.folder


def study_cards(studies: Sequence[Study], device: str = "auto") -> list[dict[str, Any]]:
    """Latent cards of the best SAEs of every testbed: sweep, hook_name, name, how to draw a board, cards."""
    wanted = [(study, bed, found) for study in studies for bed in study.beds for found in _best(bed)]
    made, opened, testbed = [], None, None
    with progress(len(wanted), "latent cards", "SAEs", disable=not wanted) as bar:
        for study, bed, (folder, found) in wanted:
            if testbed is None or opened != bed.folder:
                testbed, opened = load_testbed(bed.folder, device), bed.folder
            sae = load_sae(_sae_folder(bed, found)).to(testbed.model.gpt.device)
            game = testbed.corpus.game
            about = {"sweep": study.label, "hook_name": bed.hook_name, "name": found.subject["name"]}
            columns, ranks = coordinates(game)
            board = {"shape": list(game.shape), "squares": list(game.squares), "columns": columns, "rows": ranks}
            board |= {"first_row_on_top": game.first_row_on_top, "glyphs": dict(game.glyphs)}
            cards = latent_cards(testbed, sae, read_latents(folder), N_LATENTS)
            made.append({**about, **board, "cards": cards})
            bar.update(1)
    return made


def _best(bed: Bed) -> list[tuple[Path, Scores]]:
    """The SAEs of highest coverage, and where their scores lie; of seeds of one SAE only the best."""
    family = {name: each.subject["name"] for each in bed.pooled for name in each.subject["members"]}
    both = zip(bed.score_folders, bed.scored, strict=True)
    known = [pair for pair in both if pair[1].subject["kind"] == "sae" and "coverage" in pair[1]]
    ranked = sorted(known, key=lambda pair: (-pair[1]["coverage"].value, pair[1].subject["name"]))
    distinct: dict[str, tuple[Path, Scores]] = {}
    for folder, found in ranked:
        distinct.setdefault(family.get(found.subject["name"], found.subject["name"]), (folder, found))
    return list(distinct.values())[:N_CARD_SAES]


def _sae_folder(bed: Bed, found: Scores) -> Path:
    name = found.subject.get("sae", {}).get("sae_folder", found.subject["name"])
    for folder in bed.saes:
        if folder.name == name:
            return folder
    raise RunError(f"{name}: scored at {bed.hook_name}, but not among the sweep's SAEs; run the sweep again")


def page(
    studies: Sequence[Study],
    rows: Sequence[Row],
    figures: Sequence[Sequence[Path]],
    cards: Sequence[Mapping[str, Any]],
) -> str:
    """The page as one text: nothing in it is loaded from anywhere."""
    from plotly.offline import get_plotlyjs

    title = " and ".join(study.label for study in studies)
    values = {
        "title": html.escape(title),
        "summary": "\n".join(summary(study, rows) for study in studies),
        "scores": "\n".join(
            f"<dt>{html.escape(each.title)}</dt><dd>{html.escape(each.meaning)}. {each.better.capitalize()} is better. "
            f"<small>{html.escape(each.source)}</small></dd>"
            for each in scores().values()
        ),
        "legality_table": "\n".join(legality_table(study) for study in studies),
        "probe_table": "\n".join(probe_table(study) for study in studies),
        **{name: _figures(studies, figures, (name,)) for name in OWN_PLACE},
        "more_figures": _figures(studies, figures, FOLDED),
        "data": embedded(_data(rows, cards)),
        "plotly": get_plotlyjs(),
        "page": _shipped("page.js"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], _shipped("page.html"))


def _shipped(name: str) -> str:
    return (files("boardgame_sae.report.explorer") / name).read_text(encoding="utf-8")


def embedded(value: Any) -> str:
    """Plain data as JSON that may stand inside a `<script>` element: no tag can begin in it."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("</", "<\\/").replace("<!--", "<\\u0021--")


def _data(rows: Sequence[Row], cards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    shown = [{**row, "recipe": recipe(row), "kind_title": kind_title(row["kind"])} for row in rows]
    names = sorted({row["architecture"] for row in rows if row["architecture"]})
    styles = {name: {"colour": look(name)[0], "symbol": SYMBOLS[look(name)[1]]} for name in names}
    return {
        "rows": shown,
        "columns": list(rows[0]) if rows else [],
        "axes": axes(rows),
        "styles": styles,
        "cards": cards,
    }


def axes(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What the plot can show: L0, every registered score that the rows have, then the numbers beside each score."""
    about_l0 = "Mean number of latents that are on at a token. Fewer is sparser; no number of them is right"
    found = [{"key": "l0", "title": "L0", "meaning": about_l0, "better": None, "group": "scores"}]
    columns, known = column_titles(rows), scores()
    for name, each in known.items():
        if name in columns:
            about = {"key": name, "title": each.title, "meaning": each.meaning, "better": each.better}
            found.append({**about, "group": "scores"})
    for column, title in columns.items():
        if column not in known and not column.endswith(("_low", "_high")):
            score = max((name for name in known if column.startswith(name)), key=len)
            meaning = f"Stands beside the score {known[score].title}"
            found.append({"key": column, "title": title, "meaning": meaning, "better": None, "group": "beside them"})
    return found


def _figures(studies: Sequence[Study], figures: Sequence[Sequence[Path]], kinds: Sequence[str]) -> str:
    parts = []
    for kind in kinds:
        drawn: dict[tuple[str, bytes], list[str]] = {}  # studies of one GPT draw it alike, and it is shown once
        for study, paths in zip(studies, figures, strict=True):
            for path in paths:
                name, _, hook_name = path.stem.partition(".")
                if name == kind:
                    drawn.setdefault((hook_name, path.read_bytes()), []).append(study.label)
        for (hook_name, picture), labels in drawn.items():
            of = " and ".join(labels)
            about = " — ".join(([of] if len(studies) > 1 else []) + ([hook_name] if hook_name else []))
            caption = html.escape(f"{about}. " if about else "") + html.escape(CAPTIONS[kind])
            source = "data:image/png;base64," + base64.b64encode(picture).decode()
            alt = html.escape(f"{kind.replace('_', ' ')} of {of}")
            parts.append(f'<figure><img alt="{alt}" src="{source}"><figcaption>{caption}</figcaption></figure>')
    return "\n".join(parts) or "<p>This study has no such figure.</p>"
