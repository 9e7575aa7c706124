"""Have a language model judge an SAE's latents, into the folder of the SAE's other scores."""

import time
from collections.abc import Callable
from pathlib import Path

from boardgame_sae.metrics.evaluate import about_subject, in_order, still_valid
from boardgame_sae.metrics.results import Scores
from boardgame_sae.metrics.saebench.autointerp.llm_judge import JudgeConfig, all_tasks, cost
from boardgame_sae.metrics.score import scores
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.pipeline.score import known_scores, sae_to_score, save_scores

NAME = "autointerp_llm"
"""The score that it is."""


def judge_sae(
    sae: str | Path,
    testbed_folder: str | Path,
    cfg: JudgeConfig,
    *,
    say: Callable[[str], None],
    dry_run: bool = False,
    device: str = "auto",
    calibrate: bool = False,
) -> Path | None:
    """Add the score `autointerp_llm` to an SAE's scores; returns their folder, None of a dry run.

    say: told what it will cost, before anything is sent. dry_run: nothing is sent and nothing written.
    Raises RunError as `score_saes` and `ChatClient.ask` do, UnscorableError when no latent can be asked about.
    """
    one, client = sae_to_score(sae, testbed_folder, device=device, calibrate=calibrate), cfg.client()
    if not dry_run:
        client.check_key()
    made = one.made
    subject = Subject(made.name, one.kind, made.latents, made.testbed, made.facts)
    say(f"{made.name}, asking {cfg.model} at {client.url}: {cost(subject.once(all_tasks, cfg), client)}")
    if dry_run:
        return None
    with one.run() as run:
        began = time.perf_counter()
        value = scores()[NAME].compute_with(subject, cfg)
        run.reopen()
        known = known_scores(run.folder)
        about = known.subject if known else about_subject(subject, {})
        values = in_order({**still_valid(known), NAME: value})
        judged = Scores(about, values, latents=known.latents if known else None)
        save_scores(judged, run.folder)
        run.log_time(NAME, time.perf_counter() - began)
        run.finish(**{name: number.value for name, number in judged.items()})
        return run.folder
