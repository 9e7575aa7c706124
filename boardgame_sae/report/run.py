"""The report of anything that was scored: tables, figures, and a page that opens without a network or a server.

table.parquet table.csv table.md     every score of every SAE and baseline
figures/*.png                        the figures
index.html                           all of it to look at, click on and sort; Plotly, data and pictures are inside
latents/*.js                         the latents of each SAE, which the page loads when they are asked for
"""

import time
from collections.abc import Iterable
from pathlib import Path

from boardgame_sae.files import write_bytes
from boardgame_sae.launch import needs
from boardgame_sae.pipeline.sources import Source, read_sources
from boardgame_sae.report.explorer.latent_files import LATENTS, N_DETAILED, write_latents
from boardgame_sae.report.explorer.page import PAGE_FILE, page
from boardgame_sae.report.figures.registry import write_figures
from boardgame_sae.report.markdown import MARKDOWN_FILE, markdown
from boardgame_sae.report.results import write_table
from boardgame_sae.report.rows import rows_of
from boardgame_sae.runs import Run


def make_report(
    *sources: Source | Iterable[Source],
    out: str | Path | None = None,
    device: str = "auto",
    n_detailed: int = N_DETAILED,
) -> Path:
    """Make the report of what some sources hold in a run folder and return the folder; a finished one is reused.

    sources: what `results` takes: `make_report("othello6-tiny", my_scores)`. out: the run's folder (default one named
    by its hash). device: where SAEs are run again, `auto`, `cpu`, `cuda` or `mps`.
    n_detailed: how many SAEs per testbed, the best ones, are run again, so that the page has the boards, histograms and
    moves of their latents; of others it has what their scores say.
    Raises RunError naming a folder or file that is missing, damaged or not finished.
    """
    with needs("report", "the page of a report"):
        import plotly as plotly  # before anything is computed
    studies = read_sources(sources)
    config = {"n_detailed": n_detailed}
    inputs = {study.label: study.content for study in studies}
    with Run("report", "+".join(study.name for study in studies), config, inputs, out) as run:
        if not run.done:
            began = time.perf_counter()
            rows = rows_of(studies)
            write_table(rows, run.folder)
            write_bytes(run / MARKDOWN_FILE, markdown(rows).encode())
            one = len(studies) == 1
            drawn = [write_figures(s, run / "figures" if one else run / f"figures/{s.label}") for s in studies]
            listed = write_latents(studies, run / LATENTS, n_detailed=n_detailed, device=device)
            write_bytes(run / PAGE_FILE, page(studies, rows, drawn, listed).encode())
            run.log_time("report", time.perf_counter() - began)
            run.finish(rows=len(rows), latents=sum(one.n_latents for one in listed))
        return run.folder
